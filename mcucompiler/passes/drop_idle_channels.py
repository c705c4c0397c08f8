# SPDX-License-Identifier: Apache-2.0
"""Leaves out channels that never change, as pruning and training make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import INTEGER_RANGES, Graph, Node, Tensor
from mcucompiler.numerics.integer_form import accumulator_range
from mcucompiler.numerics.requantize import conv_multiplier, requantize, wrap32
from mcucompiler.ops import Conv
from mcucompiler.ops._quantized import bounds, centered
from mcucompiler.passes.edit import Edit

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_CHANGES = 1 << 30
"""In place of a value, for channels that do change."""
# So many channels go at a time, of layers with few and with many: kernels take four side by side, and those of long
# sums share their code where the number of inputs is the same modulo 24.
_TOGETHER, _TOGETHER_OF_MANY, _MANY = 4, 24, 96


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chain:
    """Tensors whose channels can only be left out together: a convolution's, and those of depthwise ones behind it.

    Attributes:
        head: name of the convolution.
        tensors: names of its output and of the depthwise ones'.
        depthwise: names of these nodes.
        readers: for each dense convolution that reads one of the tensors its name and that of the tensor.
    """

    head: str
    tensors: tuple[str, ...]
    depthwise: tuple[str, ...]
    readers: tuple[tuple[str, str], ...]


def drop_idle_channels(graph: Graph) -> Graph:
    """Channels between quantised convolutions whose value is always the same are not computed.

    What an accumulator can reach says whether an output can change; inputs that cannot change are taken into account.
    Behind a channel that holds its zero point nothing is lost; another value goes into the bias of the convolution that
    reads it, if that reads no padding. A channel goes only where all that read it are convolutions: depthwise ones lose
    the channel as well, so what counts is the last one of a chain. They go by fours or more, as kernels like them.
    """
    edit = Edit(graph)
    values: dict[str, Int64Array] = {}
    for node in edit.nodes:
        if _integer(edit, node):
            values[node.outputs[0]] = _values(edit, node, values)
    for chain in [chain for node in edit.nodes if (chain := _chain(edit, node)) is not None]:
        dropped = _dropped(edit, chain, values)
        if dropped.any():
            _drop(edit, chain, dropped, values)
    return edit.finish()


def _integer(edit: Edit, node: Node) -> bool:
    """Whether a node is a quantised convolution with constant weights, dense or with one output for each input."""
    if not isinstance(node.op, Conv):
        return False
    x, w, bias = (*edit.ins(node), None)[:3]
    y = edit.out(node)
    if x is None or w is None or w.data is None or (bias is not None and bias.data is None):
        return False
    if any(t.quant is None or not t.quant.per_tensor for t in (x, y)) or w.quant is None:
        return False
    if not bool(np.isfinite(_factor(edit, node)).all()):
        return False
    return node.op.groups == 1 or _depthwise(edit, node)


def _depthwise(edit: Edit, node: Node) -> bool:
    weights = edit.tensor(node.inputs[1]).shape
    return isinstance(node.op, Conv) and weights[1] == 1 and node.op.groups == weights[0] > 1


def _factor(edit: Edit, node: Node) -> npt.NDArray[np.float32]:
    x, w, y = edit.tensor(node.inputs[0]), edit.tensor(node.inputs[1]), edit.out(node)
    if x.quant is None or w.quant is None or y.quant is None:
        raise ValueError(f"{node.name!r} is not quantised")
    return conv_multiplier(x.quant.s, np.array(w.quant.scale, np.float32), y.quant.s)


def _zero(tensor: Tensor) -> int:
    return tensor.quant.z if tensor.quant is not None else 0


def _sums(edit: Edit, node: Node) -> Int64Array:
    """The weights less zero points, [M, C / groups, taps]."""
    w = edit.tensor(node.inputs[1])
    return centered(np.asarray(w.data), w).reshape(*w.shape[:2], -1)


def _values(edit: Edit, node: Node, known: dict[str, Int64Array]) -> Int64Array:
    """The value of each output channel, ``_CHANGES`` where it has more than one."""
    x, y, op = edit.tensor(node.inputs[0]), edit.out(node), node.op
    weights, bias = _sums(edit, node), np.zeros(y.shape[1], np.int64)
    given = edit.ins(node)[2] if len(node.inputs) > 2 else None
    if given is not None:
        bias = np.asarray(given.data).reshape(-1).astype(np.int64)
    inputs = known.get(x.name, np.full(x.shape[1], _CHANGES))
    still = _usable(node, inputs, _zero(x))
    offsets = np.where(still, inputs - _zero(x), 0)
    if _depthwise(edit, node):
        bias = bias + offsets * weights.sum(axis=(1, 2))
        weights = np.where(still[:, None, None], 0, weights)
    else:
        bias = bias + (weights.sum(axis=2) * offsets).sum(axis=1)
        weights = np.where(still[None, :, None], 0, weights)
    lo, hi = (bound - _zero(x) for bound in INTEGER_RANGES[x.dtype])
    output = (_zero(y), *bounds(y, op.clamp if isinstance(op, Conv) else None))
    reach = accumulator_range(weights.reshape(len(bias), -1), bias, lo, hi)
    first, last = (requantize(acc, _factor(edit, node), *output).astype(np.int64) for acc in reach)
    return np.where(first == last, first, _CHANGES)


def _usable(node: Node, values: Int64Array, zero: int) -> BoolArray:
    """Which channels a convolution reads as one number everywhere: padding reads the zero point."""
    padded = isinstance(node.op, Conv) and any(node.op.pads)
    return np.asarray((values == zero) if padded else (values != _CHANGES))


def _chain(edit: Edit, head: Node) -> _Chain | None:
    """The chain that starts with a dense convolution; None where other nodes read or give its tensors."""
    if not _integer(edit, head) or _depthwise(edit, head):
        return None
    tensors, depthwise, readers = [head.outputs[0]], list[str](), list[tuple[str, str]]()
    for name in tensors:
        if name in edit.outputs:
            return None
        for user in edit.users(name):
            if not _integer(edit, user) or name in user.inputs[1:]:
                return None
            if _depthwise(edit, user):
                tensors.append(user.outputs[0])
                depthwise.append(user.name)
            else:
                readers.append((user.name, name))
    return _Chain(head=head.name, tensors=tuple(tensors), depthwise=tuple(depthwise), readers=tuple(readers))


def _dropped(edit: Edit, chain: _Chain, values: dict[str, Int64Array]) -> BoolArray:
    """Which channels go."""
    channels = edit.tensor(chain.tensors[0]).shape[1]
    idle = np.full(channels, bool(chain.readers))
    for reader, name in chain.readers:
        idle &= _usable(_node(edit, reader), values[name], _zero(edit.tensor(name)))
    together = _TOGETHER if channels < _MANY else _TOGETHER_OF_MANY
    count = min(int(idle.sum()), channels - 1) // together * together
    return np.asarray(idle & (np.cumsum(idle) <= count))


def _drop(edit: Edit, chain: _Chain, dropped: BoolArray, values: dict[str, Int64Array]) -> None:
    kept = np.flatnonzero(~dropped)
    for reader, source in chain.readers:
        _read_less(edit, _node(edit, reader), dropped, values[source] - _zero(edit.tensor(source)))
    for name in (chain.head, *chain.depthwise):
        node = _node(edit, name)
        inputs = [node.inputs[0], *(_taken(edit, constant, 0, kept) for constant in node.inputs[1:])]
        op = node.op
        if isinstance(op, Conv) and op.groups > 1:
            op = replace(op, groups=len(kept))
        edit.change(node, op=op, inputs=inputs)
    for name in chain.tensors:  # they hold other elements than the ONNX tensors of their names
        tensor = edit.tensor(name)
        shape = (tensor.shape[0], len(kept), *tensor.shape[2:])
        new = edit.add_tensor(tensor.replace(shape=shape), f"{name}@used")
        edit.rename(name, new.name)
        values[new.name] = values[name][kept]


def _read_less(edit: Edit, node: Node, dropped: BoolArray, offsets: Int64Array) -> None:
    """A dense convolution without some of its input channels, which are ``offsets`` from their zero point."""
    weights = _sums(edit, node)[:, dropped].sum(axis=2) * offsets[dropped]
    more = weights.sum(axis=1)
    inputs = [node.inputs[0], _taken(edit, node.inputs[1], 1, np.flatnonzero(~dropped)), *node.inputs[2:]]
    if more.any():
        given = edit.ins(node)[2] if len(node.inputs) > 2 else None
        nothing = Tensor(name="", shape=more.shape, dtype="int32", data=np.zeros(more.shape, np.int32))
        bias = nothing if given is None else given
        data = wrap32(np.asarray(bias.data).astype(np.int64) + more.reshape(bias.shape))
        inputs[2:] = [edit.add_tensor(bias.replace(data=data), f"{node.name}@bias").name]
    edit.change(node, inputs=inputs)


def _taken(edit: Edit, name: str, axis: int, kept: Int64Array) -> str:
    """Name of a constant's part along an axis; absent ones stay absent."""
    if not name:
        return name
    tensor = edit.tensor(name)
    data = np.take(np.asarray(tensor.data), kept, axis=axis)
    quant = tensor.quant
    if quant is not None and not quant.per_tensor and quant.axis == axis:
        quant = replace(quant, scale=_chosen(quant.scale, kept), zero_point=_chosen(quant.zero_point, kept))
    part = tensor.replace(shape=data.shape, data=data, quant=quant)
    return edit.add_tensor(part, f"{name}@used").name


def _chosen(values: Sequence[Any], kept: Int64Array) -> tuple[Any, ...]:
    return tuple(values[int(index)] for index in kept)


def _node(edit: Edit, name: str) -> Node:
    node = edit.current(name)
    if node is None:
        raise ValueError(f"node {name!r} is gone")
    return node
