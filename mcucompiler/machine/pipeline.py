# SPDX-License-Identifier: Apache-2.0
"""The in-order pipeline: how many cycles a sequence of operations takes on a core.

Works on virtual registers as well as on allocated code, since an in-order core never waits for a register to
be free, only for its content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcucompiler.machine.core import Core, Kind
from mcucompiler.machine.program import Operation

_WARM_UP, _COUNTED = 3, 2


class Pipeline:
    """Issues operations in order, as early as operands and units allow.

    Args:
        core: the table of facts.
    """

    def __init__(self, core: Core) -> None:
        self._core, self._pairs = core, core.pairs
        self._latencies = {kind: (timing.latency, timing.forwards) for kind, timing in core.timings.items()}
        self._occupies = {kind: timing.occupies for kind, timing in core.timings.items()}
        self._ready: dict[int, tuple[int, Kind | None]] = {}
        self._cycle = 0
        self._issued: list[Kind] = []

    @property
    def cycles(self) -> int:
        """Cycles begun so far."""
        return self._cycle + (1 if self._issued else 0)

    def issue(self, operation: Operation) -> int:
        """Issue an operation and return its cycle."""
        code = operation.code
        kind, accumulator, ready = code.kind, code.accumulator, self._ready
        latency, forwards = self._latencies[kind]
        earliest = 0
        for position, value in enumerate(operation.operands):
            if value in ready:
                when, producer = ready[value]
                if position == accumulator and producer is kind:
                    when -= forwards
                if when > earliest:
                    earliest = when
        cycle = self._place(kind, earliest)
        done = (cycle + latency, kind)
        for value in operation.results:
            ready[value] = done
        return cycle

    def branch(self, flags: int | None) -> None:
        """Issue a branch, which needs the flags a cycle after they were computed."""
        when = self._ready.get(flags) if flags is not None else None
        self._place(Kind.BRANCH, when[0] if when else 0)

    def carry(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Begin another iteration: the values at the end become those at the start."""
        moved = [(start, self._ready[end]) for start, end in pairs if end in self._ready]
        self._ready = dict(moved)

    def _place(self, kind: Kind, earliest: int) -> int:
        if earliest > self._cycle:
            self._cycle, self._issued = earliest, []
        if self._issued and not (len(self._issued) < self._core.width and self._pairs[self._issued[0], kind]):
            self._cycle, self._issued = self._cycle + 1, []
        cycle = self._cycle
        self._issued.append(kind)
        occupies = self._occupies[kind]
        if occupies > 1:
            self._cycle, self._issued = cycle + occupies - 1, [kind] * self._core.width
        return cycle


def straight_cycles(operations: Sequence[Operation], core: Core) -> int:
    """Cycles of a block that is executed once, with all live-ins ready."""
    pipeline = Pipeline(core)
    for operation in operations:
        pipeline.issue(operation)
    return pipeline.cycles


def loop_cycles(
    operations: Sequence[Operation], core: Core, carried: Sequence[tuple[int, int]], flags: int | None
) -> float:
    """Cycles of one iteration in the steady state, with the branch on ``flags`` that closes the loop."""
    pipeline = Pipeline(core)
    marks: list[int] = []
    for _ in range(_WARM_UP + _COUNTED):
        for operation in operations:
            pipeline.issue(operation)
        pipeline.branch(flags)
        pipeline.carry(carried)
        marks.append(pipeline.cycles)
    return (marks[-1] - marks[_WARM_UP - 1]) / _COUNTED


def flags_of(classes: str, live_outs: Mapping[str, int]) -> int | None:
    """The condition flags among the live-outs."""
    return next((value for value in live_outs.values() if classes[value] == "f"), None)
