# SPDX-License-Identifier: Apache-2.0
"""Makes islands of elementwise float operators tables of the 8-bit tensor that they start from."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Graph, Node, Tensor
from mcucompiler.ops import Lookup, Quantize
from mcucompiler.passes.edit import Edit, merged_sources
from mcucompiler.passes.islands import Island, evaluate, find_island
from mcucompiler.passes.tables import table_tensor

#: A table with a row for each channel is taken up to this size; beyond, the island stays float32 and is reported.
MOST_TABLE_BYTES = 32 * 1024


def fold_islands(graph: Graph) -> Graph:
    """Replaces an island (see ``islands``) by a Lookup, with a row for each channel where its constants vary.

    * From Dequantize to Quantize: real arithmetic (float64) rounded once, since a chain without an integer twin has
      no other definition. HardSwish split into HardSigmoid and Mul is one, as is Gelu in its parts.
    * From a Cast of raw 8-bit integers (an image) to Quantize: the normalisation in front of the network, in float32
      step by step as its operators compute it.
    * To a float32 value that something else reads: a table of float32 entries, step by step.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, Quantize):
            _fold_to_integers(edit, node)
    ends = [(node, island) for node in edit.nodes if (island := _float_end(edit, node)) is not None]
    tables = [evaluate(edit, island, real=False) for _, island in ends]  # all before the graph changes
    for (node, island), entries in zip(ends, tables, strict=True):
        _replace(edit, node, island, entries)
    return edit.finish()


def _fold_to_integers(edit: Edit, quantize: Node) -> None:
    island = find_island(edit, quantize.inputs[0])
    output = edit.out(quantize)
    if island is None or output.dtype not in ("int8", "uint8") or output.quant is None:
        return
    if not island.operators and not island.is_raw:
        return  # Dequantize and Quantize alone: a requantisation, in float32 by definition
    values = evaluate(edit, island, real=not island.is_raw)
    if not np.all(np.isfinite(values)):
        return
    if island.is_raw:
        middle = edit.tensor(island.value).replace(shape=values.shape)
        (entries,) = quantize.op.reference((middle,), (output.replace(shape=values.shape),), (values,))
    else:
        entries = _rounded_once(values, output)
    _replace(edit, quantize, island, entries)


def _rounded_once(values: Array, output: Tensor) -> Array:
    if output.quant is None:
        raise ValueError(f"{output.name!r} is not quantised")
    lo, hi = INTEGER_RANGES[output.dtype]
    units = np.rint(values / float(output.quant.s)) + output.quant.z
    return np.asarray(np.clip(units, lo, hi).astype(output.dtype))


def _float_end(edit: Edit, node: Node) -> Island | None:
    """The island that ends in a node's output, if something that is not part of an island reads it."""
    value = node.outputs[0]
    if edit.tensor(value).dtype != "float32":
        return None
    island = find_island(edit, value)
    if island is None or not island.operators:
        return None
    inner = all(find_island(edit, user.outputs[0]) is not None for user in edit.users(value))
    return None if inner and value not in edit.outputs else island


def _replace(edit: Edit, last: Node, island: Island, entries: Array) -> None:
    if entries.nbytes > MOST_TABLE_BYTES:
        return
    if entries.ndim == 2 and np.array_equal(entries, np.broadcast_to(entries[:1], entries.shape)):
        entries = entries[0]
    table = edit.add_tensor(table_tensor(np.ascontiguousarray(entries)), f"{last.name}@table")
    edit.change(
        last,
        op=Lookup(axis=island.axis if entries.ndim == 2 else None),
        inputs=(island.source.name, table.name),
        sources=merged_sources(*island.nodes, *([] if last in island.nodes else [last])),
    )
