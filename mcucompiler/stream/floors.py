# SPDX-License-Identifier: Apache-2.0
"""What groups of layers need at least, before any stream is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mcucompiler.ir.graph import Tensor
from mcucompiler.stream.bands import BandMaker
from mcucompiler.stream.images import COLUMN_AXIS, row_bytes
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.types import Band

MOST_COLUMNS = 4
"""In how many column bands a group is tried at most."""
_AHEAD = 2  # strips that a producer is ahead of a window, about
_INFINITE = 1 << 62


class Floors:
    """Lower bounds of what groups need, whatever way they run in.

    Args:
        maker: makes the bands of the layers.
        lives: what is live between the layers.
        stops: for each layer, one past the last one of the longest group that begins with it.
        divisible: for each layer, whether it can make some of its columns without the others.
    """

    def __init__(self, maker: BandMaker, lives: Lives, stops: Sequence[int], divisible: Sequence[bool]) -> None:
        self._maker, self._lives, self._stops, self._divisible = maker, lives, stops, divisible
        self._tensors = maker.lowered.graph.tensors
        makers = {name: index for index, step in enumerate(maker.lowered.steps) for name in step.writes}
        self._makers = {name: index for name, index in makers.items() if stops[index] > index}
        lodged = {name: self._in_place(index) for name, index in self._makers.items()}
        self._read = [self._windows_of(index, lodged) if stop > index else {} for index, stop in enumerate(stops)]
        self._rings = [self._grown(first) for first in range(len(stops))]

    def least(self, first: int, stop: int) -> int:
        """What a group needs at least in whole rows."""
        kept, _, _, scratch = self._rings[first][stop - first]
        return self._lives.least_bytes(first, stop) + kept + scratch

    def least_strips(self, first: int, stop: int) -> int:
        """What a group needs at least in strips, which is never more than in whole rows."""
        _, rows_left, _, _ = self._rings[first][stop - first]
        return self._lives.least_bytes(first, stop) + rows_left

    def least_patches(self, first: int, stop: int) -> int:
        """What a group needs at least in column bands: its outputs cover no inputs, and rings are narrow."""
        if stop - first == 1 or not all(self._divisible[first:stop]):
            return _INFINITE
        _, _, all_rings, _ = self._rings[first][stop - first]
        return self._lives.least_bytes(first, stop, apart=True) + all_rings // MOST_COLUMNS

    def windows(self, first: int, stop: int, anew: frozenset[int]) -> dict[str, int]:
        """How many rows the bands of a group read at once of the tensors between them that cannot lodge with others.

        Args:
            first: the first layer.
            stop: one past the last.
            anew: layers that are made anew for each window of the layer that follows; this then reads their inputs.
        """
        found: dict[str, int] = {}
        for index in range(first, stop):
            read = self._read[index]
            if index - 1 in anew:
                rows = max(read.values(), default=1)
                read = {
                    name: rows for name in self._maker.lowered.steps[index - 1].reads.values() if name in self._makers
                }
            for name, rows in read.items() if index not in anew else ():
                if self._makers[name] >= first:
                    found[name] = max(rows, found.get(name, 0))
        return found

    def _grown(self, first: int) -> list[tuple[int, int, int, int]]:
        """For 0, 1 and more layers from ``first`` on: bytes of windows between them, and of the most scratch.

        The windows are counted in three ways: without expanded tensors, which may be made anew for each window; of
        these without their last rows, of which strips may do; and all.
        """
        kept: dict[str, int] = {}
        whole: dict[str, int] = {}
        found, scratch = [(0, 0, 0, 0)], 0
        for index in range(first, self._stops[first]):
            anew = self._maker.expandable(index) or (index > first and self._maker.expandable(index - 1))
            if not anew:
                scratch = max([scratch, *(b.call.scratch_bytes for b in self._maker.bands(index, 1, lean=True))])
            for name, rows in self._read[index].items():
                if self._makers[name] >= first:
                    size = rows * row_bytes(self._tensors[name])
                    for rings in (whole,) if anew else (whole, kept):
                        rings[name] = max(size, rings.get(name, 0))
            rows_left = sum(kept.values()) - sum(row_bytes(self._tensors[name]) for name in kept)
            found.append((sum(kept.values()), rows_left, sum(whole.values()), scratch))
        return found

    def _windows_of(self, index: int, lodged: Mapping[str, bool]) -> dict[str, int]:
        """How many rows a layer reads at once of each tensor that layers make and that may not lodge elsewhere."""
        found: dict[str, int] = {}
        for band in self._maker.bands(index, 1):
            for number, reading in band.readings:
                name = reading.tensor
                if not lodged.get(name, True) and not _works_in_place(band, number):
                    found[name] = max(reading.count, found.get(name, 0))
        return found

    def _in_place(self, index: int) -> bool:
        """Whether a layer may work in place: its output may then lodge where an input is."""
        return any(overlap.same for band in self._maker.bands(index, 1) for overlap in band.call.overlaps)


def _works_in_place(band: Band, number: int) -> bool:
    """Whether a band may write over rows of an input."""
    return any(overlap.same and overlap.input == number for overlap in band.call.overlaps)


def strips_bytes(tensor: Tensor, rows: int, strips: int) -> float:
    """About what a ring takes for windows of some rows."""
    last = 1 if tensor.shape[COLUMN_AXIS] % strips else _AHEAD / strips
    return row_bytes(tensor) * (rows - 1 + last)
