# SPDX-License-Identifier: Apache-2.0
"""The same elements in ONNX order under another shape; Flatten, Squeeze and Unsqueeze too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.ops._quantized import value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Operator):
    """The same elements, in ONNX order, under another shape.

    The type stays; the quantization parameters may change, which relabels the integers.

    inputs: x. The output may declare another quantization: then the same integers stand for other real numbers.

    Attributes:
        shape: all positive.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.RELABEL
    shape: tuple[int, ...]

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The new shape."""
        x = operand(inputs, 0, "x")
        if prod(self.shape) != x.size or any(dim < 0 for dim in self.shape):
            raise ModelError(
                "the shapes have different numbers of elements",
                found=f"{list(x.shape)} ({x.size}) to {list(self.shape)} ({prod(self.shape)})",
            )
        return (self.shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The reshaped value."""
        return (value(values, 0, "x").reshape(self.shape),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """The output must have the input's type; its scale may differ: the same integers, read otherwise."""
        x, y = operand(inputs, 0, "x"), outputs[0]
        if (x.dtype, x.is_quantized) == (y.dtype, y.is_quantized):
            return ()
        return (f"the output is {y.dtype} and the input {x.dtype}, or only one of them is quantized",)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices along leading axes that both shapes have in common."""
        shape = operand(inputs, 0, "x").shape
        return (start, stop) if shape[: axis + 1] == self.shape[: axis + 1] else None
