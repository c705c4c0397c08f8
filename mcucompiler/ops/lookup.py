# SPDX-License-Identifier: Apache-2.0
"""A table of one entry for each value of an 8-bit element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._quantized import value
from mcucompiler.ops._shapes import check_axis, operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

OUTPUT_TYPES = ("int8", "uint8", "int32", "float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(Operator):
    """A table of one entry for each value of an 8-bit element.

    inputs: x (int8 or uint8), table [256], or [C, 256] with one row for each index of ``axis``; entry i belongs to the
    value i - 128 (int8) or i (uint8). The output has the table's dtype: int8, uint8, int32 or float32.

    Attributes:
        axis: axis of x whose index selects the row of the table, or None for a single row.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    axis: int | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The shape of x."""
        x, table = operand(inputs, 0, "x"), operand(inputs, 1, "table")
        wanted: Shape = (256,)
        if self.axis is not None:
            check_axis(self.axis, len(x.shape))
            wanted = (x.shape[self.axis], 256)
        if table.shape != wanted:
            raise ModelError("the table has the wrong shape", found=str(list(table.shape)), supported=str(list(wanted)))
        return (x.shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The entries of the elements."""
        x, table = value(values, 0, "x"), value(values, 1, "table")
        entries = x.astype(np.int64) - INTEGER_RANGES[operand(inputs, 0, "x").dtype][0]
        if self.axis is None:
            return (table[entries],)
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return (table[np.arange(x.shape[self.axis]).reshape(shape), entries],)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """8-bit elements, a constant table of the output's type."""
        x, table, y = operand(inputs, 0, "x"), operand(inputs, 1, "table"), outputs[0]
        causes = []
        if x.dtype not in ("int8", "uint8"):
            causes.append(f"the input {x.name!r} is {x.dtype}; int8 or uint8 is supported")
        if table.dtype != y.dtype or y.dtype not in OUTPUT_TYPES:
            causes.append(
                f"a table of {table.dtype} for an output of {y.dtype}; one of {', '.join(OUTPUT_TYPES)} is supported"
            )
        if not table.is_constant:
            causes.append(f"the table {table.name!r} is not constant")
        return tuple(causes)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices of x; the whole table."""
        return (start, stop) if index == 0 else None
