# SPDX-License-Identifier: Apache-2.0
"""Streams that are changed a little: whatever would read a wrong byte is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan, plan_in_order
from tests.support.networks import Network
from tests.support.planning import moved
from tests.support.stream_changes import KINDS, STRICT, may_be_harmless, survivors
from tests.support.stream_networks import NETWORKS, image_networks, made
from tests.support.streams import assert_right, plans, streams, subject, verify, with_call

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def plans_of(name: str) -> list[Plan]:
    """Layers in the longest streams; the same with expansions; and with an input that is fed."""
    network = subject(made(name))
    found = [network.plan(*network.longest()), network.plan(*network.longest(expand=True))]
    whole = network.longest()[0]
    fed = GroupChoice(first=0, stop=whole.stop, fed=network.graph.inputs[0])
    if whole.first == 0 and network.possible(first=0, stop=whole.stop, fed=fed.fed):
        found.append(network.plan(fed))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_change_is_refused_or_harmless(name: str) -> None:
    total = 0
    for plan in plans_of(name):
        verify(plan)
        for kind in KINDS:
            count, left = survivors(plan, kind)
            total += count
            assert [label for label, _ in left if kind in STRICT or not may_be_harmless(label)] == []
            for _, other in left:
                assert_right(other)
    assert total > 50


@few
@given(data=st.data())
def test_random_changes_are_refused_or_harmless(data: st.DataObject) -> None:
    plan = data.draw(plans(subject(data.draw(image_networks())), feed=data.draw(st.booleans())))
    changes = [(index, change) for index, call in streams(plan) for kind in KINDS for change in kind(call)]
    if changes:
        index, (label, change) = data.draw(st.sampled_from(changes))
        other = with_call(plan, index, change)
        try:
            verify(other)
        except VerificationError:
            return
        assert_right(other)
        # Where a band makes several rows in a run, rings are whole multiples of them and may hold a row too much.
        assert may_be_harmless(label) or "a row" in label


def chain() -> tuple[Plan, str, str]:
    """A stream one of whose outputs lies over its input, which is read to the last; and the two buffers."""
    n = Network(seed=1)
    x = n.input((1, 4, 12, 6))
    y = n.conv(x, 12, (3, 3), pads=[1, 1, 1, 1])
    z = n.conv(n.input((1, 1, 12, 1)), 1, (1, 1))
    network = subject(n.build([y, z]))
    return network.plan(GroupChoice(first=0, stop=2)), x.name, y.name


def test_an_output_one_word_too_close_is_refused() -> None:
    plan, source, target = chain()
    ((_, call),) = streams(plan)
    # In its last run the band writes its twelfth row of 72 bytes and reads two rows of 24.
    distance = call.overlaps[0].distance
    assert distance == 12 * 72 - 10 * 24
    assert plan.memory.offset(source) - plan.memory.offset(target) >= distance
    with pytest.raises(VerificationError, match="lies over input"):
        verify(replace(plan, memory=moved(plan.memory, target, plan.memory.offset(source) - distance + 4)))


def test_a_distance_that_is_too_small_is_refused() -> None:
    """Even if the planner itself believes in it."""
    plan, _, _ = chain()
    ((index, call),) = streams(plan)
    closer = tuple(replace(overlap, distance=0) for overlap in call.overlaps)
    with pytest.raises(VerificationError, match=r"is not at arena byte|lies over input"):
        plan_in_order(with_call(plan, index, lambda c: replace(c, overlaps=closer)).lowered)


def test_scratch_that_is_too_short_in_the_plan_is_refused() -> None:
    plan, _, _ = chain()
    blocks = tuple(
        replace(block, size_bytes=block.size_bytes - 4) if block.name.startswith("scratch") else block
        for block in plan.memory.problem.blocks
    )
    with pytest.raises(VerificationError, match="but takes"):
        verify(replace(plan, memory=replace(plan.memory, problem=replace(plan.memory.problem, blocks=blocks))))
