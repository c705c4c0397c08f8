# SPDX-License-Identifier: Apache-2.0
"""Conversion of the element type without regard to quantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, Tensor
from mcucompiler.ops._quantized import value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast(Operator):
    """Conversion of the element type without regard to quantization.

    inputs: x.

    Integers to integers keep the low bits (two's complement); anything to bool is ``x != 0``; integers to float32
    round once. float32 to integers truncates toward zero; what the type cannot hold saturates and a NaN gives 0
    (ONNX and C leave both open).

    Attributes:
        to: name of the output's dtype.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    to: str

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        return (operand(inputs, 0, "x").shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The converted value."""
        x = value(values, 0, "x")
        if self.to == "bool":
            return (np.asarray(x != 0),)
        if x.dtype != np.float32 or self.to == "float32":
            return (x.astype(self.to),)
        limits = np.iinfo(self.to)
        inside = np.nan_to_num(x, nan=0.0).astype(np.float64)
        # 2^63 is a float64, 2^63 - 1 is not: compare before converting.
        result = np.where(np.abs(inside) < 2.0**62, inside, 0.0).astype(np.int64).clip(limits.min, limits.max)
        result = np.where(inside >= 2.0**62, limits.max, np.where(inside <= -(2.0**62), limits.min, result))
        return (result.astype(self.to),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """A known type that the output has."""
        if self.to not in ITEM_BYTES:
            return (f"unknown type {self.to!r}; supported are {', '.join(ITEM_BYTES)}",)
        if outputs[0].dtype != self.to:
            return (f"the output is {outputs[0].dtype}, not {self.to}",)
        return ()

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices."""
        return (start, stop)
