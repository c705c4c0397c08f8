# SPDX-License-Identifier: Apache-2.0
"""Which layers run as streams of whole rows, or in column bands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import divisible
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.covers import Covers
from mcucompiler.stream.floors import MOST_COLUMNS, Floors
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.patches import narrow_rings
from mcucompiler.stream.paths import Edge
from mcucompiler.stream.patience import Patience
from mcucompiler.stream.types import StreamCall
from mcucompiler.stream.widths import Widths

_WAYS = ((1, False), (1, True), (2, False), (4, False))  # rows of a run, and whether with little scratch
_COLUMNS = tuple(range(2, MOST_COLUMNS + 1))  # column bands
_LONGEST_PATCHES = 10  # layers; the halo grows with each of them
_MOST_EXPANSIONS = 3
_INFINITE = 1 << 62


class Search:
    """Finds the edges.

    Args:
        composer: of the program.
        fed: tensor whose rows the caller pushes.
        enough: bytes below which no plan needs to get.
        progress: called with a count of what is done, ``stretch`` in the end.
        widths: what streams along the width need at least; None where none is tried.

    Attributes:
        covers: of the edges that were given.
        swift: of those among them that make nothing anew for each window.
    """

    def __init__(
        self,
        composer: Composer,
        fed: str | None,
        enough: int,
        progress: Callable[[int], None],
        widths: Widths | None = None,
    ) -> None:
        self.widths, self.composer, self.fed, self.progress = widths, composer, fed, progress
        lowered = composer.lowered
        self.lives = Lives(lowered, fed)
        self.layers = [
            Edge(
                choice=GroupChoice(first=i, stop=i + 1),
                step=step,
                bytes=self.lives.bytes(step, i, i + 1),
                cycles=step.call.cycles,
            )
            for i, step in enumerate(lowered.steps)
        ]
        self.takes = {i for i, step in enumerate(lowered.steps) if fed in step.reads.values()} if fed else set()
        self.stops = self._reaches()
        self.divisible = [self._divides(index) for index in range(len(self.layers))]
        self.floors = Floors(composer.maker, self.lives, self.stops, self.divisible)
        self.floor = max(self._floor(), enough)
        self.covers = Covers()
        self.swift = Covers()
        self.patience = Patience(len(self.layers))

    def _reaches(self) -> list[int]:
        """For each step, one past the last one that may be in a stream that begins there."""
        maker, begun = self.composer.maker, 0
        stops: list[int] = []
        for index in range(len(self.layers)):
            self.progress(index)
            if not (maker.height(index) and maker.bands(index, 1)):
                stops += [index] * (index + 1 - begun)
                begun = index + 1
        return stops + [len(self.layers)] * (len(self.layers) - begun)

    def _divides(self, index: int) -> bool:
        """Whether a layer can make some of its columns without the others."""
        if index in self.takes or self.stops[index] == index:
            return False
        return all(divisible(self.composer.lowered.graph, band) for band in self.composer.maker.bands(index, 1))

    def begins(self, first: int, stop: int) -> str | None:
        """The tensor that is pushed into a stream, provided that the stream takes all of it."""
        return self.fed if self.fed and first == 0 and self.takes <= set(range(stop)) else None

    def possible(self, first: int, stop: int) -> bool:
        """Whether some layers may run as a stream, as far as can be told from where they lie."""
        inside = any(first <= index < stop for index in self.takes)
        fed = self.begins(first, stop) is not None
        return fed if inside else stop - first > 1

    def _floor(self) -> int:
        """No plan needs less: the most that a step needs in its cheapest edge."""
        least = [
            _INFINITE if index in self.takes else edge.bytes - whole_words(edge.step.call.scratch_bytes)
            for index, edge in enumerate(self.layers)
        ]
        for first, reach in enumerate(self.stops):
            for stop in range(first + 1, reach + 1):
                if self.possible(first, stop):
                    needed = min(self.floors.least_strips(first, stop), self.floors.least_patches(first, stop))
                    for index in range(first, stop):
                        least[index] = min(least[index], needed)
        for needed, choice in self.widths.promises(self.takes, self.fed) if self.widths is not None else ():
            for index in range(choice.first, choice.stop):
                least[index] = min(least[index], needed)
        return max(least, default=0)

    def edges(self) -> Iterator[Edge]:
        """The layers, and the streams that may be worth while, the shorter ones first."""
        count = len(self.layers)
        for index, layer in enumerate(self.layers):
            if index not in self.takes:
                lean = self._lean(index)
                yield from map(self.known, (layer,) if lean is None else (layer, lean))
        for length in range(1, count + 1):
            self.progress(count + length - 1)
            for first in range(count - length + 1):
                stop = first + length
                if stop <= self.stops[first] and self.possible(first, stop):
                    yield from map(self.known, self._groups(first, stop))

    def known(self, edge: Edge) -> Edge:
        """An edge that is taken."""
        self.covers.add(edge.choice.first, edge.choice.stop, edge.bytes)
        if not edge.choice.expansions:
            self.swift.add(edge.choice.first, edge.choice.stop, edge.bytes)
        return edge

    def _groups(self, first: int, stop: int) -> Iterator[Edge]:
        """The ways to run some layers as one stream; all edges within these must be known."""
        most = max(layer.bytes for layer in self.layers[first:stop])
        fed = self.begins(first, stop)
        if fed is None and most <= self.floor:
            return
        # Shorter edges that need no more than this one must, do the same work in the same time.
        known, least = self.covers.bytes(first, stop), self.floors.least(first, stop)
        if known <= least or self.patience.ends(first, least):
            return
        self.patience.missed(first, least, spans=self.spans(first, stop))
        for edge in self.variants(GroupChoice(first=first, stop=stop, fed=fed), _INFINITE if fed else most):
            if edge.bytes < known:
                self.patience.gained(first)
            yield edge

    def spans(self, first: int, stop: int) -> bool:
        """Whether what a stream makes before its last layer is read behind it: it may pay to go on to the reader."""
        lives = self.lives
        return any(first <= born < stop - 1 and lives.last[name] >= stop for name, born in lives.first.items())

    def attainable(self, promises: Iterable[tuple[int, GroupChoice]]) -> int:
        """The most that a layer needs in its cheapest edge, known or promised: what needs no more can stay as it is."""
        least = [self.covers.least(index) for index in range(len(self.layers))]
        for needed, choice in promises:
            for index in range(choice.first, choice.stop):
                least[index] = min(least[index], needed)
        return max([self.floor, *least])

    def patches(self) -> Iterator[Edge]:
        """Groups in column bands, where these may need less than anything that makes nothing anew for windows."""
        promises = tuple(self._promises())
        floor = self.attainable(promises)
        most: dict[tuple[int, int], int] = {}
        for needed, choice in promises:
            key = choice.first, choice.stop
            known = most.get(key, self.swift.bytes(*key))
            edge = self.edge(choice) if known > max(needed, floor) else None
            if edge is not None and edge.bytes < known:
                most[key] = edge.bytes
                yield edge

    def _promises(self) -> Iterator[tuple[int, GroupChoice]]:
        """Groups in column bands that may be worth while, and what they need at least: no kernels are made for it."""
        graph, count = self.composer.lowered.graph, len(self.layers)
        groups = ((i, j) for i in range(count) for j in range(i + 2, min(self.stops[i], i + _LONGEST_PATCHES) + 1))
        for first, stop in groups:
            self.progress(3 * count + first)
            if self.swift.bytes(first, stop) <= max(self.floor, self.floors.least_patches(first, stop)):
                continue
            for lean in (False, True) if self._saves_scratch(GroupChoice(first=first, stop=stop)) else (False,):
                whole = self.edge(GroupChoice(first=first, stop=stop, lean=lean))
                if whole is None or not isinstance(call := whole.step.call, StreamCall):
                    break
                for columns in _COLUMNS:
                    choice = GroupChoice(first=first, stop=stop, lean=lean, columns=columns)
                    rings = narrow_rings(graph, call, self.composer.shares(choice, call.bands))
                    if rings is not None:
                        yield self.lives.least_bytes(first, stop, apart=True) + rings, choice

    def variants(self, group: GroupChoice, most: int) -> Iterator[Edge]:
        """With one or more rows at a time; with the largest expanded tensors kept, or made anew.

        Args:
            group: the layers, and along which axis they run.
            most: only what needs less is of use.
        """
        most_rows = _WAYS[-1][0]
        for rows, lean in _WAYS:
            if rows > most_rows or (lean and not self._saves_scratch(group)):
                continue
            choice = replace(group, rows=rows, lean=lean)
            edge = self.edge(choice)
            if edge is None:
                continue
            if edge.bytes < most:
                yield edge
            elif not lean:
                most_rows = rows  # more rows at a time need more memory still
            for expansions in self._expansions(edge):
                leaner = self.edge(replace(choice, expansions=expansions))
                if leaner is not None and leaner.bytes < min(most, edge.bytes):
                    yield leaner

    def _lean(self, index: int) -> Edge | None:
        """A layer with little scratch; None where that does not matter."""
        layer = self.layers[index]
        step = self.composer.maker.lean_layer(index) if layer.bytes > self.floor else None
        if step is None:
            return None
        choice = replace(layer.choice, lean=True)
        needed = self.lives.bytes(step, index, index + 1)
        return Edge(choice=choice, step=step, bytes=needed, cycles=step.call.cycles)

    def _saves_scratch(self, group: GroupChoice) -> bool:
        """Whether kernels with little scratch need less than the fast ones, or may do with smaller expansions."""
        maker, layers = self.composer.maker_of(turned=group.turned), range(group.first, group.stop)
        if any(maker.expandable(index) for index in layers[:-1]):
            return True
        fast, lean = (
            max(band.call.scratch_bytes for index in layers for band in maker.bands(index, 1, lean=lean))
            for lean in (False, True)
        )
        return lean < fast

    def _expansions(self, edge: Edge) -> Iterator[frozenset[int]]:
        """Sets of expanding layers to make anew, those with the largest rings first."""
        call, lowered = edge.step.call, self.composer.lowered
        maker = self.composer.maker_of(turned=edge.choice.turned)
        if not isinstance(call, StreamCall) or edge.bytes <= self.floor:
            return
        rings = {rows.tensor: rows.slots * rows.row_bytes for rows in call.rows if rows.offset is not None}
        found = [
            (rings[name], index)
            for index in range(edge.choice.first, edge.choice.stop - 1)
            if (name := lowered.steps[index].writes[0]) in rings and maker.expandable(index)
        ]
        taken: set[int] = set()
        for _, index in sorted(found, reverse=True)[:_MOST_EXPANSIONS]:
            taken.add(index)
            yield frozenset(taken)

    def edge(self, choice: GroupChoice) -> Edge | None:
        """A stream between two cuts; None where the layers cannot run so."""
        step = self.composer.stream(choice)
        if step is None:
            return None
        needed = self.lives.bytes(step, choice.first, choice.stop)
        return Edge(choice=choice, step=step, bytes=needed, cycles=step.call.cycles)
