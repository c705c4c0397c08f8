# SPDX-License-Identifier: Apache-2.0
"""Makes requantisation before a concat explicit, so that the concat itself only gathers."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Graph, Node, Tensor, unique_name
from mcucompiler.ops import Concat, Lookup


def split_concat_requantization(graph: Graph) -> Graph:
    """A graph in which all operands of a quantised Concat have the result's parameters.

    An operand with others gets a Lookup in front, whose table is the Concat's own reference
    evaluated on all 256 values, so the meaning is the same by construction.
    """
    nodes: list[Node] = []
    new: list[Tensor] = []
    names = {*graph.tensors, *(node.name for node in graph.nodes)}
    for node in graph.nodes:
        if isinstance(node.op, Concat) and graph.outs(node)[0].is_quantized:
            inputs = []
            for name in node.inputs:
                operand, result = graph.tensors[name], graph.outs(node)[0]
                if operand.quant == result.quant and operand.dtype == result.dtype:
                    inputs.append(name)
                    continue
                output = result.replace(name=unique_name(f"{name}_requantized", names), shape=operand.shape, data=None)
                table = _table(node.op, operand, result, unique_name(f"{name}_table", names))
                lookup = unique_name(f"{node.name}_requantize", names | {output.name, table.name})
                names |= {output.name, table.name, lookup}
                new += [output, table]
                nodes.append(
                    Node(
                        name=lookup,
                        op=Lookup(),
                        inputs=(name, table.name),
                        outputs=(output.name,),
                        sources=node.sources,
                    )
                )
                inputs.append(output.name)
            node = node.replace(inputs=tuple(inputs))
        nodes.append(node)
    return graph.with_nodes(nodes, new)


def _table(op: Concat, operand: Tensor, result: Tensor, name: str) -> Tensor:
    lo, hi = INTEGER_RANGES[operand.dtype]
    shape = [1] * len(operand.shape)
    shape[op.axis] = 256
    values = np.arange(lo, hi + 1).astype(operand.dtype).reshape(shape)
    every = operand.replace(shape=tuple(shape))
    (entries,) = op.reference((every,), (result.replace(shape=tuple(shape)),), (values,))
    return Tensor(name=name, shape=(256,), dtype=result.dtype, data=entries.reshape(-1))
