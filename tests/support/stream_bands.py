# SPDX-License-Identifier: Apache-2.0
"""The bands of a stream in numpy: each run is its operator's reference on the bytes at the addresses of the plan."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.lower.types import item_bytes
from mcucompiler.ops import ConvTranspose, Resize
from mcucompiler.stream.types import Access, Band, Expansion, Reading, StreamCall
from tests.support.band_references import apply, upsampled
from tests.support.garbage_arena import GarbageArena
from tests.support.stream_places import Places


class Bands:
    """Runs the bands of a stream, or of a column band of one.

    Args:
        arena: where they read and write.
        graph: the network.
        call: the stream.
        places: its addresses.
    """

    def __init__(self, arena: GarbageArena, graph: Graph, call: StreamCall, places: Places) -> None:
        self.m, self.graph, self.call, self.places = arena, graph, call, places
        self.table = places.table

    def run(self, number: int, run: int) -> None:
        """The next run of a band."""
        band = self.call.bands[number]
        if band.carries:
            self._carry(band, run)
        elif band.expansion is not None:
            self._expanded(band, run)
        elif isinstance(band.node.op, Resize | ConvTranspose):
            self._upsample(band, run)
        elif band.sums is None:
            self._band(band, run)
        elif band.writes == band.sums:
            self._add(band, band.sums, run)
        else:
            self._mean(band, band.sums)

    def _carry(self, band: Band, run: int) -> None:
        """A column to where it is wanted."""
        ((_, reading),) = band.readings
        begin = reading.first + run * reading.step
        taken = self.places.pieces(reading.tensor, begin, 0, self.places.width(reading.tensor))
        data = np.concatenate([self.m.arena[start : start + size] for start, size in taken])
        for start, size in self.places.pieces(band.writes, run, 0, self.places.width(band.writes)):
            self.m.arena[start : start + size], data = data[:size], data[size:]
            self.m.own(start, size, (band.writes, run))

    def put(self, name: str, unit: int, value: Array) -> None:
        """Rows, or a strip of one, of [1, C, rows, W], one behind the other from the first one's address."""
        rows, (begin, _) = self.table[name], self.places.columns(name)
        data = np.frombuffer(np.ascontiguousarray(value.transpose(0, 2, 3, 1)).tobytes(), np.uint8)
        start, size = self.places.unit(name, unit), len(data) // value.shape[2]
        self.m.arena[start : start + len(data)] = data
        row, strip = divmod(unit, rows.units)
        for line in range(value.shape[2]):
            self.m.own(start + line * size, size, (name, row + line))
        if rows.units > 1:
            first = begin + strip * value.shape[3]
            _, *behind = self.places.pieces(name, row, first, first + value.shape[3])
            for again, count in behind:
                self.m.arena[again : again + count] = self.m.arena[start : start + count]
                self.m.own(again, count, (name, row))

    def _columns(self, reading: Reading, run: int) -> tuple[int, int]:
        """The columns that a kernel is given, those that hang over the image among them."""
        if reading.columns is not None:
            return reading.columns
        if reading.span is not None:
            first = reading.span.first + run % reading.span.strips * reading.span.step
            return first, first + reading.span.count
        return 0, self.places.width(reading.tensor)

    def _window(self, band: Band, reading: Reading, run: int) -> list[int | None]:
        """Addresses of what a kernel is given of each row."""
        begin = reading.first + (run // band.units) * reading.step
        column = None if reading.span is None else max(0, self._columns(reading, run)[0])
        if reading.access is Access.DENSE:
            start, size = self.places.at(reading.tensor, begin, column), self.table[reading.tensor].row_bytes
            return [start + reading.offset + row * size for row in range(reading.count)]
        height = self.table[reading.tensor].height
        return [
            self.places.at(reading.tensor, row, column) + reading.offset if 0 <= row < height else None
            for row in range(begin, begin + reading.count)
        ]

    def _load(self, tensor: Tensor, starts: list[int | None], border: int, width: int | None = None) -> Array:
        """[1, C, rows, W] from addresses in rows; None stands for a row outside the image."""
        channels, columns = tensor.shape[1], tensor.shape[3] if width is None else width
        size = channels * columns * item_bytes(tensor)
        rows = [
            np.full((columns, channels), border, tensor.dtype)
            if start is None
            else self.m.arena[start : start + size].copy().view(tensor.dtype).reshape(columns, channels)
            for start in starts
        ]
        return np.stack(rows)[None].transpose(0, 3, 1, 2)

    def _spoil_scratch(self, size: int) -> None:
        self.m.spoil(self.places.scratch + self.call.kernel_scratch, size)

    def _sums(self, name: str, row: int) -> Array:
        """The sums of all channels, in the arena."""
        start = self.places.unit(name, row)
        return self.m.arena[start : start + self.table[name].row_bytes].view(np.int32)

    def _add(self, band: Band, name: str, run: int) -> None:
        """Rows to the sums, which begin at zero."""
        source = self.graph.tensors[band.node.inputs[0]]
        if not run:
            self._sums(name, 0)[:] = 0
        ((_, reading),) = band.readings
        rows = self._load(source, self._window(band, reading, run), 0)
        self._sums(name, run)[:] += rows.astype(np.int32).sum(axis=(0, 2, 3), dtype=np.int32)
        self.m.own(self.places.unit(name, run), band.row_bytes, (name, run))

    def _mean(self, band: Band, name: str) -> None:
        """The operator on an image with these sums: each channel flat but for the remainder of the division."""
        source, (target,) = self.graph.tensors[band.node.inputs[0]], self.graph.outs(band.node)
        _, channels, height, width = source.shape
        sums = self._sums(name, self.table[name].height - 1)
        flat, rest = np.divmod(sums.astype(np.int64), height * width)
        more = np.arange(height * width) < rest[:, None]
        image = (flat[:, None] + more).astype(source.dtype).reshape(1, channels, height, width)
        (result,) = band.node.op.reference(self.graph.ins(band.node), (target,), [image])
        data = np.frombuffer(result.tobytes(), np.uint8)
        start = self.places.unit(band.writes, 0)
        self.m.arena[start : start + len(data)] = data
        self.m.own(start, len(data), (band.writes, 0))

    def _band(self, band: Band, run: int) -> None:
        self._spoil_scratch(band.call.scratch_bytes)
        readings, node = dict(band.readings), band.node
        values: list[Array | None] = []
        tensors: list[Tensor | None] = []
        for index, tensor in enumerate(self.graph.ins(node)):
            reading = readings.get(index)
            value = None if tensor is None else tensor.data
            if tensor is not None and reading is not None:
                if reading.access is Access.WHOLE:
                    value = self.m.read(reading.tensor)
                else:
                    first, stop = self._columns(reading, run)
                    width = min(stop, self.places.width(reading.tensor)) - max(first, 0)
                    value = self._load(tensor, self._window(band, reading, run), reading.border, width)
                tensor = tensor.replace(shape=value.shape)
            values.append(value)
            tensors.append(tensor)
        target = self._banded(node, band.rows, self._width(band))
        (result,) = apply(node, tensors, target, values, self._sides(band, run))
        self.put(band.writes, run * (band.rows if band.units == 1 else 1), result)
        self._spoil_scratch(band.call.scratch_bytes)

    def _width(self, band: Band) -> int:
        """Columns that a run makes."""
        first, stop = self.places.columns(band.writes)
        return (stop - first) // band.units

    def _sides(self, band: Band, run: int) -> tuple[int, int] | None:
        """Columns of padding that a run has at the left and at the right; None for those of the layer."""
        reading = next((r for index, r in band.readings if index == 0 and r.access is not Access.WHOLE), None)
        if reading is None or (reading.columns is None and band.units == 1):
            return None
        first, stop = self._columns(reading, run)
        return max(0, -first), max(0, stop - self.places.width(reading.tensor))

    def _upsample(self, band: Band, run: int) -> None:
        ((_, reading),) = band.readings
        window = enumerate(self._window(band, reading, run), reading.first + run * reading.step)
        source, first = self.graph.tensors[reading.tensor], run * band.rows
        rows = {row: self._load(source, [at], 0) for row, at in window if at is not None}
        self.put(band.writes, first, upsampled(self.graph, band.node, rows, first, band.rows, self.m.rng))
        self._spoil_scratch(band.call.scratch_bytes)

    def _banded(self, node: Node, rows: int, width: int) -> Tensor:
        (target,) = self.graph.outs(node)
        return target.replace(shape=(1, target.shape[1], rows, width))

    def _expanded(self, band: Band, run: int) -> None:
        """Chunk by chunk: the expanded rows of the window into their buffer, and from there into the convolution.

        The convolution keeps channels apart, so that it may be done for all of them at the end; nothing is written to
        the output before.
        """
        expansion = band.expansion
        assert expansion is not None
        wide, *constants = self.graph.ins(band.node)
        assert wide is not None
        ((_, reading),) = band.readings
        window, (first_column, stop_column) = self._window(band, reading, run), self._columns(reading, run)
        columns = min(stop_column, wide.shape[3]) - max(first_column, 0)
        value = np.zeros((1, wide.shape[1], len(window), columns), wide.dtype)
        made: dict[tuple[int, bytes], Array] = {}
        chunks = expansion.strips[run % band.units]
        firsts = [chunk.channel for chunk in chunks]
        for chunk, first, stop in zip(chunks, firsts, [*firsts[1:], wide.shape[1]], strict=True):
            self._expand(expansion, window, columns, first, stop, chunk.expand.scratch_bytes, made)
            self._spoil_scratch(chunk.depthwise.scratch_bytes)
            part = wide.replace(shape=(1, stop - first, 1, columns))
            starts = [None if start is None else self._buffer(expansion, row) for row, start in enumerate(window)]
            value[:, first:stop] = self._load(part, starts, expansion.border)
            self._spoil_scratch(chunk.depthwise.scratch_bytes)
        tensors = [wide.replace(shape=value.shape), *constants]
        target = self._banded(band.node, band.rows, self._width(band))
        values = [value, *(c and c.data for c in constants)]
        (result,) = apply(band.node, tensors, target, values, self._sides(band, run))
        self.put(band.writes, run * (band.rows if band.units == 1 else 1), result)

    def _buffer(self, expansion: Expansion, row: int) -> int:
        return self.places.scratch + self.call.kernel_scratch + expansion.buffer + row * expansion.row_bytes

    def _expand(
        self,
        expansion: Expansion,
        window: list[int | None],
        columns: int,
        first: int,
        stop: int,
        scratch: int,
        made: dict[tuple[int, bytes], Array],
    ) -> None:
        """Some channels of the rows of a window; ``made`` remembers all channels of what was computed before."""
        source, *constants = self.graph.ins(expansion.node)
        assert source is not None
        target = self._banded(expansion.node, 1, columns)
        for row, start in enumerate(window):
            if start is None:
                continue
            self._spoil_scratch(scratch)
            value = self._load(source, [start], 0, columns)
            key = row, value.tobytes()
            if key not in made:
                tensors = [source.replace(shape=value.shape), *constants]
                (made[key],) = apply(expansion.node, tensors, target, [value, *(c and c.data for c in constants)])
            data = made[key][0, first:stop, 0].T.tobytes()
            at = self._buffer(expansion, row)
            self.m.arena[at : at + len(data)] = np.frombuffer(data, np.uint8)
            self._spoil_scratch(scratch)
