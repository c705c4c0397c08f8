# SPDX-License-Identifier: Apache-2.0
"""Conversions of the element type."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.ir.graph import INTEGER_RANGES
from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants.elementwise import elementwise_call
from mcucompiler.lower.variants.geometry import CTYPES

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class CastElements:
    """Low bits of integers; float32 truncated toward zero and saturated, a NaN gives 0."""

    name: str = "cast"

    def reject(self, context: NodeContext) -> str | None:
        """Types that have a C type here."""
        for tensor in (context.activation(0).tensor, context.outputs[0].tensor):
            if tensor.dtype not in CTYPES:
                return f"elements of type {tensor.dtype}"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0).tensor.dtype, context.outputs[0].tensor.dtype
        if target == "bool":
            how = "nonzero"
        elif target == "float32":
            how = "real"
        else:
            how = "saturate" if source == "float32" else "bits"
        lo, hi = INTEGER_RANGES.get(target, (0, 0))
        return elementwise_call(
            context,
            self.name,
            self.name,
            per_element=6.0 if how != "saturate" else 10.0,
            reason=f"{source} to {target}",
            stem=f"cast_{target}",
            how=how,
            unsigned=CTYPES[target].replace("int", "uint").replace("uuint", "uint"),
            lo=lo,
            hi=hi,
        )


VARIANTS: tuple[Variant, ...] = (CastElements(),)
