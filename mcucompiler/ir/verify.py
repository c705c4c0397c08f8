# SPDX-License-Identifier: Apache-2.0
"""Refuses graphs that are not well formed; run after the frontend and after every pass.

Written against the definitions in ``graph`` alone: it shares no code with what produces graphs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from mcucompiler.errors import ModelError, VerificationError
from mcucompiler.ir.graph import INTEGER_RANGES, ITEM_BYTES, Graph, Node, QuantParams, Tensor


def verify_graph(graph: Graph, stage: str = "graph") -> None:
    """Checks a graph's structure, types, shapes and quantisation, and every operator's own conditions.

    Args:
        graph: the graph to check.
        stage: what produced it, for the message.

    Raises:
        VerificationError: with all causes found, if there is any.
    """
    causes = [*_tensor_causes(graph), *_structure_causes(graph)]
    if not causes:  # operators may rely on a sound structure
        causes = [cause for node in graph.nodes for cause in _node_causes(graph, node)]
    if causes:
        raise VerificationError(stage, causes)


def _tensor_causes(graph: Graph) -> Iterator[str]:
    for name, tensor in graph.tensors.items():
        where = f"tensor {name!r}"
        if not name or tensor.name != name:
            yield f"{where} is called {tensor.name!r}"
        if tensor.dtype not in ITEM_BYTES:
            yield f"{where} has the unknown element type {tensor.dtype!r}"
            continue
        least = 0 if tensor.is_constant else 1
        if any(not isinstance(dim, int) or dim < least for dim in tensor.shape):
            yield f"{where} has the shape {tensor.shape}"
        yield from (f"{where} {cause}" for cause in _data_causes(tensor))
        if tensor.quant is not None:
            yield from (f"{where} {cause}" for cause in _quant_causes(tensor, tensor.quant))


def _data_causes(tensor: Tensor) -> Iterator[str]:
    if tensor.onnx_offset != 0 and (tensor.onnx_offset, tensor.dtype) != (128, "int8"):
        yield f"has the offset {tensor.onnx_offset} to its ONNX values as {tensor.dtype}"
    if tensor.data is None:
        return
    if tensor.data.shape != tensor.shape:
        yield f"holds data of shape {tensor.data.shape} where {tensor.shape} is declared"
    if str(tensor.data.dtype) != tensor.dtype:
        yield f"holds {tensor.data.dtype} data where {tensor.dtype} is declared"
    if tensor.data.flags.writeable:
        yield "holds data that can be written to"


def _quant_causes(tensor: Tensor, quant: QuantParams) -> Iterator[str]:
    if tensor.dtype not in INTEGER_RANGES:
        yield f"is {tensor.dtype} and has quantisation parameters"
        return
    if len(quant.scale) != len(quant.zero_point) or not quant.scale:
        yield f"has {len(quant.scale)} scales and {len(quant.zero_point)} zero points"
    if quant.axis is None:
        if len(quant.scale) != 1:
            yield f"has {len(quant.scale)} scales and no axis for them"
    elif not 0 <= quant.axis < len(tensor.shape):
        yield f"is quantised along axis {quant.axis} of {len(tensor.shape)}"
    elif tensor.shape[quant.axis] != len(quant.scale):
        yield f"has {len(quant.scale)} scales along an axis of {tensor.shape[quant.axis]}"
    if not tensor.is_constant and len(quant.scale) != 1:
        yield "is an activation quantised per channel"
    if any(not math.isfinite(s) or s <= 0 or float(np.float32(s)) != s for s in quant.scale):
        yield f"has scales that are not positive, finite float32 numbers: {_some(quant.scale)}"
    lo, hi = INTEGER_RANGES[tensor.dtype]
    if any(not isinstance(z, int) or not lo <= z <= hi for z in quant.zero_point):
        yield f"has zero points outside {tensor.dtype}: {_some(quant.zero_point)}"


def _some(values: tuple[float, ...]) -> str:
    return ", ".join(map(repr, values[:4])) + (", ..." if len(values) > 4 else "")


def _structure_causes(graph: Graph) -> Iterator[str]:
    for name, count in Counter(node.name for node in graph.nodes).items():
        if count > 1 or not name:
            yield f"{count} nodes are called {name!r}"
    yield from _boundary_causes(graph)
    yield from _caller_causes(graph)
    known = {*graph.inputs, *(name for name, tensor in graph.tensors.items() if tensor.is_constant)}
    for node in graph.nodes:
        yield from (f"node {node.name!r} ({node.op.kind}) {cause}" for cause in _edge_causes(graph, node, known))
        known.update(node.outputs)
    written = {name for node in graph.nodes for name in node.outputs}
    for name in graph.outputs:
        if name not in written and name not in graph.inputs:
            yield f"nothing writes the graph's output {name!r}"


def _edge_causes(graph: Graph, node: Node, known: set[str]) -> Iterator[str]:
    for name in node.inputs:
        if name and name not in graph.tensors:
            yield f"reads {name!r}, which is no tensor of the graph"
        elif name and name not in known:
            yield f"reads {name!r}, which nothing before it writes"
    if not node.outputs:
        yield "has no output"
    for name, count in Counter(node.outputs).items():
        if name not in graph.tensors:
            yield f"writes {name!r}, which is no tensor of the graph"
        elif name in known or count > 1:
            yield f"writes {name!r}, which is already written, an input or a constant"


def _boundary_causes(graph: Graph) -> Iterator[str]:
    for what, names in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if not names:
            yield f"the graph has no {what}"
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{name!r} is {count} times among the graph's {what}"
            if name not in graph.tensors:
                yield f"{name!r} of the graph's {what} is no tensor of the graph"
            elif graph.tensors[name].is_constant:
                yield f"{name!r} of the graph's {what} is a constant"


def _caller_causes(graph: Graph) -> Iterator[str]:
    """What is wrong with the float tensors whose quantisation is left to the caller."""
    for onnx, name in graph.float_boundary.items():
        if name not in graph.inputs and name not in graph.outputs:
            yield f"{name!r}, which stands for {onnx!r}, is neither input nor output of the graph"
        elif name in graph.tensors and not graph.tensors[name].is_quantized:
            yield f"{name!r}, which stands for {onnx!r}, is not quantised"
        if onnx in graph.tensors:
            yield f"{onnx!r} is left to the caller and still a tensor of the graph"
    for name, count in Counter(graph.float_boundary.values()).items():
        if count > 1 + (name in graph.inputs and name in graph.outputs):
            yield f"{name!r} stands for {count} float tensors"


def _node_causes(graph: Graph, node: Node) -> Iterator[str]:
    where = f"node {node.name!r} ({node.op.kind})"
    inputs = tuple(tensor and _as_constant(graph, tensor) for tensor in graph.ins(node))
    outputs = graph.outs(node)
    try:
        shapes = node.op.output_shapes(inputs)
    except ModelError as error:
        yield f"{where}: {error}"
        return
    if tuple(shapes) != tuple(tensor.shape for tensor in outputs):
        declared = ", ".join(str(tensor.shape) for tensor in outputs)
        yield f"{where} gives {', '.join(map(str, shapes))} where {declared} is declared"
        return
    yield from (f"{where}: {cause}" for cause in node.op.check(inputs, outputs))


def _as_constant(graph: Graph, tensor: Tensor) -> Tensor:
    """A dequantised constant as the float constant that it is, for operators that ask for constants."""
    producer = graph.producer.get(tensor.name)
    source = graph.tensors[producer.inputs[0]] if producer is not None and producer.op.kind == "Dequantize" else None
    if producer is None or source is None or source.data is None:
        return tensor
    (data,) = producer.op.reference((source,), (tensor,), (source.data,))
    return tensor.replace(data=data)
