# SPDX-License-Identifier: Apache-2.0
"""Ring sizes, guests, recomputation and the frontier, on cases whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from mcucompiler.lower.types import LoweredStep, LoweringOptions
from mcucompiler.pipeline import Goal, Hooks, find_frontier, import_and_rewrite, plan_graph, plan_layers
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.paths import Edge, frontier
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.simulate import run_order, simulate
from mcucompiler.stream.types import Access, StreamCall
from tests.support.networks import Network, Value
from tests.support.stream_networks import PAD1, made
from tests.support.streams import Subject, streams, subject


def stream_of(make: Callable[[Network], Sequence[Value]], *, rows: int = 1, expand: bool = False) -> StreamCall:
    """The stream of all layers of a network."""
    n = Network(seed=1)
    network = subject(n.build(list(make(n))))
    return composed(
        network, GroupChoice(first=0, stop=network.steps, rows=rows, expansions=frozenset({1} if expand else ()))
    )


def composed(network: Subject, choice: GroupChoice) -> StreamCall:
    step = network.composer.stream(choice)
    assert step is not None
    assert isinstance(step.call, StreamCall)
    return step.call


def slots(call: StreamCall) -> list[int]:
    """Of the rings, in the order in which they are made."""
    return [rows.slots for rows in call.rows if rows.offset is not None]


def image(n: Network, channels: int = 4) -> Value:
    return n.input((1, channels, 12, 5))


def chain(n: Network, *kernels: int, strides: Sequence[int] = (), dilation: int = 1) -> Value:
    x = image(n)
    for number, kernel in enumerate(kernels):
        pad = dilation * (kernel // 2)
        stride = strides[number] if strides else 1
        x = n.conv(x, 5, (kernel, 1), strides=[stride, 1], dilations=[dilation, 1], pads=[pad, 0, pad, 0])
    return x


def residual(n: Network, delay: int) -> Value:
    x = n.conv(image(n), 4, (1, 1))
    y = x
    for _ in range(delay):
        y = n.conv(y, 4, (3, 3), pads=PAD1)
    return n.binary("Add", x, y)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda n: chain(n, 3, 3), [3]),
        (lambda n: chain(n, 3, 5), [5]),
        (lambda n: chain(n, 1, 3, 3, 1), [3, 3, 1]),
        (lambda n: chain(n, 3, 3, dilation=2), [5]),
        (lambda n: chain(n, 3, 3, strides=(1, 2)), [3]),
        (lambda n: chain(n, 3, 3, strides=(2, 1)), [3]),
        (lambda n: chain(n, 1, 1), [1]),
    ],
)
def test_a_ring_holds_the_window_of_its_reader(make: Callable[[Network], Value], expected: list[int]) -> None:
    assert slots(stream_of(lambda n: [make(n)])) == expected


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_a_residual_waits_for_the_rows_that_the_other_way_looks_ahead(delay: int) -> None:
    call = stream_of(lambda n: [residual(n, delay)])
    simulation = simulate(call.bands, {rows.tensor: rows.height for rows in call.rows})
    assert simulation is not None
    # The sum of row r needs row r; by then the windows have asked for row r + delay.
    assert simulation.slots[call.bands[0].writes] == max(3, 1 + delay)


def test_rows_that_are_made_together_need_rings_of_whole_runs() -> None:
    call = stream_of(lambda n: [chain(n, 1, 3, 1)], rows=4)
    assert {band.rows for band in call.bands} == {4}
    for rows in call.rows:
        if rows.offset is not None:
            assert rows.slots % 4 == 0


def test_the_last_band_that_can_runs_next() -> None:
    call = stream_of(lambda n: [chain(n, 1, 3)])
    heights = {rows.tensor: rows.height for rows in call.rows}
    order = list(run_order(call.bands, heights, None))
    assert order[:6] == [0, 0, 1, 0, 1, 0]
    assert order[-3:] == [0, 1, 1]
    fed = call.bands[0].readings[0][1].tensor
    pushed = list(run_order(call.bands, heights, fed))
    assert [index for index in pushed if index >= 0] == order
    assert pushed.count(-1) == 12
    assert pushed[:6] == [-1, 0, -1, 0, 1, -1]


def test_a_depthwise_convolution_and_a_sum_lodge_with_others() -> None:
    def bottleneck(n: Network) -> list[Value]:
        x = image(n, 8)
        y = n.conv(n.conv(n.conv(x, 24, (1, 1)), 24, (3, 3), groups=24, pads=PAD1), 8, (1, 1))
        return [n.conv(n.binary("Add", y, x), 3, (3, 3), pads=PAD1)]

    call = stream_of(bottleneck)
    expand, depthwise, project, add, _ = (band.writes for band in call.bands)
    taken = {rows.tensor: (rows.guest_of, rows.lead, rows.stride) for rows in call.rows if rows.guest_of}
    assert taken[depthwise] == (expand, -1, 1)
    assert taken[project] == (add, 0, 1)
    assert call.rows_of(expand).slots == 3


@pytest.mark.parametrize(("kernel", "stride", "repeated"), [(3, 1, 22), (3, 2, 5), (5, 1, 42)])
def test_an_expansion_repeats_the_rows_in_which_windows_meet(kernel: int, stride: int, repeated: int) -> None:
    pad = kernel // 2

    def bottleneck(n: Network) -> list[Value]:
        x = n.conv(n.conv(image(n), 6, (1, 1)), 12, (1, 1))
        return [n.conv(x, 12, (kernel, 3), groups=12, strides=[stride, 1], pads=[pad, 1, pad, 1])]

    kept, anew = stream_of(bottleneck), stream_of(bottleneck, expand=True)
    row_macs = 6 * 12 * 5
    assert kept.recomputed_macs == 0
    assert anew.recomputed_macs == repeated * row_macs
    assert sum(band.macs for band in anew.bands) == sum(band.macs for band in kept.bands)
    band = anew.bands[-1]
    assert band.readings[0][1].access is Access.EACH
    assert len(anew.rows) == len(kept.rows) - 1


def path_graph(edges: Sequence[tuple[int, int, int, int]]) -> nx.MultiDiGraph[int]:
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    step: LoweredStep = subject(made("dilated")).composer.lowered.steps[0]
    for first, stop, size, cycles in edges:
        choice = GroupChoice(first=first, stop=stop)
        graph.add_edge(first, stop, edge=Edge(choice=choice, step=step, bytes=size, cycles=cycles))
    return graph


def test_the_frontier_is_that_of_all_paths() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        cuts = int(rng.integers(2, 6))
        pairs = [(a, b) for a in range(cuts) for b in range(a + 1, cuts + 1)]
        chosen = [pair for pair in pairs if pair[1] == pair[0] + 1 or rng.random() < 0.6]
        edges = [(*pair, *(int(v) for v in rng.integers(1, 20, 2))) for pair in chosen for _ in range(2)]
        found = [(path.cycles, path.bytes) for path in frontier(path_graph(edges), cuts)]
        all_paths = {(0, 0, 0)}  # cut, cycles, bytes
        for cut in range(cuts):
            all_paths |= {
                (b, cycles + time, max(most, size))
                for at, cycles, most in all_paths
                if at == cut
                for a, b, size, time in edges
                if a == cut
            }
        whole = {(cycles, most) for at, cycles, most in all_paths if at == cuts}
        best = [p for p in whole if not any(o != p and o[0] <= p[0] and o[1] <= p[1] for o in whole)]
        assert found == sorted(best)


@cache
def planned(name: str) -> tuple[tuple[Plan, ...], tuple[Plan, ...]]:
    """The layer-by-layer plans and the frontier."""
    _, graph = import_and_rewrite(made(name))
    layered = plan_layers(graph, LoweringOptions(), Hooks())
    return layered, find_frontier(graph, layered, Goal(), Hooks()).plans()


@pytest.mark.parametrize("name", ["bottlenecks", "pyramid", "gated"])
def test_the_frontier_gets_smaller_and_slower_and_is_never_worse_than_layer_by_layer(name: str) -> None:
    layered, found = planned(name)
    assert found[0].cycles <= min(plan.cycles for plan in layered)
    for plan in layered:
        assert any(other.cycles <= plan.cycles and other.ram_bytes <= plan.ram_bytes for other in found)
    for before, after in pairwise(found):
        assert before.ram_bytes > after.ram_bytes
        assert before.cycles <= after.cycles
    assert found[-1].ram_bytes <= min(plan.ram_bytes for plan in layered)
    if name == "bottlenecks":
        assert list(streams(found[-1]))


def test_a_goal_is_met_by_the_fastest_plan_that_fits() -> None:
    layered, found = planned("bottlenecks")
    imported, graph = import_and_rewrite(made("bottlenecks"))

    def plan(goal: Goal) -> tuple[int, int]:
        chosen = plan_graph(imported, graph, LoweringOptions(), goal)
        own = Plan(lowered=chosen.lowered, schedule=chosen.schedule, memory=chosen.plan)
        return own.ram_bytes, own.cycles

    assert len(found) > 2
    fastest, middle, smallest = found[0], found[len(found) // 2], found[-1]
    assert plan(Goal(ram_bytes=None)) == (min(p.ram_bytes for p in layered), fastest.cycles)
    assert plan(Goal(ram_bytes=middle.ram_bytes)) == (middle.ram_bytes, middle.cycles)
    between = middle.ram_bytes - 1
    assert plan(Goal(ram_bytes=between))[0] <= between
    # Where nothing fits, the smallest is given, for the caller to refuse.
    assert plan(Goal(ram_bytes=1)) == (smallest.ram_bytes, smallest.cycles)
    size, cycles = plan(Goal(optimize="ram"))
    assert size < fastest.ram_bytes
    assert cycles <= 1.25 * fastest.cycles
