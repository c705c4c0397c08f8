# SPDX-License-Identifier: Apache-2.0
"""Column bands: which columns of each tensor a part of a group's output is made from.

A group that runs in column bands computes its output in vertical strips, from left to right. What a strip needs of the
tensors before it is wider by the windows' reach, its halo, and that halo is computed again for the next strip. Only
columns are divided: rows stream without being computed twice, so patches in their direction would never pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mcucompiler.ir.graph import Graph, Node
from mcucompiler.ops import AveragePool, Concat, Lookup
from mcucompiler.stream.images import COLUMN_AXIS, PIXELWISE, WINDOWS, column_bytes
from mcucompiler.stream.types import Access, Band, Reading, StreamCall

_DIVISIBLE = (*WINDOWS, *PIXELWISE)  # with no attribute that says how many columns there are, but for padding

Columns = tuple[int, int]
"""A half-open range of columns of an image."""


def overhang(columns: Columns, width: int) -> tuple[int, int, int]:
    """Columns of a range that lie left of an image, in it, and right of it."""
    first, stop = columns
    return max(-first, 0), min(stop, width) - max(first, 0), max(stop - width, 0)


def divisible(graph: Graph, band: Band) -> bool:
    """Whether a layer can make some of its columns without the others; ``band``: of one row a run."""
    node = band.node
    op = node.op
    if not isinstance(op, _DIVISIBLE) or band.sums is not None or band.rows != 1 or band.expansion is not None:
        return False
    if isinstance(op, AveragePool) and op.ceil_mode and op.count_include_pad:
        return False  # what hangs over the padding does not count, but a strip has no other padding
    if isinstance(op, Concat) and op.axis == COLUMN_AXIS:
        return False
    if not isinstance(op, (*WINDOWS, Lookup)) and _has_wide_constant(graph, node):
        return False
    whole = [reading.tensor for _, reading in band.readings if reading.access is Access.WHOLE]
    return all(not graph.tensors[name].shape or graph.tensors[name].shape[-1] == 1 for name in whole)


def _has_wide_constant(graph: Graph, node: Node) -> bool:
    """Whether a constant operand has different values for different columns."""
    constants = [tensor for tensor in graph.ins(node) if tensor is not None and tensor.is_constant]
    return any(tensor.shape and tensor.shape[-1] > 1 for tensor in constants)


def column_ranges(graph: Graph, bands: Sequence[Band], shares: Mapping[str, Columns]) -> dict[str, Columns] | None:
    """The columns of every tensor that some columns of a group's outputs are made from; None where it cannot be told.

    Args:
        graph: the network.
        bands: of the group, in topological order, one row a run.
        shares: the columns of each output.
    """
    needed = dict(shares)
    for band in reversed(bands):
        if band.writes not in needed:
            return None
        for index, reading in band.readings:
            if reading.access is Access.WHOLE:
                continue
            meant = field_of(graph, band.node, index, needed[band.writes])
            width = graph.tensors[reading.tensor].shape[COLUMN_AXIS]
            if meant is None or overhang(meant, width)[1] <= 0:
                return None
            first, stop = max(meant[0], 0), min(meant[1], width)
            known = needed.get(reading.tensor, (first, stop))
            needed[reading.tensor] = min(first, known[0]), max(stop, known[1])
    return needed


def field_of(graph: Graph, node: Node, index: int, made: Columns) -> Columns | None:
    """The columns of an input that a node reads to make some of its own, those outside the image among them."""
    return node.op.input_range(graph.ins(node), graph.outs(node), index, COLUMN_AXIS, *made)


def column_reading(
    graph: Graph, node: Node, index: int, reading: Reading, columns: Mapping[str, Columns], made: Columns
) -> Reading:
    """What a band that makes some columns reads of an input.

    Args:
        graph: the network.
        node: the layer.
        index: of the input.
        reading: for all columns.
        columns: of each tensor that are there, as ``column_ranges`` gives them.
        made: the columns that the band makes.
    """
    if reading.access is Access.WHOLE:
        return reading
    first = columns[reading.tensor][0]
    meant = field_of(graph, node, index, made) or made
    offset = (max(meant[0], 0) - first) * column_bytes(graph.tensors[reading.tensor])
    return replace(reading, columns=meant, offset=offset)


def made_columns(graph: Graph, call: StreamCall) -> str:
    """The columns that a stream makes of its last tensor, for people: "0 to 9"; "" for all."""
    rows = call.rows_of(call.bands[-1].writes)
    if rows.row_bytes == rows.pitch:
        return ""
    unit = column_bytes(graph.tensors[rows.tensor])
    return f"{rows.column // unit} to {(rows.column + rows.row_bytes) // unit - 1}"
