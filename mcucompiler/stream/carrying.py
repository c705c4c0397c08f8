# SPDX-License-Identifier: Apache-2.0
"""Streams along the width: bands that carry columns of images to rings and back.

An image that lies in the program's own order has its columns in pieces, one pixel of each row. A stream along the
width takes each of them to a row of a ring as it is needed, and takes each column of an image that others read from a
ring to its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcucompiler.ir.graph import Node
from mcucompiler.lower.types import Call
from mcucompiler.ops import Transpose
from mcucompiler.stream.images import row_bytes
from mcucompiler.stream.turned import RING, Turned, column_pieces
from mcucompiler.stream.types import Access, Band, Reading

_RUN_INSTRUCTIONS = 10
_PIECE_INSTRUCTIONS = 4
_CYCLES_AN_INSTRUCTION = 0.9
_WORD_INSTRUCTIONS = 2  # load and store
_STACK_BYTES = 32  # memcpy


def with_carriers(
    turned: Turned, bands: Sequence[Band], outside: Sequence[str], outputs: Sequence[str]
) -> tuple[Band, ...]:
    """The bands of a stream with those that carry columns, in topological order.

    Args:
        turned: the program.
        bands: of the layers.
        outside: tensors that the layers read and others make.
        outputs: tensors that others read.
    """
    read = {r.tensor for band in bands for _, r in band.readings if r.access is not Access.WHOLE}
    apart = {name for name in (*outside, *outputs) if name + RING in turned.graph.tensors}
    gathers = [_carrier(turned, name, name, name + RING) for name in outside if name in apart & read]
    renamed = [_renamed(band, apart) for band in bands]
    scatters = [_carrier(turned, name, name + RING, name) for name in outputs if name in apart]
    return (*gathers, *renamed, *scatters)


def _renamed(band: Band, apart: set[str]) -> Band:
    """A band that reads and writes rings in place of images that lie elsewhere."""

    def name(tensor: str) -> str:
        return tensor + RING if tensor in apart else tensor

    readings = tuple(
        (i, r if r.access is Access.WHOLE else replace(r, tensor=name(r.tensor))) for i, r in band.readings
    )
    return replace(band, readings=readings, writes=name(band.writes))


def _carrier(turned: Turned, image: str, source: str, target: str) -> Band:
    """The band that copies the columns of an image one by one."""
    tensor = turned.graph.tensors[image]
    pieces, _ = column_pieces(tensor)
    size = row_bytes(tensor)
    words = -(-size // pieces // 4) + (size // pieces % 4 == 3)
    instructions = _RUN_INSTRUCTIONS + pieces * (_PIECE_INSTRUCTIONS + _WORD_INSTRUCTIONS * words)
    return Band(
        node=Node(name=image + RING, op=Transpose(perm=(0, 1, 3, 2)), inputs=(source,), outputs=(target,)),
        call=Call(
            variant="columns",
            instructions=instructions,
            cycles=round(instructions * _CYCLES_AN_INSTRUCTION),
            stack_bytes=_STACK_BYTES,
        ),
        readings=((0, Reading(tensor=source, access=Access.DENSE, step=1, count=1)),),
        writes=target,
        row_bytes=size,
        rows=1,
        runs=tensor.shape[2],
        macs=0,
        carries=True,
    )
