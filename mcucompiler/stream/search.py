# SPDX-License-Identifier: Apache-2.0
"""Which layers run as streams: the whole frontier of memory against time, by label setting over cuts.

The steps have a fixed order. A cut lies between two of them; an edge from cut to cut is a layer, or a
stream of all layers between. What is live at a cut does not depend on how it was reached, so a plan
is a path, its memory the most that any of its edges needs, its time the sum; a path is kept where no
other one to the same cut needs neither less memory nor less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import networkx as nx

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.types import LoweredStep
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import divisible
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.covers import Covers
from mcucompiler.stream.images import COLUMN_AXIS, row_bytes
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.patches import narrow_rings
from mcucompiler.stream.types import Band, StreamCall

_WAYS = ((1, False), (1, True), (2, False), (4, False))  # rows of a run, and whether with little scratch
_COLUMNS = (2, 3, 4)  # column bands
_STRIPS = range(2, 17)  # of a row
_AHEAD = 2  # strips that a producer is ahead of a window, about
_LONGEST_PATCHES = 10  # layers; the halo grows with each of them
_MOST_LABELS = 64
_MOST_EXPANSIONS = 3
_MOST_MISSES = 4  # streams from a layer on that were no better than shorter ones, until longer ones are not tried
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

    Attributes:
        covers: of the edges that were given.
        swift: of those among them that make nothing anew for each window.
    """

    def __init__(self, composer: Composer, fed: str | None, enough: int) -> None:
        self.composer, self.fed = composer, fed
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
        self.stops = [self._reach(first) for first in range(len(self.layers))]
        self.divisible = [self._divides(index) for index in range(len(self.layers))]
        self.floor = max(self._floor(), enough)
        self._streams: dict[GroupChoice, Edge | None] = {}
        self.covers = Covers()
        self.swift = Covers()
        self.misses = [0] * len(self.layers)

    def _reach(self, first: int) -> int:
        """One past the last step that may be in a stream that begins at ``first``."""
        stop = first
        maker = self.composer.maker
        while stop < len(self.layers) and maker.height(stop) and maker.bands(stop, 1):
            stop += 1
        return stop

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
                    needed = min(self._least_strips(first, stop), self._least_patches(first, stop))
                    for index in range(first, stop):
                        least[index] = min(least[index], needed)
        return max(least, default=0)

    def _least(self, first: int, stop: int) -> int:
        rings, scratch = self._least_rings(first, stop)
        return self.lives.least_bytes(first, stop) + rings + scratch

    def _least_strips(self, first: int, stop: int) -> int:
        """What a group needs at least in strips, which is never more than in whole rows."""
        windows, tensors = self._windows(first, stop, self._anew(first, stop)), self.composer.lowered.graph.tensors
        rings = sum((rows - 1) * row_bytes(tensors[name]) for name, rows in windows.items())
        return self.lives.least_bytes(first, stop) + rings

    def _least_patches(self, first: int, stop: int) -> int:
        """What a group needs at least in column bands: its outputs cover no inputs, and rings are narrow."""
        if stop - first == 1 or not all(self.divisible[first:stop]):
            return _INFINITE
        rings, _ = self._least_rings(first, stop, whole=True)
        return self.lives.least_bytes(first, stop, apart=True) + rings // _COLUMNS[-1]

    def _least_rings(self, first: int, stop: int, *, whole: bool = False) -> tuple[int, int]:
        """Bytes of the windows that bands read from tensors between them, and of the most scratch of a band."""
        maker, tensors = self.composer.maker, self.composer.lowered.graph.tensors
        apart = frozenset() if whole else self._anew(first, stop)
        scratch = max(
            (
                band.call.scratch_bytes
                for index in range(first, stop)
                if index not in apart
                for band in maker.bands(index, 1, lean=True)
            ),
            default=0,
        )
        windows = self._windows(first, stop, apart)
        return sum(rows * row_bytes(tensors[name]) for name, rows in windows.items()), scratch

    def _windows(self, first: int, stop: int, apart: frozenset[int]) -> dict[str, int]:
        """How many rows bands read at once of the tensors between them that cannot lodge with others.

        Args:
            first: the first layer.
            stop: one past the last.
            apart: layers that do not count, as what they make, or read, may be made anew for each window.
        """
        lowered, maker = self.composer.lowered, self.composer.maker
        windows: dict[str, int] = {}
        made = {name for index in range(first, stop) for name in lowered.steps[index].writes}
        for index in range(first, stop):
            for band in maker.bands(index, 1) if index not in apart else ():
                lodged = {number for number, _ in band.readings if _in_place(band, number)}
                for number, reading in band.readings:
                    if reading.tensor in made and number not in lodged and not self._guest(reading.tensor):
                        windows[reading.tensor] = max(reading.count, windows.get(reading.tensor, 0))
        return windows

    def _anew(self, first: int, stop: int) -> frozenset[int]:
        """The layers that may expand anew for windows, and those that they are expanded for, in a stream."""
        wide = [index for index in range(first, stop) if self.composer.maker.expandable(index)]
        return frozenset((*wide, *(index + 1 for index in wide)))

    def _guest(self, tensor: str) -> bool:
        """Whether the layer that makes a tensor may work in place."""
        step = next(i for i, step in enumerate(self.composer.lowered.steps) if tensor in step.writes)
        return any(overlap.same for band in self.composer.maker.bands(step, 1) for overlap in band.call.overlaps)

    def edges(self, progress: Callable[[int, int], None]) -> Iterator[Edge]:
        """The layers, and the streams that may be worth while, the shorter ones first."""
        count = len(self.layers)
        for index, layer in enumerate(self.layers):
            if index not in self.takes:
                lean = self._lean(index)
                yield from map(self._known, (layer,) if lean is None else (layer, lean))
        for length in range(1, count + 1):
            progress(length, count)
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
        if self.misses[first] == _MOST_MISSES or known <= self._least(first, stop):
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
            for stop in range(first + 1, reach + 1):
                if self._possible(first, stop):
                    for anew in self._sets(first, stop):
                        yield from self._in_strips(first, stop, anew)

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
        windows = self._windows(first, stop, expansions | {index + 1 for index in expansions})
        rings = [(lowered.graph.tensors[name], rows) for name, rows in windows.items()]
        made = {lowered.graph.tensors[step.writes[0]].shape[COLUMN_AXIS:] for step in lowered.steps[first:stop]}
        for strips in _STRIPS:
            if all(not width or width[0] % strips for width in made):
                continue
            promise = least + sum(_strips_bytes(tensor, rows, strips) for tensor, rows in rings)
            choice = GroupChoice(first=first, stop=stop, strips=strips, expansions=expansions, lean=bool(expansions))
            edge = self._edge(replace(choice, fed=self._begins(first, stop))) if promise < known else None
            if edge is not None and edge.bytes < known:
                known = edge.bytes
                yield edge

    def _patches(self) -> Iterator[Edge]:
        """Groups in column bands, where these may need less than anything that makes nothing anew for windows."""
        promises = tuple(self._promises())
        least = [self.covers.least(index) for index in range(len(self.layers))]
        for needed, choice in promises:
            for index in range(choice.first, choice.stop):
                least[index] = min(least[index], needed)
        floor = max(least, default=0)  # no plan needs less, so what needs no more can stay as it is
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
            if self.swift.bytes(first, stop) <= max(self.floor, self._least_patches(first, stop)):
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
        """A stream; those of one row a run are remembered, as column bands are made of them."""
        if choice.rows > 1 or choice.expansions or choice.columns > 1 or choice.strips > 1:
            return self._made(choice)
        if choice not in self._streams:
            self._streams[choice] = self._made(choice)
        return self._streams[choice]

    def _made(self, choice: GroupChoice) -> Edge | None:
        step = self.composer.stream(choice)
        if step is None:
            return None
        needed = self.lives.bytes(step, choice.first, choice.stop)
        return Edge(choice=choice, step=step, bytes=needed, cycles=step.call.cycles)


def _strips_bytes(tensor: Tensor, rows: int, strips: int) -> float:
    """About what a ring takes for windows of some rows."""
    last = 1 if tensor.shape[COLUMN_AXIS] % strips else _AHEAD / strips
    return row_bytes(tensor) * (rows - 1 + last)


def _in_place(band: Band, number: int) -> bool:
    """Whether a band may write over rows of an input."""
    return any(overlap.same and overlap.input == number for overlap in band.call.overlaps)


def find_edges(
    composer: Composer, fed: str | None, progress: Callable[[int, int], None], enough: int = 0
) -> nx.MultiDiGraph[int]:
    """The graph of cuts with all layers and all streams that may be worth while.

    Args:
        composer: of the program.
        fed: tensor whose rows the caller pushes; the first edge must then be a stream that takes them.
        progress: called with the cut and the number of cuts.
        enough: bytes below which no plan needs to get; what only serves smaller ones is left out.
    """
    graph: nx.MultiDiGraph[int] = nx.MultiDiGraph()
    graph.add_nodes_from(range(len(composer.lowered.steps) + 1))
    for edge in _Search(composer, fed, enough).edges(progress):
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
