# SPDX-License-Identifier: Apache-2.0
"""Checks a schedule against the lowered graph, sharing nothing with the code that made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered, LoweredStep, Overlap
from mcucompiler.schedule.replay import NOBODY, Observation, observe, sources, written_tensors
from mcucompiler.schedule.types import Alias, Schedule


def verify_schedule(schedule: Schedule) -> None:
    """Refuses a schedule that would not compute what the graph's own order computes.

    Checked are that each step runs exactly once, that every read sees the bytes of the same writer
    as in graph order, that the intervals are the true ones, and that kernels permit the aliases.

    Raises:
        VerificationError: naming all causes.
    """
    causes = [*_steps(schedule)]
    if not causes:
        causes += [*_dependences(schedule), *_intervals(schedule), *_aliases(schedule)]
    if causes:
        raise VerificationError("schedule", causes)


def _steps(schedule: Schedule) -> Iterator[str]:
    counts = Counter(schedule.order)
    for index, step in enumerate(schedule.lowered.steps):
        if counts[index] != 1:
            yield f"{_title(schedule.lowered, index, step)} runs {counts[index]} times"
    for index in sorted(set(counts) - set(range(len(schedule.lowered.steps)))):
        yield f"there is no step {index}"


def _title(lowered: Lowered, index: int, step: LoweredStep | None = None) -> str:
    step = step or lowered.steps[index]
    return f"step {index} ({step.title})"


def _dependences(schedule: Schedule) -> Iterator[str]:
    lowered = schedule.lowered
    meant = observe(lowered, range(len(lowered.steps)))
    yield from _lowering(lowered, meant)
    found = observe(lowered, schedule.order)
    for (step, index), writers in meant.reads.items():
        if not np.array_equal(writers, found.reads[step, index]):
            yield f"{_title(lowered, step)} does not find its input {lowered.steps[step].reads[index]!r} in this order"
    for name, writers in meant.outputs.items():
        if not np.array_equal(writers, found.outputs[name]):
            yield f"output {name!r} is overwritten in this order"


def _lowering(lowered: Lowered, meant: Observation) -> Iterator[str]:
    """In graph order, every byte that is read must come from a tensor that the reader means."""
    names = written_tensors(lowered)
    reads = [
        (f"{_title(lowered, step)} reads", lowered.steps[step].reads[index], writers)
        for (step, index), writers in meant.reads.items()
    ]
    for who, tensor, writers in [*reads, *(("the caller reads", name, w) for name, w in meant.outputs.items())]:
        allowed = sources(lowered, tensor)
        for writer in np.flatnonzero(np.bincount(writers)).tolist():
            if writer == NOBODY:
                yield f"{who} bytes of {tensor!r} that nothing wrote"
            elif names[writer - 1] not in allowed:
                yield f"{who} {tensor!r} where {names[writer - 1]!r} has overwritten it"


def _intervals(schedule: Schedule) -> Iterator[str]:
    lowered = schedule.lowered
    true: dict[str, tuple[int, int]] = {}

    def touch(tensor: str, position: int) -> None:
        buffer = lowered.stored[tensor].place.buffer
        first, last = true.get(buffer, (position, position))
        true[buffer] = min(first, position), max(last, position)

    for name in lowered.inputs:
        touch(name, -1)
    for name in lowered.graph.outputs:
        touch(name, len(schedule.order))
    for position, step in enumerate(schedule.order):
        for name in (*lowered.steps[step].reads.values(), *lowered.steps[step].writes):
            touch(name, position)
    counts = Counter(interval.buffer for interval in schedule.intervals)
    given = {interval.buffer: (interval.first, interval.last) for interval in schedule.intervals}
    for buffer in sorted({*true, *given}):
        if counts[buffer] > 1:
            yield f"buffer {buffer!r} has {counts[buffer]} intervals"
        if given.get(buffer) != true.get(buffer):
            yield f"buffer {buffer!r} is live during {true.get(buffer)}, not {given.get(buffer)}"


def _aliases(schedule: Schedule) -> Iterator[str]:
    intervals = {interval.buffer: interval for interval in schedule.intervals}
    positions = {step: position for position, step in enumerate(schedule.order)}
    seen: set[tuple[int, str]] = set()
    for alias in schedule.aliases:
        who = f"buffer {alias.buffer!r} over {alias.into!r} in step {alias.step}"
        if alias.step not in positions or alias.into not in intervals or alias.buffer not in intervals:
            yield f"{who}: no such step or buffer"
            continue
        position = positions[alias.step]
        if alias.into == alias.buffer or {(alias.step, alias.into), (alias.step, alias.buffer)} & seen:
            yield f"{who}: a buffer is in two aliases"
        seen |= {(alias.step, alias.into), (alias.step, alias.buffer)}
        if intervals[alias.into].last != position:
            yield f"{who}: {alias.into!r} is still needed at position {intervals[alias.into].last}"
        if intervals[alias.buffer].first != position:
            yield f"{who}: {alias.buffer!r} is live since position {intervals[alias.buffer].first}"
        yield from (f"{who}: {reason}" for reason in _permission(schedule.lowered, alias))


def _permission(lowered: Lowered, alias: Alias) -> Iterator[str]:
    """What the step reads from one buffer and writes to the other must be permitted to overlap so."""
    step = lowered.steps[alias.step]
    pairs = [
        (index, output)
        for index, source in step.reads.items()
        for output, target in enumerate(step.writes)
        if (lowered.stored[source].place.buffer, lowered.stored[target].place.buffer) == (alias.into, alias.buffer)
    ]
    if not pairs:
        yield "the step does not read the one and write the other"
    for index, output in pairs:
        permitted = [o for o in step.call.overlaps if (o.input, o.output) == (index, output)]
        if not any(_covers(lowered, step, alias, overlap) for overlap in permitted):
            yield f"the kernel does not permit output {output} to lie so over input {index}"


def _covers(lowered: Lowered, step: LoweredStep, alias: Alias, overlap: Overlap) -> bool:
    """Whether an overlap of two tensors permits what the alias says of their buffers."""
    source, target = lowered.stored[step.reads[overlap.input]], lowered.stored[step.writes[overlap.output]]
    input_start = source.place.offset * source.tensor.size_bytes // max(source.tensor.size, 1)
    output_start = target.place.offset * target.tensor.size_bytes // max(target.tensor.size, 1)
    if alias.same != overlap.same:
        return False
    if alias.same:
        return input_start == output_start
    return input_start - output_start + alias.distance >= overlap.distance
