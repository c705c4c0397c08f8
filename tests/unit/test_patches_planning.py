# SPDX-License-Identifier: Apache-2.0
"""Column ranges, recomputation and the frontier of groups in column bands, on cases whose answers are known."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mcucompiler.lower.types import LoweringOptions
from mcucompiler.pipeline import Goal, Hooks, find_frontier, import_and_rewrite, plan_layers
from mcucompiler.stream.choice import describe_parts, parts_of
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.types import PatchesCall
from tests.support.networks import Network
from tests.support.patches import patches
from tests.support.streams import subject

PAD1 = [1, 1, 1, 1]


def patched(model: bytes, columns: int) -> PatchesCall:
    network = subject(model)
    step = network.composer.stream(GroupChoice(first=0, stop=network.steps, columns=columns))
    assert step is not None
    assert isinstance(step.call, PatchesCall)
    return step.call


def two_convolutions(strides: tuple[int, int] = (1, 1)) -> bytes:
    n = Network(seed=1)
    x = n.input((1, 3, 6, 12))
    y = n.conv(x, 5, (3, 3), pads=PAD1)
    return n.build([n.conv(y, 7, (3, 3), strides=list(strides), pads=PAD1)])


def held(call: PatchesCall, index: int) -> list[tuple[int, int]]:
    """Of each part, the columns of what its band of that index makes."""
    ranges = []
    for part in call.parts:
        rows, channels = part.rows_of(part.bands[index].writes), (5, 7)[index]
        ranges.append((rows.column // channels, (rows.column + rows.row_bytes) // channels))
    return ranges


def test_halo_of_a_window() -> None:
    call = patched(two_convolutions(), 2)
    assert held(call, 1) == [(0, 6), (6, 12)]
    assert held(call, 0) == [(0, 7), (5, 12)]
    assert call.recomputed_macs == 2 * 6 * 5 * 27  # two columns of the first layer


def test_halo_of_a_stride() -> None:
    call = patched(two_convolutions((2, 2)), 3)
    assert held(call, 1) == [(0, 2), (2, 4), (4, 6)]
    assert held(call, 0) == [(0, 4), (3, 8), (7, 12)]
    assert call.recomputed_macs == 2 * 6 * 5 * 27


def test_pointwise_layers_repeat_nothing() -> None:
    n = Network(seed=1)
    x = n.input((1, 3, 6, 12))
    call = patched(n.build([n.conv(n.conv(x, 5, (1, 1)), 7, (1, 1))]), 4)
    assert call.recomputed_macs == 0


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_all_work_is_counted(columns: int) -> None:
    network = subject(two_convolutions())
    step = network.composer.stream(GroupChoice(first=0, stop=network.steps, columns=columns))
    assert step is not None
    assert isinstance(step.call, PatchesCall)
    done = sum(band.macs for band in step.call.bands)
    assert done == step.macs + step.call.recomputed_macs
    assert step.macs == sum(layer.macs for layer in network.composer.lowered.steps)


def test_more_parts_than_columns() -> None:
    n = Network(seed=1)
    x = n.input((1, 3, 6, 3))
    network = subject(n.build([n.conv(n.conv(x, 5, (1, 1)), 7, (1, 1))]))
    assert not network.possible(first=0, stop=2, columns=4)


@pytest.mark.parametrize("choice", [{"rows": 2}, {"fed": "input"}])
def test_what_column_bands_cannot_be_combined_with(choice: dict[str, object]) -> None:
    network = subject(two_convolutions())
    if "fed" in choice:
        choice = {"fed": network.graph.inputs[0]}
    assert not network.possible(first=0, stop=2, columns=2, **choice)


def test_means_are_not_divided() -> None:
    n = Network(seed=1)
    x = n.input((1, 3, 6, 12))
    network = subject(n.build([n.global_average(n.conv(x, 5, (3, 3), pads=PAD1))]))
    assert network.possible(first=0, stop=2)
    assert not network.possible(first=0, stop=2, columns=2)


def wide_bottleneck() -> bytes:
    """A network whose rings are large beside its input and output."""
    n = Network(seed=1)
    x = n.input((1, 4, 24, 64))
    y = n.conv(x, 48, (1, 1), relu=True)
    y = n.conv(y, 48, (7, 7), groups=48, pads=[3, 3, 3, 3], relu=True)
    return n.build([n.conv(y, 4, (1, 1))])


def test_frontier_with_column_bands() -> None:
    _, graph = import_and_rewrite(wide_bottleneck())
    layered = plan_layers(graph, LoweringOptions(), Hooks())
    plans = find_frontier(graph, layered, Goal(), Hooks()).plans()
    figures = [(plan.cycles, plan.ram_bytes) for plan in plans]
    assert all(a[0] <= b[0] and a[1] > b[1] for a, b in pairwise(figures))
    divided = [plan for plan in plans if any(patches(plan))]
    assert divided
    assert "column bands with halo" in describe_parts(parts_of(divided[0]))
