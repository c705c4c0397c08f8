# SPDX-License-Identifier: Apache-2.0
"""Which groups run in strips of rows.

Strips cost more time than whole rows and there are many ways to cut a row, so not every group is tried: those that the
frontier of whole rows is made of, and then, while that gains memory, those around the group where the smallest plan has
its peak.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.floors import strips_bytes
from mcucompiler.stream.images import COLUMN_AXIS, row_bytes
from mcucompiler.stream.paths import Edge, Path
from mcucompiler.stream.search import Search
from mcucompiler.stream.types import StreamCall

_STRIPS = range(2, 17)  # of a row
_STEP = 1.3  # the least factor between two numbers of strips
_MOST_EXPANSIONS = 3


class StripSearch:
    """Finds edges whose layers run in strips.

    Args:
        search: of the edges in whole rows, which must be known.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._lowered = search.composer.lowered
        self._tried: set[tuple[int, int, frozenset[int]]] = set()

    def like(self, paths: Sequence[Path]) -> Iterator[Edge]:
        """The streams of some plans, in strips, where these need less than whole rows."""
        for edge in dict.fromkeys(edge for path in paths for edge in path.edges):
            if isinstance(edge.step.call, StreamCall):
                for anew in dict.fromkeys((edge.choice.expansions, frozenset[int]())):
                    yield from self._group(edge.choice.first, edge.choice.stop, anew)

    def around(self, paths: Sequence[Path]) -> Iterator[Edge]:
        """Groups around the peak of the smallest plan."""
        if not paths or paths[-1].bytes <= self._search.floor:
            return
        edges = paths[-1].edges
        for number, edge in enumerate(edges):
            if edge.bytes == paths[-1].bytes:
                beside = [other.choice for other in edges[max(number - 1, 0) : number + 2]]
                firsts = {edge.choice.first - 1, edge.choice.first, edge.choice.first + 1, beside[0].first}
                stops = {edge.choice.stop - 1, edge.choice.stop, edge.choice.stop + 1, beside[-1].stop}
                for first in sorted(firsts):
                    for stop in sorted(stops):
                        for anew in self._sets(first, stop) if self._within(first, stop) else ():
                            yield from self._group(first, stop, anew)

    def _within(self, first: int, stop: int) -> bool:
        return 0 <= first < stop <= self._search.stops[first]

    def _group(self, first: int, stop: int, anew: frozenset[int]) -> Iterator[Edge]:
        """A group in more and more strips, as long as it needs less and less."""
        search, key = self._search, (first, stop, anew)
        if key in self._tried or not search.possible(first, stop):
            return
        self._tried.add(key)
        known = (search.covers if anew else search.swift).bytes(first, stop)
        for needed, choice in self._promises(first, stop, anew):
            edge = search.edge(choice) if needed < known else None
            if edge is not None and edge.bytes < known:
                known = edge.bytes
                yield search.known(edge)

    def _sets(self, first: int, stop: int) -> Iterator[frozenset[int]]:
        """None, and more and more of the layers that may be made anew, the largest first."""
        taken: list[int] = []
        yield frozenset()
        tensors, steps, maker = self._lowered.graph.tensors, self._lowered.steps, self._search.composer.maker
        wide = [index for index in range(first, stop - 1) if maker.expandable(index)]
        wide.sort(key=lambda index: -row_bytes(tensors[steps[index].writes[0]]))
        for index in wide[:_MOST_EXPANSIONS]:
            taken.append(index)
            yield frozenset(taken)

    def _promises(self, first: int, stop: int, anew: frozenset[int]) -> Iterator[tuple[int, GroupChoice]]:
        """A group in more and more strips, and what it needs about, at least: no kernels are made for it."""
        search, tensors = self._search, self._lowered.graph.tensors
        windows = search.floors.windows(first, stop, anew)
        made = [tensors[step.writes[0]].shape for step in self._lowered.steps[first:stop]]
        for strips in _counts({shape[COLUMN_AXIS] for shape in made if len(shape) > COLUMN_AXIS}):
            rings = sum(strips_bytes(tensors[name], rows, strips) for name, rows in windows.items())
            choice = GroupChoice(
                first=first,
                stop=stop,
                strips=strips,
                expansions=anew,
                lean=bool(anew),
                fed=search.begins(first, stop),
            )
            yield search.lives.least_bytes(first, stop) + round(rings), choice


def _counts(widths: Iterable[int]) -> list[int]:
    """Numbers of strips that are worth trying for images of these widths: the most, and fewer by large steps."""
    found: list[int] = []
    for strips in reversed(_STRIPS):
        if any(width % strips == 0 for width in widths) and (not found or strips * _STEP <= found[0]):
            found.insert(0, strips)
    return found
