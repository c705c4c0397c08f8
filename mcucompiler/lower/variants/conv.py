# SPDX-License-Identifier: Apache-2.0
"""Convolutions: pointwise and general ones as blocks of products over columns of pairs; float32 ones as loops."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcucompiler.lower.types import (
    InputArg,
    Kernel,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    ScalarArg,
    ScratchArg,
    Variant,
    kernel,
)
from mcucompiler.lower.variants._columns import Lines, lines_of
from mcucompiler.lower.variants._conv import conv_overlaps, conv_refusal, layer_of, rows_refusal
from mcucompiler.lower.variants._pointwise import (
    ACTIVATIONS,
    COLUMNS,
    INCLUDES,
    ROWS,
    WEIGHTS,
    PointwiseShape,
    pointwise_call,
)
from mcucompiler.lower.variants._product_weights import weights_of
from mcucompiler.lower.variants._products import (
    Blocking,
    PackedLayer,
    choose_blocking,
    pack_layer,
    stream_comment,
)
from mcucompiler.lower.variants._tail import tail_arguments, tail_params
from mcucompiler.lower.variants._weighted import WeightedLayer, exactness
from mcucompiler.lower.variants._window import Window, window_of
from mcucompiler.lower.variants.conv_float import FloatConv
from mcucompiler.lower.variants.conv_packed import PackedConv
from mcucompiler.lower.variants.depthwise import Depthwise

STRIDED_INPUT = True
STRIDED_OUTPUT = True
ROW_POINTERS = frozenset({"conv", "conv_packed", "depthwise"})

_CYCLES_PER_INSTRUCTION = 0.9  # of what the C compiler orders
_GATHER_STACK_BYTES = 176


@dataclass(frozen=True, slots=True)
class Pointwise:
    """1x1 convolutions of stride 1: pixels are expanded where they lie."""

    name: str = "pointwise"

    def reject(self, context: NodeContext) -> str | None:
        """Only ungrouped, unpadded 1x1 windows of stride 1."""
        window = window_of(context)
        if not window.pointwise or window.groups != 1:
            return "the window is not 1x1 with stride 1, without padding and groups"
        return conv_refusal(context, window)

    def lower(self, context: NodeContext) -> KernelCall:
        """Pixels of all images in one row."""
        window, layer = window_of(context), layer_of(context)
        return pointwise_call(
            layer,
            PointwiseShape(rows=window.pixels_out, in_stride=window.in_stride, out_stride=window.out_stride),
            label="conv1x1",
            about="1x1 convolution, {} at a time.",
            variant=self.name,
            optimize=context.options.optimize,
            overlaps=conv_overlaps(window, group=4),
        )


@dataclass(frozen=True, slots=True)
class GeneralConv:
    """Any convolution: the bytes under the window become columns pixel by pixel, borders read the zero point.

    The rows of the input may be given by pointers.
    """

    name: str = "conv"

    def reject(self, context: NodeContext) -> str | None:
        """Anything in int8 goes, but no padding above or below rows that are given by pointers."""
        window = window_of(context)
        return rows_refusal(window) or conv_refusal(context, window)

    def lower(self, context: NodeContext) -> KernelCall:
        """Groups of channels one after the other for each few pixels."""
        window, layer = window_of(context), layer_of(context)
        lines = lines_of(window)
        layer = _in_column_order(layer, window, lines)
        blocking = choose_blocking(
            window.pixels_out,
            window.inputs,
            weights_of(layer, window.groups),
            outputs=window.group_out,
            out_stride=window.out_stride,
            shared=False,
            optimize=context.options.optimize,
            staging_bytes=lines.staging_bytes,
        )
        packed = pack_layer(layer, blocking, window.groups, stream_comment(blocking))
        effort = blocking.effort(packed.counts, packed.tail)
        gather = 60 + window.pixels_out * window.groups * lines.instructions()
        return KernelCall(
            kernel=_general_kernel(window, lines, blocking, packed),
            arguments=(
                InputArg(index=0),
                OutputArg(index=0),
                ScratchArg(),
                packed.stream,
                *tail_arguments(layer.form, packed.tail),
                *(ScalarArg(ctype="int32_t", value=layer.zero_point) for _ in range(_padded(window))),
            ),
            variant=self.name,
            overlaps=conv_overlaps(window, group=blocking.whole),
            scratch_bytes=blocking.column_words * 4 + lines.staging_bytes,
            stack_bytes=_GATHER_STACK_BYTES + blocking.stack_bytes(packed.tail),
            instructions=gather + effort.instructions,
            cycles=round(gather * _CYCLES_PER_INSTRUCTION + effort.cycles),
            passes=blocking.passes,
            exactness=exactness(packed.proved, window.channels_out),
            reason=blocking.reason(packed.tail),
        )


def _padded(window: Window) -> bool:
    """Whether some window reads zero points."""
    return window.padded(0) or window.padded(1)


def _in_column_order(layer: WeightedLayer, window: Window, lines: Lines) -> WeightedLayer:
    """The layer with weights in the order of the columns, from the order channel, kernel row, kernel column."""
    taps = window.kernel[0] * window.kernel[1]
    by_window = layer.weights.reshape(-1, window.group_in, taps).transpose(0, 2, 1).reshape(len(layer.weights), -1)
    return replace(layer, weights=by_window[:, lines.order()])


def _general_kernel(window: Window, lines: Lines, blocking: Blocking, packed: PackedLayer) -> Kernel:
    groups = "" if window.groups == 1 else f"_g{window.groups}"
    return kernel(
        "conv",
        f"conv{window.label}_{window.channels_out}ch{groups}" + "_band" * window.row_pointers,
        (
            *(ROWS if window.row_pointers else ACTIVATIONS),
            COLUMNS,
            WEIGHTS,
            *tail_params(packed.tail),
            *(Param(ctype="int32_t", name="in_zero") for _ in range(_padded(window))),
        ),
        includes=INCLUDES,
        window=window,
        lines=lines,
        packing=stream_comment(blocking),
        blocks=blocking.blocks(packed.tail),
        steps=blocking.steps,
        tail=packed.tail,
        whole_pixels=window.pixels_out // blocking.whole * blocking.whole,
        column_words=blocking.column_words,
        **_gather_literals(window),
        start_y=-window.before[0],
        start_x=-window.before[1],
        end_y=window.ofmap[0] * window.stride[0] - window.before[0],
        end_x=window.ofmap[1] * window.stride[1] - window.before[1],
        image_in=window.ifmap[0] * window.ifmap[1] * window.in_stride,
    )


def _gather_literals(window: Window) -> dict[str, int | bool]:
    """What the template needs to gather a window's bytes."""
    contiguous = window.dilation[1] == 1 and window.in_stride == window.group_in
    row = window.kernel[1] * window.group_in
    return {
        "padded_rows": window.padded(0),
        "padded_columns": window.padded(1),
        "row_bytes": row,
        "runs": 1 if contiguous else window.kernel[1],
        "run_bytes": row if contiguous else window.group_in,
        "run_step": 0 if contiguous else window.dilation[1] * window.in_stride,
        "row_pitch": window.dilation[0] * window.ifmap[1] * window.in_stride,
        "rows_reach": window.kernel[0] * window.dilation[0],
        "columns_reach": window.kernel[1] * window.dilation[1],
    }


VARIANTS: tuple[Variant, ...] = (Pointwise(), Depthwise(), GeneralConv(), PackedConv(), FloatConv())
