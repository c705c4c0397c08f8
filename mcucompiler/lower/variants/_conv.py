# SPDX-License-Identifier: Apache-2.0
"""What the variants of convolutions share."""

from __future__ import annotations

from mcucompiler.lower.types import (
    Argument,
    ConstantArg,
    ConstantArray,
    InputArg,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    ScalarArg,
    ScratchArg,
)
from mcucompiler.lower.variants._pointwise import ACTIVATIONS, ROWS, WEIGHTS
from mcucompiler.lower.variants._tail import Tail, tail_arguments, tail_params
from mcucompiler.lower.variants._weighted import WeightedLayer, integer_refusal, weighted_layer
from mcucompiler.lower.variants._window import Window, overlap_distance
from mcucompiler.ops.conv import Conv

_MOST_CHANNELS = 65536  # channel indices are halfwords


def conv_refusal(context: NodeContext, window: Window) -> str | None:
    """What the kernels of products cannot do."""
    if window.channels_out > _MOST_CHANNELS:
        return f"{window.channels_out} output channels, at most {_MOST_CHANNELS} are supported"
    return integer_refusal(context)


def rows_refusal(window: Window) -> str | None:
    """Why a dense kernel cannot take the rows given by pointers."""
    if window.row_pointers and (window.batch > 1 or window.padded(0)):
        return "the rows given by pointers are of several images, or there is padding above or below"
    return None


def layer_of(context: NodeContext) -> WeightedLayer:
    """The integer program of a Conv node."""
    op = context.node.op
    return weighted_layer(context, op.clamp if isinstance(op, Conv) else None)


def plane_params(tail: Tail, *, rows: bool) -> tuple[Param, ...]:
    """The parameters of kernels that pack planes of the input into scratch memory, with a record for each channel.

    Args:
        tail: how sums are requantized.
        rows: whether the input's rows are given by pointers.
    """
    return (
        *(ROWS if rows else ACTIVATIONS),
        Param(ctype="uint32_t *", name="plane"),
        WEIGHTS,
        Param(ctype="int32_t", name="in_zero"),
        *tail_params(tail),
    )


def plane_arguments(layer: WeightedLayer, records: ConstantArray, tail: Tail) -> tuple[Argument, ...]:
    """Their values."""
    return (
        InputArg(index=0),
        OutputArg(index=0),
        ScratchArg(),
        ConstantArg(array=records),
        ScalarArg(ctype="int32_t", value=layer.zero_point),
        *tail_arguments(layer.form, tail),
    )


def conv_overlaps(window: Window, *, group: int) -> tuple[Overlap, ...]:
    """The output may follow the input from below, where rows are read before their bytes are written."""
    if not (window.in_dense and window.out_dense) or window.groups > 1 or window.row_pointers:
        return ()
    distance = overlap_distance(window, group)
    size_out = window.pixels_out * window.channels_out
    return (Overlap(input=0, output=0, same=False, distance=distance),) if distance < size_out else ()
