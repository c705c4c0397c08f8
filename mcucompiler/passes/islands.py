# SPDX-License-Identifier: Apache-2.0
"""Islands: connected elementwise float operators that all depend on one 8-bit tensor, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array, Node, Tensor
from mcucompiler.ops import Add, Cast, Dequantize, Div, Mul, Operator, Sub, Unary
from mcucompiler.passes.edit import Edit
from mcucompiler.passes.tables import ENTRIES, all_values

_ELEMENTWISE = (Add, Div, Mul, Sub, Unary)


@dataclass(frozen=True, kw_only=True)
class Island:
    """A float32 value as a function of one 8-bit tensor's elements, the same for all or one for each channel.

    Attributes:
        source: the 8-bit tensor.
        nodes: what computes the value, in topological order, Dequantize or Cast of ``source`` included.
        value: name of the float32 tensor.
        axis: the axis along which constants vary, None where all are scalars.
        channels: extent of that axis, 1 without one.
    """

    source: Tensor
    nodes: tuple[Node, ...]
    value: str
    axis: int | None
    channels: int

    @property
    def operators(self) -> tuple[Node, ...]:
        """The nodes that are more than a change of type."""
        return tuple(node for node in self.nodes if isinstance(node.op, _ELEMENTWISE))

    @property
    def is_raw(self) -> bool:
        """Whether it starts from integers that stand for nothing else, as those of an image do."""
        return any(isinstance(node.op, Cast) for node in self.nodes)


def find_island(edit: Edit, value: str) -> Island | None:
    """The island that ends in a float32 value; None where the value is not that of one."""
    nodes: dict[str, Node] = {}
    sources: set[str] = set()
    waiting = [value]
    while waiting:
        name = waiting[-1]
        node = edit.producer(name)
        if node is None or _is_constant(edit, name) or node.name in nodes:
            if node is None and not edit.tensor(name).is_constant:
                return None
            waiting.pop()
            continue
        if isinstance(node.op, Dequantize | Cast):
            sources.add(node.inputs[0])
        elif not isinstance(node.op, _ELEMENTWISE) or edit.out(node).dtype != "float32":
            return None
        missing = [] if isinstance(node.op, Dequantize | Cast) else _missing(edit, node, nodes)
        if missing:
            waiting += missing
        else:
            nodes[node.name] = node
            waiting.pop()
    if len(sources) != 1:
        return None
    return _checked(edit, value, edit.tensor(sources.pop()), tuple(nodes.values()))


def _is_constant(edit: Edit, name: str) -> bool:
    return _constant(edit, name) is not None


def _constant(edit: Edit, name: str) -> Array | None:
    """The value of a float32 constant, a dequantised one included."""
    producer = edit.producer(name)
    tensor = edit.tensor(name)
    if producer is None:
        return tensor.data if tensor.dtype == "float32" else None
    source = edit.tensor(producer.inputs[0])
    if not isinstance(producer.op, Dequantize) or source.data is None:
        return None
    (real,) = producer.op.reference((source,), (tensor,), (source.data,))
    return real


def _missing(edit: Edit, node: Node, nodes: dict[str, Node]) -> list[str]:
    missing = []
    for name in node.inputs:
        producer = edit.producer(name)
        if not _is_constant(edit, name) and (producer is None or producer.name not in nodes):
            missing.append(name)
    return missing


def _checked(edit: Edit, value: str, source: Tensor, nodes: tuple[Node, ...]) -> Island | None:
    """The island, if its tensors have one shape and its constants vary along one axis at most."""
    if source.dtype not in ("int8", "uint8") or any(edit.out(node).shape != source.shape for node in nodes):
        return None
    axes: set[int] = set()
    for node in nodes:
        for name in node.inputs:
            constant = _constant(edit, name)
            if constant is not None and constant.size != 1:
                lead = len(source.shape) - constant.ndim
                axes.update(lead + axis for axis, dim in enumerate(constant.shape) if dim != 1)
    if len(axes) > 1:
        return None
    axis = axes.pop() if axes else None
    channels = 1 if axis is None else source.shape[axis]
    return Island(source=source, nodes=nodes, value=value, axis=axis, channels=channels)


def evaluate(edit: Edit, island: Island, *, real: bool) -> Array:
    """The island's value for every value of its source; [256], or [C, 256] where constants vary.

    Args:
        edit: the graph that the island is part of.
        island: what to evaluate.
        real: in real arithmetic (float64), to be rounded once by what follows; otherwise step by step in float32, by
            the operators' references.
    """
    rows = island.channels
    values: dict[str, Array] = {island.source.name: np.broadcast_to(all_values(island.source), (rows, ENTRIES))}
    for node in island.nodes:
        operands = []
        for name in node.inputs:
            if name not in values:
                values[name] = _rows(edit, name)
            operands.append(values[name])
        tensors = [
            edit.tensor(name).replace(shape=array.shape, data=None)
            for name, array in zip(node.inputs, operands, strict=True)
        ]
        if real:
            result = _real(node.op, tensors, operands)
        else:
            output = edit.out(node).replace(shape=(rows, ENTRIES))
            (result,) = node.op.reference(tensors, (output,), operands)
        values[node.outputs[0]] = result
    entries = values[island.value]
    return entries if island.axis is not None else entries.reshape(ENTRIES)


def _rows(edit: Edit, name: str) -> Array:
    """A constant as a column, one element for each row of the table, or one for all."""
    constant = _constant(edit, name)
    if constant is None:
        raise ValueError(f"{name!r} is not a constant of the island")
    return constant.reshape(-1, 1)


def _real(op: Operator, tensors: list[Tensor], values: list[Array]) -> Array:
    """The value of an operator in real arithmetic, that is float64."""
    x = values[0].astype(np.float64)
    with np.errstate(all="ignore"):
        match op:
            case Dequantize():
                quant = tensors[0].quant
                return x if quant is None else (x - quant.z) * float(quant.s)
            case Unary():
                return op.real(x)
            case Add():
                return np.asarray(x + values[1])
            case Sub():
                return np.asarray(x - values[1])
            case Mul():
                return np.asarray(x * values[1])
            case Div():
                return np.asarray(x / values[1])
            case _:
                return x
