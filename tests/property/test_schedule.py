# SPDX-License-Identifier: Apache-2.0
"""Orders of random programs: valid, never worse than graph order, optimal where that can be enumerated."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered
from mcucompiler.memory.bound import lower_bound
from mcucompiler.memory.problem import arena_problem
from mcucompiler.schedule import make_schedule, peak_bytes, schedule_in_order
from mcucompiler.schedule import order as order_module
from mcucompiler.schedule.dependencies import dependence_graph
from mcucompiler.schedule.types import Alias, LiveInterval
from mcucompiler.schedule.verify import verify_schedule
from tests.support.planning import branched, programs

quick = settings(deadline=None, derandomize=True, max_examples=150)
slow = settings(deadline=None, derandomize=True, max_examples=60)


def words(size: int) -> int:
    return (size + 3) // 4 * 4


def naive_peak(lowered: Lowered, order: tuple[int, ...]) -> int:
    """Peak of a program without shared buffers, straight from the definition."""
    size = {name: words(tensor.size) for name, tensor in lowered.graph.tensors.items()}
    first = dict.fromkeys(lowered.graph.inputs, -1)
    last = dict(first)
    for position, index in enumerate(order):
        step = lowered.steps[index]
        for name in (*step.reads.values(), *step.writes):
            first.setdefault(name, position)
            last[name] = position
    last |= dict.fromkeys(lowered.graph.outputs, len(order))
    peak = 0
    for position in range(-1, len(order) + 1):
        live = sum(size[name] for name in first if first[name] <= position <= last[name])
        if 0 <= position < len(order):
            step = lowered.steps[order[position]]
            dying = [name for name in dict.fromkeys(step.reads.values()) if last[name] == position]
            born = [name for name in step.writes if first[name] == position]
            live += words(step.call.scratch_bytes) - naive_saving(lowered, order[position], dying, born, size)
        peak = max(peak, live)
    return peak


def naive_saving(lowered: Lowered, index: int, dying: list[str], born: list[str], size: dict[str, int]) -> int:
    """The most that laying outputs over dying inputs can save, by trying every assignment."""
    if not born:
        return 0
    output, rest = born[0], born[1:]
    best = naive_saving(lowered, index, dying, rest, size)
    for name in dying:
        saved = naive_pair(lowered, index, name, output, size)
        left = [other for other in dying if other != name]
        best = max(best, saved + naive_saving(lowered, index, left, rest, size))
    return best


def naive_pair(lowered: Lowered, index: int, name: str, output: str, size: dict[str, int]) -> int:
    step = lowered.steps[index]
    indices = [i for i, read in step.reads.items() if read == name]
    number = step.writes.index(output)
    best = 0
    for same in (True, False):
        permitted = [
            [o.distance for o in step.call.overlaps if (o.input, o.output, o.same) == (i, number, same)]
            for i in indices
        ]
        if all(permitted):
            distance = words(max(min(distances) for distances in permitted))
            union = max(size[name], size[output]) if same else max(size[output], distance + size[name])
            best = max(best, size[name] + size[output] - union)
    return best


@quick
@given(programs(most_steps=12))
def test_order_is_valid_and_never_worse_than_graph_order(lowered: Lowered) -> None:
    schedule, plain = make_schedule(lowered), schedule_in_order(lowered, range(len(lowered.steps)))
    verify_schedule(schedule)
    verify_schedule(plain)
    assert peak_bytes(schedule) <= peak_bytes(plain)
    for each in (schedule, plain):
        assert peak_bytes(each) == lower_bound(arena_problem(each))


@quick
@given(st.one_of(programs(most_steps=6, shared=False), branched()))
def test_order_is_optimal_by_enumeration(lowered: Lowered) -> None:
    producer = {name: index for index, step in enumerate(lowered.steps) for name in step.writes}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(lowered.steps)))
    graph.add_edges_from(
        (producer[name], index)
        for index, step in enumerate(lowered.steps)
        for name in step.reads.values()
        if name in producer
    )
    best = min(naive_peak(lowered, tuple(order)) for order in nx.all_topological_sorts(graph))
    with pytest.MonkeyPatch.context() as patch:
        for width in (order_module._BEAM_WIDTH, 0):  # without a beam, the search over down-sets does it all
            patch.setattr(order_module, "_BEAM_WIDTH", width)
            schedule = make_schedule(lowered)
            assert naive_peak(lowered, schedule.order) == best
            assert peak_bytes(schedule) == best


@slow
@given(programs(most_steps=5))
def test_order_is_optimal_with_shared_buffers(lowered: Lowered) -> None:
    orders = nx.all_topological_sorts(dependence_graph(lowered))
    best = min(lower_bound(arena_problem(schedule_in_order(lowered, order))) for order in orders)
    assert lower_bound(arena_problem(make_schedule(lowered))) == best


@slow
@given(lowered=programs(most_steps=12), most_states=st.integers(0, 4))
def test_without_effort_the_order_is_still_valid_and_not_worse(lowered: Lowered, most_states: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "_MOST_STATES", most_states)
        patch.setattr(order_module, "_BEAM_WIDTH", 1)
        schedule = make_schedule(lowered)
    verify_schedule(schedule)
    assert peak_bytes(schedule) <= peak_bytes(schedule_in_order(lowered, range(len(lowered.steps))))


@quick
@given(lowered=programs(), data=st.data())
def test_exchanging_neighbours_is_refused_exactly_where_they_depend(lowered: Lowered, data: st.DataObject) -> None:
    order = list(make_schedule(lowered).order)
    assume(len(order) > 1)
    place = data.draw(st.integers(0, len(order) - 2))
    dependent = dependence_graph(lowered).has_edge(order[place], order[place + 1])
    order[place], order[place + 1] = order[place + 1], order[place]
    changed = schedule_in_order(lowered, order)
    if dependent:
        with pytest.raises(VerificationError, match="in this order"):
            verify_schedule(changed)
    else:
        verify_schedule(changed)


@quick
@given(lowered=programs(), data=st.data())
def test_changed_intervals_are_refused(lowered: Lowered, data: st.DataObject) -> None:
    schedule = make_schedule(lowered)
    victim = data.draw(st.sampled_from(schedule.intervals))
    first, last = data.draw(st.sampled_from(((1, 0), (-1, 0), (0, 1), (0, -1))))
    changed = LiveInterval(buffer=victim.buffer, first=victim.first + first, last=victim.last + last)
    intervals = tuple(changed if interval is victim else interval for interval in schedule.intervals)
    with pytest.raises(VerificationError, match="is live during"):
        verify_schedule(replace(schedule, intervals=intervals))
    without = tuple(interval for interval in schedule.intervals if interval is not victim)
    with pytest.raises(VerificationError, match="not None"):
        verify_schedule(replace(schedule, intervals=without))


@quick
@given(lowered=programs(), data=st.data())
def test_steps_must_run_exactly_once(lowered: Lowered, data: st.DataObject) -> None:
    schedule = make_schedule(lowered)
    step = data.draw(st.sampled_from(schedule.order))
    with pytest.raises(VerificationError, match="runs 2 times"):
        verify_schedule(replace(schedule, order=(*schedule.order, step)))
    with pytest.raises(VerificationError, match="runs 0 times"):
        verify_schedule(replace(schedule, order=tuple(other for other in schedule.order if other != step)))


@quick
@given(lowered=programs(shared=False), data=st.data())
def test_aliases_that_no_kernel_permits_are_refused(lowered: Lowered, data: st.DataObject) -> None:
    schedule = make_schedule(lowered)
    step = data.draw(st.sampled_from(schedule.order))
    call = lowered.steps[step]
    source = data.draw(st.sampled_from(tuple(call.reads.values())))
    target = data.draw(st.sampled_from(call.writes))
    indices = [index for index, name in call.reads.items() if name == source]
    same = data.draw(st.booleans())
    legal = all(
        any(
            (o.input, o.output, o.same) == (i, call.writes.index(target), same) and o.distance == 0
            for o in call.call.overlaps
        )
        for i in indices
    )
    intervals = {interval.buffer: interval for interval in schedule.intervals}
    dies = intervals[source].last == schedule.order.index(step)
    changed = replace(schedule, aliases=(Alias(step=step, into=source, buffer=target, same=same),))
    if legal and dies:
        verify_schedule(changed)
    else:
        with pytest.raises(VerificationError, match=r"permit|still needed"):
            verify_schedule(changed)


def test_dependences_follow_graph_order() -> None:
    def check(lowered: Lowered) -> None:
        graph = dependence_graph(lowered)
        assert all(first < second for first, second in graph.edges)
        assert len(graph) == len(lowered.steps)

    quick(given(programs())(check))()
