# SPDX-License-Identifier: Apache-2.0
"""A strided part of a tensor; Split is several of these."""

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
class Slice(Operator):
    """A strided part of a tensor; type and quantization stay.

    inputs: x. One entry of each attribute for every axis.

    Attributes:
        starts: first index; 0 <= start < stop <= dim, or start > stop with a negative step.
        stops: one past the last index in the step's direction; with a negative step, -1 means before the first.
        steps: not zero.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...]

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """How many indices are taken along each axis."""
        x = operand(inputs, 0, "x")
        for name, values in (("starts", self.starts), ("stops", self.stops), ("steps", self.steps)):
            if len(values) != len(x.shape):
                raise ModelError(f"{name} needs one entry for each axis", found=str(list(values)))
        for dim, start, stop, step in zip(x.shape, self.starts, self.stops, self.steps, strict=True):
            forward = step >= 1 and 0 <= start < stop <= dim
            backward = step <= -1 and -1 <= stop < start < dim
            if not (forward or backward):
                raise ModelError(
                    "the slice is empty or leaves its axis", found=f"{start}:{stop}:{step} of an axis of size {dim}"
                )
        return (tuple(len(part) for part in self._parts()),)

    def _parts(self) -> tuple[range, ...]:
        return tuple(range(*part) for part in zip(self.starts, self.stops, self.steps, strict=True))

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The part of the value."""
        index = np.ix_(*(np.arange(part.start, part.stop, part.step) for part in self._parts()))
        return (np.ascontiguousarray(value(values, 0, "x")[index]),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """The output must have the input's type and quantization."""
        return check_like_input(inputs, outputs)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """From the first to the last index taken."""
        part = self._parts()[axis]
        ends = (part.start + start * part.step, part.start + (stop - 1) * part.step)
        return (min(ends), max(ends) + 1)
