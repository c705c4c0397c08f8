# SPDX-License-Identifier: Apache-2.0
"""Moves Quantize in front of operators that only pick or bound elements, next to what computes these."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import Concat, Dequantize, Quantize, Unary
from mcucompiler.passes.edit import Edit
from mcucompiler.passes.movement import clip_bounds, is_movement, on_integers, quantized_value


def hoist_quantize(graph: Graph) -> Graph:
    """``quantize(f(x))`` becomes ``f(quantize(x))`` where both are equal for all values.

    f is a movement (see ``movement``), or Relu or Clip, which become ``clip_int`` with quantised bounds: what a clamp
    in the operator in front, or a table, takes up later. A Concat of dequantised tensors stays, since it fuses as a
    whole with its requantisations.
    """
    edit = Edit(graph)
    waiting = [node for node in edit.nodes if isinstance(node.op, Quantize)]
    while waiting:
        quantize = waiting.pop()
        waiting += _hoist(edit, quantize)
    return edit.finish()


def _hoist(edit: Edit, quantize: Node) -> list[Node]:
    """Moves one Quantize by one operator; the Quantize nodes that stand for it then."""
    value = quantize.inputs[0]
    before = edit.producer(value)
    if before is None or not _may_pass(edit, before):
        return []
    result = edit.out(quantize)
    bounds = clip_bounds(before.op)
    if bounds is not None:
        lo, hi = (float(quantized_value(bound, result)) for bound in bounds)
        op = Unary(function="clip_int", params=(lo, hi))
    moved = on_integers(before.op, result) if bounds is None else op
    hoisted = [_quantized(edit, quantize, name, result) for name in before.inputs]
    output = quantize.outputs[0]
    edit.remove(quantize)
    inputs = [node.outputs[0] for node in hoisted]
    if edit.users(value):
        edit.add_node(before.name, moved, inputs, output, before.sources)
    else:
        edit.change(before, op=moved, inputs=inputs, output=output)
    return hoisted


def _may_pass(edit: Edit, node: Node) -> bool:
    value = node.outputs[0]
    if value in edit.outputs or not all(isinstance(user.op, Quantize) for user in edit.users(value)):
        return False
    if isinstance(node.op, Concat):
        producers = [edit.producer(name) for name in node.inputs]
        return not all(p is not None and isinstance(p.op, Dequantize) for p in producers)
    return is_movement(node.op) or clip_bounds(node.op) is not None


def _quantized(edit: Edit, quantize: Node, name: str, result: Tensor) -> Node:
    tensor = edit.add_tensor(result.replace(shape=edit.tensor(name).shape), f"{name}@quantized")
    return edit.add_node(quantize.name, quantize.op, (name,), tensor.name, quantize.sources)
