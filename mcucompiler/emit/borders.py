# SPDX-License-Identifier: Apache-2.0
"""Rows outside of images, to which windows are given pointers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcucompiler.lower.types import ConstantArray, LoweredStep
from mcucompiler.stream.types import Access, Band, Reading, StreamCall


def border_arrays(steps: Sequence[LoweredStep]) -> dict[int, ConstantArray]:
    """For each value that a border has anywhere, a row of it that is long enough for all."""
    longest: dict[int, int] = {}
    for stream in (part for step in steps if isinstance(step.call, StreamCall) for part in step.call.parts):
        for band in stream.bands:
            for _, reading in band.readings:
                if not reading.edge and reaches_outside(reading, band, stream):
                    wide = band.expansion
                    size = wide.row_bytes if wide else stream.rows_of(reading.tensor).row_bytes
                    value = wide.border if wide else reading.border
                    longest[value] = max(size, longest.get(value, 0))
    return {
        value: ConstantArray(
            label=f"border_{'m' if value < 0 else ''}{abs(value)}",
            ctype="int8_t",
            given=np.full(size, value, np.int8),
            comment="a row outside the image",
            weights=False,
        )
        for value, size in longest.items()
    }


def reaches_outside(reading: Reading, band: Band, call: StreamCall) -> bool:
    """Whether some run reads rows above or below the image."""
    if reading.access not in (Access.POINTERS, Access.EACH):
        return False
    return reading.first < 0 or reading.begin(band.runs - 1) + reading.count > call.rows_of(reading.tensor).height
