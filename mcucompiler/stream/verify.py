# SPDX-License-Identifier: Apache-2.0
"""Checks a stream by running it on tags in the planned arena; nothing here is shared with the planner.

The bands run by the rule that the C follows. What each run must find is asked of the operator: the
rows that its receptive field covers, each byte with the tag of the very element.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Resize
from mcucompiler.stream.types import Access, Band, Expansion, Reading, StreamCall
from mcucompiler.stream.verify_structure import structure_causes
from mcucompiler.stream.verify_turned import bytes_of_column, turned_causes

Tags = npt.NDArray[np.int64]

_ROW_AXIS = 2
_COLUMN_AXIS = 3
_GARBAGE = -1
_STATE = -2
_INSIDE = 1 << 62
_FEW = 8
_BEYOND = 4  # rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What a stream finds when it begins.

    Attributes:
        arena: a tag for each byte; changed by the replay.
        scratch: offset of the stream's scratch.
        starts: offset of each tensor that lies whole in the arena.
        tags: for each of them, the tags of its bytes in memory order: what a reader must find, or what the
            stream must leave.
    """

    arena: Tags
    scratch: int
    starts: Mapping[str, int]
    tags: Mapping[str, Tags]


def replay_stream(call: StreamCall, graph: Graph, around: Surroundings) -> Iterator[str]:
    """Runs a stream on tags.

    Yields:
        A line for each thing that is wrong; after a few of them the replay ends.
    """
    causes = [*turned_causes(call, graph)]
    graph = graph if call.turned is None else call.turned
    causes += structure_causes(call, graph)
    if not causes:
        for cause in _Replay(call, graph, around).run():
            causes.append(cause)
            if len(causes) == _FEW:
                break
    yield from causes


class _Replay:
    def __init__(self, call: StreamCall, graph: Graph, around: Surroundings) -> None:
        self.call, self.graph, self.around = call, graph, around
        self.arena = around.arena
        self.rows = {rows.tensor: rows for rows in call.rows}
        self.runs = [0] * len(call.bands)
        self.writer = {band.writes: band for band in call.bands}
        self.pushed = 0
        inside = [rows.tensor for rows in call.rows if rows.tensor not in around.starts]
        self.tags = dict(around.tags)
        for number, name in enumerate(inside):
            size = self.rows[name].height * self.rows[name].pitch
            self.tags[name] = _INSIDE + (number << 40) + np.arange(size, dtype=np.int64)

    def run(self) -> Iterator[str]:
        scratch, size = self.around.scratch, self.call.scratch_bytes
        self.arena[scratch : scratch + size] = _GARBAGE
        if self.call.state is not None:
            self._state()[:] = _STATE
        while True:
            index = self._next()
            if index is not None:
                yield from self._band(index)
                self.runs[index] += 1
            elif self.call.fed is not None and self.pushed < self.rows[self.call.fed].height:
                self._put(self.call.fed, self.pushed, 1)
                self.pushed += 1
            else:
                break
        for band, runs in zip(self.call.bands, self.runs, strict=True):
            if runs != band.runs or runs * band.rows != self.rows[band.writes].height * band.units:
                yield f"{band.node.name!r} stops after {runs} runs of {band.rows} rows"

    def _state(self) -> Tags:
        start = self.around.scratch + (self.call.state or 0)
        return self.arena[start : start + 4 * (len(self.call.bands) + 1)]

    def _next(self) -> int | None:
        for index in reversed(range(len(self.call.bands))):
            band, run = self.call.bands[index], self.runs[index]
            if run < band.runs and all(self._there(reading, run) for _, reading in band.readings):
                return index
        return None

    def _there(self, reading: Reading, run: int) -> bool:
        if reading.access is Access.WHOLE:
            return True
        height, span = self.rows[reading.tensor].height, reading.span
        line = run if span is None else run // span.strips
        rows = min(height, max(0, reading.first + line * reading.step + reading.count))
        if span is None or rows == 0:
            return self._made(reading.tensor) >= rows
        columns = span.first + run % span.strips * span.step + span.count
        last = min(span.units, math.ceil(columns / (span.width // span.units)))
        return self._made(reading.tensor) >= (rows - 1) * span.units + last

    def _made(self, name: str) -> int:
        if name == self.call.fed:
            return self.pushed
        if name in self.writer:
            band = self.writer[name]
            return self.runs[self.call.bands.index(band)] * (1 if band.units > 1 else band.rows)
        return self.rows[name].height * self.rows[name].units

    def _address(self, name: str, row: int, begin: int = 0) -> int:
        """Where the C program has a byte of a row of a tensor."""
        rows = self.rows[name]
        strip, rest = divmod(begin, rows.row_bytes // rows.units)
        return self._unit(name, row * rows.units + strip) + rest

    def _unit(self, name: str, number: int) -> int:
        """Where the C program has a row of a tensor, or a strip of one; these are counted through all rows."""
        rows = self.rows[name]
        if rows.guest_of is not None:
            return self._unit(rows.guest_of, rows.lead + number * rows.stride)
        if rows.offset is None:
            spacing = rows.pitch if rows.pieces == 1 else rows.row_bytes // rows.pieces
            return self.around.starts[name] + rows.column + number * (spacing // rows.units)
        return self.around.scratch + rows.offset + number % rows.slots * (rows.row_bytes // rows.units)

    def _carry(self, band: Band, run: int, who: str) -> Iterator[str]:
        """A column must be where it is taken from, and may not lie where it is taken to."""
        ((_, reading),) = band.readings
        if (reading.first + run * reading.step, reading.count) != (run, 1):
            yield f"{who} does not carry column {run}"
        yield from self._find(reading.tensor, run, who)
        source, target = self._bytes(reading.tensor, run), self._bytes(band.writes, run)
        if np.intersect1d(source, target).size:
            yield f"{who}: the column lies where it is carried to"
        self._put(band.writes, run, 1)

    def _bytes(self, name: str, row: int) -> npt.NDArray[np.int64]:
        """Addresses of the bytes of a row."""
        return self._address(name, row) + bytes_of_column(self.rows[name])

    def _band(self, index: int) -> Iterator[str]:
        band, run = self.call.bands[index], self.runs[index]
        who = f"{band.node.name!r} in run {run}"
        if band.carries:
            yield from self._carry(band, run, who)
            return
        sources: list[tuple[int, int, int]] = []
        for number, reading in band.readings:
            if reading.access is Access.WHOLE:
                yield from self._find_whole(reading.tensor, who)
                made, shape = self.rows[band.writes], self.graph.tensors[reading.tensor].shape
                if made.row_bytes != made.pitch and shape and shape[-1] > 1:
                    yield f"{who} makes a part of the columns of all of {reading.tensor!r}"
                continue
            yield from self._agrees(band, number, reading, run, who)
            first = reading.first + run // band.units * reading.step
            for row in range(max(first, 0), min(first + reading.count, self.rows[reading.tensor].height)):
                begin, extent = self._share(reading, run)
                yield from self._find(reading.tensor, row, who, begin, extent)
                sources.append((number, self._address(reading.tensor, row, begin), extent))
            if reading.access is Access.DENSE and reading.count > 1:
                begin = self._address(reading.tensor, first)
                end = self._address(reading.tensor, first + reading.count - 1)
                if end - begin != (reading.count - 1) * self.rows[reading.tensor].row_bytes:
                    yield f"{who}: the rows of {reading.tensor!r} do not lie one behind the other"
        yield from self._work(band, run, sources, who)

    def _agrees(self, band: Band, number: int, reading: Reading, run: int, who: str) -> Iterator[str]:
        """The rows that the run is given must be those that the operator reads."""
        node, first_made = band.node, run // band.units * band.rows
        yield from self._agrees_in_strips(band, number, reading, run, who)
        if band.sums is not None:
            yield from self._adds(band, reading, run, who)
            return
        meant = node.op.input_range(
            self.graph.ins(node), self.graph.outs(node), number, _ROW_AXIS, first_made, first_made + band.rows
        )
        if band.expansion is not None and meant is not None:
            yield from self._expands(band, band.expansion, meant, self._share(reading, run), who)
        first = reading.first + run // band.units * reading.step
        if reading.edge:
            yield from self._interpolates(band, reading, meant, run, who)
        elif meant != (first, first + reading.count):
            yield f"{who} is given the rows {first} to {first + reading.count} of {reading.tensor!r} but reads {meant}"
        yield from self._agrees_in_columns(band, number, reading, who)
        height = self.rows[reading.tensor].height
        outside = first < 0 or first + reading.count > height
        if outside and reading.access not in (Access.POINTERS, Access.EACH):
            yield f"{who} reads outside {reading.tensor!r}"

    def _agrees_in_columns(self, band: Band, number: int, reading: Reading, who: str) -> Iterator[str]:
        """The columns that the kernel is given must be those that the operator reads for the columns that it makes."""
        node = band.node
        made, source = self.rows[band.writes], self.graph.tensors[reading.tensor]
        target = self.graph.tensors[band.writes]
        unit = made.pitch // target.shape[_COLUMN_AXIS]
        first, stop = made.column // unit, (made.column + made.row_bytes) // unit
        if reading.columns is None:
            narrow = [
                name for name in (band.writes, reading.tensor) if self.rows[name].row_bytes != self.rows[name].pitch
            ]
            if narrow:
                yield f"{who} has only a part of the columns of {narrow[0]!r}"
            return
        if made.column % unit or made.row_bytes % unit or made.row_bytes != band.row_bytes:
            yield f"{who} does not make whole columns of {band.writes!r}"
        meant = node.op.input_range(self.graph.ins(node), self.graph.outs(node), number, _COLUMN_AXIS, first, stop)
        if meant != reading.columns:
            yield f"{who} is given the columns {reading.columns} of {reading.tensor!r} but reads {meant}"
        held = self.rows[reading.tensor]
        begin = max(reading.columns[0], 0) * (held.pitch // source.shape[_COLUMN_AXIS])
        if held.column + reading.offset != begin:
            yield f"{who} begins at byte {held.column + reading.offset} of the rows of {reading.tensor!r}, not {begin}"
        if reading.offset < 0 or sum(self._share(reading, 0)) > held.row_bytes:
            yield f"{who} reads columns of {reading.tensor!r} that are not there"

    def _agrees_in_strips(self, band: Band, number: int, reading: Reading, run: int, who: str) -> Iterator[str]:
        """The columns that a strip is given must be those that the operator reads for it."""
        span, node, held = reading.span, band.node, self.rows[reading.tensor]
        if span is None:
            if band.units > 1 or held.units != 1:
                yield f"{who} is not told which columns of {reading.tensor!r} it reads"
            return
        if (span.strips, span.units) != (band.units, held.units):
            yield f"{who}: the strips of {reading.tensor!r} are not those that it counts"
            return
        width = self.graph.tensors[band.writes].shape[_COLUMN_AXIS] if band.units > 1 else 0
        first = run % band.units * width // band.units
        meant: tuple[int, int] | None = (0, span.width)
        if band.units > 1:
            ins, outs = self.graph.ins(node), self.graph.outs(node)
            meant = node.op.input_range(ins, outs, number, _COLUMN_AXIS, first, first + width // band.units)
        begin = span.first + run % span.strips * span.step
        if meant != (begin, begin + span.count) or span.width != self.graph.tensors[reading.tensor].shape[-1]:
            yield f"{who} is given the columns {begin} to {begin + span.count} of {reading.tensor!r} but reads {meant}"

    def _share(self, reading: Reading, run: int) -> tuple[int, int]:
        """First byte and number of bytes that a kernel reads of each row that the stream has."""
        held, span = self.rows[reading.tensor], reading.span
        if span is not None:
            column = span.first + run % span.strips * span.step
            pixel = held.row_bytes // span.width
            inside = min(column + span.count, span.width) - max(column, 0)
            return max(column, 0) * pixel, inside * pixel
        if reading.columns is None:
            return 0, held.row_bytes
        width = self.graph.tensors[reading.tensor].shape[_COLUMN_AXIS]
        inside = min(reading.columns[1], width) - max(reading.columns[0], 0)
        return reading.offset, inside * (held.pitch // width)

    def _interpolates(
        self, band: Band, reading: Reading, meant: tuple[int, int] | None, run: int, who: str
    ) -> Iterator[str]:
        """Where the edge of the image stands for rows outside, the operator must read the edge.

        Which rows outside there are is asked of the operator on an image that goes on above and below.
        """
        op, source = band.node.op, self.graph.tensors[reading.tensor]
        if not isinstance(op, Resize):
            return  # refused before the run
        height, first = self.rows[reading.tensor].height, reading.first + run * reading.step
        stop, more = first + reading.count, _BEYOND * op.sizes[_ROW_AXIS] // height
        n, channels, rows, width = source.shape
        higher = replace(op, sizes=(n, channels, op.sizes[_ROW_AXIS] + 2 * more, op.sizes[-1]))
        taller = source.replace(shape=(n, channels, rows + 2 * _BEYOND, width))
        begin = more + run * band.rows
        wanted = higher.input_range((taller,), (), 0, _ROW_AXIS, begin, begin + band.rows)
        if wanted != (first + _BEYOND, stop + _BEYOND) or meant != (max(first, 0), min(stop, height)):
            yield f"{who} is given the rows {first} to {stop} of {reading.tensor!r} but reads {meant}"

    def _adds(self, band: Band, reading: Reading, run: int, who: str) -> Iterator[str]:
        """Sums must take every row once and still hold what was added before; means are made of the last sums."""
        first, height = reading.first + run * reading.step, self.rows[reading.tensor].height
        if band.writes != band.sums:
            if reading.tensor != band.sums or (first, reading.count) != (height - 1, 1):
                yield f"{who} does not make means of the last sums"
            return
        if (first, reading.count) != (run * reading.count, reading.step) or band.runs * reading.count != height:
            yield f"{who} does not add the rows of {reading.tensor!r} once each"
        if run:
            yield from self._find(band.writes, run - 1, who)

    def _expands(
        self, band: Band, expansion: Expansion, window: tuple[int, int], share: tuple[int, int], who: str
    ) -> Iterator[str]:
        """The expanding layer must make the pixels of the window from those at their places, within its buffer.

        Args:
            band: the layer that follows.
            expansion: the layer.
            window: rows that the former reads.
            share: first byte and number of bytes of each row that the expanding layer is given.
            who: what runs.
        """
        node = expansion.node
        source, target = self.graph.ins(node), self.graph.outs(node)
        for row in range(max(window[0], 0), min(window[1], target[0].shape[_ROW_AXIS])):
            if node.op.input_range(source, target, 0, _ROW_AXIS, row, row + 1) != (row, row + 1):
                yield f"{who}: {node.name!r} does not make row {row} from row {row}"
        _, channels, _, width = target[0].shape
        pixel = self.rows[node.inputs[0]].pitch // width
        columns = share[0] // pixel, sum(share) // pixel
        if node.op.input_range(source, target, 0, _COLUMN_AXIS, *columns) != columns:
            yield f"{who}: {node.name!r} does not make the columns {columns} from those of the same numbers"
        firsts = [chunk.channel for chunk in expansion.strips[0]]
        widest = max(stop - first for first, stop in zip(firsts, [*firsts[1:], channels], strict=True))
        if (columns[1] - columns[0]) * widest > expansion.row_bytes:
            yield f"{who}: a row of {widest} channels of {node.name!r} does not fit its {expansion.row_bytes} bytes"
        if window[1] - window[0] > expansion.rows or expansion.height != target[0].shape[_ROW_AXIS]:
            yield f"{who}: a window of rows {window} does not fit the {expansion.rows} rows of its buffer"
        if expansion.buffer + expansion.rows * expansion.row_bytes > band.call.scratch_bytes:
            yield f"{who}: the window of {node.name!r} does not lie in the scratch"
        chunks = [chunk for strip in expansion.strips for chunk in strip]
        used = max(max(c.expand.scratch_bytes, c.depthwise.scratch_bytes) for c in chunks)
        if used > expansion.buffer:
            yield f"{who}: the window of {node.name!r} lies in the kernels' scratch"

    def _find(self, name: str, row: int, who: str, begin: int = 0, extent: int | None = None) -> Iterator[str]:
        """Some bytes of a row; all that the stream has of it where ``extent`` is None."""
        rows = self.rows[name]
        if rows.pieces > 1:
            within = row * rows.spacing + bytes_of_column(rows)
            if not np.array_equal(self.arena[self._bytes(name, row)], self.tags[name][within]):
                yield f"{who}: column {row} of {name!r} is not where it should be"
            return
        size = rows.row_bytes if extent is None else extent
        start = self._address(name, row, begin)
        first = row * rows.pitch + rows.column + begin
        if not np.array_equal(self.arena[start : start + size], self.tags[name][first : first + size]):
            yield f"{who}: row {row} of {name!r} is not at arena byte {start}"

    def _find_whole(self, name: str, who: str) -> Iterator[str]:
        start, tags = self.around.starts[name], self.around.tags[name]
        if not np.array_equal(self.arena[start : start + len(tags)], tags):
            yield f"{who}: {name!r} is not whole at arena byte {start}"

    def _work(self, band: Band, run: int, sources: list[tuple[int, int, int]], who: str) -> Iterator[str]:
        scratch = self.around.scratch + self.call.kernel_scratch
        size = band.call.scratch_bytes
        self.arena[scratch : scratch + size] = _GARBAGE
        made = self.rows[band.writes]
        first, length = run // band.units * band.rows, made.row_bytes // made.units
        start = self._address(band.writes, first, run % band.units * length)
        stop = start + band.rows * length
        if band.units == 1 and self._address(band.writes, first + band.rows - 1) != stop - length:
            yield f"{who}: the rows of {band.writes!r} do not lie one behind the other"
        if size and start < scratch + size and scratch < stop:
            yield f"{who}: the output lies in the kernel's scratch"
        permitted = {overlap.input for overlap in band.call.overlaps if overlap.same}
        for number, address, extent in sources:
            if address < stop and start < address + extent and (address != start or number not in permitted):
                alike = number in permitted and (address - start) % max(extent, 1) == 0 and extent == length
                if not alike:
                    yield f"{who}: the output at {start} lies over input {number} at {address}"
            if size and address < scratch + size and scratch < address + extent:
                yield f"{who}: input {number} lies in the kernel's scratch"
        if band.units > 1:
            self._put_strip(band.writes, first, run % band.units)
        else:
            self._put(band.writes, first, band.rows)
        if self.call.state is not None and (self._state() != _STATE).any():
            yield f"{who}: the counters are overwritten"

    def _put(self, name: str, first: int, count: int) -> None:
        rows = self.rows[name]
        for row in range(first, first + count):
            if rows.pieces > 1:
                self.arena[self._bytes(name, row)] = self.tags[name][row * rows.spacing + bytes_of_column(rows)]
                continue
            start, tag = self._address(name, row), row * rows.pitch + rows.column
            self.arena[start : start + rows.row_bytes] = self.tags[name][tag : tag + rows.row_bytes]

    def _put_strip(self, name: str, row: int, strip: int) -> None:
        """A strip of a row, and behind the ring what of it must lie there as well."""
        rows = self.rows[name]
        length = rows.row_bytes // rows.units
        start, tag = self._address(name, row, strip * length), row * rows.pitch + strip * length
        self.arena[start : start + length] = self.tags[name][tag : tag + length]
        if rows.offset is not None and rows.tail:
            ring = self.around.scratch + rows.offset
            size = max(0, min(length, rows.tail - (start - ring)))
            behind = start + rows.slots * length
            self.arena[behind : behind + size] = self.arena[start : start + size]
