# SPDX-License-Identifier: Apache-2.0
"""Padding by a constant, by the edge or by reflection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._quantized import check_like_input, value
from mcucompiler.ops._shapes import check_spatial, operand, pad_pairs
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

MODES = ("constant", "edge", "reflect")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Operator):
    """Padding; the output has the input's type and quantization.

    inputs: x.

    Attributes:
        pads: all begins, then all ends, for every axis, none negative.
        mode: "constant", "edge" or "reflect" (without repeating the border element).
        value: of "constant", in the output's own units: a quantized integer where the tensor is quantized.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    pads: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape plus the pads."""
        x = operand(inputs, 0, "x")
        check_spatial(len(x.shape), pads=self.pads)
        pairs = pad_pairs(self.pads)
        if self.mode == "reflect" and any(max(pair) >= max(dim, 1) for pair, dim in zip(pairs, x.shape, strict=True)):
            raise ModelError(
                "reflection reaches beyond the input", found=f"pads {list(self.pads)}, input {list(x.shape)}"
            )
        return (tuple(dim + begin + end for dim, (begin, end) in zip(x.shape, pairs, strict=True)),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The padded value."""
        x, pairs = value(values, 0, "x"), pad_pairs(self.pads)
        if self.mode == "constant":
            return (np.pad(x, pairs, mode="constant", constant_values=x.dtype.type(self.value)),)
        return (np.pad(x, pairs, mode="edge" if self.mode == "edge" else "reflect"),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """A known mode, a value that the type can hold, and the input's quantization at the output."""
        causes = list(check_like_input(inputs, outputs))
        if self.mode not in MODES:
            causes.append(f"mode {self.mode!r}; supported are {', '.join(MODES)}")
        lo, hi = INTEGER_RANGES.get(outputs[0].dtype, (-np.inf, np.inf))
        fits = lo <= self.value <= hi and (outputs[0].dtype == "float32" or float(self.value).is_integer())
        if self.mode == "constant" and not fits:
            causes.append(f"the value {self.value} does not fit {outputs[0].dtype}")
        return tuple(causes)

    def sources(self, dim: int, axis: int) -> Array:
        """Which input index each output index along an axis copies; -1 where it is the constant."""
        begin, end = pad_pairs(self.pads)[axis]
        if self.mode == "constant":
            return np.pad(np.arange(dim), (begin, end), mode="constant", constant_values=-1)
        return np.pad(np.arange(dim), (begin, end), mode="edge" if self.mode == "edge" else "reflect")

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The shifted indices; those that edge and reflection copy."""
        begin = pad_pairs(self.pads)[axis][0]
        if self.mode == "constant":
            return (start - begin, stop - begin)
        copied = self.sources(operand(inputs, 0, "x").shape[axis], axis)[start:stop]
        return (int(copied.min()), int(copied.max()) + 1)
