# SPDX-License-Identifier: Apache-2.0
"""Strips: a layer makes its rows a few pixels at a time, from left to right, and nothing is computed twice.

Between the layers only what the windows still reach is kept: of a 3x3 window two rows and a few pixels, where a stream
of whole rows keeps three rows. The units of a ring are strips then; they lie one behind the other in the order in which
they come, so a row of the image begins anywhere in the ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from mcucompiler.ir.graph import Graph
from mcucompiler.lower.types import Call, KernelCall
from mcucompiler.stream.columns import field_of
from mcucompiler.stream.images import COLUMN_AXIS
from mcucompiler.stream.types import Access, Band, Reading, Rows, Span


def spans(graph: Graph, band: Band, strips: int) -> dict[int, Span] | None:
    """Which columns of each input the strips of a layer read; None where these do not advance evenly.

    Args:
        graph: the network.
        band: of whole rows, one a run.
        strips: of a row; a divisor of its width.
    """
    width = graph.tensors[band.writes].shape[COLUMN_AXIS] // strips
    found: dict[int, Span] = {}
    for index, reading in band.readings:
        if reading.access is Access.WHOLE:
            continue
        ranges = [field_of(graph, band.node, index, (strip * width, (strip + 1) * width)) for strip in range(strips)]
        known = [columns for columns in ranges if columns is not None]
        if len(known) < strips:
            return None
        first, stop = known[0]
        step = known[1][0] - first
        if any(columns != (first + strip * step, stop + strip * step) for strip, columns in enumerate(known)):
            return None
        whole = graph.tensors[reading.tensor].shape[COLUMN_AXIS]
        span = Span(first=first, step=step, count=stop - first, strips=strips, width=whole, units=1)
        if any(span.begin(strip) >= span.stop(strip) for strip in range(strips)):
            return None
        found[index] = span
    return found


def in_strips(band: Band, columns: Mapping[int, Span], calls: Sequence[KernelCall]) -> Band:
    """The band that makes a strip of a row in a run.

    Args:
        band: of whole rows, one a run.
        columns: as ``spans`` gives them.
        calls: the kernels, from left to right.
    """
    return replace(
        band,
        call=_needs(calls),
        readings=tuple((i, replace(r, span=columns[i]) if i in columns else r) for i, r in band.readings),
        runs=band.runs * len(calls),
        strips=tuple(calls),
    )


def _needs(calls: Sequence[KernelCall]) -> Call:
    """What a run needs; of time the mean."""
    shared = [overlap for overlap in calls[0].overlaps if all(overlap in call.overlaps for call in calls)]
    return Call(
        variant=calls[0].variant,
        overlaps=tuple(shared),
        scratch_bytes=max(call.scratch_bytes for call in calls),
        stack_bytes=max(call.stack_bytes for call in calls),
        instructions=-(-sum(call.instructions for call in calls) // len(calls)),
        cycles=-(-sum(call.cycles for call in calls) // len(calls)),
        exactness=calls[0].exactness,
        float_arithmetic=any(call.float_arithmetic for call in calls),
    )


def with_units(
    graph: Graph, bands: Sequence[Band], strips: int, fed: str | None, known: dict[tuple[Band, tuple[int, ...]], Band]
) -> list[Band]:
    """Bands whose readings know in which units the rows that they read come to be.

    Args:
        graph: the network.
        bands: some of them in strips.
        strips: of a row.
        fed: tensor whose rows are pushed, whole ones.
        known: those that were made before, by band and units of its readings; new ones are added.
    """
    made = {band.writes: band.units for band in bands}

    def units_of(reading: Reading) -> int:
        if reading.access is Access.WHOLE or reading.tensor not in graph.tensors:
            return 0
        outside = 1 if reading.tensor == fed or graph.tensors[reading.tensor].shape[-1] % strips else strips
        return made.get(reading.tensor, outside)

    found = []
    for band in bands:
        key = band, tuple(units_of(reading) for _, reading in band.readings)
        if key not in known:
            known[key] = _in_units(graph, *key)
        found.append(known[key])
    return found


def _in_units(graph: Graph, band: Band, units: tuple[int, ...]) -> Band:
    """The band with the units of each of its readings; 0 where there are none."""

    def known(reading: Reading, units: int) -> Reading:
        if not units or (reading.span is None and units == 1):
            return reading
        width = graph.tensors[reading.tensor].shape[-1]
        whole = Span(first=0, step=0, count=width, strips=1, width=width, units=1)
        return replace(reading, span=replace(reading.span or whole, units=units))

    readings = zip(band.readings, units, strict=True)
    return replace(band, readings=tuple((index, known(reading, count)) for (index, reading), count in readings))


def reach_over(bands: Sequence[Band], rows: Rows) -> int:
    """Bytes that windows reach over the end of a ring, at most.

    Args:
        bands: of the stream.
        rows: the ring.
    """
    if rows.slots % rows.units == 0:
        return 0  # rows begin and end with the ring
    size, pixel = rows.slots * rows.unit_bytes, 0
    over = 0
    for band in bands:
        for _, reading in band.readings:
            if reading.tensor == rows.tensor and reading.span is not None:
                pixel = rows.row_bytes // reading.span.width
                over = max(over, *(first % size + count - size for first, count in _pieces(band, reading, rows, pixel)))
    return over


def _pieces(band: Band, reading: Reading, rows: Rows, pixel: int) -> Iterator[tuple[int, int]]:
    """What a band reads of a tensor's rows: first byte, as if all rows lay one behind the other, and bytes."""
    span = reading.span
    if span is None:
        return
    for run in range(band.runs):
        begin, stop = span.begin(run % span.strips), span.stop(run % span.strips)
        for row in range(max(0, reading.begin(run)), min(rows.height, reading.begin(run) + reading.count)):
            yield row * rows.row_bytes + begin * pixel, (stop - begin) * pixel
