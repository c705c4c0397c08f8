# SPDX-License-Identifier: Apache-2.0
"""Streams that are changed a little: whatever would read a wrong byte is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.reference import execute
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan, plan_in_order
from mcucompiler.stream.types import Access, Band, Reading, StreamCall
from tests.support.graphs import random_feeds
from tests.support.planning import moved
from tests.support.stream_machine import Machine
from tests.support.stream_networks import NETWORKS, image_networks, made
from tests.support.streams import changed, plans, streams, subject, verify, with_call

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
            # The second band is then asked before the first one; what it must not do is run too late for the rings.
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


KINDS = (ring_changes, guest_changes, reading_changes, band_changes, scratch_changes)


def plans_of(name: str) -> list[Plan]:
    network = subject(made(name))
    found = [network.plan(*network.longest()), network.plan(*network.longest(expand=True))]
    whole = network.longest()[0]
    fed = GroupChoice(first=0, stop=whole.stop, fed=network.graph.inputs[0])
    if whole.first == 0 and network.composer.stream(fed) is not None:
        found.append(network.plan(fed))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_every_change_is_refused(name: str) -> None:
    total = 0
    for plan in plans_of(name):
        verify(plan)
        for kind in KINDS:
            count, left = survivors(plan, kind)
            total += count
            print(name, kind.__name__, count, [label for label, _ in left])
    assert total > 20
