# SPDX-License-Identifier: Apache-2.0
"""Checks what a stream along the width claims of the program; nothing here is shared with what turns it.

The nodes of its bands must be the program's own with the two spatial axes exchanged: attributes, constants, and the
receptive field of every row, which must be that of the column. Images that lie in the program's own order must have
their columns where that order puts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import ITEM_BYTES, Array, Graph, Node, QuantParams, Tensor
from mcucompiler.ops import AveragePool, Conv, ConvTranspose, ReduceMean, Resize
from mcucompiler.stream.types import Access, Band, Rows, StreamCall

_ROW, _COLUMN = 2, 3
_SERIES, _IMAGE = 3, 4
_PER_SPATIAL_AXIS = {"kernel": 1, "strides": 1, "dilations": 1, "output_padding": 0}
_PER_AXIS = {"sizes": 1, "scales": 1.0}
_WHOLE = {"Conv": (2,), "ConvTranspose": (2,), "Lookup": (1,)}  # inputs without spatial axes: biases and tables
_FRACTION_BITS = 8


def turned_causes(call: StreamCall, graph: Graph) -> Iterator[str]:
    """What is wrong with a stream as a form of the program's own layers.

    Args:
        call: a stream along the width.
        graph: the network, upright.
    """
    seen = call.turned
    if seen is None:
        return
    nodes = {node.name: node for node in graph.nodes}
    rings = {band.node.outputs[0]: band.node.inputs[0] for band in call.bands if band.carries}
    rings |= {source: target for target, source in rings.items()}
    for band in call.bands:
        if band.carries:
            yield from _carrier(call, graph, band)
            continue
        for node in (band.node,) if band.expansion is None else (band.expansion.node, band.node):
            if node.name not in nodes:
                yield f"{node.name!r} is no node of the network"
            else:
                yield from _turned(node, nodes[node.name], seen, graph)
        yield from _operands(band, rings)
        touched = {band.writes, *(reading.tensor for _, reading in band.readings)}
        yield from (
            f"{band.node.name!r} is given columns in pieces" for r in call.rows if r.pieces > 1 and r.tensor in touched
        )
    writers = [band.writes for band in call.bands]
    yield from (f"{name!r} is written by several bands" for name in dict.fromkeys(writers) if writers.count(name) > 1)
    yield from _places(call, graph)


def bytes_of_column(rows: Rows) -> npt.NDArray[np.int64]:
    """Where the bytes of a row or of a column lie, from its first one on."""
    size = rows.row_bytes // rows.pieces
    return (np.arange(rows.pieces)[:, np.newaxis] * rows.apart + np.arange(size)).reshape(-1)


def _operands(band: Band, rings: dict[str, str]) -> Iterator[str]:
    """Each input must be read under its own name, or from the ring that its columns are carried to."""
    first = band.node if band.expansion is None else band.expansion.node
    for number, reading in band.readings:
        meant = first.inputs[number]
        if reading.tensor not in (meant, band.sums) and rings.get(reading.tensor) != meant:
            yield f"{band.node.name!r} is given {reading.tensor!r} for {meant!r}"
    if band.writes not in (band.node.outputs[0], band.sums) and rings.get(band.writes) != band.node.outputs[0]:
        yield f"{band.node.name!r} writes {band.writes!r} for {band.node.outputs[0]!r}"


def _carrier(call: StreamCall, graph: Graph, band: Band) -> Iterator[str]:
    """Exactly one end of it must be an image of the network, and the other one a ring for nothing else."""
    ((_, reading),) = band.readings
    ends = (reading.tensor, band.writes)
    if (
        (band.node.inputs, band.node.outputs) != (ends[:1], ends[1:])
        or band.rows != 1
        or reading.access is not Access.DENSE
    ):
        yield f"{band.node.name!r} does not carry columns"
    if sum(name in graph.tensors for name in ends) != 1:
        yield f"{band.node.name!r} does not carry an image to a ring or back"
        return
    image, ring = ends if ends[0] in graph.tensors else ends[::-1]
    known = {rows.tensor: rows for rows in call.rows}
    if image not in known or ring not in known:
        yield f"{image!r} or {ring!r} has no rows"
    elif (known[ring].row_bytes, known[ring].height) != (known[image].row_bytes, known[image].height):
        yield f"the columns of {image!r} are not rows of {ring!r}"


def _places(call: StreamCall, graph: Graph) -> Iterator[str]:
    """Images in buffers of the program have their columns in the pieces of its order, everything else has rows."""
    for rows in call.rows:
        tensor = graph.tensors.get(rows.tensor)
        whole = rows.offset is None and rows.guest_of is None
        meant = (1, 0)
        if tensor is not None and whole and len(tensor.shape) == _IMAGE:
            _, channels, height, width = tensor.shape
            pixel = channels * ITEM_BYTES[tensor.dtype]
            if height > 1 and width > 1:
                meant = (height, width * pixel)
            if (rows.row_bytes, rows.height) != (height * pixel, width):
                yield f"{rows.height} columns of {rows.row_bytes} bytes are not {rows.tensor!r}"
        if (rows.pieces, rows.apart) != meant:
            yield f"the columns of {rows.tensor!r} lie in {rows.pieces} pieces, {rows.apart} bytes apart, not {meant}"
        if meant != (1, 0) and not any(b.carries and rows.tensor in (b.writes, *b.node.inputs) for b in call.bands):
            yield f"nothing carries the columns of {rows.tensor!r}"


def _turned(node: Node, own: Node, seen: Graph, graph: Graph) -> Iterator[str]:
    """Whether a node is the program's own one turned."""
    who = f"{node.name!r}"
    if (node.inputs, node.outputs, type(node.op)) != (own.inputs, own.outputs, type(own.op)):
        yield f"{who} is not the network's"
        return
    rank = len(graph.tensors[own.inputs[0]].shape)
    for index, name in enumerate((*own.inputs, *own.outputs)):
        if name and not _same(
            seen.tensors[name], graph.tensors[name], rank, whole=index in _WHOLE.get(own.op.kind, ())
        ):
            yield f"{who}: {name!r} is not turned"
    for name, before, after in _attributes(own.op, node.op):
        if after != _attribute(name, before, rank):
            yield f"{who}: {name} is {after}, which is not {before} turned"
    if rank == _IMAGE and _in_order(own, graph):
        yield f"{who} adds up in another order"
    yield from _fields(node, own, seen, graph, rank)


def _in_order(own: Node, graph: Graph) -> bool:
    """Whether an operator adds up floats over rows and columns, so that it may differ when these are exchanged."""
    op, source, real = own.op, graph.tensors[own.inputs[0]], not graph.tensors[own.outputs[0]].is_quantized
    if isinstance(op, Conv | ConvTranspose):
        return real and min(graph.tensors[own.inputs[1]].shape[_ROW:]) > 1
    if isinstance(op, AveragePool):
        return (real or not op.is_global(source.shape[_ROW:])) and min(op.kernel) > 1
    if isinstance(op, ReduceMean):
        return real and {_ROW, _COLUMN} <= set(op.axes)
    if isinstance(op, Resize) and op.mode == "linear":
        weights = [w for axis in (_ROW, _COLUMN) for w in op.linear_sources(source.shape[axis], axis)[2:]]
        return real or any(bool(np.fmod(np.ldexp(weight, _FRACTION_BITS), 1).any()) for weight in weights)
    return False


def _fields(node: Node, own: Node, seen: Graph, graph: Graph, rank: int) -> Iterator[str]:
    """Rows must be made from the rows whose numbers are those of the columns that the columns are made from."""
    made = graph.tensors[own.outputs[0]].shape
    along = _COLUMN if rank == _IMAGE else _ROW
    if len(made) != rank:
        return
    for index, name in enumerate(own.inputs):
        if not name or graph.tensors[name].is_constant:
            continue
        for number in range(made[along]):
            got = node.op.input_range(seen.ins(node), seen.outs(node), index, _ROW, number, number + 1)
            meant = own.op.input_range(graph.ins(own), graph.outs(own), index, along, number, number + 1)
            if got != meant:
                yield f"{node.name!r} makes row {number} from the rows {got}, but column {number} is made from {meant}"
                return
        if rank == _IMAGE:
            across = node.op.input_range(seen.ins(node), seen.outs(node), index, _COLUMN, 0, made[_ROW])
            if across != own.op.input_range(graph.ins(own), graph.outs(own), index, _ROW, 0, made[_ROW]):
                yield f"{node.name!r} makes its columns from other ones than the network makes its rows from"


def _attributes(own: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    """The attributes of two operators of one kind."""
    for field in fields(own):
        yield field.name, getattr(own, field.name), getattr(other, field.name)


def _attribute(name: str, value: Any, rank: int) -> object:
    """What an attribute must be of the turned operator."""
    image = rank == _IMAGE
    if name == "axis":
        return value if value is None else _axis(value, rank)
    if name == "axes":
        axes = sorted(_axis(axis, rank) for axis in value)
        return (*axes, _COLUMN) if not image and _ROW in axes else tuple(axes)
    if not isinstance(value, tuple):
        return value
    if name in _PER_SPATIAL_AXIS:
        return value[::-1] if image else (*value, _PER_SPATIAL_AXIS[name])
    if name in _PER_AXIS:
        return (*value[:_ROW], *value[:1:-1]) if image else (*value, _PER_AXIS[name])
    if name == "pads":
        return (value[1], value[0], value[3], value[2]) if image else (value[0], 0, value[1], 0)
    return value


def _axis(axis: int, rank: int) -> int:
    return _ROW + _COLUMN - axis if rank == _IMAGE and axis in (_ROW, _COLUMN) else axis


def _same(seen: Tensor, own: Tensor, rank: int, *, whole: bool) -> bool:
    """Whether a tensor is the program's with its spatial axes exchanged, values and all.

    Args:
        seen: the tensor as the stream has it.
        own: the program's.
        rank: of the images.
        whole: whether it has no spatial axes.
    """
    if (seen.dtype, seen.onnx_offset) != (own.dtype, own.onnx_offset) or not _same_quantization(seen.quant, own.quant):
        return False
    if own.data is None or seen.data is None:
        shape = own.shape if len(own.shape) < rank else _exchanged(np.empty(own.shape, bool), rank).shape
        return own.data is seen.data and seen.shape == shape
    if whole:
        return bool(np.array_equal(seen.data, own.data))
    meant = _exchanged(own.data.reshape((1,) * (rank - own.data.ndim) + own.shape), rank)
    return seen.data.ndim <= _IMAGE and bool(
        np.array_equal(seen.data.reshape((1,) * (_IMAGE - seen.data.ndim) + seen.data.shape), meant)
    )


def _exchanged(values: Array, rank: int) -> Array:
    """Values [.., H, W] as [.., W, H], or [.., T] as [.., T, 1]."""
    return np.moveaxis(values, _COLUMN, _ROW) if rank == _IMAGE else values[..., np.newaxis]


def _same_quantization(one: QuantParams | None, other: QuantParams | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(
        one.axis == other.axis
        and np.array_equal(one.scale, other.scale)
        and np.array_equal(one.zero_point, other.zero_point)
    )
