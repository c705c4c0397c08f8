# SPDX-License-Identifier: Apache-2.0
"""Quantized integers to float32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES
from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants.elementwise import elementwise_call

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class DequantizeElements:
    """``f32(f32(x - zero_point) * scale)``."""

    name: str = "dequantize"

    def reject(self, context: NodeContext) -> str | None:
        """Integers per tensor to float32."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        if source.dtype not in INTEGER_RANGES or target.dtype != "float32":
            return f"{source.dtype} to {target.dtype}"
        if source.quant is None or not source.quant.per_tensor:
            return "an activation with more than one scale"
        if source.dtype == "int32" and source.quant.z != 0:
            return "32-bit elements with a zero point"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        quant = context.activation(0).tensor.quant
        if quant is None:
            raise ValueError("not quantized")
        return elementwise_call(
            context,
            self.name,
            self.name,
            per_element=8.0,
            reason="one product",
            scale=float(np.float32(quant.s)),
            zero=quant.z,
        )


VARIANTS: tuple[Variant, ...] = (DequantizeElements(),)
