# SPDX-License-Identifier: Apache-2.0
"""The mean over an image a few rows at a time: one kernel adds bands to sums, another makes means of the sums.

Both together compute what the kernel for the whole image does, bit for bit: there the mean is a function of the
integer sum of its elements (DESIGN, numbers), and an integer sum does not depend on the order. The sums, one int32 for
each channel, lie in scratch memory and must be zero before the first band.
"""

from __future__ import annotations

from dataclasses import replace

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.types import (
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    ScratchArg,
    Stored,
    dense_place,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, cycles, label, output_bounds, writes
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.lower.variants.reduce_mean import (
    MeanLoops,
    MeanTail,
    mean_loops,
    mean_tail,
    sums_kernel,
    tail_exactness,
    takes_words,
)
from mcucompiler.ops.average_pool import AveragePool
from mcucompiler.ops.reduce_mean import ReduceMean
from mcucompiler.words import counted

_SPATIAL = (2, 3)
_MOST_ELEMENTS = 2**22  # more might leave 32 bits
_SUM_BYTES = 4


def mean_rows_reason(context: NodeContext) -> str | None:
    """Why a node's mean cannot be computed band by band, None when it can.

    Args:
        context: the node, with whole tensors.
    """
    op, source, target = context.node.op, context.activation(0), context.outputs[0]
    shape = source.tensor.shape
    whole = (isinstance(op, ReduceMean) and op.axes == _SPATIAL) or (
        isinstance(op, AveragePool) and op.is_global(shape[2:])
    )
    if len(shape) != 2 + len(_SPATIAL) or shape[0] != 1 or not whole:
        return "not the mean over one image"
    if source.tensor.quant is None or target.tensor.quant is None:
        return "not quantized: the order of the sum matters"
    if not source.layout.equivalent(channels_last(shape)):
        return "not stored channels last"
    if shape[2] * shape[3] >= _MOST_ELEMENTS:
        return "the sum may leave 32 bits"
    return "the means do not lie side by side" if _loops(context, shape[2]) is None else None


def accumulate_call(context: NodeContext, rows: int) -> KernelCall:
    """The call that adds a band to the sums.

    Args:
        context: the node, with whole tensors, which ``mean_rows_reason`` lets pass.
        rows: of a band.

    Returns:
        A call with the arguments band (dense, [rows, W, C]) and sums (scratch, int32 [C]).
    """
    band, loops = _band(context, rows), _loops(context, rows)
    if loops is None:
        raise ValueError("the means do not lie side by side")
    channels, size = band.tensor.shape[1], band.tensor.size
    instructions = round(size * (1.0 if takes_words(band, loops) else 4.1)) + channels * 5 + 20
    return KernelCall(
        kernel=sums_kernel(
            band,
            loops,
            Param(ctype="int32_t *", name="sums"),
            stem="sum",
            about=f"Adds up {counted(size // channels, 'element')} of each channel.",
            tail=None,
            otype="int32_t",
        ),
        arguments=(InputArg(index=0), ScratchArg()),
        variant="mean_rows",
        reason="sums, a few rows at a time",
        scratch_bytes=channels * _SUM_BYTES,
        instructions=instructions,
        cycles=cycles(instructions, "reduce_mean"),
    )


def finish_call(context: NodeContext) -> KernelCall:
    """The call that makes means of the sums of all rows.

    Args:
        context: the node, with whole tensors, which ``mean_rows_reason`` lets pass.

    Returns:
        A call with the arguments sums (scratch, int32 [C]) and means.
    """
    target, channels = context.outputs[0], context.activation(0).tensor.shape[1]
    tail = _tail(context)
    instructions = channels * (8 if tail.kind == "integer" else 13) + 20
    return KernelCall(
        kernel=kernel(
            "mean_finish",
            label("mean_finish", target),
            (Param(ctype="const int32_t *", name="sums"), writes(target.tensor)),
            includes=MATH,
            channels=channels,
            tail=tail,
            otype=CTYPES[target.tensor.dtype],
        ),
        arguments=(ScratchArg(), OutputArg(index=0)),
        variant="mean_rows",
        reason="means from sums",
        scratch_bytes=channels * _SUM_BYTES,
        stack_bytes=64,
        instructions=instructions,
        cycles=cycles(instructions),
        exactness=tail_exactness(tail),
    )


def _tail(context: NodeContext) -> MeanTail:
    op, shape = context.node.op, context.activation(0).tensor.shape
    clamp = op.clamp if isinstance(op, ReduceMean | AveragePool) else None
    return mean_tail(context, shape[2] * shape[3], *output_bounds(context.outputs[0].tensor.dtype, clamp))


def _band(context: NodeContext, rows: int) -> Stored:
    """Some rows of the input, one behind the other."""
    tensor: Tensor = context.activation(0).tensor
    tensor = tensor.replace(shape=(*tensor.shape[:2], rows, tensor.shape[3]))
    return Stored(tensor=tensor, layout=channels_last(tensor.shape), place=dense_place(tensor.name, tensor))


def _loops(context: NodeContext, rows: int) -> MeanLoops | None:
    """Loops over the channels and over a band; None unless the means of all channels lie side by side."""
    target = context.outputs[0]
    dense = replace(target, place=dense_place(target.place.buffer, target.tensor))
    loops = mean_loops(_band(context, rows), dense, _SPATIAL)
    if loops is None or len(loops.kept) > 1 or any(loop.strides != (1, 1) for loop in loops.kept):
        return None
    contiguous = target.place.dense or target.place.rows == 1
    return loops if contiguous else None
