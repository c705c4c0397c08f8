# SPDX-License-Identifier: Apache-2.0
"""Plans as paths over cuts of the ordered steps, and those of them that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from mcucompiler.lower.types import LoweredStep
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.types import StreamCall

_MOST_LABELS = 64


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
