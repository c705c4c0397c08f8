# SPDX-License-Identifier: Apache-2.0
"""List scheduling from the end of a block to its start, under register pressure.

Scheduling backwards places every definition as late as its users allow, so values live as briefly as
possible: in the blocks of interest the registers are the scarcest resource, and nearly all operands are loads
that could be issued at any time. An operation is placed only if the values that it reads fit in the registers.

The order in which equally possible operations are tried is a priority per operation. The search tries a few
natural priorities and then small random changes to the best schedule found, with a fixed seed, and ranks
the results by the pipeline model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mcucompiler.machine.core import Core
from mcucompiler.machine.dependences import Dependences
from mcucompiler.machine.program import Program

Order = tuple[int, ...]
CLASSES = "rsfg"
_SPREADS = (1.5, 3.0, 6.0, 12.0)
_WINDOWS = (1 << 30, 32, 16, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Problem:
    """What one run of the scheduler needs, as plain lists for speed.

    Attributes:
        kinds: small number of the kind of each operation.
        older: per kind, the bit mask of the kinds that may be its younger partner.
        before: (predecessor, latency) of each operation.
        open_successors: number of successors of each operation.
        results: values each defines with their classes, without those in registers that are never allocated.
        operands: distinct values each reads, likewise.
        class_of: index in ``CLASSES`` of each value.
        leaving: values live at the end.
    """

    kinds: list[int]
    partners: list[int]
    before: list[list[tuple[int, int]]]
    open_successors: list[int]
    results: list[tuple[tuple[int, int], ...]]
    operands: list[tuple[tuple[int, int], ...]]
    class_of: list[int]
    leaving: tuple[int, ...]
    width: int


class BackwardScheduler:
    """Schedules one program many times, with different priorities and limits.

    Args:
        program: a legalized program.
        graph: its dependences.
        core: the pipeline.
        unallocated: values in fixed registers outside the allocator's reach (SP), which cost nothing.
        prudent: whether to leave room for the highest published latencies.
    """

    def __init__(
        self, program: Program, graph: Dependences, core: Core, unallocated: frozenset[int], *, prudent: bool
    ) -> None:
        kinds = list(core.timings)
        number = {kind: index for index, kind in enumerate(kinds)}
        partners = [sum(1 << number[younger] for younger in kinds if core.pairs[older, younger]) for older in kinds]
        operations = program.operations
        class_of = [CLASSES.index(kind) for kind in program.classes]

        def allocated(values: Sequence[int]) -> tuple[tuple[int, int], ...]:
            return tuple((value, class_of[value]) for value in dict.fromkeys(values) if value not in unallocated)

        self._problem = _Problem(
            kinds=[number[operation.code.kind] for operation in operations],
            partners=partners,
            before=[[(first, high if prudent else low) for first, low, high in edges] for edges in graph.before],
            open_successors=[len(edges) for edges in graph.after],
            results=[allocated(operation.results) for operation in operations],
            operands=[allocated(operation.operands) for operation in operations],
            class_of=class_of,
            leaving=tuple(dict.fromkeys(live.value for live in program.live_outs if live.value not in unallocated)),
            width=core.width,
        )

    def run(self, priority: Sequence[float], limits: Mapping[str, int], window: int) -> Order | None:
        """An order that respects dependences and limits, or None where the priority leads into a corner.

        Args:
            priority: of each operation; the highest goes last in the code.
            limits: registers of each class.
            window: operations further than this before the last open one, in program order, have to wait. Without
                it, operations from far ahead take the registers that the near ones need.
        """
        return _Run(self._problem, priority, [limits[kind] for kind in CLASSES], window).schedule()


class _Run:
    """One pass over a block, last cycle first."""

    def __init__(self, problem: _Problem, priority: Sequence[float], limits: list[int], window: int) -> None:
        self.problem, self.priority, self.limits = problem, priority, limits
        self.window, self.last_open = window, len(problem.kinds) - 1
        self.done = bytearray(len(problem.kinds))
        self.live = set(problem.leaving)
        self.pressure = [0] * len(limits)
        for value in self.live:
            self.pressure[problem.class_of[value]] += 1
        self.live_behind, self.pressure_behind = self.live, self.pressure
        self.earliest = [0] * len(problem.kinds)
        self.open = list(problem.open_successors)
        self.ready = [index for index, count in enumerate(self.open) if count == 0]
        self.reversed: list[int] = []

    def schedule(self) -> Order | None:
        """All cycles."""
        cycle, total = 0, len(self.problem.kinds)
        while len(self.reversed) < total:
            if not self._fill(cycle) and all(self.earliest[index] <= cycle for index in self.ready):
                return None
            cycle += 1
        return tuple(reversed(self.reversed))

    def _fill(self, cycle: int) -> list[int]:
        """Place what issues together in one cycle; returns it, oldest first."""
        placed: list[int] = []
        if self.problem.width > 1:
            self.live_behind, self.pressure_behind = set(self.live), list(self.pressure)
        while len(placed) < self.problem.width:
            best = self._best(cycle, placed)
            if best is None:
                break
            index, position = best
            placed.insert(position, index)
            self._place(index, cycle)
        self.reversed.extend(reversed(placed))
        return placed

    def _best(self, cycle: int, placed: list[int]) -> tuple[int, int] | None:
        chosen, chosen_priority, chosen_position = -1, float("-inf"), 0
        nearest = self.last_open - self.window
        earliest, priority = self.earliest, self.priority
        for index in self.ready:
            if earliest[index] > cycle or priority[index] <= chosen_priority or index < nearest:
                continue
            position = self._position(index, placed)
            if position is not None and self._fits(index, younger=position > 0):
                chosen, chosen_priority, chosen_position = index, priority[index], position
        return None if chosen < 0 else (chosen, chosen_position)

    def _position(self, index: int, placed: list[int]) -> int | None:
        """Where in the cycle an operation may go: 0 (older) or 1 (younger); None if it may not."""
        if not placed:
            return 0
        other = placed[0]
        kinds, partners = self.problem.kinds, self.problem.partners
        if partners[kinds[index]] >> kinds[other] & 1:
            return 0
        # As the younger one it must not define what the older one reads, which was placed knowing nothing of it.
        younger = partners[kinds[other]] >> kinds[index] & 1
        return 1 if younger and not any(first == index for first, _ in self.problem.before[other]) else None

    def _fits(self, index: int, *, younger: bool) -> bool:
        """Whether the values live before an operation find registers.

        As the younger of two it comes behind one already placed, so there also what is live between them counts.
        """
        if younger and not self._within(index, self.live_behind, self.pressure_behind):
            return False
        return self._within(index, self.live, self.pressure)

    def _within(self, index: int, live: set[int], pressure: list[int]) -> bool:
        limits, after = self.limits, pressure.copy()
        for value, kind in self.problem.results[index]:
            if value in live:
                after[kind] -= 1
            elif pressure[kind] >= limits[kind]:
                return False
        for value, kind in self.problem.operands[index]:
            if value not in live:
                after[kind] += 1
        for more, now, limit in zip(after, pressure, limits, strict=True):  # noqa: SIM110 - twice as fast as all()
            if more > limit and more > now:
                return False
        return True

    def _place(self, index: int, cycle: int) -> None:
        problem, live = self.problem, self.live
        self.ready.remove(index)
        self.done[index] = 1
        while self.last_open >= 0 and self.done[self.last_open]:
            self.last_open -= 1
        for value, kind in problem.results[index]:
            if value in live:
                live.remove(value)
                self.pressure[kind] -= 1
        for value, kind in problem.operands[index]:
            if value not in live:
                live.add(value)
                self.pressure[kind] += 1
        for first, latency in problem.before[index]:
            self.earliest[first] = max(self.earliest[first], cycle + latency)
            self.open[first] -= 1
            if self.open[first] == 0:
                self.ready.append(first)


def depths(graph: Dependences) -> list[int]:
    """The longest latency path from any source to each operation."""
    result: list[int] = []
    for edges in graph.before:
        result.append(max((result[first] + latency for first, latency, _ in edges if first < len(result)), default=0))
    return result


def search(
    scheduler: BackwardScheduler,
    natural: Sequence[Sequence[float]],
    limits: Mapping[str, int],
    cost: Callable[[Order], float],
    attempts: int,
) -> list[tuple[float, Order]]:
    """Schedules found, best first; ties in the order of discovery.

    Args:
        scheduler: of the program.
        natural: priorities to start with.
        limits: registers of each class.
        cost: cycles of an order.
        attempts: schedules to try altogether.
    """
    generator = random.Random(0)
    found: dict[Order, float] = {}
    best: Order | None = None
    for attempt in range(attempts):
        if attempt < len(natural) * len(_WINDOWS):
            priority: Sequence[float] = natural[attempt % len(natural)]
        else:
            spread = _SPREADS[attempt % len(_SPREADS)]
            start = natural[attempt % len(natural)] if best is None else _ranks(best)
            priority = [value + generator.uniform(0.0, spread) for value in start]
        order = scheduler.run(priority, limits, _WINDOWS[attempt // len(natural) % len(_WINDOWS)])
        if order is None or order in found:
            continue
        found[order] = cost(order)
        if best is None or found[order] <= found[best]:
            best = order
    return sorted(((value, order) for order, value in found.items()), key=lambda item: item[0])


def _ranks(order: Order) -> list[float]:
    ranks = [0.0] * len(order)
    for position, index in enumerate(order):
        ranks[index] = float(position)
    return ranks
