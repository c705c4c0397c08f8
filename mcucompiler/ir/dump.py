# SPDX-License-Identifier: Apache-2.0
"""Text and dot forms of a graph, for people and for golden files: stable from run to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from mcucompiler.ir.graph import Graph, Node, QuantParams, Tensor
from mcucompiler.ops.base import Clamp, Operator

_MOST_SCALES = 3


def dump_text(graph: Graph) -> str:
    """A graph as text: the boundary, then a line for each constant and each node, in graph order.

    Names are quoted as in JSON, so that no name can break a line; constants are shown by a digest of their bytes.
    """
    lines = [f"graph {_quoted(graph.name)}"]
    if graph.digest:
        lines.append(f"  digest {graph.digest}")
    lines += [f"  input {_described(graph.tensors[name])}" for name in graph.inputs]
    lines += [f"  output {_described(graph.tensors[name])}" for name in graph.outputs]
    lines += [f"  {_quoted(name)} is left to the caller as {_quoted(to)}" for name, to in graph.float_boundary.items()]
    lines += [f"  constant {_described(tensor)}" for tensor in _constants(graph)]
    for node in graph.nodes:
        outputs = ", ".join(_described(tensor) for tensor in graph.outs(node))
        inputs = ", ".join(_quoted(name) if name else "-" for name in node.inputs)
        lines.append(f"  {outputs} = {_operator(node.op)} {inputs}  # {_origin(node)}")
    return "\n".join(lines) + "\n"


def dump_dot(graph: Graph) -> str:
    """A graph in Graphviz' language: a box for each node, an edge for each activation, constants left out."""
    lines = ["digraph {", "  node [shape=box, fontname=monospace];"]
    ids = {node.name: f"n{index}" for index, node in enumerate(graph.nodes)}
    for index, name in enumerate(graph.inputs):
        lines.append(f"  i{index} [shape=ellipse, label={_quoted(name)}];")
    for node in graph.nodes:
        lines.append(f"  {ids[node.name]} [label={_quoted(f'{_operator(node.op)}{chr(10)}{node.name}')}];")
    sources = {name: f"i{index}" for index, name in enumerate(graph.inputs)}
    sources |= {name: ids[node.name] for name, node in graph.producer.items()}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            if name in sources:
                label = _quoted(f"{name}{chr(10)}{_type(graph.tensors[name])}")
                lines.append(f"  {sources[name]} -> {ids[node.name]} [label={label}];")
    for index, name in enumerate(graph.outputs):
        lines.append(f"  o{index} [shape=ellipse, label={_quoted(name)}];")
        lines.append(f"  {sources[name]} -> o{index} [label={_quoted(_type(graph.tensors[name]))}];")
    return "\n".join([*lines, "}"]) + "\n"


def _constants(graph: Graph) -> Iterator[Tensor]:
    """Constants in the order of their first use."""
    for name in dict.fromkeys(name for node in graph.nodes for name in node.inputs if name):
        if graph.tensors[name].is_constant:
            yield graph.tensors[name]


def _described(tensor: Tensor) -> str:
    parts = [f"{_quoted(tensor.name)}: {_type(tensor)}"]
    if tensor.quant is not None:
        parts.append(_quantization(tensor.quant))
    if tensor.onnx_offset:
        parts.append(f"onnx+{tensor.onnx_offset}")
    if tensor.data is not None:
        parts.append(f"sha256:{hashlib.sha256(tensor.data.tobytes()).hexdigest()[:12]}")
    return " ".join(parts)


def _type(tensor: Tensor) -> str:
    return f"{tensor.dtype}[{', '.join(map(str, tensor.shape))}]"


def _quantization(quant: QuantParams) -> str:
    scales = ", ".join(f"{scale:.9g}" for scale in quant.scale[:_MOST_SCALES])
    zeros = ", ".join(map(str, quant.zero_point[:_MOST_SCALES]))
    more = ", ..." if len(quant.scale) > _MOST_SCALES else ""
    axis = "" if quant.axis is None else f" axis={quant.axis}"
    return f"scale={scales}{more} zero={zeros}{more}{axis}"


def _operator(op: Operator) -> str:
    names: list[str] = [field.name for field in fields(op)] if is_dataclass(op) else []
    attributes = (f"{name}={_value(getattr(op, name))}" for name in names)
    return f"{op.kind}({', '.join(attributes)})"


def _value(value: Any) -> str:
    if isinstance(value, Clamp):
        return f"{value.lo}..{value.hi}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _origin(node: Node) -> str:
    sources = ", ".join(map(_quoted, node.sources))
    return _quoted(node.name) + (f" from {sources}" if sources else "")


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
