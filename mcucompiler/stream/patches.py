# SPDX-License-Identifier: Apache-2.0
"""A group in column bands: its parts in turn, what their halos repeat, and how little its rings may take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mcucompiler.ir.graph import Graph
from mcucompiler.stream.columns import Columns
from mcucompiler.stream.images import COLUMN_AXIS
from mcucompiler.stream.types import Band, PatchesCall, StreamCall

_TURN_STACK_BYTES = 16  # the function that calls those of the parts


def in_turn(parts: Sequence[StreamCall], recomputed_macs: int) -> PatchesCall:
    """Streams that run one after the other on the same scratch.

    Args:
        parts: the column bands, from left to right.
        recomputed_macs: what their halos repeat.
    """
    return PatchesCall(
        variant="patches",
        scratch_bytes=max(part.scratch_bytes for part in parts),
        stack_bytes=max(part.stack_bytes for part in parts) + _TURN_STACK_BYTES,
        instructions=sum(part.instructions for part in parts),
        cycles=sum(part.cycles for part in parts),
        exactness=parts[0].exactness,
        float_arithmetic=any(part.float_arithmetic for part in parts),
        bands=tuple(band for part in parts for band in part.bands),
        rows=(),
        most_runs=sum(part.most_runs for part in parts),
        most_cycles=sum(part.most_cycles for part in parts),
        last_cycles=sum(part.last_cycles for part in parts),
        recomputed_macs=recomputed_macs,
        columns=tuple(parts),
    )


def repeated_macs(graph: Graph, bands: Sequence[Band], ranges: Sequence[Mapping[str, Columns]]) -> int:
    """Multiply-accumulates that halos repeat.

    Args:
        graph: the network.
        bands: of the layers, whole rows.
        ranges: for each part the columns of every tensor.
    """
    repeated = 0
    for band in bands:
        columns = [part[band.writes] for part in ranges]
        width = graph.tensors[band.writes].shape[COLUMN_AXIS]
        repeated += band.macs * _repeated_columns(columns) // width
    return repeated


def _repeated_columns(ranges: Sequence[Columns]) -> int:
    """Columns that are made again, counted as often as they are repeated."""
    once = {column for first, stop in ranges for column in range(first, stop)}
    return sum(stop - first for first, stop in ranges) - len(once)


def narrow_rings(graph: Graph, call: StreamCall, ranges: Iterable[Mapping[str, Columns] | None]) -> int | None:
    """Bytes of the rings of the widest part; None where the group cannot be divided.

    Args:
        graph: the network.
        call: the group as one stream of one row a run.
        ranges: for each part the columns of every tensor; None where they cannot be told.
    """
    widest = 0
    for columns in ranges:
        if columns is None:
            return None
        rings = 0
        for rows in call.rows:
            if rows.offset is not None:
                first, stop = columns[rows.tensor]
                rings += rows.slots * (rows.pitch // graph.tensors[rows.tensor].shape[COLUMN_AXIS]) * (stop - first)
        widest = max(widest, rings)
    return widest
