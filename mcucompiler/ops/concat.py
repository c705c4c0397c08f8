# SPDX-License-Identifier: Apache-2.0
"""Concatenation along an axis, each operand requantized to the output's scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.ops._quantized import check_activations, requantized, value
from mcucompiler.ops._shapes import check_axis, operand, present
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Operator):
    """Concatenation; QLinearConcat where the tensors are quantized.

    inputs: any number.

    Quantized: an operand with the output's type and quantization is copied; of any other
    ``y = clamp(rint(f32(f32((x - zx) * sx) / sy)) + zy)``.

    Attributes:
        axis: non-negative.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    axis: int

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The shape of the inputs, summed along the axis."""
        shapes = [tensor.shape for tensor in present(inputs)]
        if not shapes:
            raise ModelError("no inputs")
        check_axis(self.axis, len(shapes[0]))
        others = {(*shape[: self.axis], *shape[self.axis + 1 :]) for shape in shapes}
        if len({len(shape) for shape in shapes}) > 1 or len(others) > 1:
            raise ModelError(
                f"inputs differ in more than axis {self.axis}", found=", ".join(str(list(shape)) for shape in shapes)
            )
        total = sum(shape[self.axis] for shape in shapes)
        return ((*shapes[0][: self.axis], total, *shapes[0][self.axis + 1 :]),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The operands one after the other."""
        y = outputs[0]
        arrays = [value(values, index, "operand") for index in range(len(inputs))]
        if y.is_quantized:
            arrays = [requantized(a, operand(inputs, i, "operand"), y) for i, a in enumerate(arrays)]
        return (np.concatenate(arrays, axis=self.axis),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return check_activations(inputs, outputs)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The part of the operand that lies among the outputs, possibly empty; the same indices of other axes."""
        if axis != self.axis:
            return (start, stop)
        offset = sum(tensor.shape[axis] for tensor in present(inputs[:index]))
        dim = operand(inputs, index, "operand").shape[axis]
        return (min(max(start - offset, 0), dim), min(max(stop - offset, 0), dim))
