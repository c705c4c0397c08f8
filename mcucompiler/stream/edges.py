# SPDX-License-Identifier: Apache-2.0
"""The graph of cuts: which layers run as streams.

The steps have a fixed order. A cut lies between two of them; an edge from cut to cut is a layer, or a
stream of all layers between. What is live at a cut does not depend on how it was reached, so a plan
is a path, its memory the most that any of its edges needs, its time the sum; a path is kept where no
other one to the same cut needs neither less memory nor less time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import networkx as nx

from mcucompiler.stream.compose import Composer
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.paths import Edge, frontier
from mcucompiler.stream.search import Search
from mcucompiler.stream.strip_search import StripSearch
from mcucompiler.stream.turned import worth_turning
from mcucompiler.stream.width_search import edges_along_width
from mcucompiler.stream.widths import Widths

_MOST_ROUNDS = 8


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
    cuts = len(composer.lowered.steps)
    graph.add_nodes_from(range(cuts + 1))
    widths = Widths(composer, Lives(composer.lowered, fed)) if worth_turning(composer.lowered) else None
    search = Search(composer, fed, enough, progress, widths)
    strips = StripSearch(search)

    def add(edges: Iterable[Edge]) -> bool:
        before = graph.number_of_edges()
        for edge in edges:
            graph.add_edge(edge.choice.first, edge.choice.stop, edge=edge)
        return graph.number_of_edges() > before

    add(search.edges())
    if widths is not None:
        add(edges_along_width(search, widths))
    add(strips.like(frontier(graph, cuts)))
    for _ in range(_MOST_ROUNDS):
        if not add(strips.around(frontier(graph, cuts))):
            break
    add(search.patches())
    return graph
