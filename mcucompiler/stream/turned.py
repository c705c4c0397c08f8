# SPDX-License-Identifier: Apache-2.0
"""A program seen along the width: every image [1, C, H, W] as [1, C, W, H], every series [1, C, T] as [1, C, T, 1].

The columns of an image are rows of the turned one, so bands, rings and kernels for rows serve for columns as they are.
Tensors keep their names. A layer can be turned where turning all that it touches changes none of its bits: sums of
integers do not depend on their order, sums of floats do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.types import Lowered, Stored, item_bytes
from mcucompiler.ops import (
    Add,
    AveragePool,
    Cast,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Div,
    FlipSign,
    Lookup,
    MaxPool,
    Mul,
    Quantize,
    ReduceMean,
    Resize,
    Softmax,
    Sub,
    Unary,
)
from mcucompiler.ops.base import Operator
from mcucompiler.stream.images import COLUMN_AXIS, IMAGE_RANK, ROW_AXIS, is_image

RING = "@columns"
"""Suffix of the name of a turned image whose upright form lies elsewhere."""

_SERIES_RANK = 3
_SPATIAL = (ROW_AXIS, COLUMN_AXIS)
_ALIKE = (Add, Sub, Mul, Div, Unary, FlipSign, Quantize, Dequantize, Cast)  # with no attribute that names an axis
_EXACT_FRACTIONS = 256  # sums of bytes times products of two such fractions fit the 24 bits of a float


@dataclass(frozen=True, kw_only=True, eq=False)
class Turned:
    """A program as streams along the width see it.

    Attributes:
        lowered: with turned images; only graph, nodes and memory orders are turned. Images that are not the same bytes
            in memory when they are turned exist a second time, under their name with ``RING``.
        barred: indices of the steps that cannot be turned.
    """

    lowered: Lowered
    barred: frozenset[int]

    @property
    def graph(self) -> Graph:
        """The network, turned."""
        return self.lowered.graph


def turned(lowered: Lowered) -> Turned:
    """A program along the width.

    Args:
        lowered: the program, layer by layer.
    """
    images = {name: stored for name, stored in lowered.stored.items() if _turnable(stored)}
    tensors = {name: stored.tensor.replace(shape=_shape(stored.tensor.shape)) for name, stored in images.items()}
    apart = [name for name, stored in images.items() if 1 not in _extents(stored.tensor)]
    rings = {name + RING: tensors[name].replace(name=name + RING) for name in apart}
    known: dict[str, Tensor] = {}
    steps, nodes, barred = [], {}, set()
    for index, step in enumerate(lowered.steps):
        found = _turned_node(lowered.graph, step.node, tensors) if len(step.nodes) == 1 else None
        if found is None or any(known.get(c.name, c).shape != c.shape for c in found[1]):
            barred.add(index)
            steps.append(step)
            continue
        node, constants = found
        known |= {constant.name: constant for constant in constants}
        nodes[node.name] = node
        steps.append(replace(step, nodes=(node,)))
    graph = lowered.graph
    return Turned(
        lowered=replace(
            lowered,
            graph=graph.replace(
                nodes=tuple(nodes.get(node.name, node) for node in graph.nodes),
                tensors={**graph.tensors, **tensors, **rings, **known},
            ),
            steps=tuple(steps),
            stored={**lowered.stored, **{name: _stored(images[name], tensor) for name, tensor in tensors.items()}},
        ),
        barred=frozenset(barred),
    )


def column_pieces(tensor: Tensor) -> tuple[int, int]:
    """In how many pieces a column of an upright image lies, and their distance in bytes.

    Args:
        tensor: the image as it is turned.
    """
    _, channels, width, height = tensor.shape
    return height, width * channels * item_bytes(tensor)


def worth_turning(lowered: Lowered) -> bool:
    """Whether some image is wider than high, or has no height at all."""
    return any(_turnable(s) and _extents(s.tensor)[0] < _extents(s.tensor)[1] for s in lowered.stored.values())


def _turnable(stored: Stored) -> bool:
    tensor = stored.tensor
    if len(tensor.shape) != _SERIES_RANK:
        return is_image(stored)
    return tensor.shape[0] == 1 and stored.place.dense and stored.layout.equivalent(channels_last(tensor.shape))


def _extents(tensor: Tensor) -> tuple[int, int]:
    """Height and width of an image, or of a series."""
    return (1, tensor.shape[2]) if len(tensor.shape) == _SERIES_RANK else (tensor.shape[2], tensor.shape[3])


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1) if len(shape) == _SERIES_RANK else (*shape[:-2], shape[-1], shape[-2])


def _stored(upright: Stored, tensor: Tensor) -> Stored:
    return Stored(tensor=tensor, layout=channels_last(tensor.shape), place=upright.place)


def _turned_node(graph: Graph, node: Node, images: Mapping[str, Tensor]) -> tuple[Node, tuple[Tensor, ...]] | None:
    """A node between turned images, and its turned constants; None where it cannot be turned."""
    inputs, outputs = [t for t in graph.ins(node) if t is not None], graph.outs(node)
    activations = [tensor for tensor in inputs if not tensor.is_constant]
    if not activations or not all(t.name in images or t.size == 1 for t in activations):
        return None
    if not all(t.name in images for t in outputs) and not isinstance(node.op, ReduceMean):
        return None
    ranks = {len(tensor.shape) for tensor in activations if tensor.name in images}
    if len(ranks) != 1:
        return None
    (rank,) = ranks
    op = _turned_operator(graph, node, rank)
    if op is None:
        return None
    constants = [_turned_constant(t, rank, node.op) for t in inputs if t.is_constant]
    known = [constant for constant in constants if constant is not None]
    if len(known) < len(constants):
        return None
    return node.replace(op=op), tuple(known)


def _turned_constant(tensor: Tensor, rank: int, op: Operator) -> Tensor | None:
    """Weights, or what is broadcast against an image; biases, tables and scalars stay."""
    data, shape = tensor.data, tensor.shape
    weighted = isinstance(op, Conv | ConvTranspose)
    bias = weighted and len(shape) < _SERIES_RANK
    if data is None or bias or isinstance(op, Lookup) or (tensor.size == 1 and not weighted):
        return tensor
    if not weighted and tensor.quant is not None and not tensor.quant.per_tensor:
        return None
    value: Array = data[..., None] if rank == _SERIES_RANK else _swapped(data.reshape((1,) * (2 - len(shape)) + shape))
    return tensor.replace(shape=value.shape, data=value)


def _swapped(data: Array) -> Array:
    return np.ascontiguousarray(data.swapaxes(-1, -2))


def _turned_operator(graph: Graph, node: Node, rank: int) -> Operator | None:
    """The operator between turned images; None where it is not the same, bit for bit."""
    op, source = node.op, graph.tensors[node.inputs[0]]
    if isinstance(op, _ALIKE):
        return op
    if isinstance(op, Concat | Softmax):
        return replace(op, axis=_axis(op.axis, rank))
    if isinstance(op, Lookup):
        return op if op.axis is None else replace(op, axis=_axis(op.axis, rank))
    if isinstance(op, ReduceMean):
        return _turned_mean(op, source, rank)
    if isinstance(op, Resize):
        return _turned_resize(op, source, rank)
    return _turned_window(graph, node)


def _turned_window(graph: Graph, node: Node) -> Operator | None:
    """A window over an image; where it adds up floats row by row, only one that has a single row or column."""
    op, (target,) = node.op, graph.outs(node)
    source = graph.tensors[node.inputs[0]]
    if not isinstance(op, Conv | ConvTranspose | MaxPool | AveragePool):
        return None
    kernel = op.kernel if isinstance(op, MaxPool | AveragePool) else graph.tensors[node.inputs[1]].shape[2:]
    ordered = not target.is_quantized or (isinstance(op, AveragePool) and not op.is_global(source.shape[2:]))
    if ordered and len(kernel) > 1 and min(kernel) > 1:
        return None
    made = replace(op, strides=_pair(op.strides, 1), pads=_pads(op.pads), dilations=_pair(op.dilations, 1))
    if isinstance(made, ConvTranspose):
        return replace(made, output_padding=_pair(made.output_padding, 0))
    return replace(made, kernel=_pair(made.kernel, 1)) if isinstance(made, MaxPool | AveragePool) else made


def _turned_mean(op: ReduceMean, source: Tensor, rank: int) -> ReduceMean | None:
    axes = {_axis(axis, rank) for axis in op.axes}
    if rank == _SERIES_RANK and ROW_AXIS in axes:
        axes.add(COLUMN_AXIS)
    elif not source.is_quantized and axes >= set(_SPATIAL):
        return None
    return replace(op, axes=tuple(sorted(axes)))


def _turned_resize(op: Resize, source: Tensor, rank: int) -> Resize | None:
    if op.mode == "linear" and not _exact(op, source, rank):
        return None
    if rank == _SERIES_RANK:
        return replace(op, sizes=(*op.sizes, 1), scales=(*op.scales, 1.0))
    return replace(op, sizes=_shape(op.sizes), scales=(*op.scales[:2], op.scales[3], op.scales[2]))


def _exact(op: Resize, source: Tensor, rank: int) -> bool:
    """Whether no sum of a linear interpolation is rounded, so that its order does not matter."""
    if rank == _SERIES_RANK or source.dtype not in ("int8", "uint8"):
        return False
    weights = [weight for axis in _SPATIAL for weight in op.linear_sources(source.shape[axis], axis)[2:]]
    return all(bool((weight * _EXACT_FRACTIONS % 1 == 0).all()) for weight in weights)


def _axis(axis: int, rank: int) -> int:
    return {ROW_AXIS: COLUMN_AXIS, COLUMN_AXIS: ROW_AXIS}.get(axis, axis) if rank == IMAGE_RANK else axis


def _pair(values: tuple[int, ...], missing: int) -> tuple[int, ...]:
    """A value for each spatial axis, turned."""
    return values[::-1] if len(values) > 1 else (*values, missing)


def _pads(pads: tuple[int, ...]) -> tuple[int, ...]:
    """All begins, then all ends, turned."""
    half = len(pads) // 2
    return (*_pair(pads[:half], 0), *_pair(pads[half:], 0))
