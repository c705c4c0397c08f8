# SPDX-License-Identifier: Apache-2.0
"""Which nodes to give smaller kernels, so that a network fits its flash and loses the least time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcucompiler.ir.graph import Graph
from mcucompiler.lower import lower_graph
from mcucompiler.lower.select import CodeBytes, constant_bytes
from mcucompiler.lower.types import Kernel, KernelCall, LoweredStep, LoweringOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A node with its fast and its small kernel."""

    node: str
    fast: KernelCall
    small: KernelCall


def nodes_to_shrink(
    graph: Graph, options: LoweringOptions, bytes_to_save: int, code_bytes: CodeBytes
) -> frozenset[str]:
    """Names of nodes whose small kernels save at least so many bytes; of all that save any, where that is not enough.

    Code is gone when its last user is, so all nodes with the same fast kernel change together. Those go first that
    lose the fewest estimated cycles for each byte they save.

    Args:
        graph: after the passes.
        options: those of the fast kernels.
        bytes_to_save: of constants and code.
        code_bytes: estimated size of a kernel's code.
    """
    fast, small = (
        [_kernel_call(step) for step in lower_graph(graph, how, code_bytes=code_bytes).steps]
        for how in (options, replace(options, optimize="size"))
    )
    choices = [_Choice(node=name, fast=call, small=other) for (name, call), (_, other) in zip(fast, small, strict=True)]
    groups: dict[Kernel, list[str]] = {}
    for choice in choices:
        if choice.fast.kernel != choice.small.kernel or constant_bytes(choice.small) < constant_bytes(choice.fast):
            groups.setdefault(choice.fast.kernel, []).append(choice.node)
    sizes = _Sizes(choices, code_bytes)
    before = sizes.bytes(())
    shrunk: list[str] = []
    left = list(groups.values())
    while left and before - sizes.bytes(shrunk) < bytes_to_save:
        best = _best(left, shrunk, sizes)
        if best is None:
            break
        left.remove(best)
        shrunk += best
    return frozenset(shrunk)


class _Sizes:
    """Bytes and cycles of the program, by which nodes are small."""

    def __init__(self, choices: Sequence[_Choice], code_bytes: CodeBytes) -> None:
        self._choices = choices
        self._code_bytes = code_bytes
        self._lost: Mapping[str, int] = {c.node: c.small.cycles - c.fast.cycles for c in choices}

    def bytes(self, small: Collection[str]) -> int:
        """Constants and the code of all kernels in use."""
        calls = [choice.small if choice.node in small else choice.fast for choice in self._choices]
        kernels = dict.fromkeys(call.kernel for call in calls)
        return sum(map(constant_bytes, calls)) + sum(map(self._code_bytes, kernels))

    def cycles_lost(self, nodes: Iterable[str]) -> int:
        """What small kernels cost."""
        return sum(self._lost[node] for node in nodes)


def _best(groups: Sequence[list[str]], shrunk: list[str], sizes: _Sizes) -> list[str] | None:
    """The group that loses the fewest cycles for each byte it saves. None where none is left to save anything.

    A first user of a shared small kernel may save nothing until others follow: where no single group does, the
    groups are taken together.
    """
    now = sizes.bytes(shrunk)
    rated = []
    for number, group in enumerate(groups):
        saved = now - sizes.bytes([*shrunk, *group])
        if saved > 0:
            rated.append((sizes.cycles_lost(group) / saved, number))
    if rated:
        return groups[min(rated)[1]]
    everything = [node for group in groups for node in group]
    return groups[0] if sizes.bytes([*shrunk, *everything]) < now else None


def _kernel_call(step: LoweredStep) -> tuple[str, KernelCall]:
    if not isinstance(step.call, KernelCall):
        raise TypeError(f"{step.title} is not a layer")
    return step.node.name, step.call
