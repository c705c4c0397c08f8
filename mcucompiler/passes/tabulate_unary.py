# SPDX-License-Identifier: Apache-2.0
"""Makes quantised operators of one value tables: functions, operations with a scalar, requantisation."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node
from mcucompiler.ops import Add, Dequantize, Div, Lookup, Mul, Quantize, Sub, Unary
from mcucompiler.passes.edit import Edit, merged_sources
from mcucompiler.passes.tables import all_values, table_tensor, tabulate

_DTYPES = ("int8", "uint8")


def tabulate_unary(graph: Graph) -> Graph:
    """Replaces operators whose output depends on one 8-bit integer at a time by a Lookup.

    * Unary functions of quantised tensors;
    * Add, Sub, Mul, Div of a quantised tensor with a constant of one element, with itself, or with a table of itself
      (``x * sigmoid(x)``, and HardSwish with its parts quantised one by one);
    * Dequantize and the Quantize behind it.

    The entries are the operators' own references over all 256 values, so nothing changes.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, Quantize):
            _requantization(edit, node)
        elif isinstance(node.op, Unary | Add | Sub | Mul | Div):
            _function(edit, node)
    return edit.finish()


def _function(edit: Edit, node: Node) -> None:
    output = edit.out(node)
    operands = [tensor for tensor in edit.ins(node) if tensor is not None]
    variables = {tensor.name: tensor for tensor in operands if not tensor.is_constant}
    if any(t.dtype not in _DTYPES or t.shape != output.shape for t in (*variables.values(), output)):
        return
    if any(tensor.is_constant and tensor.size != 1 for tensor in operands):
        return
    root = _common_root(edit, list(variables))
    if root is None:
        return
    values = {name: _from_root(edit, name, root) for name in variables}
    table = edit.add_tensor(table_tensor(tabulate(node.op, edit.ins(node), output, values)), f"{node.name}@table")
    lookups = [edit.producer(name) for name in variables if name != root]
    edit.change(node, op=Lookup(), inputs=(root, table.name), sources=merged_sources(*lookups, node))


def _common_root(edit: Edit, names: list[str]) -> str | None:
    """The nearest tensor of which all of these are tables, or which they are; None where there is none."""
    if not names:
        return None
    chains = [_chain(edit, name) for name in names]
    return next((name for name in chains[0] if all(name in chain for chain in chains)), None)


def _chain(edit: Edit, name: str) -> list[str]:
    """A tensor, what it is a table of, and so on."""
    chain = [name]
    while True:
        producer = edit.producer(chain[-1])
        if producer is None or _table(edit, chain[-1]) is None:
            return chain
        chain.append(producer.inputs[0])


def _table(edit: Edit, name: str) -> Array | None:
    """The table of one row that gives a tensor, None where none does."""
    producer = edit.producer(name)
    if producer is None or not isinstance(producer.op, Lookup) or producer.op.axis is not None:
        return None
    return edit.tensor(producer.inputs[1]).data


def _from_root(edit: Edit, name: str, root: str) -> Array:
    """The value of a tensor for every value of the one that it is a table of; [256]."""
    chain = _chain(edit, name)
    values = all_values(edit.tensor(root))
    for step in reversed(chain[: chain.index(root)]):
        table = _table(edit, step)
        if table is not None:
            values = table[values.astype(np.int64) - int(all_values(edit.tensor(root))[0])]
        root = step
    return values


def _requantization(edit: Edit, node: Node) -> None:
    before = edit.producer(node.inputs[0])
    if before is None or not isinstance(before.op, Dequantize):
        return
    source, output = edit.tensor(before.inputs[0]), edit.out(node)
    if source.is_constant or source.dtype not in _DTYPES or output.dtype not in _DTYPES:
        return
    real = tabulate(before.op, (source,), edit.out(before), {source.name: all_values(source)})
    entries = tabulate(node.op, (edit.out(before),), output, {before.outputs[0]: real})
    table = edit.add_tensor(table_tensor(entries), f"{node.name}@table")
    edit.change(node, op=Lookup(), inputs=(source.name, table.name), sources=merged_sources(before, node))
