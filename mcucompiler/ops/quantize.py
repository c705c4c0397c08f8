# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear: float32 to the output's scale and zero point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.numerics.requantize import quantize
from mcucompiler.ops._quantized import quantization, scales_of, value, zero_points_of
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

TYPES = ("int8", "uint8", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Operator):
    """QuantizeLinear: ``y = clamp(rint(f32(x / scale)) + zero_point)``; a NaN gives the least value.

    inputs: x (float32). Output: quantized.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        return (operand(inputs, 0, "x").shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The quantized value."""
        x, y = value(values, 0, "x"), outputs[0]
        lo, hi = INTEGER_RANGES[y.dtype]
        quant = quantization(y)
        if quant.per_tensor:
            return (quantize(x, quant.s, quant.z, lo, hi).astype(y.dtype),)
        scales, zeros = (np.broadcast_to(part, x.shape) for part in (scales_of(y), zero_points_of(y)))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            real = np.nan_to_num(np.rint(x / scales), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
            return (np.clip(real.astype(np.float64) + zeros, lo, hi).astype(y.dtype),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """float32 to a quantized integer."""
        x, y = operand(inputs, 0, "x"), outputs[0]
        causes = []
        if x.dtype != "float32":
            causes.append(f"the input {x.name!r} is {x.dtype}; float32 is supported")
        if not y.is_quantized or y.dtype not in TYPES:
            causes.append(f"the output {y.name!r} is {y.dtype}; quantized {', '.join(TYPES)} are supported")
        return tuple(causes)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices."""
        return (start, stop)
