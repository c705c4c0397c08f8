# SPDX-License-Identifier: Apache-2.0
"""C text of the bands that carry columns of images to the rings of a stream along the width, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mcucompiler.emit.environment import c_times
from mcucompiler.stream.types import Band, Rows, StreamCall


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCopy:
    """What carries a column of an image, piece by piece.

    Attributes:
        source: C expression of the offset of piece ``i``.
        target: C expression of the offset of where it goes.
        pieces: how many.
        bytes: of a piece.
    """

    source: str
    target: str
    pieces: int
    bytes: int


def about_carrier(band: Band) -> str:
    """What such a band does, for people."""
    return f"copies a column of {band.node.inputs[0]!r} to {band.node.outputs[0]!r}"


def printed_copy(call: StreamCall, band: Band, row: Callable[[Rows], str]) -> PrintedCopy:
    """What a run of such a band copies.

    Args:
        call: the stream.
        band: of it.
        row: C expression of the offset of the row, of some tensor, that a run reads or makes.
    """
    ((_, reading),) = band.readings
    source, target = call.rows_of(reading.tensor), call.rows_of(band.writes)
    pieces = max(source.pieces, target.pieces)
    size = band.row_bytes // pieces
    return PrintedCopy(
        source=f"{row(source)} + i{c_times(source.apart or size)}",
        target=f"{row(target)} + i{c_times(target.apart or size)}",
        pieces=pieces,
        bytes=size,
    )
