# SPDX-License-Identifier: Apache-2.0
"""The shape of the ONNX graph itself: names, cycles, order, value types, what reaches an output."""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx
import onnx

from mcucompiler.errors import ModelError
from mcucompiler.frontend.onnx_node import OnnxNode

_VALUE_KINDS = {"sequence_type": "a sequence", "map_type": "a map", "optional_type": "an optional value"}
_HALF_FLOATS = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}


def check_structure(graph: onnx.GraphProto) -> None:
    """Refuse graphs that hang together wrongly, and put the nodes in topological order.

    The onnx package checks much of this too, but its messages name neither nodes nor a remedy.

    Raises:
        ModelError: for a graph without nodes or outputs, values that are no tensors, tensors that
            are written twice or never, and cycles.
    """
    if not graph.node:
        raise ModelError("the graph has no nodes: there is nothing to compile")
    if not graph.output:
        raise ModelError("the graph has no outputs: there is nothing to compute")
    _check_value_types(graph)
    writer = _writers(graph)
    _check_dangling(graph, writer)
    _sort(graph, writer)


def _label(graph: onnx.GraphProto, index: int) -> str:
    node = graph.node[index]
    return node.name or f"{node.op_type}_{index}"


def _check_value_types(graph: onnx.GraphProto) -> None:
    for role, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind in _VALUE_KINDS:
                raise ModelError(f"graph {role} {value.name!r} is {_VALUE_KINDS[kind]}", supported="tensors")
            if kind == "sparse_tensor_type":
                raise ModelError(f"graph {role} {value.name!r} is a sparse tensor", supported="dense tensors")
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise ModelError(f"initializer {name!r} is sparse", supported="dense initializers")
    typed = [(f"graph input {v.name!r}", v.type.tensor_type.elem_type) for v in graph.input]
    typed += [(f"initializer {t.name!r}", t.data_type) for t in graph.initializer]
    for what, elem_type in typed:
        if elem_type in _HALF_FLOATS:
            raise ModelError(
                "a half-precision model",
                found=f"{what} is {_HALF_FLOATS[elem_type]}",
                supported="float32, int8 and uint8 activations, int8 and uint8 weights",
                hint="export the network in float32 and quantize that to int8",
            )


def _writers(graph: onnx.GraphProto) -> dict[str, int]:
    """Index of the node that writes each tensor, -1 for inputs and initializers."""
    writer = {value.name: -1 for value in graph.input}
    writer |= {tensor.name: -1 for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in writer:
                other = writer[name]
                raise ModelError(
                    f"tensor {name!r} is written more than once",
                    node=_label(graph, index),
                    op_type=node.op_type,
                    found=f"it is also an output of node {_label(graph, other)!r}"
                    if other >= 0
                    else "it is also a graph input or an initializer",
                )
            writer[name] = index
    return writer


def _check_dangling(graph: onnx.GraphProto, writer: dict[str, int]) -> None:
    for index, node in enumerate(graph.node):
        for name in filter(None, node.input):
            if name not in writer:
                raise ModelError(
                    f"tensor {name!r} is read, but no node, input or initializer provides it",
                    node=_label(graph, index),
                    op_type=node.op_type,
                )
    for value in graph.output:
        if value.name not in writer:
            raise ModelError(f"graph output {value.name!r} is not computed by any node")
    names = [value.name for value in graph.output]
    for name in names:
        if names.count(name) > 1:
            raise ModelError(f"graph output {name!r} is listed more than once")


def _sort(graph: onnx.GraphProto, writer: dict[str, int]) -> None:
    """Topological order, the file's own wherever that is one."""
    edges = [
        (writer[name], index)
        for index, node in enumerate(graph.node)
        for name in node.input
        if name and writer[name] >= 0
    ]
    if all(source < target for source, target in edges):
        return
    digraph: nx.DiGraph[int] = nx.DiGraph()
    digraph.add_nodes_from(range(len(graph.node)))
    digraph.add_edges_from(edges)
    if not nx.is_directed_acyclic_graph(digraph):
        loop = [_label(graph, source) for source, _ in nx.find_cycle(digraph)]
        raise ModelError("the graph has a cycle", found=" -> ".join(repr(name) for name in [*loop, loop[0]]))
    ordered = [graph.node[index] for index in nx.lexicographical_topological_sort(digraph)]
    copies = []
    for node in ordered:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)


def reaching(nodes: Iterable[OnnxNode], outputs: Iterable[str]) -> tuple[OnnxNode, ...]:
    """The nodes, in order, on which an output depends."""
    wanted = set(outputs)
    kept = []
    for node in reversed(tuple(nodes)):
        if wanted.intersection(filter(None, node.outputs)):
            wanted.update(node.inputs)
            kept.append(node)
    return tuple(reversed(kept))
