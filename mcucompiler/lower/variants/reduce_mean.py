# SPDX-License-Identifier: Apache-2.0
"""Means over any axes: integer sums, four channels at a time where channels are innermost, then one rounding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES
from mcucompiler.lower.types import (
    Exactness,
    InputArg,
    Kernel,
    KernelCall,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    Stored,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, cycles, label, output_bounds, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES, Loop, grouped_axes, merged, nest, refine, view_axes, with_inner
from mcucompiler.numerics.mean_form import find_mean_form
from mcucompiler.numerics.requantize import mean_multiplier
from mcucompiler.ops.base import Clamp
from mcucompiler.ops.reduce_mean import ReduceMean
from mcucompiler.words import counted

STRIDED_INPUT = True
STRIDED_OUTPUT = True
_LANE_SUMS = 255  # so many bytes added to a 16-bit lane cannot overflow it

_mean_form = lru_cache(maxsize=256)(find_mean_form)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTail:
    """From the sum of all elements to the output, as templates/macros/mean.j2 prints it.

    Attributes:
        kind: "integer", "float" (between quantized tensors) or "float32".
        count: elements of a mean.
        zero_sum: count times the input's zero point.
        shift: of the integer form.
        multiplier: of the integer form.
        addend: of the integer form.
        factor: float32 factor of the float form.
        zero: the output's zero point.
        lo: least output.
        hi: greatest output.
    """

    kind: str
    count: int
    zero_sum: int = 0
    shift: int = 0
    multiplier: int = 0
    addend: int = 0
    factor: float = 0.0
    zero: int = 0
    lo: int = 0
    hi: int = 0


def mean_tail(context: NodeContext, count: int, clamp_lo: int, clamp_hi: int) -> MeanTail:
    """The tail for a mean of ``count`` elements between the node's input 0 and output 0.

    Args:
        context: the node.
        count: elements of a mean.
        clamp_lo: least output; ignored for float32.
        clamp_hi: greatest output.
    """
    source, target = context.activation(0).tensor, context.outputs[0].tensor
    if source.quant is None or target.quant is None:
        return MeanTail(kind="float32", count=count)
    qx, qy = source.quant, target.quant
    form = None
    if source.dtype == target.dtype == "int8" and context.options.exact != "float":
        form = _mean_form(count, qx, qy, clamp_lo, clamp_hi)
    if form is not None:
        return MeanTail(
            kind="integer",
            count=count,
            zero_sum=count * qx.z,
            shift=form.shift,
            multiplier=form.multiplier,
            addend=form.addend,
            zero=qy.z,
            lo=form.lo,
            hi=form.hi,
        )
    return MeanTail(
        kind="float",
        count=count,
        zero_sum=count * qx.z,
        factor=float(mean_multiplier(count, qx.s, qy.s)),
        zero=qy.z,
        lo=clamp_lo,
        hi=clamp_hi,
    )


def tail_exactness(tail: MeanTail) -> Exactness:
    """One channel, proved or not; none in float32."""
    if tail.kind == "float32":
        return Exactness()
    return Exactness(proved=1) if tail.kind == "integer" else Exactness(float_tail=1)


@dataclass(frozen=True, slots=True)
class MeanLoops:
    """Loops over the output, and over the elements of a mean."""

    kept: tuple[Loop, ...]
    reduced: tuple[Loop, ...]


def mean_loops(source: Stored, target: Stored, axes: tuple[int, ...]) -> MeanLoops | None:
    """Loops over the output (strides: input, output) and over what a mean covers (stride: input)."""
    groups = grouped_axes(source)
    if groups is None:
        return None
    kept = [axis for index, group in enumerate(groups) if index not in axes for axis in group]
    loops = refine(kept, view_axes(target))
    if loops is None:
        return None
    reduced = [Loop(axis.extent, (axis.stride,)) for index in axes for axis in groups[index]]
    # The order of a float32 sum is part of the definition; integers take that of the memory.
    ordered = merged(reduced) if source.tensor.quant is None else nest(reduced, order_by=0)
    return MeanLoops(nest(loops, order_by=1), ordered)


def takes_words(source: Stored, loops: MeanLoops) -> bool:
    """Whether four channels are summed at a time."""
    inner = with_inner(loops.kept, 2)[-1]
    return source.tensor.dtype == "int8" and inner.strides == (1, 1) and inner.extent >= 4


def sums_kernel(
    source: Stored, loops: MeanLoops, result: Param, *, stem: str, about: str, tail: MeanTail | None, otype: str
) -> Kernel:
    """The function that sums what the loops describe.

    Args:
        source: what is summed.
        loops: over it.
        result: the parameter for what it gives.
        stem: of the function's name.
        about: what it does.
        tail: from sums to means; None to add the sums to those in ``result`` instead.
        otype: C type of the elements of ``result``.
    """
    kept, reduced = with_inner(loops.kept, 2), with_inner(loops.reduced, 1)
    *outer_reduced, inner_reduced = reduced
    return kernel(
        "reduce_mean",
        label(stem, source),
        (reads(source.tensor), result),
        includes=MATH,
        about=about,
        tail=tail,
        adds=tail is None,
        outer=kept[:-1],
        inner=kept[-1],
        reduced=tuple(outer_reduced),
        run=inner_reduced.extent,
        step=inner_reduced.strides[0],
        chunks=_chunks(inner_reduced.extent),
        words=takes_words(source, loops),
        single=prod(loop.extent for loop in reduced) <= _LANE_SUMS,
        ctype=CTYPES[source.tensor.dtype],
        otype=otype,
    )


def mean_call(context: NodeContext, loops: MeanLoops, clamp: Clamp | None, name: str) -> KernelCall:
    """The call that computes the means of input 0 which the loops describe."""
    source, target = context.activation(0), context.outputs[0]
    kept = with_inner(loops.kept, 2)
    count = prod(loop.extent for loop in loops.reduced)
    tail = mean_tail(context, count, *output_bounds(target.tensor.dtype, clamp))
    words = takes_words(source, loops)
    elements = source.tensor.size
    instructions = (
        round(elements * (1.0 if words else 4.1)) + target.tensor.size * (10 if tail.kind == "integer" else 15) + 30
    )
    return KernelCall(
        kernel=sums_kernel(
            source,
            loops,
            writes(target.tensor),
            stem="mean",
            about=f"Means of {counted(count, 'element')}.",
            tail=tail,
            otype=CTYPES[target.tensor.dtype],
        ),
        arguments=(InputArg(index=0), OutputArg(index=0)),
        variant=name,
        reason="four channels a word" if words else "one mean at a time",
        overlaps=_overlaps(context, kept, words),
        stack_bytes=128,
        instructions=instructions,
        cycles=cycles(instructions, "reduce_mean"),
        exactness=tail_exactness(tail),
        float_arithmetic=tail.kind == "float32",
    )


@dataclass(frozen=True, slots=True)
class ReduceMeanLoops:
    """Sums in registers; no scratch."""

    name: str = "reduce_mean"

    def reject(self, context: NodeContext) -> str | None:
        """Layouts whose axes are visible in memory; sums that fit 32 bits."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        if (source.quant is None) != (target.quant is None):
            return "quantized on one side only"
        if source.quant is None and source.dtype != "float32":
            return f"elements of type {source.dtype} without quantization"
        if _loops(context) is None:
            return "the memory order does not follow the axes"
        return "the sum may leave 32 bits" if source.size // max(target.size, 1) >= 2**22 else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op = context.node.op
        loops = _loops(context)
        if loops is None or not isinstance(op, ReduceMean):
            raise ValueError("the memory order does not follow the axes")
        return mean_call(context, loops, op.clamp, self.name)


def _loops(context: NodeContext) -> MeanLoops | None:
    op = context.node.op
    if not isinstance(op, ReduceMean):
        return None
    return mean_loops(context.activation(0), context.outputs[0], op.axes)


def _chunks(extent: int) -> tuple[tuple[int, int], ...]:
    """The innermost sum in parts whose lanes cannot overflow: (times, elements)."""
    part = _LANE_SUMS // 4 * 4
    if extent <= _LANE_SUMS:
        return ((1, extent),)
    whole, rest = divmod(extent, part)
    return ((whole, part), (1, rest)) if rest else ((whole, part),)


def _overlaps(context: NodeContext, kept: tuple[Loop, ...], words: bool) -> tuple[Overlap, ...]:
    """A mean is written when its elements have been read; later ones must not lie below it."""
    source, target = context.activation(0), context.outputs[0]
    if not (source.place.dense and target.place.dense):
        return ()
    first = np.zeros((), dtype=np.int64)
    for loop in kept:
        first = first[..., None] + np.arange(loop.extent) * loop.strides[0]
    block = 4 if words else 1
    pending = np.append(np.minimum.accumulate(first.reshape(-1)[::-1])[::-1], source.tensor.size)
    index = np.arange(first.size)
    after = pending[np.minimum(index // block * block + block, first.size)] if len(kept) == 1 else pending[index]
    item = ITEM_BYTES[target.tensor.dtype]
    distance = int(((index + 1) * item - after * ITEM_BYTES[source.tensor.dtype]).max())
    return (Overlap(input=0, output=0, same=False, distance=max(0, distance)),)


VARIANTS: tuple[Variant, ...] = (ReduceMeanLoops(),)
