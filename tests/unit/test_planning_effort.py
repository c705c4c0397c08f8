# SPDX-License-Identifier: Apache-2.0
"""Planning of deep networks: the work that it takes, what is told of it, and what is made only once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from mcucompiler.lower.types import ConstantArray, LoweringOptions
from mcucompiler.pipeline import Goal, Hooks, best_layered, find_frontier, import_and_rewrite, plan_layers
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.plans import Frontier, Plan
from tests.support.deep_networks import gated, mobilenet, resnet, unet
from tests.support.networks import Network, Value

SMALL: dict[str, Callable[[Network], list[Value]]] = {
    "mobilenet": lambda n: mobilenet(n, 32, 0.25, 1),
    "resnet": lambda n: resnet(n, 32, 4, (1, 3, 3, 1)),
    "unet": lambda n: unet(n, 24, 4, 2, 2),
    "gated": lambda n: gated(n, 24, 8, 3),
}


def frontier_of(model: bytes, *, enough: int = 0, rows: bool = False, hooks: Hooks | None = None) -> Frontier:
    hooks = hooks or Hooks()
    _, graph = import_and_rewrite(model)
    return find_frontier(graph, plan_layers(graph, LoweringOptions(), hooks), Goal(rows=rows), hooks, enough=enough)


def model_of(name: str) -> bytes:
    network = Network(seed=3)
    return network.build(SMALL[name](network))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("rows", [False, True])
def test_deep_networks_have_a_frontier_and_progress_moves_steadily(name: str, rows: bool) -> None:
    told: list[tuple[str, int, int]] = []
    found = frontier_of(
        model_of(name), rows=rows, hooks=Hooks(progress=lambda what, done, total: told.append((what, done, total)))
    )
    plans = found.plans(lambda done, total: told.append(("placing", done, total)))
    assert all(b.cycles >= a.cycles and b.ram_bytes < a.ram_bytes for a, b in pairwise(plans))
    assert rows or plans[-1].ram_bytes < plans[0].ram_bytes
    for stage in ("kernels", "streams", "placing"):
        counts = [(done, total) for what, done, total in told if what == stage]
        assert all(0 <= done <= total for done, total in counts)
        assert len(counts) >= min(10, max(total for _, total in counts))
    streams = [(done, total) for what, done, total in told if what == "streams"]
    assert len({total for _, total in streams}) == 1
    assert all(before[0] <= after[0] for before, after in pairwise(streams))
    assert max(after[0] - before[0] for before, after in pairwise(streams)) <= 0.5 * streams[0][1]


def test_twice_the_layers_do_not_take_four_times_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[GroupChoice] = []
    make = Composer._made
    monkeypatch.setattr(Composer, "_made", lambda self, choice: (made.append(choice), make(self, choice))[1])
    counts = []
    for depth in (1, 2):
        network = Network(seed=3)
        frontier_of(network.build(resnet(network, 32, 4, (depth, 2 * depth, 2 * depth))))
        counts.append(len(made))
        made.clear()
    assert 0 < counts[1] < 3.5 * counts[0]


def test_a_search_that_goes_on_finds_what_a_whole_one_does() -> None:
    model = model_of("gated")
    whole = frontier_of(model).plans()
    middle = whole[len(whole) // 2].memory.arena_bytes
    found = frontier_of(model, enough=middle)
    assert len(found.plans()) <= len(whole)
    found.complete()
    assert figures(found.plans()) == figures(whole)


def test_streams_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = frontier_of(model_of("mobilenet"))
    monkeypatch.setattr(Composer, "_made", lambda self, choice: pytest.fail(f"{choice} is made again"))
    found.complete()


def figures(plans: tuple[Plan, ...]) -> list[tuple[int, int]]:
    return [(plan.ram_bytes, plan.cycles) for plan in plans]


def plan(ram: int, cycles: int) -> Plan:
    return SimpleNamespace(ram_bytes=ram, cycles=cycles, memory=SimpleNamespace(arena_bytes=ram))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal(), 1),
        (Goal(ram_bytes=90), 0),
        (Goal(ram_bytes=150), 1),
        (Goal(ram_bytes=50), 0),
        (Goal(ram_bytes=150, optimize="ram"), 0),
    ],
)
def test_of_plans_layer_by_layer_the_fastest_that_fits_is_taken(goal: Goal, expected: int) -> None:
    plans = (plan(80, 1000), plan(120, 980))
    assert best_layered(plans, goal) is plans[expected]


def test_of_plans_as_fast_as_each_other_the_smaller_is_taken() -> None:
    plans = (plan(120, 995), plan(80, 1000))
    assert best_layered(plans, Goal()) is plans[1]


def test_constants_are_packed_when_they_are_asked_for_and_only_once() -> None:
    asked: list[int] = []

    def values() -> np.ndarray[tuple[int], np.dtype[np.int8]]:
        asked.append(1)
        return np.arange(3, dtype=np.int8)

    array = ConstantArray(label="weights", ctype="int8_t", given=values)
    assert not asked
    assert array.values.tolist() == array.values.tolist() == [0, 1, 2]
    assert len(asked) == 1
