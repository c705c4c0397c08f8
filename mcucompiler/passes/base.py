# SPDX-License-Identifier: Apache-2.0
"""What a pass is."""

from __future__ import annotations

from typing import Protocol

from mcucompiler.ir.graph import Graph


class Pass(Protocol):
    """A rewrite of a graph: a pure function that keeps what the graph computes.

    A pass may assume only what ``ir.verify`` checks, never that another pass ran before it; the order in the pipeline
    decides how much it finds to do, not whether it is right.
    """

    __name__: str

    def __call__(self, graph: Graph, /) -> Graph:
        """The rewritten graph; the same object where there was nothing to do is welcome."""
        ...
