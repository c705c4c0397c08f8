# SPDX-License-Identifier: Apache-2.0
"""Chooses a kernel variant for every node, by estimated cycles or by bytes, and keeps the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mcucompiler.errors import UnsupportedOperatorError
from mcucompiler.ir.graph import Node, Tensor
from mcucompiler.lower.assign import LaidOut
from mcucompiler.lower.types import (
    ConstantArg,
    Kernel,
    KernelCall,
    LoweredStep,
    LoweringOptions,
    NodeContext,
    Stored,
    Variant,
)
from mcucompiler.lower.variants import variants_of
from mcucompiler.lower.views import Views

LEAST_GAIN = 0.05
"""Part of its estimated cycles that a variant must save to be taken before an earlier one of the operator's list: the
model cannot tell less, and earlier variants share more code."""
MOST_SLOWDOWN = 2.0
"""How many times the cycles of the fastest variant one may take that is smaller or needs less scratch."""

CodeBytes = Callable[[Kernel], int]
"""Estimated bytes of a kernel's code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidates:
    """The variants that accept a node, in order of preference, and why the others do not."""

    node: Node
    by_size: bool
    calls: tuple[KernelCall, ...]
    refused: tuple[tuple[str, str], ...]


def select_kernels(
    laid_out: LaidOut,
    views: Views,
    options: LoweringOptions,
    progress: Callable[[str], None] | None = None,
    code_bytes: CodeBytes | None = None,
) -> tuple[LoweredStep, ...]:
    """One step for every node that is not a view, in graph order.

    Args:
        laid_out: the graph with memory orders.
        views: places of the activations.
        options: "speed" and "ram" take the variant of least estimated cycles, "size" that of least bytes of constants
            and code, where code that several steps use counts once.
        progress: called with the name of each node before its variants are tried.
        code_bytes: size of a kernel's code; without it only constants count.

    Raises:
        UnsupportedOperatorError: listing all nodes that no variant accepts, with each variant's reason.
    """
    found: list[_Candidates] = []
    unsupported: list[tuple[str, str]] = []
    for node in laid_out.graph.nodes:
        if node.name in views.free:
            continue
        if progress is not None:
            progress(node.name)
        candidates = _candidates(laid_out, views, node, options)
        if candidates.calls:
            found.append(candidates)
        else:
            reasons = "; ".join(f"{variant}: {reason}" for variant, reason in candidates.refused)
            unsupported.append((node.name, f"{node.op.kind}: {reasons}"))
    if unsupported:
        raise UnsupportedOperatorError(unsupported)
    chosen = [_fastest(candidates.calls) for candidates in found]
    _shrink(found, chosen, code_bytes or (lambda kernel: 0))
    return tuple(_step(laid_out, candidates, index) for candidates, index in zip(found, chosen, strict=True))


def options_for(options: LoweringOptions, node: Node) -> LoweringOptions:
    """The options that a node's kernels are chosen by."""
    return replace(options, optimize="size") if node.name in options.small else options


def constant_bytes(call: KernelCall) -> int:
    """Bytes of a call's weights and tables."""
    return sum(argument.array.values.nbytes for argument in call.arguments if isinstance(argument, ConstantArg))


def _candidates(laid_out: LaidOut, views: Views, node: Node, options: LoweringOptions) -> _Candidates:
    options = options_for(options, node)
    context = _context(laid_out, views, node, options)
    calls: list[KernelCall] = []
    refused: list[tuple[str, str]] = []
    for variant in variants_of(node.op):
        reason = variant.reject(context)
        if reason is None:
            calls.append(variant.lower(context))
        else:
            refused.append((variant.name, reason))
    return _Candidates(node=node, by_size=options.optimize == "size", calls=tuple(calls), refused=tuple(refused))


def _fastest(calls: Sequence[KernelCall]) -> int:
    """Index of the first call, in order of preference, that no other one beats clearly."""
    best = 0
    for index, call in enumerate(calls):
        if call.cycles < calls[best].cycles * (1 - LEAST_GAIN):
            best = index
    return best


def choose(variants: Sequence[Variant], context: NodeContext) -> KernelCall | None:
    """The fastest of the variants that accept a node; None where none does.

    Where memory is to be saved, that with the least scratch of those that are not much slower.
    """
    calls = [variant.lower(context) for variant in variants if variant.reject(context) is None]
    if not calls:
        return None
    best = calls[_fastest(calls)]
    if context.options.optimize != "ram":
        return best
    bearable = [call for call in calls if call.cycles <= MOST_SLOWDOWN * best.cycles]
    return min(bearable, key=lambda call: (call.scratch_bytes, call.cycles))


def _shrink(found: Sequence[_Candidates], chosen: list[int], code_bytes: CodeBytes) -> None:
    """Replaces choices by smaller ones until none is left that saves a byte, beside what the other steps use."""
    users = Counter(candidates.calls[index].kernel for candidates, index in zip(found, chosen, strict=True))

    def added(call: KernelCall) -> int:
        return constant_bytes(call) + (0 if users[call.kernel] else code_bytes(call.kernel))

    changed = True
    while changed:
        changed = False
        for position, candidates in enumerate(found):
            if not candidates.by_size or len(candidates.calls) == 1:
                continue
            calls, now = candidates.calls, chosen[position]
            users[calls[now].kernel] -= 1
            most = MOST_SLOWDOWN * min(call.cycles for call in calls)
            allowed = [index for index, call in enumerate(calls) if call.cycles <= most]
            best = min(allowed, key=lambda index: (added(calls[index]), index != now, index))
            users[calls[best].kernel] += 1
            chosen[position] = best
            changed = changed or best != now


def _step(laid_out: LaidOut, candidates: _Candidates, index: int) -> LoweredStep:
    graph, node, call = laid_out.graph, candidates.node, candidates.calls[index]
    others = tuple(
        (other.variant, _why_not(call, other, candidates.by_size)) for other in candidates.calls if other is not call
    )
    return LoweredStep(
        nodes=(node,),
        call=call,
        reads={i: name for i, name in enumerate(node.inputs) if name and not graph.tensors[name].is_constant},
        writes=node.outputs,
        macs=node.op.macs(graph.ins(node), graph.outs(node)),
        rejected=(*candidates.refused, *others),
    )


def _why_not(call: KernelCall, other: KernelCall, by_size: bool) -> str:
    if by_size:
        return f"larger, or more than {MOST_SLOWDOWN:g} times as slow: {other.cycles} estimated cycles"
    if other.cycles >= call.cycles:
        return f"slower: {other.cycles} estimated cycles"
    return f"no more than {LEAST_GAIN:.0%} faster: {other.cycles} estimated cycles"


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
