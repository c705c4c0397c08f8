# SPDX-License-Identifier: Apache-2.0
"""Moves Reshape and Transpose behind float operators of one value, so that these form one chain."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.ops import Add, Cast, Div, Mul, Operator, Reshape, Sub, Transpose, Unary
from mcucompiler.passes.edit import Edit


def defer_movement(graph: Graph) -> Graph:
    """``f(move(x))`` becomes ``move(f(x))`` for Unary, Cast, and Add, Sub, Mul, Div by a constant, in float32.

    Image normalisation is often written around a Transpose; behind it, the chain is one table. A constant that varies
    along an axis is transposed back; past a Reshape only scalars go.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if edit.out(node).dtype == "float32":
            _defer(edit, node)
    return edit.finish()


def _defer(edit: Edit, node: Node) -> None:
    index = _moved_operand(edit, node)
    if index is None:
        return
    move = edit.producer(node.inputs[index])
    if move is None or not isinstance(move.op, Reshape | Transpose) or edit.sole_user(move.outputs[0]) is not node:
        return
    source, result = edit.tensor(move.inputs[0]), edit.out(node)
    if source.dtype != "float32" or result.shape != edit.out(move).shape:
        return
    inputs = list(node.inputs)
    inputs[index] = source.name
    if len(inputs) == 2:
        constant = _moved_back(move.op, edit.tensor(inputs[1 - index]), len(source.shape))
        if constant is None:
            return
        inputs[1 - index] = edit.add_tensor(constant, f"{constant.name}@moved").name
    output = node.outputs[0]
    before = edit.add_tensor(result.replace(shape=source.shape), f"{output}@unmoved")
    edit.change(node, inputs=inputs, output=before.name)
    edit.change(move, inputs=(before.name,), output=output)


def _moved_operand(edit: Edit, node: Node) -> int | None:
    """Which input is the value that may be moved; None where the operator is not one of a single value."""
    if isinstance(node.op, Unary | Cast):
        return 0
    if isinstance(node.op, Add | Sub | Mul | Div):
        constants = [edit.tensor(name).is_constant for name in node.inputs]
        return constants.index(False) if sorted(constants) == [False, True] else None
    return None


def _moved_back(op: Operator, constant: Tensor, rank: int) -> Tensor | None:
    """The constant in the axes that its value had before the movement."""
    data: Array | None = constant.data
    if data is None or constant.dtype != "float32":
        return None
    if data.size == 1:
        return constant.replace(shape=(), data=data.reshape(()))
    if not isinstance(op, Transpose) or data.ndim > rank:
        return None
    moved = data.reshape((1,) * (rank - data.ndim) + data.shape).transpose(np.argsort(op.perm))
    return constant.replace(shape=moved.shape, data=moved)
