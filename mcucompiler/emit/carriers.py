# SPDX-License-Identifier: Apache-2.0
"""C text of the bands that carry columns of images to the rings of a stream along the width, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mcucompiler.stream.types import Band, Rows, StreamCall


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCopy:
    """What carries a column of an image, piece by piece.

    Attributes:
        source: C expression of the offset of the first piece.
        source_step: bytes from one piece to the next.
        target: C expression of the offset of where it goes.
        target_step: likewise.
        pieces: how many.
        bytes: of a piece.
    """

    source: str
    source_step: int
    target: str
    target_step: int
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
        source=row(source),
        source_step=source.apart or size,
        target=row(target),
        target_step=target.apart or size,
        pieces=pieces,
        bytes=size,
    )
