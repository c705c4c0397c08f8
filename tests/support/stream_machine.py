# SPDX-License-Identifier: Apache-2.0
"""Runs a plan on real bytes in numpy, as the C program would, and spoils every byte as soon as it is dead.

Each kernel is the reference of its operator, on just the rows that the plan gives it; these are taken from, and its
output put to, the very addresses of the plan. When nobody will read a row any more (which is asked of the operators'
receptive fields, not of the plan), its bytes become garbage, and so does all scratch around every kernel. The outputs
are right only if the plan never relies on anything that may be gone. Nothing here is shared with the planner, the
verifiers or the emitter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.ir.graph import Array, Node, Tensor
from mcucompiler.lower.types import LoweredStep, item_bytes
from mcucompiler.ops import ConvTranspose, Resize
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Access, Band, Expansion, Reading, StreamCall
from tests.support.band_references import apply, upsampled
from tests.support.garbage_arena import GarbageArena

_ROW_AXIS = 2


class Machine(GarbageArena):
    """An arena full of garbage, and the program of a plan.

    Args:
        plan: where everything lies.
        seed: of the garbage.
    """

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        super().__init__(plan, seed)
        self.graph, self.order = plan.lowered.graph, plan.schedule.order
        self.last = self._last_uses()

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs of the graph for inputs of the graph."""
        for name in self.graph.inputs:
            if name != self.lowered.fed:
                self.write(name, feeds[name])
        for position, index in enumerate(self.order):
            step = self.lowered.steps[index]
            if isinstance(step.call, StreamCall):
                fed = feeds[step.call.fed] if step.call.fed is not None else None
                _Stream(self, step, step.call, position, fed).run()
            else:
                self._layer(step, position)
            for buffer, last in self.last.items():
                if last == position:
                    start = self.offsets[buffer]
                    self.kill(start, self.lowered.buffers[buffer].size_bytes, buffer)
        return {name: self.read(name) for name in self.graph.outputs}

    def _last_uses(self) -> dict[str, int]:
        last = {}
        for position, index in enumerate(self.order):
            step = self.lowered.steps[index]
            for name in (*step.reads.values(), *step.writes):
                last[self.lowered.stored[name].place.buffer] = position
        last |= {self.lowered.stored[name].place.buffer: len(self.order) for name in self.graph.outputs}
        return last

    def _layer(self, step: LoweredStep, position: int) -> None:
        self.spoil(self.offsets.get(f"scratch@{position}", 0), step.call.scratch_bytes)
        node = step.node
        values = [
            None if tensor is None else tensor.data if tensor.is_constant else self.read(tensor.name)
            for tensor in self.graph.ins(node)
        ]
        results = node.op.reference(self.graph.ins(node), self.graph.outs(node), values)
        for name, value in zip(node.outputs, results, strict=True):
            self.write(name, value)
        self.spoil(self.offsets.get(f"scratch@{position}", 0), step.call.scratch_bytes)


class _Stream:
    """A stream's run."""

    def __init__(self, machine: Machine, step: LoweredStep, call: StreamCall, position: int, fed: Array | None) -> None:
        self.m, self.step, self.call, self.fed, self.position = machine, step, call, fed, position
        self.graph = machine.graph if call.turned is None else call.turned
        self.scratch = machine.offsets.get(f"scratch@{position}", 0)
        self.table = {rows.tensor: rows for rows in call.rows}
        self.maker = {band.writes: number for number, band in enumerate(call.bands)}

    def run(self) -> None:
        self.m.spoil(self.scratch, self.call.scratch_bytes)
        events = self._events()
        deaths = self._deaths(events)
        for name in self.step.reads.values():
            self._hand_over(name)
        for tensor, row in deaths.get(-1, ()):
            self._kill(tensor, row)
        done = [0] * (len(self.call.bands) + 1)
        self._keep(done)
        for event, number in enumerate(events):
            assert self._kept() in (done, None), "the counters of a fed stream are overwritten"
            if number < 0:
                assert self.fed is not None
                assert self.call.fed is not None
                self._put(self.call.fed, done[-1], self.fed[:, :, done[-1] : done[-1] + 1])
            else:
                self._run_band(self.call.bands[number], done[number])
            done[number] += 1
            self._keep(done)
            for tensor, row in deaths.get(event, ()):
                self._kill(tensor, row)
        for band, runs in zip(self.call.bands, done, strict=False):
            assert runs * band.rows == self.table[band.writes].height, f"{band.writes} is not finished"
        for name in self.step.writes:
            self._take_back(name)

    def _events(self) -> list[int]:
        """Numbers of the bands in the order in which they run, the last one that can first; -1 where a row comes."""
        bands, order = self.call.bands, []
        done, pushed = [0] * len(bands), 0
        height = self.table[self.call.fed].height if self.call.fed is not None else 0

        def there(reading: Reading, run: int) -> bool:
            if reading.access is Access.WHOLE:
                return True
            stop = reading.first + run * reading.step + reading.count
            wanted = min(max(stop, 0), self.table[reading.tensor].height)
            if reading.tensor == self.call.fed:
                return pushed >= wanted
            if reading.tensor not in self.maker:
                return True
            number = self.maker[reading.tensor]
            return done[number] * bands[number].rows >= wanted

        while True:
            ready = [
                number
                for number, band in enumerate(bands)
                if done[number] < band.runs and all(there(reading, done[number]) for _, reading in band.readings)
            ]
            if ready:
                order.append(ready[-1])
                done[ready[-1]] += 1
            elif pushed < height:
                order.append(-1)
                pushed += 1
            else:
                return order

    def _deaths(self, events: list[int]) -> dict[int, list[tuple[str, int]]]:
        """After which event each row is garbage: where it was made, or last lay in somebody's receptive field.

        Event -1, before all others, for rows from outside that lie in no field.
        """
        dying = [name for name in self.step.reads.values() if self._dies(name)]
        last = {(name, row): -1 for name in dying for row in range(self.table[name].height)}
        done = [0] * (len(self.call.bands) + 1)
        for event, number in enumerate(events):
            run = done[number]
            done[number] += 1
            if number < 0:
                last[str(self.call.fed), run] = event
                continue
            band = self.call.bands[number]
            rows = range(run * band.rows, (run + 1) * band.rows)
            last |= {(band.writes, row): event for row in rows}
            last |= {(name, row): event for name, row in self._field(band, rows)}
        kept = {*self.step.writes, *self.step.reads.values()} - {*dying}
        deaths: dict[int, list[tuple[str, int]]] = {}
        for (name, row), event in last.items():
            if name not in kept:
                deaths.setdefault(event, []).append((name, row))
        return deaths

    def _field(self, band: Band, rows: range) -> list[tuple[str, int]]:
        """The rows from which a band makes some of its rows."""
        node, found = band.node, []
        if band.sums is not None:
            ((_, reading),) = band.readings
            if band.writes != band.sums:
                return [(band.sums, self.table[band.sums].height - 1)]
            share = self.table[reading.tensor].height // band.runs
            before = [(band.sums, rows.start - 1)] if rows.start else []
            return before + [(reading.tensor, row) for row in range(rows.start * share, rows.stop * share)]
        if band.carries:
            ((_, reading),) = band.readings
            return [(reading.tensor, row) for row in rows]
        for index, reading in band.readings:
            if reading.access is not Access.WHOLE:
                ins, outs = self.graph.ins(node), self.graph.outs(node)
                field = node.op.input_range(ins, outs, index, _ROW_AXIS, rows.start, rows.stop)
                assert field is not None
                height = self.table[reading.tensor].height
                found += [(reading.tensor, row) for row in range(max(field[0], 0), min(field[1], height))]
        return found

    def _dies(self, name: str) -> bool:
        """Whether an outside tensor is read by rows and nobody needs it afterwards."""
        rowwise = any(
            reading.tensor == name and reading.access is not Access.WHOLE
            for band in self.call.bands
            for _, reading in band.readings
        )
        return rowwise and self.m.last[self.m.lowered.stored[name].place.buffer] == self.position

    def _hand_over(self, name: str) -> None:
        """Rows of a tensor that dies in the stream are owned one by one."""
        if self._dies(name):
            for row in range(self.table[name].height):
                self._own(name, row)

    def _kill(self, name: str, row: int) -> None:
        for start, size in self._pieces(name, row):
            self.m.kill(start, size, (name, row))

    def _own(self, name: str, row: int) -> None:
        for start, size in self._pieces(name, row):
            self.m.own(start, size, (name, row))

    def _pieces(self, name: str, row: int) -> list[tuple[int, int]]:
        """Begin and size of what a row, or a column of an upright image, consists of."""
        rows, start = self.table[name], self._address(name, row)
        return [(start + piece * rows.apart, rows.row_bytes // rows.pieces) for piece in range(rows.pieces)]

    def _take_back(self, name: str) -> None:
        buffer = self.m.lowered.stored[name].place.buffer
        self.m.own(self._address(name, 0), self.table[name].height * self.table[name].row_bytes, buffer)

    def _keep(self, done: list[int]) -> None:
        if self.call.state is not None:
            counters = np.array(done, np.uint32).view(np.uint8)
            start = self.scratch + self.call.state
            self.m.arena[start : start + len(counters)] = counters

    def _kept(self) -> list[int] | None:
        if self.call.state is None:
            return None
        start = self.scratch + self.call.state
        return [int(n) for n in self.m.arena[start : start + 4 * (len(self.call.bands) + 1)].copy().view(np.uint32)]

    def _address(self, name: str, row: int) -> int:
        rows = self.table[name]
        if rows.guest_of is not None:
            return self._address(rows.guest_of, rows.lead + row * rows.stride)
        if rows.offset is not None:
            return self.scratch + rows.offset + row % rows.slots * rows.row_bytes
        stored = self.m.lowered.stored[name]
        start = self.m.offsets[stored.place.buffer] + stored.place.offset * item_bytes(stored.tensor)
        return start + row * (rows.row_bytes if rows.pieces == 1 else rows.row_bytes // rows.pieces)

    def _load(self, tensor: Tensor, starts: list[int | None], border: int) -> Array:
        """[1, C, rows, W] from the addresses of rows; None stands for a row outside the image."""
        _, channels, _, width = tensor.shape
        size = channels * width * item_bytes(tensor)
        rows = [
            np.full((width, channels), border, tensor.dtype)
            if start is None
            else self.m.arena[start : start + size].copy().view(tensor.dtype).reshape(width, channels)
            for start in starts
        ]
        return np.stack(rows)[None].transpose(0, 3, 1, 2)

    def _put(self, name: str, first: int, value: Array) -> None:
        """Rows of [1, C, rows, W], one behind the other from the first one's address."""
        data = np.frombuffer(np.ascontiguousarray(value.transpose(0, 2, 3, 1)).tobytes(), np.uint8)
        start, size = self._address(name, first), self.table[name].row_bytes
        self.m.arena[start : start + len(data)] = data
        for row in range(value.shape[2]):
            self.m.own(start + row * size, size, (name, first + row))

    def _window(self, reading: Reading, run: int) -> list[int | None]:
        """Addresses of the rows that a kernel is given."""
        begin = reading.first + run * reading.step
        if reading.access is Access.DENSE:
            start, size = self._address(reading.tensor, begin), self.table[reading.tensor].row_bytes
            return [start + row * size for row in range(reading.count)]
        height = self.table[reading.tensor].height
        return [
            self._address(reading.tensor, row) if 0 <= row < height else None
            for row in range(begin, begin + reading.count)
        ]

    def _spoil_scratch(self, size: int) -> None:
        self.m.spoil(self.scratch + self.call.kernel_scratch, size)

    def _run_band(self, band: Band, run: int) -> None:
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
        data = np.concatenate([self.m.arena[s : s + size] for s, size in self._pieces(reading.tensor, begin)])
        for start, size in self._pieces(band.writes, run):
            self.m.arena[start : start + size], data = data[:size], data[size:]
        self._own(band.writes, run)

    def _sums(self, name: str, row: int) -> Array:
        """The sums of all channels, in the arena."""
        start = self._address(name, row)
        return self.m.arena[start : start + self.table[name].row_bytes].view(np.int32)

    def _add(self, band: Band, name: str, run: int) -> None:
        """Rows to the sums, which begin at zero."""
        source = self.graph.tensors[band.node.inputs[0]]
        if not run:
            self._sums(name, 0)[:] = 0
        ((_, reading),) = band.readings
        rows = self._load(source, self._window(reading, run), 0)
        self._sums(name, run)[:] += rows.astype(np.int32).sum(axis=(0, 2, 3), dtype=np.int32)
        self.m.own(self._address(name, run), band.row_bytes, (name, run))

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
        start = self._address(band.writes, 0)
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
                    value = self._load(tensor, self._window(reading, run), reading.border)
                tensor = tensor.replace(shape=value.shape)
            values.append(value)
            tensors.append(tensor)
        (result,) = apply(node, tensors, self._banded(node, band.rows), values)
        self._put(band.writes, run * band.rows, result)
        self._spoil_scratch(band.call.scratch_bytes)

    def _upsample(self, band: Band, run: int) -> None:
        ((_, reading),) = band.readings
        window = enumerate(self._window(reading, run), reading.first + run * reading.step)
        source, first = self.graph.tensors[reading.tensor], run * band.rows
        rows = {row: self._load(source, [at], 0) for row, at in window if at is not None}
        self._put(band.writes, first, upsampled(self.graph, band.node, rows, first, band.rows, self.m.rng))
        self._spoil_scratch(band.call.scratch_bytes)

    def _banded(self, node: Node, rows: int) -> Tensor:
        (target,) = self.graph.outs(node)
        return target.replace(shape=(1, target.shape[1], rows, target.shape[3]))

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
        window = self._window(reading, run)
        value = np.zeros((1, wide.shape[1], len(window), wide.shape[3]), wide.dtype)
        made: dict[tuple[int, bytes], Array] = {}
        (chunks,) = expansion.strips
        firsts = [chunk.channel for chunk in chunks]
        for chunk, first, stop in zip(chunks, firsts, [*firsts[1:], wide.shape[1]], strict=True):
            self._expand(expansion, window, first, stop, chunk.expand.scratch_bytes, made)
            self._spoil_scratch(chunk.depthwise.scratch_bytes)
            part = wide.replace(shape=(1, stop - first, 1, wide.shape[3]))
            starts = [None if start is None else self._buffer(expansion, row) for row, start in enumerate(window)]
            value[:, first:stop] = self._load(part, starts, expansion.border)
            self._spoil_scratch(chunk.depthwise.scratch_bytes)
        tensors = [wide.replace(shape=value.shape), *constants]
        target = self._banded(band.node, band.rows)
        (result,) = apply(band.node, tensors, target, [value, *(c and c.data for c in constants)])
        self._put(band.writes, run * band.rows, result)

    def _buffer(self, expansion: Expansion, row: int) -> int:
        return self.scratch + self.call.kernel_scratch + expansion.buffer + row * expansion.row_bytes

    def _expand(
        self,
        expansion: Expansion,
        window: list[int | None],
        first: int,
        stop: int,
        scratch: int,
        made: dict[tuple[int, bytes], Array],
    ) -> None:
        """Some channels of the rows of a window; ``made`` remembers all channels of what was computed before."""
        source, *constants = self.graph.ins(expansion.node)
        assert source is not None
        target = self._banded(expansion.node, 1)
        for row, start in enumerate(window):
            if start is None:
                continue
            self._spoil_scratch(scratch)
            value = self._load(source, [start], 0)
            key = row, value.tobytes()
            if key not in made:
                tensors = [source.replace(shape=value.shape), *constants]
                (made[key],) = apply(expansion.node, tensors, target, [value, *(c and c.data for c in constants)])
            data = made[key][0, first:stop, 0].T.tobytes()
            at = self._buffer(expansion, row)
            self.m.arena[at : at + len(data)] = np.frombuffer(data, np.uint8)
            self._spoil_scratch(scratch)
