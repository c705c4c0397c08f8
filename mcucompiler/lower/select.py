# SPDX-License-Identifier: Apache-2.0
"""Chooses a kernel variant for every node and keeps the reasons."""

from __future__ import annotations

from collections.abc import Callable

from mcucompiler.errors import UnsupportedOperatorError
from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.lower.assign import LaidOut
from mcucompiler.lower.types import LoweredStep, LoweringOptions, NodeContext, Stored
from mcucompiler.lower.variants import variants_of
from mcucompiler.lower.views import Views


def select_kernels(
    laid_out: LaidOut, views: Views, options: LoweringOptions, progress: Callable[[str], None] | None = None
) -> tuple[LoweredStep, ...]:
    """One step for every node that is not a view, in graph order.

    Raises:
        UnsupportedOperatorError: listing all nodes that no variant accepts, with each variant's reason.
    """
    graph = laid_out.graph
    steps: list[LoweredStep] = []
    refused: list[tuple[str, str]] = []
    for node in graph.nodes:
        if node.name in views.free:
            continue
        if progress is not None:
            progress(node.name)
        context = _context(laid_out, views, node, options)
        step, rejected = _first_accepted(graph, node, context)
        if step is None:
            reasons = "; ".join(f"{variant}: {reason}" for variant, reason in rejected)
            refused.append((node.name, f"{node.op.kind}: {reasons}"))
        else:
            steps.append(step)
    if refused:
        raise UnsupportedOperatorError(refused)
    return tuple(steps)


def _first_accepted(
    graph: Graph, node: Node, context: NodeContext
) -> tuple[LoweredStep | None, tuple[tuple[str, str], ...]]:
    rejected: list[tuple[str, str]] = []
    for variant in variants_of(node.op):
        reason = variant.reject(context)
        if reason is not None:
            rejected.append((variant.name, reason))
            continue
        reads = {i: name for i, name in enumerate(node.inputs) if name and not graph.tensors[name].is_constant}
        step = LoweredStep(
            nodes=(node,),
            call=variant.lower(context),
            reads=reads,
            writes=node.outputs,
            macs=node.op.macs(graph.ins(node), graph.outs(node)),
            rejected=tuple(rejected),
        )
        return step, tuple(rejected)
    return None, tuple(rejected)


def _context(laid_out: LaidOut, views: Views, node: Node, options: LoweringOptions) -> NodeContext:
    graph = laid_out.graph

    def stored(tensor: Tensor, index: int | None) -> Stored:
        layout = laid_out.layouts[tensor.name]
        if index is not None:
            layout = laid_out.seen_as.get((node.name, index), layout)
        return Stored(tensor=tensor, layout=layout, place=views.places[tensor.name])

    inputs = tuple(
        tensor if tensor is None or tensor.is_constant else stored(tensor, index)
        for index, tensor in enumerate(graph.ins(node))
    )
    return NodeContext(
        node=node, inputs=inputs, outputs=tuple(stored(tensor, None) for tensor in graph.outs(node)), options=options
    )
