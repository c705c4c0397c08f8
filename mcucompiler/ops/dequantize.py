# SPDX-License-Identifier: Apache-2.0
"""DequantizeLinear: the real values of a quantized tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._quantized import dequantized, value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantize(Operator):
    """DequantizeLinear: ``y = f32(f32(x - zero_point) * scale)``.

    inputs: x (quantized; per channel for constants). Output: float32.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        return (operand(inputs, 0, "x").shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The real value."""
        return (dequantized(value(values, 0, "x"), operand(inputs, 0, "x")),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """A quantized integer to float32."""
        x, y = operand(inputs, 0, "x"), outputs[0]
        causes = []
        if not x.is_quantized or x.dtype not in INTEGER_RANGES:
            causes.append(f"the input {x.name!r} is {x.dtype} and not a quantized integer")
        if x.quant is not None and not x.quant.per_tensor and not x.is_constant:
            causes.append(f"activation {x.name!r} is quantized per channel; per tensor is supported")
        if y.dtype != "float32" or y.is_quantized:
            causes.append(f"the output {y.name!r} is {y.dtype}; float32 is supported")
        return tuple(causes)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices."""
        return (start, stop)
