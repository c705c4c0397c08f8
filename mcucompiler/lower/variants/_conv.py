# SPDX-License-Identifier: Apache-2.0
"""What the variants of dense convolutions share."""

from __future__ import annotations

from mcucompiler.lower.types import NodeContext, Overlap
from mcucompiler.lower.variants._weighted import WeightedLayer, integer_refusal, weighted_layer
from mcucompiler.lower.variants._window import Window, overlap_distance
from mcucompiler.ops.conv import Conv

_MOST_CHANNELS = 65536  # channel indices are halfwords


def conv_refusal(context: NodeContext, window: Window) -> str | None:
    """What the kernels of products cannot do."""
    if window.channels_out > _MOST_CHANNELS:
        return f"{window.channels_out} output channels, at most {_MOST_CHANNELS} are supported"
    return integer_refusal(context)


def layer_of(context: NodeContext) -> WeightedLayer:
    """The integer program of a Conv node."""
    op = context.node.op
    return weighted_layer(context, op.clamp if isinstance(op, Conv) else None)


def conv_overlaps(window: Window, *, group: int) -> tuple[Overlap, ...]:
    """The output may follow the input from below, where rows are read before their bytes are written."""
    if not (window.in_dense and window.out_dense) or window.groups > 1 or window.row_pointers:
        return ()
    distance = overlap_distance(window, group)
    size_out = window.pixels_out * window.channels_out
    return (Overlap(input=0, output=0, same=False, distance=distance),) if distance < size_out else ()
