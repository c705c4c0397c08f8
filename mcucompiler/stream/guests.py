# SPDX-License-Identifier: Apache-2.0
"""Rows that need no memory of their own: they lie in a slot of another tensor that is free for as long.

Two cases are tried. A band that may work in place writes over a row that it reads for the last time: a
depthwise convolution over the oldest of its K rows. And what is only read by a band that may work in
place is made where that band's output will be: a residual sum. Whether every row is still there when
it is read is found by going through the run of the stream once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcucompiler.stream.simulate import Simulation
from mcucompiler.stream.types import Access, Band, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Row r of ``tensor`` lies where row ``lead + r * stride`` of ``host`` has its slot.

    In a stream that runs in strips, where each strip has a slot, ``lead`` is 0 and ``stride`` is 1.
    """

    tensor: str
    host: str
    lead: int
    stride: int


def find_guests(
    bands: Sequence[Band],
    simulation: Simulation,
    sizes: Mapping[str, int],
    inside: Sequence[str],
    unit_bytes: Mapping[str, int],
    fed: str | None,
) -> dict[str, Guest]:
    """The tensors that need no memory of their own, by name.

    Args:
        bands: in topological order.
        simulation: the run.
        sizes: units of every tensor: rows, or strips of them.
        inside: tensors that would lie in rings.
        unit_bytes: of a row of every tensor, or of a strip of one.
        fed: tensor whose rows are pushed.
    """
    found: dict[str, Guest] = {}
    hosts: dict[str, list[Guest]] = {}
    readers: dict[str, list[tuple[int, Reading]]] = {}
    for index, band in enumerate(bands):
        for _, reading in band.readings:
            readers.setdefault(reading.tensor, []).append((index, reading))
    for guest in _candidates(bands, inside, unit_bytes):
        known = hosts.get(guest.host, [])
        taken = guest.tensor in found or guest.host in found or guest.tensor in hosts or guest.host == fed
        if taken or unit_bytes[guest.tensor] > unit_bytes[guest.host] or _split(bands, guest.tensor):
            continue
        slots = simulation.slots[guest.host] if guest.host in inside else sizes[guest.host]
        if _Lodging(bands, simulation, readers, [*known, guest], slots, fed).holds():
            found[guest.tensor] = guest
            hosts[guest.host] = [*known, guest]
    return found


def _candidates(bands: Sequence[Band], inside: Sequence[str], unit_bytes: Mapping[str, int]) -> Iterator[Guest]:
    made = {band.writes for band in bands}
    for band in bands:
        for number, reading in band.readings:
            in_place = any(overlap.same and overlap.input == number for overlap in band.call.overlaps)
            if not in_place or reading.offset:  # what begins within a row does not lie where the row does
                continue
            # Rows that are made together must lie one behind the other, in slots of the host.
            packed = band.makes == 1 or unit_bytes[band.writes] == unit_bytes.get(reading.tensor)
            alike = _alike(band, reading) and packed
            if reading.tensor in inside and alike:
                yield Guest(tensor=reading.tensor, host=band.writes, lead=0, stride=1)
            if band.writes in inside and reading.tensor in inside and reading.tensor in made:
                if alike:
                    yield Guest(tensor=band.writes, host=reading.tensor, lead=0, stride=1)
                elif band.rows == 1 and reading.span is None:  # whole rows of one over whole rows of the other
                    yield Guest(tensor=band.writes, host=reading.tensor, lead=reading.first, stride=reading.step)


def _split(bands: Sequence[Band], tensor: str) -> bool:
    """Whether a band reads from several strips of a tensor at once, which would have to lie one behind the other."""
    spans = [r.span for band in bands for _, r in band.readings if r.tensor == tensor and r.span is not None]
    return any(span.units > 1 and not span.same for span in spans)


def _alike(band: Band, reading: Reading) -> bool:
    """Whether each unit of the output is made from the unit of the same number."""
    same = (reading.first, reading.step, reading.count) == (0, band.rows, band.rows)
    return same and (reading.span is None or reading.span.same) and reading.access is Access.DENSE


class _Lodging:
    """A host with its guests in the slots of one ring.

    Args:
        bands: in topological order.
        simulation: the run.
        readers: of each tensor: bands and what they read.
        guests: of one host.
        slots: of the host.
        fed: tensor whose rows are pushed.
    """

    def __init__(
        self,
        bands: Sequence[Band],
        simulation: Simulation,
        readers: Mapping[str, Sequence[tuple[int, Reading]]],
        guests: Sequence[Guest],
        slots: int,
        fed: str | None,
    ) -> None:
        self.bands, self.slots, self.fed = bands, slots, fed
        host = guests[0].host
        self.places = {host: (0, 1), **{guest.tensor: (guest.lead, guest.stride) for guest in guests}}
        self.readers = {name: readers.get(name, ()) for name in self.places}
        concerned = {b for found in self.readers.values() for b, _ in found} | {-1}
        concerned |= {b for b, band in enumerate(bands) if band.writes in self.places}
        self.order = [index for index in simulation.order if index in concerned]
        self.done = [0] * len(bands)
        self.made = dict.fromkeys(self.places, 0)

    def holds(self) -> bool:
        """Whether no row is written over one that is still to be read."""
        for index in self.order:
            if index < 0:
                if self.fed in self.places and not self._free(str(self.fed)):
                    return False
                continue
            band = self.bands[index]
            if band.writes in self.places and not self._fits(index, band):
                return False
            self.done[index] += 1
            if band.writes in self.places:
                self.made[band.writes] += band.makes
        return True

    def _free(self, fed: str) -> bool:
        """Takes a pushed row; whether nothing that is still to be read lies in its slot."""
        slot = self._slot(fed, self.made[fed])
        taken = {self._slot(name, row) for name, made in self.made.items() for row in range(self._oldest(name), made)}
        self.made[fed] += 1
        return slot not in taken

    def _fits(self, index: int, band: Band) -> bool:
        """Whether the rows that a band makes next find their slots free, but for what it may work in place on."""
        first = self.done[index] * band.makes
        fresh = {self._slot(band.writes, unit) for unit in range(first, first + band.makes)}
        if len(fresh) < band.makes:
            return False
        before = {name: self._oldest(name) for name in self.places}
        self.done[index] += 1
        after = {name: self._oldest(name) for name in self.places}
        self.done[index] -= 1
        permitted = {
            reading.tensor
            for number, reading in band.readings
            if any(overlap.same and overlap.input == number for overlap in band.call.overlaps)
        }
        for name, made in self.made.items():
            for row in range(before[name], made):
                if self._slot(name, row) not in fresh:
                    continue
                last = row < after[name] and name in permitted
                if not last or not self._over(name, row, band, first):
                    return False
        return True

    def _over(self, name: str, row: int, band: Band, first: int) -> bool:
        """Whether the dying row is the very one that the band may work in place on."""
        return any(
            self._slot(name, row) == self._slot(band.writes, first + number)
            and (band.makes == 1 or row == first + number)
            for number in range(band.makes)
        )

    def _slot(self, name: str, row: int) -> int:
        lead, stride = self.places[name]
        return (lead + row * stride) % self.slots

    def _oldest(self, name: str) -> int:
        """The first row that some band still has to read; none where the tensor is an output."""
        made = self.made[name]
        waiting = [r.oldest(self.done[b]) for b, r in self.readers[name] if self.done[b] < self.bands[b].runs]
        return min(waiting, default=made) if self.readers[name] else made
