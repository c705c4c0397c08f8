# SPDX-License-Identifier: Apache-2.0
"""Runs a stream on counters: in which order the bands run, and how many rows of each tensor are needed at once.

There are no formulas for ring sizes here: they are read off the very run that the C program will make.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import lcm

from mcucompiler.stream.types import Access, Band, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a run of a stream shows.

    Attributes:
        order: index of the band of each run, in order; -1 for a pushed row.
        slots: for each tensor between bands, how many units, rows or strips, it needs room for.
        ahead: for each band, and each outside tensor that is read by rows, pairs (units of the band's
            output written, first unit of the outside tensor still needed) at each of its runs.
    """

    order: tuple[int, ...]
    slots: Mapping[str, int]
    ahead: Mapping[tuple[int, str], tuple[tuple[int, int], ...]]

    def pushes(self) -> Iterator[tuple[int, ...]]:
        """The bands that run after each pushed row; all at once where none is pushed."""
        start = 0
        ends = [position for position, index in enumerate(self.order) if index < 0]
        for end in (*ends, len(self.order)):
            if end or not ends:
                yield self.order[start:end]
            start = end + 1


def run_order(bands: Sequence[Band], heights: Mapping[str, int], fed: str | None) -> Iterator[int]:
    """The order in which bands run: always the last one whose inputs are there; -1 for a pushed row.

    It ends when nothing more can be done.
    """
    maker = {band.writes: index for index, band in enumerate(bands)}
    waits = [
        [
            (maker.get(r.tensor, -1), _wanted(r, band.runs, heights[r.tensor]))
            for _, r in band.readings
            if r.tensor in maker or r.tensor == fed
        ]
        for band in bands
    ]
    readers = [
        sorted(b for b, needs in enumerate(waits) if any(need[0] == index for need in needs))
        for index in range(-1, len(bands))
    ]
    done = [0] * len(bands)
    made = [0] * (len(bands) + 1)  # the last one counts pushed rows
    makes = [band.makes for band in bands]
    total = [band.runs for band in bands]
    left = heights[fed] if fed is not None else 0

    def ready(band: int) -> bool:
        run = done[band]
        if run == total[band]:
            return False
        return all(made[source] >= wanted[run] for source, wanted in waits[band])

    at = len(bands) - 1
    while True:
        while at >= 0 and not ready(at):
            at -= 1
        if at >= 0:
            yield at
            done[at] += 1
            made[at] += makes[at]
        elif made[-1] < left:
            yield -1
            made[-1] += 1
        else:
            return
        # Nothing behind was ready before, so only readers of what was made can be ready now.
        at = max(readers[at + 1], default=at) if readers[at + 1] and readers[at + 1][-1] > at else at


def simulate(bands: Sequence[Band], heights: Mapping[str, int], fed: str | None = None) -> Simulation | None:
    """One run of a stream; None where it comes to a stop too early.

    Args:
        bands: in topological order.
        heights: rows of each tensor that is read by rows or written.
        fed: tensor whose rows are pushed.
    """
    order = tuple(run_order(bands, heights, fed))
    if len(order) - order.count(-1) < sum(band.runs for band in bands):
        return None
    tracks = _tracks(bands, heights, fed)
    inside = {band.writes for band in bands} | ({fed} if fed is not None else set())
    outside = [track for name, track in tracks.items() if name not in inside]
    ahead: dict[tuple[int, str], list[tuple[int, int]]] = {
        (b, track.name): [] for b in range(len(bands)) for track in outside
    }
    done = [0] * len(bands)
    for index in order:
        if index < 0:
            tracks[str(fed)].write(1, done)
            continue
        band = bands[index]
        written = tracks[band.writes].write(band.makes, done)
        for track in outside:
            # What this very run reads is still needed while it writes.
            ahead[index, track.name].append((written, track.oldest(done)))
        done[index] += 1
    return Simulation(
        order=order,
        slots={name: -(-track.slots // track.unit) * track.unit for name, track in tracks.items() if track.slots},
        ahead={key: tuple(pairs) for key, pairs in ahead.items()},
    )


@dataclass(slots=True)
class _Track:
    """A tensor's units while the stream runs; readers are (band, the first that it still reads in each of its runs)."""

    name: str
    size: int
    readers: list[tuple[int, tuple[int, ...]]]
    unit: int
    made: int = 0
    slots: int = 0

    def oldest(self, done: Sequence[int]) -> int:
        """The first unit that some band still has to read; the number of all where there is none."""
        return min((begins[done[band]] for band, begins in self.readers if done[band] < len(begins)), default=self.size)

    def write(self, units: int, done: Sequence[int]) -> int:
        """Takes new units; gives the number of all so far."""
        self.made += units
        self.slots = max(self.slots, self.made - min(self.oldest(done), self.made - units))
        return self.made


def _tracks(bands: Sequence[Band], heights: Mapping[str, int], fed: str | None) -> dict[str, _Track]:
    readings: dict[str, list[tuple[int, Reading]]] = {name: [] for name in heights}
    units = dict.fromkeys(heights, 1)
    together = dict.fromkeys(heights, 1)
    for index, band in enumerate(bands):
        units[band.writes] = band.units
        together[band.writes] = lcm(together[band.writes], band.makes)
        for _, reading in band.readings:
            if reading.access is not Access.WHOLE:
                readings[reading.tensor].append((index, reading))
                together[reading.tensor] = lcm(together[reading.tensor], _together(reading))
                if reading.span is not None:
                    units[reading.tensor] = reading.span.units
    return {
        name: _Track(
            name=name,
            size=height * units[name],
            readers=[(b, _oldest(r, bands[b].runs)) for b, r in readings[name]],
            unit=together[name],
        )
        for name, height in heights.items()
    }


def _together(reading: Reading) -> int:
    """Units that must lie one behind the other for a kernel, wherever the first of them lies."""
    if reading.access is not Access.DENSE:
        return 1
    if reading.span is not None and reading.span.strips == 1:
        return reading.count * reading.span.units
    return reading.count


@lru_cache(maxsize=1 << 12)
def _wanted(reading: Reading, runs: int, height: int) -> tuple[int, ...]:
    """For each run how many units must be there."""
    return tuple(reading.needed(run, height) for run in range(runs))


@lru_cache(maxsize=1 << 12)
def _oldest(reading: Reading, runs: int) -> tuple[int, ...]:
    """For each run the first unit that is still read."""
    return tuple(reading.oldest(run) for run in range(runs))
