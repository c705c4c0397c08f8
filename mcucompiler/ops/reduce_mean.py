# SPDX-License-Identifier: Apache-2.0
"""Mean over axes; GlobalAveragePool is the mean over the spatial axes with keepdims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import mean_multiplier, requantize, wrap32
from mcucompiler.ops._quantized import bounds, centered, check_activations, check_clamp, quantization, value
from mcucompiler.ops._shapes import check_axis, operand
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ReduceMean(Operator):
    """Mean over axes; QLinearGlobalAveragePool where the tensors are quantized.

    inputs: x.

    Quantized, with S the sum of x - zx over the n elements of a mean (modulo 2^32 as int32):
    ``y = clamp(rint(f32(f32(S) * f32(sx / f32(sy * n)))) + zy)``.

    Float32: a sequential sum in ONNX order of the reduced elements, the last axis fastest, starting at +0, then
    divided by n.

    Attributes:
        axes: non-negative, ascending.
        keepdims: whether the reduced axes stay, with size 1.
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    axes: tuple[int, ...]
    keepdims: bool = True
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape with the reduced axes of size 1 or gone."""
        x = operand(inputs, 0, "x")
        for axis in self.axes:
            check_axis(axis, len(x.shape))
        if self.keepdims:
            return (tuple(1 if axis in self.axes else dim for axis, dim in enumerate(x.shape)),)
        return (tuple(dim for axis, dim in enumerate(x.shape) if axis not in self.axes),)

    def count(self, shape: Shape) -> int:
        """How many elements a mean of an input of this shape is taken over."""
        return prod(shape[axis] for axis in self.axes)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The means."""
        x, xv, y = operand(inputs, 0, "x"), value(values, 0, "x"), outputs[0]
        count = self.count(x.shape)
        if y.is_quantized:
            qx, qy = quantization(x), quantization(y)
            sums = wrap32(centered(xv, x).sum(axis=self.axes, keepdims=True)).reshape(y.shape)
            lo, hi = bounds(y, self.clamp)
            return (requantize(sums, mean_multiplier(count, qx.s, qy.s), qy.z, lo, hi).astype(y.dtype),)
        kept = [axis for axis in range(xv.ndim) if axis not in self.axes]
        rows = xv.transpose(*kept, *self.axes).reshape(-1, count)
        acc = np.zeros(rows.shape[0], dtype=np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for element in range(count):
                acc = acc + rows[:, element]
            return ((acc / np.float32(count)).reshape(y.shape),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor; axes ascending."""
        causes = [*check_activations(inputs, outputs), *check_clamp(self.clamp, outputs)]
        if list(self.axes) != sorted(set(self.axes)):
            causes.append(f"the axes {list(self.axes)} are not ascending")
        return tuple(causes)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices along axes that stay in place; all of the others."""
        moved = any(reduced <= axis for reduced in self.axes) if not self.keepdims else axis in self.axes
        return None if moved else (start, stop)
