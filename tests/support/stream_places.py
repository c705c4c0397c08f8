# SPDX-License-Identifier: Apache-2.0
"""Where the pixels of a stream's tensors lie, worked out from the plan as the C program does."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.ir.graph import Graph
from mcucompiler.lower.types import item_bytes
from mcucompiler.stream.types import StreamCall
from tests.support.garbage_arena import GarbageArena

_COLUMN_AXIS = 3


class Places:
    """The addresses of a stream, or of a column band of one.

    Args:
        arena: where the tensors lie that are whole.
        graph: the network, turned where the stream runs along the width.
        call: the stream.
        scratch: address of its scratch.
    """

    def __init__(self, arena: GarbageArena, graph: Graph, call: StreamCall, scratch: int) -> None:
        self.arena, self.graph, self.scratch = arena, graph, scratch
        self.table = {rows.tensor: rows for rows in call.rows}

    def width(self, name: str) -> int:
        """Columns of the whole image; sums are one column."""
        tensor = self.graph.tensors.get(name)
        return 1 if tensor is None or self.table[name].pieces > 1 else tensor.shape[_COLUMN_AXIS]

    def pixel(self, name: str) -> int:
        """Bytes of a column."""
        return self.table[name].pitch // self.width(name)

    def columns(self, name: str) -> tuple[int, int]:
        """The columns that the stream has, a half-open range."""
        rows = self.table[name]
        first = rows.column // self.pixel(name)
        return first, first + rows.row_bytes // self.pixel(name)

    def whole(self, name: str) -> bool:
        """Whether a tensor lies in the arena as a whole, and not in a ring or with another."""
        return self.table[name].offset is None and self.table[name].guest_of is None

    def unit(self, name: str, number: int) -> int:
        """Address of a row, or of a strip where rows come in strips; these are counted through all rows."""
        rows = self.table[name]
        if rows.guest_of is not None:
            return self.unit(rows.guest_of, rows.lead + number * rows.stride)
        if rows.offset is not None:
            return self.scratch + rows.offset + number % rows.slots * (rows.row_bytes // rows.units)
        stored = self.arena.lowered.stored[name]
        start = self.arena.offsets[stored.place.buffer] + stored.place.offset * item_bytes(stored.tensor)
        spacing = rows.pitch if rows.pieces == 1 else rows.row_bytes // rows.pieces
        return start + rows.column + number * (spacing // rows.units)

    def at(self, name: str, row: int, column: int | None = None) -> int:
        """Address of a pixel; of the first that the stream has of the row where ``column`` is None."""
        rows = self.table[name]
        byte = 0 if column is None else column * self.pixel(name) - rows.column
        if self.whole(name):
            return self.unit(name, row * rows.units) + byte
        strip, rest = divmod(byte, rows.row_bytes // rows.units)
        return self.unit(name, row * rows.units + strip) + rest

    def pieces(self, name: str, row: int, first: int, stop: int) -> Iterator[tuple[int, int]]:
        """Address and size of all bytes in which columns ``first`` to ``stop`` of a row lie.

        Of a column of an upright image, of all its pixels.
        """
        rows, pixel = self.table[name], self.pixel(name)
        if rows.pieces > 1:
            size = rows.row_bytes // rows.pieces
            yield from ((self.unit(name, row) + piece * rows.apart, size) for piece in range(rows.pieces))
            return
        if self.whole(name):
            yield self.at(name, row, first), (stop - first) * pixel
            return
        per_strip = rows.row_bytes // rows.units // pixel
        begin = self.columns(name)[0]
        while first < stop:
            end = min(stop, begin + ((first - begin) // per_strip + 1) * per_strip)
            start, size = self.at(name, row, first), (end - first) * pixel
            yield start, size
            if rows.offset is not None and rows.tail:
                ring = self.scratch + rows.offset
                repeated = min(size, rows.tail - (start - ring))
                if repeated > 0:
                    yield start + rows.slots * per_strip * pixel, repeated
            first = end
