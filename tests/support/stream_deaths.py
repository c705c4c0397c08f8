# SPDX-License-Identifier: Apache-2.0
"""In which order the bands of a stream run, and after which run each pixel is dead.

Who reads a pixel is asked of the operators' receptive fields, not of the plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import Graph
from mcucompiler.stream.types import Access, Band, Reading, StreamCall
from tests.support.stream_places import Places

_ROW_AXIS, _COLUMN_AXIS = 2, 3

Event = tuple[int, int]
"""Number of the column band, 0 where there is but one; and of the band that runs, -1 for a pushed row."""


@dataclass(frozen=True)
class Patch:
    """Some columns of some rows, both half-open."""

    tensor: str
    rows: tuple[int, int]
    columns: tuple[int, int]


def run_order(call: StreamCall, places: Places) -> Iterator[int]:
    """Numbers of the bands in the order in which they run, the last one that can first; -1 where a row comes."""
    bands, table = call.bands, places.table
    maker = {band.writes: number for number, band in enumerate(bands)}
    done, pushed = [0] * len(bands), 0
    height = table[call.fed].height if call.fed is not None else 0

    def units(name: str) -> int:
        if name == call.fed:
            return pushed
        band = bands[maker[name]]
        return done[maker[name]] * (band.rows if band.units == 1 else 1)

    def there(reading: Reading, run: int) -> bool:
        if reading.access is Access.WHOLE or (reading.tensor != call.fed and reading.tensor not in maker):
            return True
        span = reading.span
        row = reading.first + (run // span.strips if span else run) * reading.step + reading.count - 1
        row = min(row, table[reading.tensor].height - 1)
        if row < 0:
            return True
        if span is None:
            return units(reading.tensor) > row
        column = min(span.first + run % span.strips * span.step + span.count, span.width) - 1
        return units(reading.tensor) > row * span.units + column // (span.width // span.units)

    while True:
        ready = [
            number
            for number, band in enumerate(bands)
            if done[number] < band.runs and all(there(reading, done[number]) for _, reading in band.readings)
        ]
        if ready:
            yield ready[-1]
            done[ready[-1]] += 1
        elif pushed < height:
            yield -1
            pushed += 1
        else:
            return


def made_by(band: Band, places: Places, run: int) -> Patch:
    """What a run makes."""
    rows, (first, stop) = places.table[band.writes], places.columns(band.writes)
    if band.units == 1:
        return Patch(band.writes, (run * band.rows, (run + 1) * band.rows), (first, stop))
    row, strip = divmod(run, rows.units)
    width = (stop - first) // rows.units
    return Patch(band.writes, (row, row + 1), (strip * width, (strip + 1) * width))


def _field(graph: Graph, band: Band, places: Places, made: Patch) -> Iterator[Patch]:
    """What a band must read to make something."""
    node = band.node
    if band.sums is not None:
        ((_, reading),) = band.readings
        height = places.table[reading.tensor].height
        if band.writes != band.sums:
            yield Patch(band.sums, (height - 1, height), (0, 1))
            return
        if made.rows[0]:
            yield Patch(band.sums, (made.rows[0] - 1, made.rows[0]), (0, 1))
        share = height // band.runs
        rows = made.rows[0] * share, made.rows[1] * share
        yield Patch(reading.tensor, rows, (0, places.width(reading.tensor)))
        return
    if band.carries:
        ((_, reading),) = band.readings
        yield Patch(reading.tensor, made.rows, (0, places.width(reading.tensor)))
        return
    for index, reading in band.readings:
        if reading.access is not Access.WHOLE:
            ins, outs = graph.ins(node), graph.outs(node)
            rows_read = node.op.input_range(ins, outs, index, _ROW_AXIS, *made.rows)
            assert rows_read is not None
            width, height = places.width(reading.tensor), places.table[reading.tensor].height
            columns = node.op.input_range(ins, outs, index, _COLUMN_AXIS, *made.columns) or (0, width)
            yield Patch(
                reading.tensor,
                (max(rows_read[0], 0), min(rows_read[1], height)),
                (max(columns[0], 0), min(columns[1], width)),
            )


@dataclass
class _Last:
    """After which event each pixel is dead; of rows that live and die as a whole, one entry for each row."""

    fine: bool
    events: dict[tuple[int, str], npt.NDArray[np.int64]] = field(default_factory=dict)

    def touch(self, part: int, patch: Patch, event: int, places: Places) -> None:
        key = part, patch.tensor
        if key not in self.events:
            width = places.width(patch.tensor) if self.fine else 1
            self.events[key] = np.full((places.table[patch.tensor].height, width), -2, np.int64)
        columns = patch.columns if self.fine else (0, 1)
        self.events[key][slice(*patch.rows), slice(*columns)] = event

    def deaths(self) -> Iterator[tuple[int, int, str, int, int, int]]:
        """Event, column band, tensor, row, and a range of columns (of entries) that die after it."""
        for (part, name), events in self.events.items():
            for row, line in enumerate(events):
                cuts = [0, *(np.flatnonzero(np.diff(line)) + 1), len(line)]
                for first, stop in pairwise(cuts):
                    if line[first] >= -1:
                        yield int(line[first]), part, name, row, int(first), int(stop)


def deaths(
    graph: Graph,
    call: StreamCall,
    places: list[Places],
    order: list[Event],
    dying: Collection[str],
    kept: Collection[str],
) -> dict[int, list[tuple[int, Patch]]]:
    """After which event what is garbage, each with the column band that had it: where it was made, or last read.

    Event -1, before all others, for what comes from outside and lies in no field.

    Args:
        graph: the network.
        call: the stream.
        places: of its column bands.
        order: of all events.
        dying: tensors from outside that nobody needs afterwards.
        kept: those that outlive the stream.
    """
    last = _Last(fine=len(call.parts) > 1 or any(band.units > 1 for band in call.bands))
    for name in dying:
        rows = places[0].table[name]
        last.touch(0, Patch(name, (0, rows.height), (0, places[0].width(name))), -1, places[0])
    done: dict[Event, int] = {}
    for event, (part, number) in enumerate(order):
        run = done.get((part, number), 0)
        done[part, number] = run + 1
        where = places[part]
        if number < 0:
            fed = str(call.fed)
            last.touch(part, Patch(fed, (run, run + 1), (0, where.width(fed))), event, where)
            continue
        band = call.parts[part].bands[number]
        made = made_by(band, where, run)
        for patch in (made, *_field(graph, band, where, made)):
            last.touch(0 if patch.tensor in dying else part, patch, event, where)
    found: dict[int, list[tuple[int, Patch]]] = {}
    for event, part, name, row, first, stop in last.deaths():
        if name not in kept:
            columns = (first, stop) if last.fine else places[part].columns(name)
            found.setdefault(event, []).append((part, Patch(name, (row, row + 1), columns)))
    return found
