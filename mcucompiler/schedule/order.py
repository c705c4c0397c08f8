# SPDX-License-Identifier: Apache-2.0
"""The order of steps with the least peak memory.

A step that is comparable with every other one (it runs before or after it in any order) cuts the
problem: whatever lies between two such steps is ordered on its own. Chains fall apart completely;
what remains are branches. Each branchy region is searched over the down-sets of its steps, best
first by peak, which is exact; a region with too many down-sets keeps the best order that a beam
search finds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import networkx as nx

from mcucompiler.schedule.liveness import LiveModel

_MOST_STATES = 20_000  # of one region; a tenth of a millisecond each at worst
_BEAM_WIDTH = 24


def best_order(model: LiveModel, dependences: nx.DiGraph[int]) -> tuple[int, ...]:
    """A topological order of least peak; graph order wherever that is as good.

    Args:
        model: liveness of the steps.
        dependences: an edge from each step to those that must run after it; steps are numbered in
            graph order, which is a topological one.
    """
    regions = _regions(dependences)
    floor = max(
        [model.before_bytes, model.after_bytes, *(model.least_bytes(step) for step in dependences.nodes)], default=0
    )
    predecessors = [_bits(dependences.predecessors(step)) for step in range(len(dependences))]
    successors = [tuple(sorted(dependences.successors(step))) for step in range(len(dependences))]
    # Single steps first: what they need is certain, and no region has to be better than that.
    starts = list(_starts(model, regions))
    for region, (done, live) in zip(regions, starts, strict=True):
        if len(region) == 1:
            floor = max(floor, model.run(done, live, region[0])[0])
    order: list[int] = []
    for region, (done, live) in zip(regions, starts, strict=True):
        search = _Search(model, predecessors, successors, region, done, live, floor)
        best, peak = search.run()
        floor = max(floor, peak)
        order += best
    return tuple(order)


def _bits(steps: Iterator[int]) -> int:
    mask = 0
    for step in steps:
        mask |= 1 << step
    return mask


def _regions(dependences: nx.DiGraph[int]) -> list[tuple[int, ...]]:
    """The steps in groups that can only run one after the other; each group in graph order."""
    count = len(dependences)
    before, after = [0] * count, [0] * count
    for step in range(count):
        for earlier in dependences.predecessors(step):
            before[step] |= before[earlier] | 1 << earlier
    for step in reversed(range(count)):
        for later in dependences.successors(step):
            after[step] |= after[later] | 1 << later
    cuts = [step for step in range(count) if before[step].bit_count() + after[step].bit_count() + 1 == count]
    cuts.sort(key=lambda step: before[step].bit_count())
    regions, done = [], 0
    for cut in cuts:
        between = before[cut] & ~done
        regions += [_members(between), (cut,)]
        done |= between | 1 << cut
    regions.append(_members(((1 << count) - 1) & ~done))
    return [region for region in regions if region]


def _members(mask: int) -> tuple[int, ...]:
    return tuple(step for step in range(mask.bit_length()) if mask >> step & 1)


def _starts(model: LiveModel, regions: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Steps done and bytes live at the beginning of each region."""
    done, live = 0, model.initial_bytes()
    for region in regions:
        yield done, live
        for step in region:
            _, live = model.run(done, live, step)
            done |= 1 << step


@dataclass(frozen=True, slots=True)
class _State:
    """A set of steps that have run, with the best way to it that is known."""

    done: int
    live: int
    peak: int
    order: tuple[int, ...]


class _Search:
    """The search within one region."""

    def __init__(
        self,
        model: LiveModel,
        predecessors: Sequence[int],
        successors: Sequence[Sequence[int]],
        region: tuple[int, ...],
        done: int,
        live: int,
        floor: int,
    ) -> None:
        self.model, self.predecessors, self.successors = model, predecessors, successors
        self.region, self.floor = region, floor
        self.start = _State(done, live, floor, ())
        self.goal = done | _bits(iter(region))

    def run(self) -> tuple[tuple[int, ...], int]:
        """The best order of the region, and its peak but at least the floor."""
        best = self.region
        peak = self._peak(best)
        for attempt in (self._beam, self._exact):
            if peak == self.floor:
                break
            found = attempt(peak)
            if found is not None:
                best, peak = found.order, found.peak
        return best, peak

    def _peak(self, order: Sequence[int]) -> int:
        state = self.start
        for step in order:
            state = self._after(state, step)
        return state.peak

    def _after(self, state: _State, step: int) -> _State:
        needed, live = self.model.run(state.done, state.live, step)
        return _State(state.done | 1 << step, live, max(state.peak, needed), (*state.order, step))

    def _ready(self, done: int) -> list[int]:
        return [step for step in self.region if not done >> step & 1 and self.predecessors[step] & ~done == 0]

    def _beam(self, limit: int) -> _State | None:
        """A good order with a peak below the limit, None where the beam has none."""
        level = [self.start]
        for _ in self.region:
            reached: dict[int, _State] = {}
            for state in level:
                for step in self._ready(state.done):
                    after = self._after(state, step)
                    known = reached.get(after.done)
                    if after.peak < limit and (known is None or after.peak < known.peak):
                        reached[after.done] = after
            level = sorted(reached.values(), key=lambda s: (s.peak, s.live, s.order))[:_BEAM_WIDTH]
        return level[0] if level else None

    def _exact(self, limit: int) -> _State | None:
        """The best order if its peak is below the limit; None also where there are too many states."""
        heap = [(self.floor, 0, 0, self.start)]
        best = {self.start.done: self.floor}
        pushed = 0
        for _ in range(_MOST_STATES):
            if not heap:
                return None
            state = heapq.heappop(heap)[-1]
            if state.done == self.goal:
                return state
            if state.peak > best[state.done]:
                continue
            for after in self._branches(state):
                if after.peak < min(limit, best.get(after.done, limit)):
                    best[after.done] = after.peak
                    pushed += 1
                    # Deeper first among equals: at the optimal peak the first way through will do.
                    heapq.heappush(heap, (after.peak, -len(after.order), pushed, after))
        return None

    def _branches(self, state: _State) -> list[_State]:
        """The states that need to be looked at next: a single one where a move can do no harm."""
        ready = self._ready(state.done)
        if len(ready) > 1:
            for step in ready:
                harmless = self._harmless(state, step)
                if harmless is not None:
                    return [harmless]
        return [self._after(state, step) for step in ready]

    def _harmless(self, state: _State, step: int) -> _State | None:
        """A run of steps from here that may as well be made at once, None where there is none.

        A chain of steps, each enabled by the one before, that needs no more than the peak so far
        and ends with no more live bytes than at its start. Such a run can be moved to the front of
        any order without raising its peak: the more has run before, the fewer buffers a step gives
        birth to and the more it lets die.
        """
        current = self._after(state, step)
        while current.peak == state.peak:
            if current.live <= state.live:
                return current
            following = [
                later
                for later in self.successors[current.order[-1]]
                if not current.done >> later & 1
                and self.predecessors[later] & ~current.done == 0
                and self._inside(later)
            ]
            if len(following) != 1:
                return None
            current = self._after(current, following[0])
        return None

    def _inside(self, step: int) -> bool:
        return bool(self.goal >> step & 1)
