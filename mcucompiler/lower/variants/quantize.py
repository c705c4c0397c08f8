# SPDX-License-Identifier: Apache-2.0
"""float32 to quantized integers: a division and a rounding."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.ir.graph import INTEGER_RANGES
from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants.elementwise import elementwise_call

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class QuantizeElements:
    """``clamp(rint(f32(x / scale)) + zero_point)``; a NaN gives the least value."""

    name: str = "quantize"

    def reject(self, context: NodeContext) -> str | None:
        """float32 to 8 or 16 bits, per tensor."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        if source.dtype != "float32" or target.dtype not in ("int8", "uint8", "int16"):
            return f"{source.dtype} to {target.dtype}"
        if target.quant is None or not target.quant.per_tensor:
            return "an activation with more than one scale"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        target = context.outputs[0].tensor
        quant = target.quant
        if quant is None:
            raise ValueError("not quantized")
        lo, hi = INTEGER_RANGES[target.dtype]
        return elementwise_call(
            context,
            self.name,
            self.name,
            per_element=14.0,
            reason="division and rounding",
            scale=float(quant.s),
            zero=quant.z,
            lo=lo,
            hi=hi,
        )


VARIANTS: tuple[Variant, ...] = (QuantizeElements(),)
