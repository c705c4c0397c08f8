# SPDX-License-Identifier: Apache-2.0
"""Removes what does nothing, and merges reshapes and transposes that follow each other."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import (
    AveragePool,
    Cast,
    Concat,
    FlipSign,
    MaxPool,
    Operator,
    Pad,
    Reshape,
    Resize,
    Slice,
    Transpose,
    Unary,
)
from mcucompiler.passes.edit import Edit, merged_sources


def simplify(graph: Graph) -> Graph:
    """Takes away operations without effect and nodes that no output depends on.

    * Reshape to the same shape, Transpose in the same order, Cast to the same type, Slice of everything, Pad by
      nothing, Concat of one, windows and factors of one: removed.
    * Reshape of a Reshape, Transpose of a Transpose: the later one reads the earlier one's input.
    * Transpose that only moves axes of size 1: a Reshape, which merges with others.
    """
    edit = Edit(graph)
    changed = True
    while changed:
        changed = False
        for node in edit.nodes:
            if edit.has(node) and (_merge(edit, node) or (_is_noop(edit, node) and edit.bypass(node, node.inputs[0]))):
                changed = True
    return edit.finish()


def _merge(edit: Edit, node: Node) -> bool:
    """Makes a Reshape, Transpose or FlipSign read past another one in front of it."""
    if isinstance(node.op, Transpose) and _moves_only_ones(edit.tensor(node.inputs[0]), node.op):
        edit.change(node, op=Reshape(shape=edit.out(node).shape))
        return True
    before = edit.producer(node.inputs[0]) if node.inputs and node.inputs[0] else None
    if before is None:
        return False
    op: Operator
    if isinstance(node.op, Reshape) and isinstance(before.op, Reshape):
        op = node.op
    elif isinstance(node.op, Transpose) and isinstance(before.op, Transpose):
        op = Transpose(perm=tuple(before.op.perm[axis] for axis in node.op.perm))
    elif isinstance(node.op, FlipSign) and isinstance(before.op, FlipSign):
        return edit.bypass(node, before.inputs[0])
    else:
        return False
    if not _same_kind(edit.tensor(before.inputs[0]), edit.tensor(before.outputs[0])):
        return False
    edit.change(node, op=op, inputs=before.inputs, sources=merged_sources(before, node))
    return True


def _moves_only_ones(tensor: Tensor, op: Transpose) -> bool:
    moved = [axis for axis in op.perm if tensor.shape[axis] != 1]
    return moved == sorted(moved) and op.perm != tuple(range(len(op.perm)))


def _same_kind(one: Tensor, other: Tensor) -> bool:
    return (one.dtype, one.quant) == (other.dtype, other.quant)


def _is_noop(edit: Edit, node: Node) -> bool:
    if not node.inputs or not node.inputs[0]:
        return False
    source, result = edit.tensor(node.inputs[0]), edit.out(node)
    if source.is_constant or source.shape != result.shape or not _same_kind(source, result):
        return False
    return _has_no_effect(node.op, len(node.inputs))


def _has_no_effect(op: Operator, operands: int) -> bool:
    """Whether an operator whose output has its first input's shape, type and quantisation copies it."""
    match op:
        case Reshape() | Cast() | Resize():
            return True
        case Transpose(perm=perm):
            return perm == tuple(range(len(perm)))
        case Slice(steps=steps):
            return all(step == 1 for step in steps)
        case Pad(pads=pads):
            return not any(pads)
        case Concat():
            return operands == 1
        case MaxPool(kernel=kernel, strides=strides, pads=pads):
            return {*kernel, *strides} == {1} and not any(pads)
        case AveragePool(kernel=kernel, strides=strides, pads=pads, clamp=None):
            return {*kernel, *strides} == {1} and not any(pads)
        case Unary(function=function):
            return function == "identity"
        case _:
            return False
