# SPDX-License-Identifier: Apache-2.0
"""The worst stack of a program from the compiler's own call graph (GCC's -fcallgraph-info=su).

Each source gives a ``.ci`` file in VCG form: nodes with the stack of a function, edges for its
calls. Functions of the same name in different files are told apart by their titles.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from mcucompiler.errors import ToolError

EXTERNAL_STACK_BYTES = 64
"""Allowed for a library function whose stack the compiler does not state (memcpy, memset, fmaf)."""

_NODE = re.compile(r'node: \{ title: "(?P<title>[^"]*)" label: "(?P<label>[^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "(?P<source>[^"]*)" targetname: "(?P<target>[^"]*)"')
_STACK = re.compile(r"(?P<bytes>\d+) bytes \((?P<kind>[a-z,]+)\)")
_INDIRECT = "__indirect_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackBound:
    """The deepest chain of calls.

    Attributes:
        bytes: stack of the whole chain, return addresses included.
        chain: pairs of function and its own bytes, from the root down.
        external: library functions that are called, for which EXTERNAL_STACK_BYTES is allowed.
    """

    bytes: int
    chain: tuple[tuple[str, int], ...]
    external: tuple[str, ...]


def stack_bound(
    files: Iterable[Path], root: str, *, without: Collection[str] = (), pushed: Mapping[str, int] | None = None
) -> StackBound:
    """The worst stack of ``root`` and all it calls.

    Args:
        files: the ``.ci`` files of all sources of the network.
        root: a function's name in C.
        without: functions whose own stack and calls do not count: not the network's.
        pushed: for the functions of these sources, bytes by which their code moves the stack pointer down: see
            ``frames.pushed_bytes``. It counts where GCC states no frame, as it does for naked functions.

    Raises:
        ToolError: the graph has a cycle, an indirect call, a function with a frame of unknown
            size, or no such root: no bound can be given.
    """
    graph, frames = _read(files)
    for title in graph:
        size = (pushed or {}).get(_function(title))
        if size is not None and frames.get(title, (0, ""))[0] == 0:
            frames[title] = (size, "static")
    graph.remove_nodes_from([title for title in graph if _function(title) in without])
    starts = [title for title in frames if _function(title) == root]
    if len(starts) != 1:
        raise ToolError(f"the compiler's call graph has no function {root!r}; the stack cannot be bounded")
    reached = graph.subgraph(nx.descendants(graph, starts[0]) | {starts[0]})
    _refuse_unbounded(reached, frames)
    depth: dict[str, int] = {}
    deepest: dict[str, str] = {}
    for title in reversed(list(nx.topological_sort(reached))):
        below = max(reached.successors(title), key=lambda callee: (depth[callee], callee), default="")
        deepest[title] = below
        depth[title] = _own(title, frames) + (depth[below] if below else 0)
    chain, title = [], starts[0]
    while title:
        chain.append((_function(title), _own(title, frames)))
        title = deepest[title]
    external = sorted(_function(title) for title in reached if title not in frames)
    return StackBound(bytes=depth[starts[0]], chain=tuple(chain), external=tuple(external))


def _read(files: Iterable[Path]) -> tuple[nx.DiGraph[str], dict[str, tuple[int, str]]]:
    graph: nx.DiGraph[str] = nx.DiGraph()
    frames: dict[str, tuple[int, str]] = {}
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for node in _NODE.finditer(text):
            graph.add_node(node["title"])
            stack = _STACK.search(node["label"])
            if stack:
                frames[node["title"]] = (int(stack["bytes"]), stack["kind"])
        for edge in _EDGE.finditer(text):
            graph.add_edge(edge["source"], edge["target"])
    return graph, frames


def _refuse_unbounded(graph: nx.DiGraph[str], frames: dict[str, tuple[int, str]]) -> None:
    if _INDIRECT in graph:
        callers = ", ".join(sorted(_function(title) for title in graph.predecessors(_INDIRECT)))
        raise ToolError(f"{callers} calls through a pointer; the stack cannot be bounded")
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(_function(edge[0]) for edge in nx.find_cycle(graph))
        raise ToolError(f"{cycle} is recursive; the stack cannot be bounded")
    for title in graph:
        kind = frames.get(title, (0, "static"))[1]
        if kind == "dynamic":
            raise ToolError(f"{_function(title)} has a frame whose size is not known; the stack cannot be bounded")


def _own(title: str, frames: dict[str, tuple[int, str]]) -> int:
    return frames[title][0] if title in frames else EXTERNAL_STACK_BYTES


def _function(title: str) -> str:
    """The C name in a node's title: static functions are titled ``file.c:name``."""
    return title.rsplit(":", 1)[-1]
