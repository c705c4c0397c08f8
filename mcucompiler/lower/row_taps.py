# SPDX-License-Identifier: Apache-2.0
"""Between which rows of its input a band interpolates."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.ir.graph import Array
from mcucompiler.lower.types import NodeContext


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowTaps:
    """The two rows that each row of a band's output lies between; one entry for each of them.

    Attributes:
        lower: int64, the upper one in the image, counted from the first row that the band is given.
        upper: int64, the one after it, likewise.
        weight_lower: float32, weight of ``lower``.
        weight_upper: float32, weight of ``upper``.
    """

    lower: Array
    upper: Array
    weight_lower: Array
    weight_upper: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterpolatedBand(NodeContext):
    """A band whose rows cannot be told from the shapes of its tensors: they lie between rows of its input.

    Attributes:
        row_taps: between which.
    """

    row_taps: RowTaps
