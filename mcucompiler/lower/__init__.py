# SPDX-License-Identifier: Apache-2.0
"""Lowering: memory order, places, and a specialised kernel for every node."""

from __future__ import annotations

from collections.abc import Callable

from mcucompiler.ir.graph import Graph
from mcucompiler.lower.assign import assign_layouts
from mcucompiler.lower.concat import split_concat_requantization
from mcucompiler.lower.select import CodeBytes, select_kernels
from mcucompiler.lower.types import Lowered, LoweringOptions, Stored
from mcucompiler.lower.views import assign_places

__all__ = ["lower_graph", "step_graph"]


def step_graph(graph: Graph) -> Graph:
    """The graph whose tensors the program's steps write: with the copies and requantizations that lowering adds."""
    return assign_layouts(split_concat_requantization(graph)).graph


def lower_graph(
    graph: Graph,
    options: LoweringOptions,
    *,
    share_concats: bool = True,
    progress: Callable[[str], None] | None = None,
    code_bytes: CodeBytes | None = None,
) -> Lowered:
    """The kernel calls that compute a graph.

    Args:
        graph: after the passes.
        options: core, exactness mode and objective.
        share_concats: let producers write into the results of concats where they can. That saves
            the copy, but the whole result is live from its first operand on.
        progress: called with the name of each node before its kernel is chosen.
        code_bytes: estimated size of a kernel's code, for choices by size.

    Raises:
        UnsupportedOperatorError: where no kernel variant accepts a node.
    """
    laid_out = assign_layouts(split_concat_requantization(graph))
    views = assign_places(laid_out, share_concats=share_concats)
    steps = select_kernels(laid_out, views, options, progress, code_bytes)
    stored = {
        name: Stored(tensor=laid_out.graph.tensors[name], layout=laid_out.layouts[name], place=place)
        for name, place in views.places.items()
    }
    return Lowered(graph=laid_out.graph, steps=steps, stored=stored, buffers=views.buffers, options=options)
