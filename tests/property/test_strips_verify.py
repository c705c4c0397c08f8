# SPDX-License-Identifier: Apache-2.0
"""Streams in strips that are changed a little: whatever would read a wrong byte is refused."""

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
from tests.support.stream_networks import PAD1
from tests.support.streams import assert_right, subject, verify, with_call
from tests.support.strips import in_strips, made, striped, striped_plans, wide_networks

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    ("name", "strips", "fed", "expand"),
    [
        ("bottleneck", 4, True, False),
        ("bottleneck", 4, False, True),
        ("shortcuts", 4, False, False),
        ("encoder_decoder", 2, False, False),
        ("gated", 8, False, False),
        ("windows", 4, False, False),
        ("readers", 2, True, False),
    ],
)
def test_every_change_is_refused_or_harmless(name: str, strips: int, fed: bool, expand: bool) -> None:
    plan = in_strips(subject(made(name), share_concats=False), strips, fed=fed, expand=expand)
    assert any(striped(plan))
    verify(plan)
    total = 0
    for kind in KINDS:
        count, left = survivors(plan, kind)
        total += count
        assert [label for label, _ in left if kind in STRICT or not may_be_harmless(label)] == []
        for _, other in left:
            assert_right(other)
    assert total > 200


@few
@given(data=st.data())
def test_random_changes_are_refused_or_harmless(data: st.DataObject) -> None:
    plan = data.draw(striped_plans(subject(data.draw(wide_networks(4))), feed=data.draw(st.booleans())))
    changes = [(index, change) for index, call in striped(plan) for kind in KINDS for change in kind(call)]
    if changes:
        index, (label, change) = data.draw(st.sampled_from(changes))
        other = with_call(plan, index, change)
        try:
            verify(other)
        except VerificationError:
            return
        assert_right(other)
        # A ring that whole rows of strips are read from is as long as these and may hold a strip too much.
        assert may_be_harmless(label) or "a row" in label


def halved() -> tuple[Plan, str, str]:
    """One layer in halves of rows, its output over its input, which is read to the last; and the two buffers."""
    n = Network(seed=1)
    x = n.input((1, 4, 12, 6))
    y = n.conv(x, 12, (3, 3), pads=PAD1)
    z = n.conv(n.input((1, 1, 12, 1)), 1, (1, 1))
    network = subject(n.build([y, z]))
    return network.plan(GroupChoice(first=0, stop=2, strips=2)), x.name, y.name


def test_an_output_one_word_too_close_is_refused() -> None:
    plan, source, target = halved()
    ((_, call),) = striped(plan)
    # In its last run the band writes the right half of its twelfth row of 72 bytes. What is left of that half, a column
    # of the left one, is read as well in the last two rows of 24 bytes, so that these are still needed from the begin.
    distance = call.overlaps[0].distance
    assert distance == 12 * 72 - 10 * 24
    assert plan.memory.offset(source) - plan.memory.offset(target) >= distance
    with pytest.raises(VerificationError, match="lies over input"):
        verify(replace(plan, memory=moved(plan.memory, target, plan.memory.offset(source) - distance + 4)))


def test_a_distance_that_is_too_small_is_refused() -> None:
    """Even if the planner itself believes in it."""
    plan, _, _ = halved()
    ((index, call),) = striped(plan)
    closer = tuple(replace(overlap, distance=0) for overlap in call.overlaps)
    with pytest.raises(VerificationError, match=r"is not at arena byte|lies over input"):
        plan_in_order(with_call(plan, index, lambda c: replace(c, overlaps=closer)).lowered)
