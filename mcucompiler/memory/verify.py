# SPDX-License-Identifier: Apache-2.0
"""Checks a memory plan by running the program on tags in the planned arena.

Every byte of the arena knows which tensor wrote it and which byte of that tensor's buffer it is.
Each step must find its inputs' bytes as the graph's own order would show them; then it fills its
scratch with garbage and writes its outputs. Nothing here is shared with the planner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered, LoweredStep, Overlap, Place, Stored, item_bytes
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.replay import ByteIndex, Observation, Writers, observe, tensor_bytes, written_tensors
from mcucompiler.schedule.types import Schedule
from mcucompiler.stream.types import StreamCall
from mcucompiler.stream.verify import Surroundings, replay_stream

Tags = npt.NDArray[np.int64]

_GARBAGE = -1
_ARENA_UNIT = 4


def verify_memory(schedule: Schedule, plan: MemoryPlan) -> None:
    """Refuses a plan under which some step or the caller would read a wrong byte.

    Checked are that every buffer and scratch has an aligned place within the arena, that each read
    finds the bytes it means, that outputs lie over inputs of the same step only as its kernel
    permits, that scratch touches neither, that the graph's inputs lie apart and its outputs are
    intact at the end, and that the plan's blocks and figures are true.

    Raises:
        VerificationError: naming all causes.
    """
    causes = [*_places(schedule, plan)]
    if not causes:
        causes += [*_figures(schedule, plan), *_Replay(schedule, plan).run()]
    if causes:
        raise VerificationError("memory", causes)


def _needs(schedule: Schedule) -> dict[str, tuple[int, int]]:
    """Bytes and alignment of everything that the program uses, by block name."""
    lowered = schedule.lowered
    used = [*lowered.inputs, *lowered.graph.outputs]
    for step in lowered.steps:
        used += [*step.reads.values(), *step.writes]
    needs = {}
    for name in used:
        spec = lowered.buffers[lowered.stored[name].place.buffer]
        needs[spec.name] = spec.size_bytes, spec.align
    for position, index in enumerate(schedule.order):
        call = lowered.steps[index].call
        if call.scratch_bytes:
            needs[f"scratch@{position}"] = call.scratch_bytes, call.scratch_align
    return needs


def _places(schedule: Schedule, plan: MemoryPlan) -> Iterator[str]:
    offsets = dict(plan.offsets)
    if len(offsets) != len(plan.offsets):
        yield "a block has two offsets"
    if plan.arena_bytes % _ARENA_UNIT:
        yield f"the arena of {plan.arena_bytes} bytes does not end on a word"
    for name, (size, align) in _needs(schedule).items():
        if name not in offsets:
            yield f"{name!r} has no place"
        elif offsets[name] < 0 or offsets[name] + size > plan.arena_bytes:
            yield f"{name!r} [{offsets[name]}, {offsets[name] + size}) is not within {plan.arena_bytes} bytes"
        elif offsets[name] % align:
            yield f"{name!r} at {offsets[name]} is not aligned to {align} bytes"


def _figures(schedule: Schedule, plan: MemoryPlan) -> Iterator[str]:
    """The plan's own statements, which reports and limits rely on."""
    blocks = {block.name: block for block in plan.problem.blocks}
    lives = {interval.buffer: (interval.first, interval.last) for interval in schedule.intervals}
    lives |= {f"scratch@{position}": (position, position) for position in range(len(schedule.order))}
    for name, (size, _) in _needs(schedule).items():
        block = blocks.get(name)
        if block is None or (block.size_bytes, block.first, block.last) != (size, *lives[name]):
            yield f"block {name!r} is {block}, but takes {size} bytes during {lives[name]}"
    if plan.lower_bound_bytes > plan.arena_bytes:
        yield f"the lower bound of {plan.lower_bound_bytes} bytes is above the arena's {plan.arena_bytes}"
    if plan.optimal and plan.lower_bound_bytes != plan.arena_bytes:
        yield f"called optimal at {plan.arena_bytes} bytes with a lower bound of {plan.lower_bound_bytes}"


@dataclass(frozen=True, slots=True)
class _Operand:
    """A tensor in the arena: where its bytes lie and what a writer leaves there."""

    name: str
    stored: Stored
    start: int
    where: ByteIndex
    offsets_in_buffer: Tags


class _Replay:
    """The arena with its tags, and the running program."""

    def __init__(self, schedule: Schedule, plan: MemoryPlan) -> None:
        self.lowered: Lowered = schedule.lowered
        self.order = schedule.order
        self.offsets = dict(plan.offsets)
        self.arena: Tags = np.full(plan.arena_bytes, _GARBAGE, np.int64)
        self.touched = np.zeros(plan.arena_bytes, bool)
        self.writers = {name: index + 1 for index, name in enumerate(written_tensors(self.lowered))}
        self.operands: dict[str, _Operand] = {}

    def run(self) -> Iterator[str]:
        meant = observe(self.lowered, range(len(self.lowered.steps)))
        inputs = [self._operand(name) for name in dict.fromkeys(self.lowered.inputs)]
        yield from self._apart(inputs, "graph inputs", "overlap")
        for operand in inputs:
            self._write(operand)
        for position, index in enumerate(self.order):
            step = self.lowered.steps[index]
            who = f"step {index} ({step.title}) at position {position}"
            sources = {number: self._operand(name) for number, name in step.reads.items()}
            targets = [self._operand(name) for name in step.writes]
            for number, source in sources.items():
                yield from self._read(source, meant.reads[index, number], who)
            yield from self._apart(targets, f"outputs of {who}", "overlap")
            yield from self._scratch(step, position, [*sources.values(), *targets], who)
            if isinstance(step.call, StreamCall):
                yield from self._stream(step, step.call, position, sources, meant, who)
            for output, target in enumerate(targets):
                yield from self._over_inputs(step, sources, output, target, who)
                if not isinstance(step.call, StreamCall):
                    self._write(target)
        for name, writers in meant.outputs.items():
            yield from self._read(self._operand(name), writers, "the caller, after the last step,")

    def _operand(self, name: str) -> _Operand:
        if name not in self.operands:
            stored = self.lowered.stored[name]
            index = tensor_bytes(stored)
            base = self.offsets[stored.place.buffer]
            if isinstance(index, slice):
                within = np.arange(index.start, index.stop, dtype=np.int64)
                where: ByteIndex = slice(index.start + base, index.stop + base)
            else:
                within, where = index, index + base
            start = base + stored.place.offset * item_bytes(stored.tensor)
            self.operands[name] = _Operand(name, stored, start, where, within)
        return self.operands[name]

    def _tags(self, operand: _Operand, writers: Writers | int) -> Tags:
        return np.asarray((np.asarray(writers, np.int64) << 40) + operand.offsets_in_buffer)

    def _write(self, operand: _Operand) -> None:
        self.arena[operand.where] = self._tags(operand, self.writers[operand.name])

    def _read(self, operand: _Operand, writers: Writers, who: str) -> Iterator[str]:
        wrong = np.flatnonzero(self.arena[operand.where] != self._tags(operand, writers))
        if wrong.size:
            yield (
                f"{who} reads {operand.name!r} at arena byte {operand.start}, "
                f"but {wrong.size} of its bytes are lost, the first at {int(wrong[0])}"
            )

    def _common(self, first: _Operand, second: _Operand) -> bool:
        """Whether two operands have a byte of the arena in common."""
        self.touched[first.where] = True
        common = bool(self.touched[second.where].any())
        self.touched[first.where] = False
        return common

    def _apart(self, operands: list[_Operand], whose: str, what: str) -> Iterator[str]:
        for index, operand in enumerate(operands):
            for other in operands[:index]:
                if self._common(operand, other):
                    yield f"{whose} {other.name!r} and {operand.name!r} {what}"

    def _scratch(self, step: LoweredStep, position: int, operands: list[_Operand], who: str) -> Iterator[str]:
        size = step.call.scratch_bytes
        if not size:
            return
        start = self.offsets[f"scratch@{position}"]
        self.arena[start : start + size] = _GARBAGE
        self.touched[start : start + size] = True
        for operand in operands:
            if self.touched[operand.where].any():
                yield f"{who}: the scratch overlaps {operand.name!r}"
        self.touched[start : start + size] = False

    def _stream(
        self,
        step: LoweredStep,
        call: StreamCall,
        position: int,
        sources: dict[int, _Operand],
        meant: Observation,
        who: str,
    ) -> Iterator[str]:
        """Within a stream, row by row; it leaves its outputs' tags itself."""
        index = self.order[position]
        tags = {source.name: self._tags(source, meant.reads[index, number]) for number, source in sources.items()}
        targets = [self._operand(name) for name in step.writes]
        tags |= {target.name: self._tags(target, self.writers[target.name]) for target in targets}
        around = Surroundings(
            arena=self.arena,
            scratch=self.offsets.get(f"scratch@{position}", 0),
            starts={operand.name: operand.start for operand in (*sources.values(), *targets)},
            tags=tags,
        )
        for part in call.parts:
            if part.scratch_bytes > call.scratch_bytes:
                yield f"{who}: a part takes {part.scratch_bytes} bytes of scratch, but there are {call.scratch_bytes}"
                return
            yield from (f"{who}: {cause}" for cause in replay_stream(part, self.lowered.graph, around))

    def _over_inputs(
        self, step: LoweredStep, sources: dict[int, _Operand], output: int, target: _Operand, who: str
    ) -> Iterator[str]:
        covered = {number: source for number, source in sources.items() if self._common(source, target)}
        for number, source in covered.items():
            permitted = [o for o in step.call.overlaps if (o.input, o.output) == (number, output)]
            if not any(_permits(overlap, source, target) for overlap in permitted):
                yield (
                    f"{who}: output {target.name!r} at arena byte {target.start} lies over input {source.name!r} "
                    f"at {source.start} as its kernel does not permit"
                )
        if len({(source.start, source.stored.place) for source in covered.values()}) > 1:
            yield f"{who}: output {target.name!r} lies over several inputs at once"


def _permits(overlap: Overlap, source: _Operand, target: _Operand) -> bool:
    """Whether the output may lie where it does: dense over dense, or a slice over the very same slice."""
    if overlap.same:
        return source.start == target.start and _alike(source.stored, target.stored)
    dense = source.stored.place.dense and target.stored.place.dense
    return dense and target.start + overlap.distance <= source.start


def _alike(source: Stored, target: Stored) -> bool:
    if source.place.dense and target.place.dense:
        return True
    same_items = item_bytes(source.tensor) == item_bytes(target.tensor)
    return same_items and _rows(source.place) == _rows(target.place)


def _rows(place: Place) -> tuple[int, int, int]:
    return place.rows, place.row, place.stride
