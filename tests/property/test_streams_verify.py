# SPDX-License-Identifier: Apache-2.0
"""Streams that are changed a little: whatever would read a wrong byte is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan, plan_in_order
from mcucompiler.stream.types import Access, Band, Reading, StreamCall
from tests.support.networks import Network
from tests.support.planning import moved
from tests.support.stream_networks import NETWORKS, image_networks, made
from tests.support.streams import assert_right, changed, plans, streams, subject, verify, with_call

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)

Change = Callable[[StreamCall], StreamCall]
Named = tuple[str, Change]


def rings(call: StreamCall) -> list[str]:
    return [rows.tensor for rows in call.rows if rows.offset is not None]


def ring_changes(call: StreamCall) -> Iterator[Named]:
    """Each ring a row short; each laid over another or over the kernels' scratch."""
    for name in rings(call):
        slots, offset = call.rows_of(name).slots, call.rows_of(name).offset
        assert offset is not None
        if slots > 1:
            yield f"{name} a row short", lambda c, n=name, s=slots: changed(c, n, slots=s - 1)
        for other in rings(call):
            start = call.rows_of(other).offset
            if other != name:
                yield f"{name} over {other}", lambda c, n=name, s=start: changed(c, n, offset=s)
        yield f"{name} outside", lambda c, n=name: changed(c, n, offset=c.scratch_bytes)
        yield f"{name} below", lambda c, n=name: changed(c, n, offset=-4)
        if any(band.call.scratch_bytes and name in _rows_read(band) for band in call.bands):
            yield f"{name} in the scratch", lambda c, n=name: changed(c, n, offset=c.kernel_scratch)


def guest_changes(call: StreamCall) -> Iterator[Named]:
    for rows in call.rows:
        if rows.guest_of is not None:
            name, slots = rows.tensor, call.rows_of(rows.guest_of).slots
            if slots > 1:
                yield f"{name} a row further", lambda c, n=name, v=rows.lead: changed(c, n, lead=v + 1)
                yield f"{name} a row back", lambda c, n=name, v=rows.lead: changed(c, n, lead=v - 1)
            yield f"{name} of nobody", lambda c, n=name: changed(c, n, guest_of="nobody")


def reading_changes(call: StreamCall) -> Iterator[Named]:
    for number, band in enumerate(call.bands):
        for index, reading in band.readings:
            if reading.access is Access.WHOLE:
                continue
            who = f"{band.writes} reads {reading.tensor}"
            # Whether rows outside are the edge matters where there are any; elsewhere it is said for nothing.
            other = replace(reading, edge=not reading.edge)
            yield f"{who}, the edge", lambda c, b=number, i=index, r=other: with_reading(c, b, i, r)
            for field in ("first", "count", "step"):
                if field == "step" and band.runs == 1:
                    continue
                for by in (-1, 1):
                    other = replace(reading, **{field: getattr(reading, field) + by})
                    yield (
                        f"{who}, {field} {by:+}",
                        lambda c, b=number, i=index, r=other: with_reading(c, b, i, r),
                    )


def band_changes(call: StreamCall) -> Iterator[Named]:
    for number, band in enumerate(call.bands):
        for runs in {band.runs - 1, band.runs + 1}:
            yield f"{band.writes} runs {runs} times", lambda c, b=number, r=runs: with_band(c, b, runs=r)
    for number, (first, second) in enumerate(pairwise(call.bands)):
        if first.writes in _rows_read(second):
            yield f"{second.writes} before {first.writes}", lambda c, b=number: swapped(c, b)


def scratch_changes(call: StreamCall) -> Iterator[Named]:
    yield "scratch a word short", lambda c: replace(c, scratch_bytes=c.scratch_bytes - 4)
    if any(band.call.scratch_bytes for band in call.bands):
        yield "kernels' scratch further on", lambda c: replace(c, kernel_scratch=c.kernel_scratch + 4)
    for number, band in enumerate(call.bands):
        expansion = band.expansion
        if expansion is not None:
            for fields in (
                {"buffer": expansion.buffer - 4},
                {"buffer": expansion.buffer + 4},
                {"rows": expansion.rows - 1},
                {"height": expansion.height + 1},
            ):
                other = replace(expansion, **fields)
                yield f"{band.writes} with {fields}", lambda c, b=number, e=other: with_band(c, b, expansion=e)
    if call.state is not None:
        yield "counters outside", lambda c: replace(c, state=c.scratch_bytes - 4)
        yield "no counters", lambda c: replace(c, state=None)
        for name in rings(call):
            yield f"counters over {name}", lambda c, n=name: replace(c, state=c.rows_of(n).offset)


def _rows_read(band: Band) -> set[str]:
    return {reading.tensor for _, reading in band.readings if reading.access is not Access.WHOLE}


def with_band(call: StreamCall, number: int, **fields: object) -> StreamCall:
    bands = tuple(replace(b, **fields) if i == number else b for i, b in enumerate(call.bands))
    return replace(call, bands=bands)


def with_reading(call: StreamCall, number: int, index: int, reading: Reading) -> StreamCall:
    readings = tuple((i, reading if i == index else r) for i, r in call.bands[number].readings)
    return with_band(call, number, readings=readings)


def swapped(call: StreamCall, number: int) -> StreamCall:
    bands = list(call.bands)
    bands[number], bands[number + 1] = bands[number + 1], bands[number]
    return replace(call, bands=tuple(bands))


def survivors(plan: Plan, changes: Callable[[StreamCall], Iterator[Named]]) -> tuple[int, list[tuple[str, Plan]]]:
    """How many changes there are, and those that the verifiers accept."""
    count, left = 0, []
    for index, call in streams(plan):
        for name, change in changes(call):
            count += 1
            other = with_call(plan, index, change)
            try:
                verify(other)
            except VerificationError:
                continue
            left.append((name, other))
    return count, left


STRICT = (reading_changes, scratch_changes)
KINDS = (ring_changes, guest_changes, band_changes, *STRICT)


def may_be_harmless(label: str) -> bool:
    """Whether a change may leave a plan that is right as well.

    Two rings may lie over each other if they are never in use together; bands may be asked in another order; where
    windows advance by two rows, two rows die at a time and a guest may lie over either. But the rows of a ring are
    counted in the very run, so that one row less is always too few.
    """
    return any(words in label for words in (" over ", " before ", " a row further", " a row back"))


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
