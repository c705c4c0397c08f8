# SPDX-License-Identifier: Apache-2.0
"""The product of a matrix of activations with constant weights: pointwise convolutions and fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcucompiler.lower.types import (
    Exactness,
    InputArg,
    Kernel,
    KernelCall,
    OutputArg,
    Overlap,
    Param,
    ScratchArg,
    kernel,
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
from mcucompiler.lower.variants._weighted import Int64Array, WeightedLayer, exactness

INCLUDES = ("mc_math.h", "mc_requantize.h", "mc_simd.h")
OFMAP = Param(ctype="int8_t *", name="ofmap")
ACTIVATIONS = (Param(ctype="const int8_t *", name="ifmap"), OFMAP)
ROWS = (Param(ctype="const int8_t *const *", name="rows"), OFMAP)  # the input's rows given by pointers
COLUMNS = Param(ctype="uint32_t *", name="columns")
WEIGHTS = Param(ctype="const uint32_t *", name="weights")
_CYCLES_PER_INSTRUCTION = 0.9  # of what the C compiler orders
_OWN_STACK_BYTES = 104  # of a kernel besides its function of products


@dataclass(frozen=True, slots=True, kw_only=True)
class PointwiseShape:
    """The matrix of activations, or several of them: lines of pixels.

    Attributes:
        rows: pixels of a line.
        in_stride: elements from a row to the next.
        out_stride: the same in the output.
        lines: how many there are.
        in_line: elements from a line to the next, where there are several.
        out_line: the same in the output.
    """

    rows: int
    in_stride: int
    out_stride: int
    lines: int = 1
    in_line: int = 0
    out_line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scatter:
    """Where the outputs of a row lie that are not channels of one pixel.

    Attributes:
        index: of each output, elements from the row's first one.
        channels: of the layer; output n belongs to channel n modulo ``channels``.
    """

    index: Int64Array
    channels: int


def pointwise_call(
    layer: WeightedLayer,
    shape: PointwiseShape,
    *,
    label: str,
    about: str,
    variant: str,
    optimize: str = "speed",
    overlaps: tuple[Overlap, ...] = (),
    scatter: Scatter | None = None,
) -> KernelCall:
    """The product of a matrix with the layer's weights.

    Args:
        layer: weights in the memory order of a row.
        shape: of the matrix.
        label: of the kernel.
        about: what it computes, a sentence with a place for the number of pixels.
        variant: name of the variant, which is the template's.
        optimize: as the lowering option.
        overlaps: which permissions the geometry gives.
        scatter: where a row's outputs lie; None where they are the channels of one pixel.
    """
    outputs, inputs = layer.weights.shape
    blocking = _blocking(layer, shape, optimize)
    words = _leading_words(shape, inputs, blocking)
    packing = f"{', '.join(words)}; {stream_comment(blocking)}"
    index = scatter.index if scatter else None
    packed = pack_layer(layer, blocking, 1, packing, shape=tuple(words.values()), index=index)
    code = _kernel(blocking, packed, tuple(words), variant, label, about, packing, inputs)
    call = _call(code, layer, shape, blocking, packed)
    # Without columns the input is read again for every block of channels.
    permitted = () if blocking.direct else overlaps
    return replace(call, overlaps=permitted, exactness=_exactness(packed, scatter.channels if scatter else outputs))


def _blocking(layer: WeightedLayer, shape: PointwiseShape, optimize: str) -> Blocking:
    outputs, inputs = layer.weights.shape
    return choose_blocking(
        shape.rows,
        inputs,
        weights_of(layer),
        contiguous=True,
        outputs=outputs,
        out_stride=shape.out_stride,
        optimize=optimize,
    )


def _call(
    code: Kernel, layer: WeightedLayer, shape: PointwiseShape, blocking: Blocking, packed: PackedLayer
) -> KernelCall:
    """The call of a kernel with all that does not depend on where the outputs lie."""
    effort = blocking.effort(packed.counts, packed.tail)
    columns = 0 if blocking.direct else shape.rows * (layer.weights.shape[1] * 11 // 8 + 8)
    around = 35 + shape.lines * (5 + columns)
    return KernelCall(
        kernel=code,
        arguments=(
            InputArg(index=0),
            OutputArg(index=0),
            *(() if blocking.direct else (ScratchArg(),)),
            packed.stream,
            *tail_arguments(layer.form, packed.tail),
        ),
        variant=code.template,
        scratch_bytes=blocking.column_words * 4,
        stack_bytes=_OWN_STACK_BYTES + blocking.stack_bytes(packed.tail),
        instructions=around + shape.lines * effort.instructions,
        cycles=round(around * _CYCLES_PER_INSTRUCTION + shape.lines * effort.cycles),
        passes=shape.lines * blocking.passes,
        reason=blocking.reason(packed.tail),
    )


def _leading_words(shape: PointwiseShape, inputs: int, blocking: Blocking) -> dict[str, int]:
    """What the stream begins with, so that layers of many shapes share the code: name and value of each word."""
    words = {"inputs": inputs}
    if shape.rows > 1:
        words |= {"groups": shape.rows // blocking.whole, "in_stride": shape.in_stride}
    if blocking.stride is None or (shape.rows > 1 and blocking.whole == 1):
        words |= {"out_stride": shape.out_stride}
    if shape.lines > 1:
        whole = 0 if shape.rows == 1 else shape.rows // blocking.whole * blocking.whole
        words |= {
            "lines": shape.lines,
            "in_gap": shape.in_line - whole * shape.in_stride,
            "out_gap": shape.out_line - whole * shape.out_stride,
        }
    return words


def _exactness(packed: PackedLayer, channels: int) -> Exactness:
    """A channel is proved where all of its outputs have an integer tail."""
    (counts,) = packed.counts
    floating = {output % channels for block in counts.floating for output in block}
    return exactness(channels - len(floating), channels)


def _kernel(
    blocking: Blocking,
    packed: PackedLayer,
    words: tuple[str, ...],
    variant: str,
    label: str,
    about: str,
    packing: str,
    inputs: int,
) -> Kernel:
    direct = blocking.direct
    return kernel(
        variant,
        f"{label}_{blocking.label}",
        (*ACTIVATIONS, *(() if direct else (COLUMNS,)), WEIGHTS, *tail_params(packed.tail)),
        includes=INCLUDES,
        about=about.format(f"{blocking.whole} pixel{'s' * (blocking.whole > 1)}"),
        packing=packing,
        shape=words,
        blocks=blocking.blocks(packed.tail),
        tail=packed.tail,
        direct=direct,
        inputs_left=inputs % 4,
        fours=1 if inputs % 8 or direct else 2,  # expanded at a time
    )
