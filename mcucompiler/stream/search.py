# SPDX-License-Identifier: Apache-2.0
"""Which layers run as streams: the whole frontier of memory against time, by label setting over cuts.

The steps have a fixed order. A cut lies between two of them; an edge from cut to cut is a layer, or a
stream of all layers between. What is live at a cut does not depend on how it was reached, so a plan
is a path, its memory the most that any of its edges needs, its time the sum; a path is kept where no
other one to the same cut needs neither less memory nor less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from mcucompiler.lower.types import LoweredStep
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import divisible
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.covers import Covers
from mcucompiler.stream.floors import MOST_COLUMNS, Floors, strips_bytes
from mcucompiler.stream.images import COLUMN_AXIS, row_bytes
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.patches import narrow_rings
from mcucompiler.stream.types import StreamCall

_WAYS = ((1, False), (1, True), (2, False), (4, False))  # rows of a run, and whether with little scratch
_COLUMNS = tuple(range(2, MOST_COLUMNS + 1))  # column bands
_STRIPS = range(2, 17)  # of a row
_LONGEST_PATCHES = 10  # layers; the halo grows with each of them
_MOST_LABELS, _MOST_EXPANSIONS = 64, 3
# Streams from a layer on, or groups in strips, that were no better, until longer ones are not tried:
_MOST_MISSES, _MOST_STRIP_MISSES = 4, 8
_INFINITE = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A layer or a stream between two cuts.

    Attributes:
        choice: the layers.
        step: what runs.
        bytes: what is live while it runs.
        cycles: estimated.
    """

    choice: GroupChoice
    step: LoweredStep
    bytes: int
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A plan: edges from the first cut to the last.

    Attributes:
        bytes: the most that an edge needs.
        cycles: estimated, of all edges.
        edges: in order.
    """

    bytes: int
    cycles: int
    edges: tuple[Edge, ...]

    @property
    def streams(self) -> dict[GroupChoice, LoweredStep]:
        """The edges that are not the layers as they were: streams, and layers with little scratch."""
        return {e.choice: e.step for e in self.edges if e.choice.lean or isinstance(e.step.call, StreamCall)}


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
        self.divisible = [self._divides(index) for index in range(len(self.layers))]
        self.floors = Floors(composer.maker, self.lives, self.stops, self.divisible)
        self.floor = max(self._floor(), enough)
        self.covers = Covers()
        self.swift = Covers()
        self.misses = [0] * len(self.layers)

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

    def _possible(self, first: int, stop: int) -> bool:
        inside = any(first <= index < stop for index in self.takes)
        fed = self._begins(first, stop) is not None
        return fed if inside else stop - first > 1

    def _floor(self) -> int:
        """No plan needs less: the most that a step needs in its cheapest edge."""
        least = [
            _INFINITE if index in self.takes else edge.bytes - whole_words(edge.step.call.scratch_bytes)
            for index, edge in enumerate(self.layers)
        ]
        for first, reach in enumerate(self.stops):
            for stop in range(first + 1, reach + 1):
                if self._possible(first, stop):
                    needed = min(self.floors.least_strips(first, stop), self.floors.least_patches(first, stop))
                    for index in range(first, stop):
                        least[index] = min(least[index], needed)
        return max(least, default=0)

    def edges(self) -> Iterator[Edge]:
        """The layers, and the streams that may be worth while, the shorter ones first."""
        count = len(self.layers)
        for index, layer in enumerate(self.layers):
            if index not in self.takes:
                lean = self._lean(index)
                yield from map(self._known, (layer,) if lean is None else (layer, lean))
        for length in range(1, count + 1):
            self.progress(count + length - 1)
            for first in range(count - length + 1):
                stop = first + length
                if stop <= self.stops[first] and self._possible(first, stop):
                    yield from map(self._known, self._groups(first, stop))
        yield from map(self._known, self._strips())
        yield from self._patches()

    def _known(self, edge: Edge) -> Edge:
        self.covers.add(edge.choice.first, edge.choice.stop, edge.bytes)
        if not edge.choice.expansions:
            self.swift.add(edge.choice.first, edge.choice.stop, edge.bytes)
        return edge

    def _groups(self, first: int, stop: int) -> Iterator[Edge]:
        """The ways to run some layers as one stream; all edges within these must be known."""
        most = max(layer.bytes for layer in self.layers[first:stop])
        fed = self._begins(first, stop)
        if fed is None and most <= self.floor:
            return
        # Shorter edges that need no more than this one must, do the same work in the same time.
        known = self.covers.bytes(first, stop)
        if self.misses[first] == _MOST_MISSES or known <= self.floors.least(first, stop):
            return
        if not self._spans(first, stop):
            self.misses[first] += 1
        for edge in self._variants(first, stop, fed, _INFINITE if fed else most):
            if edge.bytes < known:
                self.misses[first] = 0
            yield edge

    def _spans(self, first: int, stop: int) -> bool:
        """Whether what a stream makes before its last layer is read behind it: it may pay to go on to the reader."""
        lives = self.lives
        return any(first <= born < stop - 1 and lives.last[name] >= stop for name, born in lives.first.items())

    def _strips(self) -> Iterator[Edge]:
        """Groups in strips of rows, where these need less than what takes whole rows."""
        for first, reach in enumerate(self.stops):
            self.progress(2 * len(self.layers) + first)
            misses = 0
            for stop in range(first + 1, reach + 1):
                if not self._possible(first, stop) or misses == _MOST_STRIP_MISSES:
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
            self.progress(3 * count + first)
            if self.swift.bytes(first, stop) <= max(self.floor, self.floors.least_patches(first, stop)):
                continue
            for lean in (False, True) if self._saves_scratch(first, stop) else (False,):
                whole = self._edge(GroupChoice(first=first, stop=stop, lean=lean))
                if whole is None or not isinstance(call := whole.step.call, StreamCall):
                    break
                for columns in _COLUMNS:
                    choice = GroupChoice(first=first, stop=stop, lean=lean, columns=columns)
                    rings = narrow_rings(graph, call, self.composer.shares(choice, call.bands))
                    if rings is not None:
                        yield self.lives.least_bytes(first, stop, apart=True) + rings, choice

    def _variants(self, first: int, stop: int, fed: str | None, most: int) -> Iterator[Edge]:
        """With one or more rows at a time; with the largest expanded tensors kept, or made anew."""
        most_rows = _WAYS[-1][0]
        for rows, lean in _WAYS:
            if rows > most_rows or (lean and not self._saves_scratch(first, stop)):
                continue
            choice = GroupChoice(first=first, stop=stop, rows=rows, lean=lean, fed=fed)
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

    def _saves_scratch(self, first: int, stop: int) -> bool:
        """Whether kernels with little scratch need less than the fast ones, or may do with smaller expansions."""
        if any(self.composer.maker.expandable(index) for index in range(first, stop - 1)):
            return True
        fast, lean = (
            max(
                band.call.scratch_bytes
                for index in range(first, stop)
                for band in self.composer.maker.bands(index, 1, lean=lean)
            )
            for lean in (False, True)
        )
        return lean < fast

    def _expansions(self, edge: Edge) -> Iterator[frozenset[int]]:
        """Sets of expanding layers to make anew, those with the largest rings first."""
        call, lowered = edge.step.call, self.composer.lowered
        if not isinstance(call, StreamCall) or edge.bytes <= self.floor:
            return
        rings = {rows.tensor: rows.slots * rows.row_bytes for rows in call.rows if rows.offset is not None}
        found = [
            (rings[name], index)
            for index in range(edge.choice.first, edge.choice.stop - 1)
            if (name := lowered.steps[index].writes[0]) in rings and self.composer.maker.expandable(index)
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
    return 4 * len(composer.lowered.steps)  # bands, groups of each length, strips, column bands


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


def frontier(graph: nx.MultiDiGraph[int], cuts: int) -> tuple[Path, ...]:
    """The plans that no other one beats in both memory and time; the fastest first.

    Args:
        graph: of cuts 0 to ``cuts``, edges with their ``Edge`` as attribute "edge".
        cuts: number of the last cut.
    """
    labels: dict[int, list[Path]] = {0: [Path(bytes=0, cycles=0, edges=())]}
    for cut in range(1, cuts + 1):
        incoming: list[tuple[int, Edge]] = [
            (before, data["edge"]) for before, _, data in graph.in_edges(cut, data=True)
        ]
        labels[cut] = _undominated(
            [
                Path(bytes=max(path.bytes, edge.bytes), cycles=path.cycles + edge.cycles, edges=(*path.edges, edge))
                for before, edge in incoming
                for path in labels.get(before, ())
            ]
        )
    return tuple(labels[cuts])


def _undominated(paths: Sequence[Path]) -> list[Path]:
    kept: list[Path] = []
    for path in sorted(paths, key=lambda p: (p.cycles, p.bytes, len(p.edges))):
        if not kept or path.bytes < kept[-1].bytes:
            kept.append(path)
    if len(kept) <= _MOST_LABELS:
        return kept
    # Evenly over the frontier, with both ends.
    return [kept[round(i * (len(kept) - 1) / (_MOST_LABELS - 1))] for i in range(_MOST_LABELS)]
