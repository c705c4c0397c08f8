# SPDX-License-Identifier: Apache-2.0
"""The graph: frozen values, in ONNX axis order, with quantisation as a property of tensors.

Operators are polymorphic. The same ``Conv`` node is a float convolution where its tensors are
float32 and the integer program of QLinearConv where they carry quantisation parameters, so one
graph holds QDQ, QOperator and mixed models at every stage of their fusion. Shapes and axes stay
those of ONNX; which order the bytes have in C is decided in ``lower/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mcucompiler.ops.base import Operator

Array = npt.NDArray[Any]

INTEGER_RANGES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "int32": (-(2**31), 2**31 - 1)}
)
ITEM_BYTES: Mapping[str, int] = MappingProxyType(
    {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "int32": 4, "float32": 4, "int64": 8}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantParams:
    """``real = scale * (q - zero_point)``, per tensor or along one axis.

    Attributes:
        scale: float32 values held exactly as Python floats; one, or one per index of ``axis``.
        zero_point: as many integers as scales.
        axis: None for per-tensor parameters.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    @property
    def per_tensor(self) -> bool:
        """Whether a single scale and zero point hold for all elements."""
        return len(self.scale) == 1

    @property
    def s(self) -> np.float32:
        """The scale of a per-tensor quantisation, as float32."""
        if not self.per_tensor:
            raise ValueError("per-channel quantisation has no single scale")
        return np.float32(self.scale[0])

    @property
    def z(self) -> int:
        """The zero point of a per-tensor quantisation."""
        if not self.per_tensor:
            raise ValueError("per-channel quantisation has no single zero point")
        return self.zero_point[0]


def _frozen(array: Array) -> Array:
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    if array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A value of the graph: an activation, or a constant when ``data`` is set.

    Attributes:
        name: the ONNX tensor's name; tensors that the compiler adds get derived, unique names.
        shape: static shape in ONNX axis order; () for a scalar.
        dtype: "int8", "uint8", "int16", "int32", "int64", "float32" or "bool".
        quant: quantisation parameters of an integer tensor that stands for real numbers.
        data: read-only values of a constant, of this shape and dtype.
        onnx_offset: what to add to the elements to get those of the ONNX tensor of the same
            name (128 where a uint8 tensor is held as int8).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quant: QuantParams | None = None
    data: Array | None = None
    onnx_offset: int = 0

    def __post_init__(self) -> None:
        if self.data is not None:
            object.__setattr__(self, "data", _frozen(self.data))

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size_bytes(self) -> int:
        """Bytes of the dense tensor."""
        return self.size * ITEM_BYTES[self.dtype]

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at compile time."""
        return self.data is not None

    @property
    def is_quantized(self) -> bool:
        """Whether this is an integer tensor that stands for real numbers."""
        return self.quant is not None

    def replace(self, **changes: Any) -> Tensor:
        """A copy with some attributes changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One operation.

    Attributes:
        name: unique in the graph; the ONNX node's name where it has one.
        op: the operator with its attributes.
        inputs: tensor names, "" for an optional input that is absent.
        outputs: tensor names.
        sources: names of the ONNX nodes this node stands for, in graph order.
    """

    name: str
    op: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sources: tuple[str, ...] = ()

    def replace(self, **changes: Any) -> Node:
        """A copy with some attributes changed."""
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network: nodes in topological order and the tensors they connect.

    Attributes:
        name: the model's name, not necessarily an identifier.
        nodes: every node after the producers of its inputs.
        tensors: all tensors by name, constants included.
        inputs: names of the graph's inputs, in ONNX order.
        outputs: names of the graph's outputs, in ONNX order.
        digest: SHA-256 of the ONNX file, hexadecimal; "" for graphs made in memory.
        float_boundary: names of graph inputs or outputs that are float32 in ONNX and whose
            QuantizeLinear or DequantizeLinear is left to the caller, mapped to the name of the
            integer tensor that stands in ``inputs`` or ``outputs`` instead.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    digest: str = ""
    float_boundary: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "float_boundary", MappingProxyType(dict(self.float_boundary)))

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that writes each tensor; graph inputs and constants are not in it."""
        return MappingProxyType({out: node for node in self.nodes for out in node.outputs})

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read each tensor, once each, in graph order; () for none."""
        users: dict[str, list[Node]] = {name: [] for name in self.tensors}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    users[name].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in users.items()})

    def ins(self, node: Node) -> tuple[Tensor | None, ...]:
        """The input tensors of a node, None where an optional one is absent."""
        return tuple(self.tensors[name] if name else None for name in node.inputs)

    def outs(self, node: Node) -> tuple[Tensor, ...]:
        """The output tensors of a node."""
        return tuple(self.tensors[name] for name in node.outputs)

    def replace(self, **changes: Any) -> Graph:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def with_nodes(self, nodes: Iterable[Node], new_tensors: Iterable[Tensor] = ()) -> Graph:
        """A copy with other nodes and further (or replaced) tensors, without what nothing uses any more."""
        nodes = tuple(nodes)
        tensors = {**self.tensors, **{t.name: t for t in new_tensors}}
        used = {*self.inputs, *self.outputs, *self.float_boundary.values()}
        for node in nodes:
            used.update(name for name in (*node.inputs, *node.outputs) if name)
        return self.replace(nodes=nodes, tensors={n: t for n, t in tensors.items() if n in used})


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, or ``wanted`` with the first free number appended."""
    taken = set(taken)
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted}_{number}" in taken:
        number += 1
    return f"{wanted}_{number}"
