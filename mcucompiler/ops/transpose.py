# SPDX-License-Identifier: Apache-2.0
"""Axes in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.ops._quantized import check_like_input, value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Operator):
    """Axes in another order; type and quantization stay.

    inputs: x.

    Attributes:
        perm: for each axis of the output, the axis of the input.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.RELABEL
    perm: tuple[int, ...]

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The permuted shape."""
        x = operand(inputs, 0, "x")
        if sorted(self.perm) != list(range(len(x.shape))):
            raise ModelError(
                "perm is not an order of the axes", found=f"{list(self.perm)} for an input of rank {len(x.shape)}"
            )
        return (tuple(x.shape[axis] for axis in self.perm),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The transposed value."""
        return (np.ascontiguousarray(value(values, 0, "x").transpose(self.perm)),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """The output must have the input's type and quantization."""
        return check_like_input(inputs, outputs)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices along axes that stay in place."""
        return (start, stop) if self.perm[axis] == axis else None
