# SPDX-License-Identifier: Apache-2.0
"""Computes once what the graph computes twice."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph, QuantParams
from mcucompiler.ops import Operator
from mcucompiler.passes.edit import Edit, merged_sources

_Key = tuple[Operator, tuple[str, ...], str, QuantParams | None]


def share_subexpressions(graph: Graph) -> Graph:
    """Replaces a node by an earlier one of the same operator on the same inputs with the same type of output."""
    edit = Edit(graph)
    seen: dict[_Key, str] = {}
    for old in edit.nodes:
        node = edit.current(old.name)
        if node is None:
            continue
        output = edit.out(node)
        first = edit.current(seen.setdefault((node.op, node.inputs, output.dtype, output.quant), node.name))
        if first is None or first is node:
            continue
        if edit.bypass(node, first.outputs[0]):
            kept = edit.current(first.name) or first
            edit.change(kept, sources=merged_sources(kept, node))
    return edit.finish()
