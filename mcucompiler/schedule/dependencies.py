# SPDX-License-Identifier: Apache-2.0
"""Which step has to wait for which: dependences through the bytes that steps read and write."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.types import Lowered, LoweredStep, Stored, item_bytes


@dataclass(frozen=True, slots=True)
class _Access:
    step: int
    stored: Stored
    writes: bool


def buffers_of(lowered: Lowered, step: LoweredStep) -> tuple[str, ...]:
    """The buffers that a step reads or writes, once each, those it reads first."""
    tensors = (*step.reads.values(), *step.writes)
    return tuple(dict.fromkeys(lowered.stored[name].place.buffer for name in tensors))


def dependence_graph(lowered: Lowered) -> nx.DiGraph[int]:
    """The steps as a graph with an edge from each step to those that must run after it.

    Two steps depend on each other when they touch a common byte of a buffer and one of them
    writes it; the graph's own order says which comes first. Tensors that are different slices of
    one buffer are independent, views of the same bytes are not.
    """
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(lowered.steps)))
    for accesses in _accesses(lowered).values():
        for later, access in enumerate(accesses):
            for earlier in accesses[:later]:
                if (
                    earlier.step != access.step
                    and (earlier.writes or access.writes)
                    and share_bytes(earlier.stored, access.stored)
                ):
                    graph.add_edge(earlier.step, access.step)
    return graph


def _accesses(lowered: Lowered) -> dict[str, list[_Access]]:
    """For each buffer, who touches it, in graph order."""
    found: dict[str, list[_Access]] = {}
    for index, step in enumerate(lowered.steps):
        names = [(name, False) for name in step.reads.values()] + [(name, True) for name in step.writes]
        for name, writes in names:
            stored = lowered.stored[name]
            found.setdefault(stored.place.buffer, []).append(_Access(index, stored, writes))
    return found


def share_bytes(first: Stored, second: Stored) -> bool:
    """Whether two activations of the same buffer have a byte in common."""
    if first.place == second.place:
        return True
    (start, end), (other_start, other_end) = _extent(first), _extent(second)
    if end <= other_start or other_end <= start:
        return False
    if first.place.dense and second.place.dense:
        return True
    covered = np.zeros(max(end, other_end), bool)
    covered[_row_bytes(first)] = True
    return bool(covered[_row_bytes(second)].any())


def _extent(stored: Stored) -> tuple[int, int]:
    """First byte, and one past the last byte, within the buffer."""
    place, item = stored.place, item_bytes(stored.tensor)
    return place.offset * item, (place.offset + (place.rows - 1) * place.stride + place.row) * item


def _row_bytes(stored: Stored) -> Array:
    """Offsets of all bytes of an activation within its buffer: shape [rows, bytes in a row]."""
    place, item = stored.place, item_bytes(stored.tensor)
    starts = (place.offset + np.arange(place.rows) * place.stride) * item
    return np.asarray(starts[:, None] + np.arange(place.row * item)[None, :])
