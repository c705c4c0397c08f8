# SPDX-License-Identifier: Apache-2.0
"""Which layers run as streams: the whole frontier of memory against time, by label setting over cuts.

The steps have a fixed order. A cut lies between two of them; an edge from cut to cut is a layer, or a
stream of all layers between. What is live at a cut does not depend on how it was reached, so a plan
is a path, its memory the most that any of its edges needs, its time the sum; a path is kept where no
other one to the same cut needs neither less memory nor less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import networkx as nx

from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import divisible
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.covers import Covers
from mcucompiler.stream.floors import MOST_COLUMNS, Floors, strips_bytes
from mcucompiler.stream.images import COLUMN_AXIS, IMAGE_RANK, row_bytes
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.patches import narrow_rings
from mcucompiler.stream.paths import Edge
from mcucompiler.stream.turned import worth_turning
from mcucompiler.stream.types import StreamCall
from mcucompiler.stream.widths import Widths

_WAYS = ((1, False), (1, True), (2, False), (4, False))  # rows of a run, and whether with little scratch
_COLUMNS = tuple(range(2, MOST_COLUMNS + 1))  # column bands
_STRIPS = range(2, 17)  # of a row
_LONGEST_PATCHES = 10  # layers; the halo grows with each of them
_MOST_EXPANSIONS = 3
# Streams from a layer on, or groups in strips, that were no better, until longer ones are not tried:
_MOST_MISSES, _MOST_STRIP_MISSES = 4, 8
_WIDTH_MARGIN = 8  # a stream along the width needs more than its bound, which knows of no scratch: an eighth at least
_INFINITE = 1 << 62


class _Search:
    """Finds the edges.

    Args:
        composer: of the program.
        fed: tensor whose rows the caller pushes.
        enough: bytes below which no plan needs to get.
        progress: called with a count of what is done, ``stretch`` in the end.

    Attributes:
        covers: of the edges that were given.
        swift: of those among them that make nothing anew for each window.
    """

    def __init__(self, composer: Composer, fed: str | None, enough: int, progress: Callable[[int], None]) -> None:
        self.composer, self.fed, self.progress = composer, fed, progress
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
        self.widths = Widths(composer, self.lives) if worth_turning(lowered) else None
        self.reaches = {False: self.stops}
        if self.widths is not None:
            self.reaches[True] = [self.widths.reach(first) for first in range(len(self.layers))]
        self.divisible = [self._divides(index) for index in range(len(self.layers))]
        self.floors = Floors(composer.maker, self.lives, self.stops, self.divisible)
        self.floor = max(self._floor(), enough)
        self.covers = Covers()
        self.swift = Covers()
        self.misses = {turned: [0] * len(self.layers) for turned in self.reaches}

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

    def _begins(self, first: int, stop: int) -> str | None:
        """The tensor that is pushed into a stream, provided that the stream takes all of it."""
        return self.fed if self.fed and first == 0 and self.takes <= set(range(stop)) else None

    def _possible(self, first: int, stop: int, turned: bool) -> bool:
        """Whether a group may be a stream; ``turned``: along the width, where no rows of images are pushed."""
        if stop > self.reaches[turned][first]:
            return False
        if not any(first <= index < stop for index in self.takes):
            return stop - first > 1
        tensors = self.composer.lowered.graph.tensors
        fed = self._begins(first, stop)
        return fed is not None and not (turned and len(tensors[fed].shape) == IMAGE_RANK)

    def _floor(self) -> int:
        """No plan needs less: the most that a step needs in its cheapest edge."""
        least = [
            _INFINITE if index in self.takes else edge.bytes - whole_words(edge.step.call.scratch_bytes)
            for index, edge in enumerate(self.layers)
        ]
        for turned, reaches in self.reaches.items():
            for first, reach in enumerate(reaches):
                for stop in range(first + 1, reach + 1):
                    if self._possible(first, stop, turned):
                        needed = self._least_of(first, stop, turned)
                        for index in range(first, stop):
                            least[index] = min(least[index], needed)
        return max(least, default=0)

    def _least_of(self, first: int, stop: int, turned: bool) -> int:
        """What a group needs at least, whatever way it runs in along the height or the width."""
        if turned:
            return self._least(first, stop, turned)
        return min(self.floors.least_strips(first, stop), self.floors.least_patches(first, stop))

    def _least(self, first: int, stop: int, turned: bool) -> int:
        """What a group needs at least in whole rows or columns."""
        if turned and self.widths is not None:
            return self.widths.least(first, stop)
        return self.floors.least(first, stop)

    def edges(self) -> Iterator[Edge]:
        """The layers, and the streams that may be worth while, the shorter ones first."""
        for index, layer in enumerate(self.layers):
            if index not in self.takes:
                lean = self._lean(index)
                yield from map(self._known, (layer,) if lean is None else (layer, lean))
        for turned in self.reaches:
            yield from self._lengths(turned)
        yield from map(self._known, self._strips())
        yield from self._patches()

    def _lengths(self, turned: bool) -> Iterator[Edge]:
        """Streams along the height or the width, of whole rows or columns."""
        count, floor = len(self.layers), self.floor
        if turned:
            self.covers = self.covers.again()
            floor = self._attainable(self._width_promises())
        for length in range(1, count + 1):
            self.progress((2 if turned else 1) * count + length - 1)
            for first in range(count - length + 1):
                stop = first + length
                if self._possible(first, stop, turned):
                    yield from map(self._known, self._groups(first, stop, turned, floor))

    def _width_promises(self) -> Iterator[tuple[int, GroupChoice]]:
        """What streams along the width need at least."""
        for first, reach in enumerate(self.reaches[True]):
            for stop in range(first + 1, reach + 1):
                if self._possible(first, stop, True):
                    yield self._least(first, stop, True), GroupChoice(first=first, stop=stop, turned=True)

    def _known(self, edge: Edge) -> Edge:
        self.covers.add(edge.choice.first, edge.choice.stop, edge.bytes)
        if not edge.choice.expansions:
            self.swift.add(edge.choice.first, edge.choice.stop, edge.bytes)
        return edge

    def _groups(self, first: int, stop: int, turned: bool, floor: int) -> Iterator[Edge]:
        """The ways to run some layers as one stream; all edges within these must be known.

        Args:
            first: the first layer.
            stop: one past the last layer.
            turned: whether the stream runs along the width.
            floor: no plan needs less.
        """
        most = max(layer.bytes for layer in self.layers[first:stop])
        fed = self._begins(first, stop)
        if fed is None and most <= floor:
            return
        # Shorter edges that need no more than this one must, do the same work in the same time.
        known = self.covers.bytes(first, stop)
        least = self._least(first, stop, turned)
        misses = self.misses[turned]
        if misses[first] == _MOST_MISSES or known <= (max(least + least // _WIDTH_MARGIN, floor) if turned else least):
            return
        if not self._spans(first, stop):
            misses[first] += 1
        group = GroupChoice(first=first, stop=stop, fed=fed, turned=turned)
        for edge in self._variants(group, _INFINITE if fed else most):
            if edge.bytes < known:
                misses[first] = 0
            yield edge

    def _spans(self, first: int, stop: int) -> bool:
        """Whether what a stream makes before its last layer is read behind it: it may pay to go on to the reader."""
        lives = self.lives
        return any(first <= born < stop - 1 and lives.last[name] >= stop for name, born in lives.first.items())

    def _strips(self) -> Iterator[Edge]:
        """Groups in strips of rows, where these need less than what takes whole rows."""
        for first, reach in enumerate(self.stops):
            self.progress((1 + len(self.reaches)) * len(self.layers) + first)
            misses = 0
            for stop in range(first + 1, reach + 1):
                if not self._possible(first, stop, False) or misses == _MOST_STRIP_MISSES:
                    continue
                before, better = len(self.composer.streams), False
                for anew in self._sets(first, stop):
                    for edge in self._in_strips(first, stop, anew):
                        better = True
                        yield edge
                misses = 0 if better else misses + (len(self.composer.streams) > before)

    def _attainable(self, promises: Iterable[tuple[int, GroupChoice]]) -> int:
        """The most that a layer needs in its cheapest edge, known or promised: what needs no more can stay as it is."""
        least = [self.covers.least(index) for index in range(len(self.layers))]
        for needed, choice in promises:
            for index in range(choice.first, choice.stop):
                least[index] = min(least[index], needed)
        return max([self.floor, *least])

    def _sets(self, first: int, stop: int) -> Iterator[frozenset[int]]:
        """None, and more and more of the layers that may be made anew, the largest first."""
        taken: list[int] = []
        yield frozenset()
        tensors, steps = self.composer.lowered.graph.tensors, self.composer.lowered.steps
        wide = [index for index in range(first, stop - 1) if self.composer.maker.expandable(index)]
        wide.sort(key=lambda index: -row_bytes(tensors[steps[index].writes[0]]))
        for index in wide[:_MOST_EXPANSIONS]:
            taken.append(index)
            yield frozenset(taken)

    def _in_strips(self, first: int, stop: int, expansions: frozenset[int]) -> Iterator[Edge]:
        """The ways to run a group in strips; what makes nothing anew is measured by its like."""
        known = (self.covers if expansions else self.swift).bytes(first, stop)
        least = self.lives.least_bytes(first, stop)
        if known <= max(self.floor, least):
            return
        lowered = self.composer.lowered
        windows = self.floors.windows(first, stop, expansions | {index + 1 for index in expansions})
        rings = [(lowered.graph.tensors[name], rows) for name, rows in windows.items()]
        made = {lowered.graph.tensors[step.writes[0]].shape[COLUMN_AXIS:] for step in lowered.steps[first:stop]}
        for strips in _STRIPS:
            if all(not width or width[0] % strips for width in made):
                continue
            promise = least + sum(strips_bytes(tensor, rows, strips) for tensor, rows in rings)
            choice = GroupChoice(first=first, stop=stop, strips=strips, expansions=expansions, lean=bool(expansions))
            edge = self._edge(replace(choice, fed=self._begins(first, stop))) if promise < known else None
            if edge is not None and edge.bytes < known:
                known = edge.bytes
                yield edge

    def _patches(self) -> Iterator[Edge]:
        """Groups in column bands, where these may need less than anything that makes nothing anew for windows."""
        promises = tuple(self._promises())
        floor = self._attainable(promises)
        most: dict[tuple[int, int], int] = {}
        for needed, choice in promises:
            key = choice.first, choice.stop
            known = most.get(key, self.swift.bytes(*key))
            edge = self._edge(choice) if known > max(needed, floor) else None
            if edge is not None and edge.bytes < known:
                most[key] = edge.bytes
                yield edge

    def _promises(self) -> Iterator[tuple[int, GroupChoice]]:
        """Groups in column bands that may be worth while, and what they need at least: no kernels are made for it."""
        graph, count = self.composer.lowered.graph, len(self.layers)
        groups = ((i, j) for i in range(count) for j in range(i + 2, min(self.stops[i], i + _LONGEST_PATCHES) + 1))
        for first, stop in groups:
            self.progress((2 + len(self.reaches)) * count + first)
            if self.swift.bytes(first, stop) <= max(self.floor, self.floors.least_patches(first, stop)):
                continue
            for lean in (False, True) if self._saves_scratch(GroupChoice(first=first, stop=stop)) else (False,):
                whole = self._edge(GroupChoice(first=first, stop=stop, lean=lean))
                if whole is None or not isinstance(call := whole.step.call, StreamCall):
                    break
                for columns in _COLUMNS:
                    choice = GroupChoice(first=first, stop=stop, lean=lean, columns=columns)
                    rings = narrow_rings(graph, call, self.composer.shares(choice, call.bands))
                    if rings is not None:
                        yield self.lives.least_bytes(first, stop, apart=True) + rings, choice

    def _variants(self, group: GroupChoice, most: int) -> Iterator[Edge]:
        """With one or more rows at a time; with the largest expanded tensors kept, or made anew."""
        most_rows = _WAYS[-1][0]
        for rows, lean in _WAYS:
            if rows > most_rows or (lean and not self._saves_scratch(group)):
                continue
            choice = replace(group, rows=rows, lean=lean)
            edge = self._edge(choice)
            if edge is None:
                continue
            if edge.bytes < most:
                yield edge
            elif not lean:
                most_rows = rows  # more rows at a time need more memory still
            for expansions in self._expansions(edge):
                leaner = self._edge(replace(choice, expansions=expansions))
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

    def _edge(self, choice: GroupChoice) -> Edge | None:
        step = self.composer.stream(choice)
        if step is None:
            return None
        needed = self.lives.bytes(step, choice.first, choice.stop)
        return Edge(choice=choice, step=step, bytes=needed, cycles=step.call.cycles)


def stretch(composer: Composer) -> int:
    """To what ``find_edges`` counts."""
    parts = 5 if worth_turning(composer.lowered) else 4
    return parts * len(composer.lowered.steps)  # bands, groups of each length (by columns, too), strips, column bands


def find_edges(
    composer: Composer, fed: str | None, progress: Callable[[int], None], enough: int = 0
) -> nx.MultiDiGraph[int]:
    """The graph of cuts with all layers and all streams that may be worth while.

    Args:
        composer: of the program.
        fed: tensor whose rows the caller pushes; the first edge must then be a stream that takes them.
        progress: called with a count of what is done, ``stretch`` in the end.
        enough: bytes below which no plan needs to get; what only serves smaller ones is left out.
    """
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    graph.add_nodes_from(range(len(composer.lowered.steps) + 1))
    for edge in _Search(composer, fed, enough, progress).edges():
        graph.add_edge(edge.choice.first, edge.choice.stop, edge=edge)
    return graph
