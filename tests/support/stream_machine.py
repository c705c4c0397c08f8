# SPDX-License-Identifier: Apache-2.0
"""Runs a plan on real bytes in numpy, as the C program would, and spoils every byte as soon as it is dead.

Each kernel is the reference of its operator, on just the rows and columns that the plan gives it; these are taken from,
and its output put to, the very addresses of the plan. When nobody will read a pixel any more (which is asked of the
operators' receptive fields, not of the plan), its bytes become garbage, and so does all scratch around every kernel.
The outputs are right only if the plan never relies on anything that may be gone. Nothing here is shared with the
planner, the verifiers or the emitter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.types import LoweredStep
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Access, StreamCall
from tests.support.garbage_arena import GarbageArena
from tests.support.stream_bands import Bands
from tests.support.stream_deaths import Event, Patch, deaths, run_order
from tests.support.stream_places import Places


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
    """A stream's run, or that of its column bands, one after the other."""

    def __init__(self, machine: Machine, step: LoweredStep, call: StreamCall, position: int, fed: Array | None) -> None:
        self.m, self.step, self.call, self.fed, self.position = machine, step, call, fed, position
        self.scratch = machine.offsets.get(f"scratch@{position}", 0)
        self.graph = machine.graph if call.turned is None else call.turned
        self.places = [Places(machine, self.graph, part, self.scratch) for part in call.parts]
        self.bands = [
            Bands(machine, self.graph, part, places) for part, places in zip(call.parts, self.places, strict=True)
        ]

    def run(self) -> None:
        self.m.spoil(self.scratch, self.call.scratch_bytes)
        order = [
            (number, band)
            for number, part in enumerate(self.call.parts)
            for band in run_order(part, self.places[number])
        ]
        dying = [name for name in self.step.reads.values() if self._dies(name)]
        kept = {*self.step.writes, *self.step.reads.values()} - {*dying}
        dead = deaths(self.graph, self.call, self.places, order, dying, kept)
        for name in dying:
            self._hand_over(name)
        self._kill(dead.get(-1, []))
        self._events(order, dead)
        for name in self.step.writes:
            self._take_back(name)

    def _events(self, order: list[Event], dead: dict[int, list[tuple[int, Patch]]]) -> None:
        done = [[0] * (len(part.bands) + 1) for part in self.call.parts]
        self._keep(done[0])
        running = 0
        for event, (part, number) in enumerate(order):
            if part != running:
                self.m.spoil(self.scratch, self.call.scratch_bytes)
                running = part
            assert self._kept() in (done[0], None), "the counters of a fed stream are overwritten"
            run = done[part][number]
            if number < 0:
                assert self.fed is not None
                assert self.call.fed is not None
                self.bands[part].put(self.call.fed, run, self.fed[:, :, run : run + 1])
            else:
                self.bands[part].run(number, run)
            done[part][number] += 1
            self._keep(done[0])
            self._kill(dead.get(event, []))
        for runs, call, places in zip(done, self.call.parts, self.places, strict=True):
            for count, band in zip(runs, call.bands, strict=False):
                rows = places.table[band.writes]
                made = count * (1 if band.units > 1 else band.rows * rows.units)
                assert made == rows.height * rows.units, f"{band.writes} is not finished"

    def _kill(self, dead: list[tuple[int, Patch]]) -> None:
        for part, patch in dead:
            for start, size in self.places[part].pieces(patch.tensor, patch.rows[0], *patch.columns):
                self.m.kill(start, size, (patch.tensor, patch.rows[0]))

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
        rows = self.places[0].table[name]
        for row in range(rows.height):
            width = self.places[0].width(name)
            for start, size in self.places[0].pieces(name, row, 0, width):
                self.m.own(start, size, (name, row))

    def _take_back(self, name: str) -> None:
        buffer = self.m.lowered.stored[name].place.buffer
        rows = self.places[0].table[name]
        self.m.own(self.places[0].at(name, 0, 0), rows.height * rows.pitch, buffer)

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
