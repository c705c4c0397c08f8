# SPDX-License-Identifier: Apache-2.0
"""What must hold of a stream before it can be replayed; nothing here is shared with the planner."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Resize
from mcucompiler.stream.types import Access, Rows, StreamCall


def structure_causes(call: StreamCall, graph: Graph) -> list[str]:
    """What is wrong with the bands, rows and scratch of a stream, as far as that shows before it runs."""
    return [*_structure(call, graph), *_edges(call, graph)]


def _structure(call: StreamCall, graph: Graph) -> Iterator[str]:
    """Every tensor must have rows, and every band must make all of its own."""
    names = {rows.tensor for rows in call.rows}
    if len(names) != len(call.rows):
        yield "a tensor has its rows in two places"
    for band in call.bands:
        used = [r.tensor for _, r in band.readings if r.access is not Access.WHOLE]
        for name in (band.writes, *used):
            if name not in names:
                yield f"the rows of {name!r} have no place"
        made = next((rows.height for rows in call.rows if rows.tensor == band.writes), band.height)
        if band.height != made or band.runs % band.units:
            yield f"{band.node.name!r} makes {band.runs} times {band.rows} of the {made} rows of {band.writes!r}"
    for rows in call.rows:
        tensor = graph.tensors.get(rows.tensor)
        if tensor is not None and rows.pitch * rows.height != tensor.size_bytes:
            yield f"{rows.height} rows of {rows.pitch} bytes are not all of {rows.tensor!r}"
        if rows.column < 0 or rows.column + rows.row_bytes > rows.pitch:
            yield f"{rows.row_bytes} bytes from {rows.column} are not within a row of {rows.tensor!r}"
    broken = list(_strips(call))
    yield from broken or _scratch(call)


def _strips(call: StreamCall) -> Iterator[str]:
    """Rows must be whole strips, as many as the bands make that write them."""
    for rows in call.rows:
        if rows.units < 1 or rows.row_bytes % rows.units or rows.tail < 0:
            yield f"a row of {rows.tensor!r} cannot be {rows.units} strips"
    for band in call.bands:
        if any(rows.tensor == band.writes and rows.units != band.units for rows in call.rows):
            yield f"{band.node.name!r} makes {band.units} strips of a row of {band.writes!r}, which has another number"
        for span in (reading.span for _, reading in band.readings if reading.span is not None):
            if span.strips < 1 or span.units < 1 or span.width % span.units:
                yield f"{band.node.name!r} reads {span.width} columns in {span.units} strips"


def _scratch(call: StreamCall) -> Iterator[str]:
    """Rings, the kernels' scratch and the counters must lie in the stream's scratch."""
    known = {rows.tensor: rows for rows in call.rows}
    for rows in call.rows:
        if rows.guest_of is not None:
            if rows.guest_of not in known:
                yield f"{rows.tensor!r} is a guest of {rows.guest_of!r}, which has no rows"
            elif (rows.lead, rows.stride) != (0, 1) and known[rows.guest_of].offset is None:
                yield f"{rows.tensor!r} is a guest in other rows of {rows.guest_of!r}, which are no ring"
        elif rows.offset is not None and (rows.offset < 0 or rows.slots < 1):
            yield f"the ring of {rows.tensor!r} has {rows.slots} rows at {rows.offset}"
        elif rows.offset is not None and rows.offset + _ring_bytes(rows) > call.scratch_bytes:
            yield f"the ring of {rows.tensor!r} does not lie in the scratch of {call.scratch_bytes} bytes"
    longest = max((band.call.scratch_bytes for band in call.bands), default=0)
    if call.kernel_scratch + longest > call.scratch_bytes:
        yield f"{longest} bytes of scratch at {call.kernel_scratch} exceed the stream's {call.scratch_bytes}"
    if call.fed is not None and (call.state is None or call.state + 4 * (len(call.bands) + 1) > call.scratch_bytes):
        yield "the counters do not lie in the scratch"


def _ring_bytes(rows: Rows) -> int:
    return rows.slots * (rows.row_bytes // rows.units) + rows.tail


def _edges(call: StreamCall, graph: Graph) -> Iterator[str]:
    """The edge of an image stands for rows outside it only where bytes are interpolated."""
    for band in call.bands:
        for _, reading in band.readings:
            op, dtype = band.node.op, graph.tensors[reading.tensor].dtype if reading.tensor in graph.tensors else ""
            bytewise = isinstance(op, Resize) and op.mode == "linear" and dtype in ("int8", "uint8")
            if reading.edge and not bytewise:
                yield f"{band.node.name!r} is given the edge of {reading.tensor!r} for rows outside"
