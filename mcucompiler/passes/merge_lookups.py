# SPDX-License-Identifier: Apache-2.0
"""Composes tables that follow each other, and drops those that change nothing."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node
from mcucompiler.ops import Lookup
from mcucompiler.passes.edit import Edit, merged_sources
from mcucompiler.passes.tables import all_values, table_tensor


def merge_lookups(graph: Graph) -> Graph:
    """A Lookup of a Lookup that nobody else reads becomes one; an identity between equal types goes away."""
    edit = Edit(graph)
    for old in edit.nodes:
        node = edit.current(old.name)
        if node is not None and isinstance(node.op, Lookup):
            _drop(edit, _compose(edit, node))
    return edit.finish()


def _compose(edit: Edit, node: Node) -> Node:
    before = edit.producer(node.inputs[0])
    outer, outer_table = node.op, edit.tensor(node.inputs[1]).data
    if before is None or not isinstance(before.op, Lookup) or edit.sole_user(before.outputs[0]) is not node:
        return node
    inner_table = edit.tensor(before.inputs[1]).data
    if not isinstance(outer, Lookup) or outer_table is None or inner_table is None:
        return node
    axes = {axis for axis in (outer.axis, before.op.axis) if axis is not None}
    if len(axes) > 1:
        return node
    index = inner_table.astype(np.int64) - int(all_values(edit.out(before))[0])
    entries = _entries(outer_table, index)
    table = edit.add_tensor(table_tensor(entries), f"{node.name}@table")
    merged = edit.change(
        node,
        op=Lookup(axis=axes.pop() if axes else None),
        inputs=(before.inputs[0], table.name),
        sources=merged_sources(before, node),
    )
    edit.remove(before)
    return merged


def _entries(table: Array, index: Array) -> Array:
    """``table[index]`` along the last axis, rows matched or repeated."""
    if table.ndim < index.ndim:
        table = np.broadcast_to(table, index.shape)
    elif table.ndim > index.ndim:
        index = np.broadcast_to(index, table.shape)
    return np.take_along_axis(table, index, axis=-1)


def _drop(edit: Edit, node: Node) -> None:
    source, result = edit.tensor(node.inputs[0]), edit.out(node)
    table = edit.tensor(node.inputs[1]).data
    if table is None or (source.dtype, source.quant) != (result.dtype, result.quant):
        return
    if np.array_equal(table, np.broadcast_to(all_values(source), table.shape)):
        edit.bypass(node, source.name)
