# SPDX-License-Identifier: Apache-2.0
"""Streams that are changed a little: most of these changes a verifier must refuse, some do no harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

from mcucompiler.errors import VerificationError
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Access, Band, Reading, StreamCall
from tests.support.streams import changed, streams, verify, with_call

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


def strip_changes(call: StreamCall) -> Iterator[Named]:
    """Rings' tails too short, tensors in other strips, and bands that make another number of them."""
    for rows in call.rows:
        name = rows.tensor
        for tail in {rows.tail - 1, rows.tail // 2, 0} if rows.tail else ():
            yield f"{name} repeats {tail} bytes", lambda c, n=name, t=tail: changed(c, n, tail=t)
        for units in {1, 2, rows.units * 2, rows.units + 1, 0} - {rows.units}:
            yield f"{name} in {units} strips", lambda c, n=name, u=units: changed(c, n, units=u)
    for number, band in enumerate(call.bands):
        if band.strips:
            for what, strips in (
                ("a strip less", band.strips[:-1]),
                ("half the strips", band.strips[: band.units // 2]),
                ("twice the strips", band.strips * 2),
                ("whole rows", ()),
            ):
                runs = band.height * (len(strips) or 1)
                who = f"{band.writes} makes {what}"
                yield who, lambda c, b=number, s=strips, r=runs: with_band(c, b, strips=s, runs=r)


def span_changes(call: StreamCall) -> Iterator[Named]:
    """The columns of each strip moved, more or fewer; another number of strips."""
    for number, band in enumerate(call.bands):
        for index, reading in band.readings:
            span = reading.span
            if span is None:
                continue
            who = f"{band.writes} reads {reading.tensor}"
            fields = {"first": (-1, 1), "count": (-1, 1), "units": (-1, 1), "width": (-1, 1), "strips": (-1, 1)}
            others = [{field: getattr(span, field) + by} for field, steps in fields.items() for by in steps]
            if span.strips > 1:
                others += [{"step": span.step + by} for by in (-1, 1)]
                others += [{"first": span.first - 1, "count": span.count + 1}]
            for other in others:
                if min(other.get("units", 1), other.get("strips", 1)) > 0:
                    changes = replace(reading, span=replace(span, **other))
                    yield f"{who}, {other}", lambda c, b=number, i=index, r=changes: with_reading(c, b, i, r)
            yield (
                f"{who}, whole rows",
                lambda c, b=number, i=index, r=reading: with_reading(c, b, i, replace(r, span=None)),
            )


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


STRICT = (reading_changes, scratch_changes, strip_changes, span_changes)
KINDS = (ring_changes, guest_changes, band_changes, *STRICT)


def may_be_harmless(label: str) -> bool:
    """Whether a change may leave a plan that is right as well.

    Two rings may lie over each other if they are never in use together; bands may be asked in another order; where
    windows advance by two rows, two rows die at a time and a guest may lie over either. But the rows of a ring are
    counted in the very run, so that one row less is always too few.
    """
    return any(words in label for words in (" over ", " before ", " a row further", " a row back"))
