# SPDX-License-Identifier: Apache-2.0
"""Changes between uint8 and int8 by inverting the top bit; the real values stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.ops._quantized import value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipSign(Operator):
    """Changes between uint8 and int8 by inverting the top bit: ``uint8 = int8 + 128``.

    inputs: x (int8 or uint8). The output has the other type, and a zero point 128 away.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        return (operand(inputs, 0, "x").shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The value in the other type."""
        x = value(values, 0, "x")
        return ((x.view(np.uint8) ^ np.uint8(128)).view(outputs[0].dtype),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """int8 to uint8 or back, with the same scale and a zero point 128 away."""
        x, y = operand(inputs, 0, "x"), outputs[0]
        if (x.dtype, y.dtype) not in (("int8", "uint8"), ("uint8", "int8")):
            return (f"{x.dtype} to {y.dtype}; between int8 and uint8 is supported",)
        shift = 128 if y.dtype == "uint8" else -128
        if (x.quant is None) != (y.quant is None):
            return ("only one of input and output is quantized",)
        if x.quant is not None and y.quant is not None:
            moved = tuple(z + shift for z in x.quant.zero_point)
            if x.quant.scale != y.quant.scale or moved != y.quant.zero_point:
                return ("input and output stand for different real values",)
        return ()

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices."""
        return (start, stop)
