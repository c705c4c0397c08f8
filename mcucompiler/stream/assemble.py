# SPDX-License-Identifier: Apache-2.0
"""Puts a stream together: where the rows of its tensors lie, and what it needs in all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcucompiler.ir.graph import Graph
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import Columns
from mcucompiler.stream.guests import Guest, find_guests
from mcucompiler.stream.images import column_bytes, row_bytes
from mcucompiler.stream.overlaps import permitted_overlaps
from mcucompiler.stream.simulate import Simulation
from mcucompiler.stream.strips import reach_over
from mcucompiler.stream.turned import RING, column_pieces
from mcucompiler.stream.types import Access, Band, Rows, StreamCall, total_exactness

CONTROL_CYCLES = 60
"""Cycles of choosing a band and setting up its pointers, for each run."""
CONTROL_STACK_BYTES = 96  # the stream's function: saved registers, locals and outgoing arguments


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A stream whose bands and order are known.

    Attributes:
        graph: the network as the bands see it.
        bands: in topological order.
        simulation: their run.
        heights: rows of every tensor that is read by rows or made.
        outside: tensors that are read and made by others.
        outputs: tensors that others read.
        fed: tensor whose rows the caller pushes.
        turned: whether the stream runs along the width.
        columns: of each tensor, in a column band of a group.
    """

    graph: Graph
    bands: Sequence[Band]
    simulation: Simulation
    heights: Mapping[str, int]
    outside: tuple[str, ...]
    outputs: tuple[str, ...]
    fed: str | None = None
    turned: bool = False
    columns: Mapping[str, Columns] | None = None


def assemble(ready: Ready) -> StreamCall:
    """The call of a stream."""
    bands, simulation = ready.bands, ready.simulation
    placed = _without_places(ready)
    unit_bytes = {name: rows.unit_bytes for name, rows in placed.items()}
    inside = [name for name in placed if name not in ready.outside and name not in ready.outputs]
    sizes = {name: rows.slots for name, rows in placed.items()}
    guests = find_guests(bands, simulation, sizes, inside, unit_bytes, ready.fed)
    rows, end = _placed(ready, placed, inside, guests)
    kernel_scratch = end
    end += whole_words(max((band.call.scratch_bytes for band in bands), default=0))
    state = end if ready.fed is not None else None
    apart = {name for name, place in placed.items() if place.pieces > 1}
    overlaps = permitted_overlaps(bands, simulation, guests, unit_bytes, ready.outside, ready.outputs, apart)
    pushes = list(simulation.pushes())
    push_cycles = [sum(bands[index].call.cycles + CONTROL_CYCLES for index in push) for push in pushes]
    return StreamCall(
        variant="rows",
        overlaps=() if ready.columns else tuple(overlaps),
        scratch_bytes=end if state is None else end + 4 * (len(bands) + 1),
        stack_bytes=max(band.call.stack_bytes for band in bands) + _control_stack(bands, state),
        instructions=sum(band.runs * (band.call.instructions + CONTROL_CYCLES) for band in bands),
        cycles=sum(band.runs * (band.call.cycles + CONTROL_CYCLES) for band in bands),
        exactness=total_exactness(band.call for band in bands),
        float_arithmetic=any(band.call.float_arithmetic for band in bands),
        bands=tuple(bands),
        rows=tuple(rows),
        recomputed_macs=sum(band.recomputed_macs for band in bands),
        fed=ready.fed,
        kernel_scratch=kernel_scratch,
        state=state,
        most_runs=max(map(len, pushes)),
        most_cycles=max(push_cycles),
        last_cycles=push_cycles[-1],
        turned=ready.graph if ready.turned else None,
    )


def _without_places(ready: Ready) -> dict[str, Rows]:
    """The rows of every tensor, as if all of them were whole in buffers of the program."""
    pitches, begins, bytes_of = _rows_bytes(ready)
    units = _units(ready.bands, ready.heights)
    found = {}
    for name, height in ready.heights.items():
        made = Rows(
            tensor=name,
            height=height,
            row_bytes=bytes_of[name],
            slots=height * units[name],
            pitch=pitches[name],
            column=begins[name],
            units=units[name],
        )
        if name in (*ready.outside, *ready.outputs) and name + RING in ready.graph.tensors:
            pieces, distance = column_pieces(ready.graph.tensors[name])
            made = replace(made, pieces=pieces, apart=distance)
        found[name] = made
    return found


def _placed(
    ready: Ready, whole: Mapping[str, Rows], inside: Sequence[str], guests: Mapping[str, Guest]
) -> tuple[list[Rows], int]:
    """The rows of every tensor where they will lie, and how many bytes the rings take."""
    rows, end = [], 0
    for name, made in whole.items():
        if name in guests:
            guest = guests[name]
            made = replace(made, slots=0, guest_of=guest.host, lead=guest.lead, stride=guest.stride)
        elif name in inside:
            made = replace(made, slots=ready.simulation.slots[name], offset=end)
            made = replace(made, tail=reach_over(ready.bands, made))
            end += whole_words(made.ring_bytes)
        rows.append(made)
    return rows, end


def _rows_bytes(ready: Ready) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Bytes of each tensor's whole rows, and in a row of this stream the first byte and how many there are."""
    tensors, names, columns = ready.graph.tensors, ready.heights, ready.columns
    if columns is None:
        made = {band.writes: band.row_bytes for band in ready.bands}
        pitches = {name: made[name] if name in made else row_bytes(tensors[name]) for name in names}
        return pitches, dict.fromkeys(pitches, 0), pitches
    units = {name: column_bytes(tensors[name]) for name in names}
    pitches = {name: row_bytes(tensors[name]) for name in names}
    begins = {name: columns[name][0] * unit for name, unit in units.items()}
    return pitches, begins, {name: (columns[name][1] - columns[name][0]) * unit for name, unit in units.items()}


def _units(bands: Sequence[Band], names: Iterable[str]) -> dict[str, int]:
    """In how many strips the rows of each tensor come to be, or are counted."""
    read = {r.tensor: r.span.units for band in bands for _, r in band.readings if r.span is not None}
    return {**dict.fromkeys(names, 1), **read, **{band.writes: band.units for band in bands}}


def _control_stack(bands: Sequence[Band], state: int | None) -> int:
    pointers = max(
        sum(reading.count for _, reading in band.readings if reading.access is Access.POINTERS) for band in bands
    )
    return CONTROL_STACK_BYTES + 4 * pointers + (4 * len(bands) if state is None else 0)
