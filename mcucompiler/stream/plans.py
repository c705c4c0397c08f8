# SPDX-License-Identifier: Apache-2.0
"""Plans of a network: its frontier of memory against time, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mcucompiler.lower.types import Lowered
from mcucompiler.memory import plan_memory
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.memory.verify import verify_memory
from mcucompiler.schedule import make_schedule, schedule_in_order
from mcucompiler.schedule.types import Schedule
from mcucompiler.schedule.verify import verify_schedule
from mcucompiler.stream.compose import Composer, with_streams
from mcucompiler.stream.edges import find_edges, stretch
from mcucompiler.stream.paths import Path, frontier

RUN_STACK_BYTES = 64
"""The run function's own frame: saved registers and outgoing arguments."""
MOST_SLOWDOWN = 1.25
"""How much more time than the fastest plan the smallest one may take when memory is to be saved."""


def stack_bound(schedule: Schedule) -> int:
    """Upper bound, in bytes, on the stack of the network's own functions."""
    return RUN_STACK_BYTES + max((step.call.stack_bytes for step in schedule.lowered.steps), default=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """A network with everything placed; it has passed its verifiers.

    Attributes:
        lowered: layers and streams.
        schedule: their order.
        memory: the arena.
    """

    lowered: Lowered
    schedule: Schedule
    memory: MemoryPlan

    @property
    def ram_bytes(self) -> int:
        """Arena and stack."""
        return self.memory.arena_bytes + stack_bound(self.schedule)

    @property
    def cycles(self) -> int:
        """Estimated cycles."""
        return sum(step.call.cycles for step in self.lowered.steps)


def plan_lowered(lowered: Lowered) -> Plan:
    """The better of the searched order and the program's own."""
    searched = make_schedule(lowered)
    own = plan_in_order(lowered)
    if searched.order == own.schedule.order:
        return own
    return min(_placed(searched), own, key=lambda plan: plan.memory.arena_bytes)


def plan_in_order(lowered: Lowered) -> Plan:
    """The program in its own order."""
    return _placed(schedule_in_order(lowered, range(len(lowered.steps))))


def _placed(schedule: Schedule) -> Plan:
    verify_schedule(schedule)
    memory = plan_memory(schedule)
    verify_memory(schedule, memory)
    return Plan(lowered=schedule.lowered, schedule=schedule, memory=memory)


class Frontier:
    """All plans of a network that no other one beats in both memory and time.

    Args:
        layered: plans layer by layer, of different lowerings of the network.
        fed: tensor whose rows the caller pushes; None for a resident input.
        progress: called with a count of what is done and of what there is.
        enough: bytes of arena below which no plan needs to get; smaller ones may then be missing.
    """

    def __init__(
        self,
        layered: Sequence[Plan],
        fed: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        enough: int = 0,
    ) -> None:
        self._composers = [Composer(in_order(plan.schedule)) for plan in layered]
        self._fed = fed
        self._sources: list[tuple[Composer, Path]] = []
        self._plans: dict[int, Plan] = {}
        self._search(enough, progress)

    def complete(self, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Looks for the plans that were left out, too; with the kernels and streams that are made already."""
        self._search(0, progress)

    def _search(self, enough: int, progress: Callable[[int, int], None]) -> None:
        self._sources.clear()
        self._plans.clear()
        done, total = 0, sum(stretch(composer) for composer in self._composers)
        for composer in self._composers:

            def report(now: int, done: int = done) -> None:
                progress(done + now, total)

            edges = find_edges(composer, self._fed, report, enough)
            self._sources += [(composer, path) for path in frontier(edges, len(composer.lowered.steps))]
            done += stretch(composer)
        self._sources.sort(key=lambda source: (source[1].cycles, source[1].bytes))

    def plans(self, progress: Callable[[int, int], None] = lambda done, total: None) -> tuple[Plan, ...]:
        """The whole frontier, the fastest first.

        Args:
            progress: called with the number of candidates that are placed and of those that there are.
        """
        kept: list[Plan] = []
        for index in range(len(self._sources)):
            progress(index, len(self._sources))
            if self._promises(index, kept[-1].ram_bytes if kept else None):
                plan = self._plan(index)
                if not kept or plan.ram_bytes < kept[-1].ram_bytes:
                    kept.append(plan)
        return tuple(kept)

    def fastest(self, limit: int | None) -> Plan | None:
        """The fastest plan whose arena and stack take at most ``limit`` bytes; None where there is none."""
        for index in range(len(self._sources)):
            if self._promises(index, None if limit is None else limit + 1):
                plan = self._plan(index)
                if limit is None or plan.ram_bytes <= limit:
                    return plan
        return None

    def smallest(self, most_cycles: float | None = None) -> Plan | None:
        """The plan with the least memory, of those that take at most ``most_cycles``; None where there is none."""
        best: Plan | None = None
        for index in reversed(range(len(self._sources))):
            path = self._sources[index][1]
            if most_cycles is not None and path.cycles > most_cycles:
                continue
            if self._promises(index, best.ram_bytes if best else None):
                plan = self._plan(index)
                if best is None or plan.ram_bytes < best.ram_bytes:
                    best = plan
        return best

    def faster(self, plan: Plan) -> Plan | None:
        """The next faster plan on the frontier, which needs more memory; None where there is none."""
        best: Plan | None = None
        for index in reversed(range(len(self._sources))):
            slower = self._sources[index][1].cycles >= plan.cycles
            if not slower and self._promises(index, best.ram_bytes + 1 if best else None):
                other = self._plan(index)
                if other.ram_bytes > plan.ram_bytes and (best is None or other.ram_bytes <= best.ram_bytes):
                    best = other
        return best

    def _promises(self, index: int, bound: int | None) -> bool:
        """Whether a plan may need less than ``bound`` bytes: its arena is not known before it is placed."""
        return bound is None or self._sources[index][1].bytes < bound

    def _plan(self, index: int) -> Plan:
        if index not in self._plans:
            composer, path = self._sources[index]
            self._plans[index] = plan_lowered(with_streams(composer, path.streams))
        return self._plans[index]


def in_order(schedule: Schedule) -> Lowered:
    """The program with its steps in the order in which they run."""
    steps = tuple(schedule.lowered.steps[index] for index in schedule.order)
    return replace(schedule.lowered, steps=steps)
