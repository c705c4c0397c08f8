# SPDX-License-Identifier: Apache-2.0
"""Evaluates at compile time what depends on constants only."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph, Node
from mcucompiler.ops import Dequantize
from mcucompiler.passes.edit import Edit


def fold_constants(graph: Graph) -> Graph:
    """Evaluates nodes on constants, by the operators' references.

    Dequantize stays: the integers behind it are what the quantised operators take as weights. See
    :func:`fold_dequantized` for those that remain.
    """
    return _fold(graph, dequantize=False)


def fold_dequantized(graph: Graph) -> Graph:
    """Also turns dequantised constants into float constants: what is still left of them belongs to float islands."""
    return _fold(graph, dequantize=True)


def _fold(graph: Graph, *, dequantize: bool) -> Graph:
    edit = Edit(graph)
    for node in edit.nodes:
        if dequantize or not isinstance(node.op, Dequantize):
            _evaluate(edit, node)
    return edit.finish()


def _evaluate(edit: Edit, node: Node) -> None:
    """Replaces a node on constants by its value; a constant output of the graph stays computed."""
    inputs = edit.ins(node)
    if node.outputs[0] in edit.outputs or any(tensor is not None and tensor.data is None for tensor in inputs):
        return
    values = [None if tensor is None else tensor.data for tensor in inputs]
    output = edit.out(node)
    (value,) = node.op.reference(inputs, (output,), values)
    edit.remove(node)
    edit.set_tensor(output.replace(data=value))
