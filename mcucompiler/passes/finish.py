# SPDX-License-Identifier: Apache-2.0
"""What holds after the last pass, and what is left in float32."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import Graph, Node
from mcucompiler.ops import Dequantize, FlipSign, Quantize, Unary
from mcucompiler.passes.make_signed import works_on_bits


def check_finished(graph: Graph) -> None:
    """Refuses a graph that the pipeline has not brought to the form which ``lower`` relies on.

    No Unary on quantised tensors, no quantised uint8 activation inside the network but next to a FlipSign or between
    nodes that depend on integers as they are, no Quantize of what was just dequantised: every Dequantize and Quantize
    is next to a float operator or at the graph's boundary.

    Raises:
        VerificationError: with all causes.
    """
    causes = [cause for node in graph.nodes for cause in _causes(graph, node)]
    allowed = {*graph.inputs, *graph.outputs}
    allowed.update(
        name
        for node in graph.nodes
        if isinstance(node.op, FlipSign) or works_on_bits(graph, node)
        for name in (*node.inputs, *node.outputs)
    )
    inner = (tensor for name, tensor in graph.tensors.items() if name not in allowed)
    causes += [
        f"tensor {t.name!r} is still uint8"
        for t in inner
        if t.dtype == "uint8" and t.is_quantized and not t.is_constant
    ]
    if causes:
        raise VerificationError("passes", causes)


def _causes(graph: Graph, node: Node) -> Iterator[str]:
    where = f"node {node.name!r} ({node.op.kind})"
    if isinstance(node.op, Unary) and graph.outs(node)[0].is_quantized:
        yield f"{where} is no table yet"
    if isinstance(node.op, Quantize):
        before = graph.producer.get(node.inputs[0])
        if before is not None and isinstance(before.op, Dequantize):
            yield f"{where} requantises {before.inputs[0]!r} by way of float32"


def float_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes that compute in float32, Quantize and Dequantize around them included, in graph order."""
    return tuple(
        node
        for node in graph.nodes
        if any(graph.tensors[name].dtype == "float32" for name in (*node.inputs, *node.outputs) if name)
    )
