# SPDX-License-Identifier: Apache-2.0
"""Rows over rows: a band's output in the place of the oldest row that it read, within a ring.

A depthwise convolution reads the last K rows of the expanded tensor; after its run the first of them
is dead, and its own output is as large. So the output needs no memory, provided that the slot is not
wanted for a new row before the output has been read. Whether that holds is found by running the
stream once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcucompiler.stream.simulate import Simulation
from mcucompiler.stream.types import Access, Band, Reading


def find_guests(
    bands: Sequence[Band],
    simulation: Simulation,
    inside: Sequence[str],
    row_bytes: Mapping[str, int],
    fed: str | None,
) -> dict[str, tuple[str, int, int]]:
    """For each tensor that needs no memory of its own: whose rows it takes over, lead and stride (see ``Rows``).

    Args:
        bands: in topological order.
        simulation: the run.
        inside: tensors that lie in rings.
        row_bytes: of every tensor.
        fed: tensor whose rows are pushed.
    """
    found: dict[str, tuple[str, int, int]] = {}
    for index, band in enumerate(bands):
        if band.writes not in inside:
            continue
        permitted = {overlap.input for overlap in band.call.overlaps if overlap.same}
        for number, reading in band.readings:
            host = reading.tensor
            taken = host in found or any(host == other for other, _, _ in found.values())
            if number not in permitted or host not in inside or taken or host == fed:
                continue
            place = _place(band, reading)
            if place is None or row_bytes[band.writes] > row_bytes[host]:
                continue
            if _holds(bands, simulation, index, host, place):
                found[band.writes] = (host, *place)
                break
    return found


def _place(band: Band, reading: Reading) -> tuple[int, int] | None:
    """Lead and stride: over which row of its input a row of the output comes to lie."""
    if reading.access is Access.DENSE and (reading.first, reading.step, reading.count) == (0, band.rows, band.rows):
        return 0, 1
    if band.rows == 1 and reading.access is not Access.WHOLE:
        return reading.first, reading.step
    return None


def _holds(bands: Sequence[Band], simulation: Simulation, guest: int, host: str, place: tuple[int, int]) -> bool:
    """Whether in the whole run no row is written over one that is still to be read."""
    slots, rows = simulation.slots[host], bands[guest].rows
    done = [0] * len(bands)
    readers = [(b, r) for b, band in enumerate(bands) for _, r in band.readings if r.tensor == host]
    mine = [(b, r) for b, band in enumerate(bands) for _, r in band.readings if r.tensor == bands[guest].writes]
    producer = next(b for b, band in enumerate(bands) if band.writes == host)
    made = 0

    def oldest(pairs: list[tuple[int, Reading]], end: int) -> int:
        return min((max(0, r.begin(done[b])) for b, r in pairs if done[b] < bands[b].runs), default=end)

    def guests_slots() -> set[int]:
        written = done[guest] * rows
        return {(place[0] + row * place[1]) % slots for row in range(min(oldest(mine, written), written), written)}

    for index in simulation.order:
        if index < 0:
            continue
        if index == producer:
            fresh = range(made, made + bands[index].rows)
            made = fresh.stop
            if guests_slots() & {row % slots for row in fresh}:
                return False
        done[index] += 1
        if index == guest:
            # After its run: the rows of the host that are still wanted must lie elsewhere.
            wanted = {row % slots for row in range(oldest(readers, made), made)}
            first = (done[guest] - 1) * rows
            if wanted & {(place[0] + row * place[1]) % slots for row in range(first, first + rows)}:
                return False
            # Two rows of the guest must not meet either.
            written = done[guest] * rows
            alive = range(min(oldest(mine, written), written), written)
            if len({(place[0] + row * place[1]) % slots for row in alive}) < len(alive):
                return False
    return True
