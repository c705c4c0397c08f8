# SPDX-License-Identifier: Apache-2.0
"""Quantisation parameters of integer tensors that only their readers or their neighbours state.

QOperator graphs say scale and zero point at each operator, not at each tensor. An int8 input is
known by its consumer only, and MaxPool, Reshape and their like do not say anything. Parameters
spread through such nodes, first from producers, then from consumers. Where nobody states any, maxima
and concatenations take the integers for the numbers that they are: scale 1, zero point 0. Where a
consumer states others than the tensor has, a Reshape to the same shape gives the same integers that
other meaning.
"""

from __future__ import annotations

from dataclasses import replace

from mcucompiler.frontend.builder import Builder
from mcucompiler.ir.graph import Node, QuantParams, Tensor
from mcucompiler.ops import Concat, MaxPool, Reshape

_ITSELF = QuantParams(scale=(1.0,), zero_point=(0,))


def settle_quantization(b: Builder) -> None:
    """Complete `Tensor.quant` of all integer activations, and insert what relabels them."""
    while _spread_forward(b) or _spread_backward(b) or _take_for_numbers(b):
        pass
    _claim_through_transparent_nodes(b)
    _relabel(b)


def _transparent_nodes(b: Builder) -> list[Node]:
    return [node for node in b.nodes.values() if node.name in b.transparent]


def _spread_forward(b: Builder) -> bool:
    changed = False
    for node in _transparent_nodes(b):
        output = b.tensors[node.outputs[0]]
        found = next((q for q in (b.tensors[i].quant for i in node.inputs if i) if q is not None), None)
        changed |= _set(b, output, found)
    return changed


def _spread_backward(b: Builder) -> bool:
    """One step from readers to what they read; the earliest reader that states parameters decides."""
    for node in reversed(b.nodes.values()):
        for index, name in enumerate(node.inputs):
            if not name:
                continue
            wanted = b.claims.get((node.name, index))
            if wanted is None and node.name in b.transparent:
                wanted = b.tensors[node.outputs[0]].quant
            if _set(b, b.tensors[name], wanted):
                return True
    return False


def _take_for_numbers(b: Builder) -> bool:
    """Give one maximum or concatenation of integers without parameters those of plain numbers."""
    for node in _transparent_nodes(b):
        if isinstance(node.op, MaxPool | Concat) and _set(b, b.tensors[node.outputs[0]], _ITSELF):
            return True
    return False


def _set(b: Builder, tensor: Tensor, quant: QuantParams | None) -> bool:
    if quant is None or tensor.quant is not None or tensor.dtype not in ("int8", "uint8"):
        return False
    b.tensors[tensor.name] = tensor.replace(quant=quant)
    return True


def _claim_through_transparent_nodes(b: Builder) -> None:
    """A Concat of integers as they are has one set of parameters for all its inputs."""
    for node in _transparent_nodes(b):
        quant = b.tensors[node.outputs[0]].quant
        if quant is not None:
            for index in range(len(node.inputs)):
                b.claims.setdefault((node.name, index), quant)


def _relabel(b: Builder) -> None:
    nodes: dict[str, Node] = {}
    relabeled: dict[tuple[str, QuantParams], str] = {}
    for node in b.nodes.values():
        inputs = list(node.inputs)
        for index, name in enumerate(inputs):
            wanted = b.claims.get((node.name, index))
            if not name or wanted is None or b.tensors[name].quant == wanted:
                continue
            if (name, wanted) not in relabeled:
                relabeled[name, wanted] = _relabeled(b, node, b.tensors[name], wanted, nodes)
            inputs[index] = relabeled[name, wanted]
        nodes[node.name] = replace(node, inputs=tuple(inputs))
    b.nodes = nodes


def _relabeled(b: Builder, reader: Node, tensor: Tensor, quant: QuantParams, nodes: dict[str, Node]) -> str:
    """The same integers under other parameters: a constant's copy, or an activation's Reshape."""
    if tensor.data is not None:
        return b.derived_constant(tensor.name, tensor.data, quant).name
    output = b.fresh(f"{tensor.name}_relabel")
    node_name = b.fresh_node(f"{reader.name}_relabel")
    b.tensors[output] = tensor.replace(name=output, quant=quant)
    nodes[node_name] = Node(
        name=node_name,
        op=Reshape(shape=tensor.shape),
        inputs=(tensor.name,),
        outputs=(output,),
        sources=reader.sources,
    )
    return output
