# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions: each channel's plane is packed into pairs in scratch memory, then summed row by row.

The plane of a channel, padded with the zero point, lies in scratch as words of two neighboring
columns. A row of up to ten outputs is computed in registers: every word of the plane that they read
is loaded once for each kernel row and multiplied with words of two neighboring taps. Where two taps
fall into one word of the plane one instruction does both; a tap alone in its word takes the half
that holds it. Channels are in the outermost loop.

In place: a channel's plane is read whole before the first of its outputs is written, and in NHWC
output pixel p of channel c lies where input pixel p of channel c was, if both have equally many
channels and start at the same address. So a write can only hit the same channel of the same
image, which is in scratch by then, or, with several images, of an earlier image, provided an
output image has no more pixels than an input image; then image n's outputs end before image n + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.lower.packing import is_narrow
from mcucompiler.lower.types import (
    ConstantArg,
    ConstantArray,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    ScalarArg,
    ScratchArg,
    kernel,
)
from mcucompiler.lower.variants._products import Tail, tail_of
from mcucompiler.lower.variants._weighted import WeightedLayer, exactness, integer_refusal, weighted_layer
from mcucompiler.lower.variants._window import Window, window_of
from mcucompiler.ops.conv import Conv

_MOST_OPERATIONS = 360  # of a block of outputs, unrolled
_REGISTERS = 12  # for accumulators and taps
_ROOMY = 8  # up to so many outputs leave registers for a channel's constants
_MOST_TAP_WORDS = 48  # on the stack; more lie in scratch memory
_CYCLES_PER_INSTRUCTION = 0.85
_FLOAT_FLAG = 0x80000000


@dataclass(frozen=True, slots=True)
class TapWord:
    """A word of two neighboring taps of a kernel row: taps[number] = (tap low, tap high)."""

    number: int
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """A word of the plane, ``offset`` words from the block's first one, or a word of taps."""

    name: str
    source: str
    offset: int


@dataclass(frozen=True, slots=True)
class Sum:
    """An instruction that adds one or two products: ``acc = function(pixels, taps, acc)``."""

    function: str
    pixels: str
    taps: str
    acc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBlock:
    """Neighboring outputs of a row that are computed together.

    Attributes:
        outputs: how many.
        columns: outputs of all repetitions along the row.
        body: loads and sums.
        registers: names of the words that the body loads.
        stores: for each output its accumulator and its offset in elements from the first.
        step_words: words of the plane from a repetition to the next.
        step_outputs: elements of the output from a repetition to the next.
    """

    outputs: int
    columns: int
    body: tuple[Load | Sum, ...]
    registers: tuple[str, ...]
    stores: tuple[tuple[str, int], ...]
    step_words: int
    step_outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A channel's plane as words of two columns.

    Attributes:
        rows: rows, padding included.
        words: words in a row.
        size: words in all.
        first: the first word that holds input.
        filled: rows that come from the input.
        pairs: for each word that holds input, its position in the row, and the offsets in elements of
            its halves in the input's row (None for padding).
    """

    rows: int
    words: int
    size: int
    first: int
    filled: int
    pairs: tuple[tuple[int, int | None, int | None], ...]


@dataclass(frozen=True, slots=True)
class Depthwise:
    """One input channel a group; any multiplier, kernel, stride and dilation of moderate size."""

    name: str = "depthwise"

    def reject(self, context: NodeContext) -> str | None:
        """Only depthwise windows whose unrolled rows stay short."""
        window = window_of(context)
        if window.group_in != 1 or window.groups == 1:
            return "the groups have more than one input channel, or there is one group"
        if window.before[0] >= window.reach(0) or window.before[1] >= window.reach(1):
            return "the window lies in the padding alone"
        refusal = integer_refusal(context)
        if refusal is not None:
            return refusal
        if _operations(window, 1) > _MOST_OPERATIONS:
            return f"a kernel of {window.kernel[0]}x{window.kernel[1]} taps is too large to unroll"
        weights = _layer(context).weights
        return None if is_narrow(weights) else "the weights less their zero point exceed int8"

    def lower(self, context: NodeContext) -> KernelCall:
        """One channel after the other."""
        window, layer = window_of(context), _layer(context)
        proved = layer.form.proved
        tail = tail_of(layer.form, integer=bool(proved.any()), floating=not bool(proved.all()))
        plane, blocks = _plane(window), _row_blocks(window)
        taps = _taps(window)
        in_scratch = len(taps) > _MOST_TAP_WORDS
        instructions = _instructions(window, plane, blocks, tail)
        return KernelCall(
            kernel=kernel(
                "depthwise",
                f"dwconv{window.label}" + (f"_x{window.group_out}" if window.group_out > 1 else ""),
                (
                    Param(ctype="const int8_t *", name="ifmap"),
                    Param(ctype="int8_t *", name="ofmap"),
                    Param(ctype="uint32_t *", name="plane"),
                    Param(ctype="const uint32_t *", name="weights"),
                    Param(ctype="int32_t", name="in_zero"),
                    *(Param(ctype="int32_t", name="addend") for _ in range(tail.integer)),
                    *(Param(ctype="int32_t", name="out_zero") for _ in range(tail.floating)),
                ),
                includes=("mc_math.h", "mc_requantize.h", "mc_simd.h"),
                window=window,
                plane=plane,
                taps=taps,
                taps_in_scratch=in_scratch,
                crowded="volatile " if blocks[0].outputs > _ROOMY else "",
                blocks=blocks,
                tail=tail,
                record_words=2 + _weight_words(window),
                image_words=window.channels_out * (2 + _weight_words(window)),
                image_in=window.ifmap[0] * window.ifmap[1] * window.in_stride,
                image_out=window.ofmap[0] * window.ofmap[1] * window.out_stride,
                row_in=window.ifmap[1] * window.in_stride,
                line_words=plane.words * window.stride[0],
            ),
            arguments=(
                InputArg(index=0),
                OutputArg(index=0),
                ScratchArg(),
                ConstantArg(array=_records(layer, window)),
                ScalarArg(ctype="int32_t", value=layer.zero_point),
                *(ScalarArg(ctype="int32_t", value=layer.form.addend) for _ in range(tail.integer)),
                *(ScalarArg(ctype="int32_t", value=layer.form.zero_point) for _ in range(tail.floating)),
            ),
            variant=self.name,
            overlaps=_overlaps(window),
            scratch_bytes=4 * (plane.size + (len(taps) if in_scratch else 0)),
            stack_bytes=128 + (0 if in_scratch else 4 * len(taps)),
            instructions=instructions,
            cycles=round(instructions * _CYCLES_PER_INSTRUCTION),
            exactness=exactness(int(proved.sum()), window.channels_out),
        )


def _layer(context: NodeContext) -> WeightedLayer:
    op = context.node.op
    return weighted_layer(context, op.clamp if isinstance(op, Conv) else None)


def _overlaps(window: Window) -> tuple[Overlap, ...]:
    """In place, for the reasons in the module's description."""
    same_places = window.group_out == 1 and window.in_dense and window.out_dense
    fits = window.pixels_out <= window.pixels_in
    return (Overlap(input=0, output=0, same=True),) if same_places and fits else ()


def _weight_words(window: Window) -> int:
    return -(-window.kernel[0] * window.kernel[1] // 4)


def _records(layer: WeightedLayer, window: Window) -> ConstantArray:
    """For each channel: bias, multiplier (bit 31 set for a float one), taps as bytes."""
    channels, taps = layer.weights.shape
    bytes_ = np.zeros((channels, _weight_words(window) * 4), np.int8)
    bytes_[:, :taps] = layer.weights
    multiplier = np.where(layer.form.proved, layer.integer_bits, layer.float_bits | np.uint32(_FLOAT_FLAG))
    words = [(layer.bias & 0xFFFFFFFF).astype(np.uint32)[:, None], multiplier[:, None], bytes_.view("<u4")]
    return ConstantArray(
        label="weights",
        ctype="uint32_t",
        values=np.concatenate(words, axis=1).reshape(-1),
        comment="for each channel: bias, multiplier (bit 31: float32), taps as bytes",
    )


def _parities(window: Window) -> tuple[int, ...]:
    """Whether windows start at even or at odd columns, or both."""
    return (0,) if window.stride[1] % 2 == 0 or window.ofmap[1] == 1 else (0, 1)


def _row_plan(window: Window, start: int) -> list[tuple[str, int, int]]:
    """How the taps of a window that starts at column ``start`` are summed.

    Returns:
        Triples (instruction, word of the plane, tap of the low half of the word of taps).
    """
    kernel, dilation = window.kernel[1], window.dilation[1]
    plan, tap = [], 0
    while tap < kernel:
        column = start + tap * dilation
        if column % 2 == 0 and dilation == 1 and tap + 1 < kernel:
            plan.append(("mc_smlad", column // 2, tap))
            tap += 2
            continue
        half = "b" if column % 2 == 0 else "t"
        plan.append((f"single_{half}", column // 2, tap))
        tap += 1
    return plan


def _tap_words(window: Window) -> tuple[TapWord, ...]:
    """The words of taps that a kernel row needs: those of whole pairs, and for taps alone some word that has them."""
    plans = [step for start in _parities(window) for step in _row_plan(window, start)]
    pairs = sorted({tap for function, _, tap in plans if function == "mc_smlad"})
    held = {tap + half for tap in pairs for half in (0, 1)}
    alone = sorted({tap for function, _, tap in plans if function != "mc_smlad"} - held)
    lows = [(tap, tap + 1) for tap in pairs]
    while alone:
        low, *alone = alone
        high = alone.pop(0) if alone else None
        lows.append((low, high) if high is not None else (low, -1))
    return tuple(TapWord(n, low, None if high < 0 else high) for n, (low, high) in enumerate(sorted(lows)))


def _taps(window: Window) -> tuple[tuple[int, int | None], ...]:
    """The words of taps of all kernel rows: which of the channel's bytes are low and high."""
    width = window.kernel[1]
    return tuple(
        (row * width + word.low, None if word.high is None else row * width + word.high)
        for row in range(window.kernel[0])
        for word in _tap_words(window)
    )


def _sum(function: str, tap: int, words: Sequence[TapWord]) -> tuple[str, TapWord]:
    """The instruction and the word of taps for a step of a plan."""
    if function == "mc_smlad":
        return function, next(word for word in words if word.low == tap and word.high == tap + 1)
    pixel_half = function[-1]
    for word in words:
        if tap in (word.low, word.high):
            return f"mc_smla{pixel_half}{'b' if tap == word.low else 't'}", word
    raise ValueError(f"tap {tap} is in no word")


def _body(window: Window, outputs: int) -> tuple[Load | Sum, ...]:
    """Loads and sums of a block of outputs that starts at an even column."""
    words = _tap_words(window)
    per_row = _plane(window).words
    steps = []
    for output in range(outputs):
        for function, pixel_word, tap in _row_plan(window, output * window.stride[1]):
            name, taps = _sum(function, tap, words)
            steps.append((pixel_word, output, name, taps.number))
    used = sorted({step[3] for step in steps})
    sections = -(-len(used) // max(1, _REGISTERS - outputs))
    size = -(-len(used) // sections)
    body: list[Load | Sum] = []
    for row in range(window.kernel[0]):
        for at in range(0, len(used), size):
            names = {number: f"w{place}" for place, number in enumerate(used[at : at + size])}
            body += [Load(name, "taps", row * len(words) + number) for number, name in names.items()]
            loaded = -1
            for pixel_word, output, function, number in sorted(step for step in steps if step[3] in names):
                if pixel_word != loaded:
                    body.append(Load("v", "row", row * window.dilation[0] * per_row + pixel_word))
                    loaded = pixel_word
                body.append(Sum(function, "v", names[number], f"a{output}"))
    return tuple(body)


def _operations(window: Window, outputs: int) -> int:
    words = len(_tap_words(window))
    sums = max(len(_row_plan(window, start)) for start in _parities(window))
    return window.kernel[0] * (outputs * sums + words + outputs * window.stride[1] // 2 + window.kernel[1] // 2)


def _row_blocks(window: Window) -> tuple[RowBlock, ...]:
    """Divides a row of outputs into blocks of about equal size, repeated ones in a loop."""
    columns, even = window.ofmap[1], window.stride[1] % 2 == 0
    tap_words = len(_tap_words(window))
    most = 10 if tap_words <= 2 else 8 if tap_words <= 4 else 6
    while most > 1 and _operations(window, most) > _MOST_OPERATIONS:
        most -= 1
    if not even and most % 2 and most < columns:
        most = max(most - 1, 2)
    count = -(-columns // most)
    size = -(-columns // count)
    if not even and size % 2 and size < columns:
        size += 1
    rounds, rest = divmod(columns, size)
    blocks = [_row_block(window, size, size * rounds)]
    if rest:
        blocks.append(_row_block(window, rest, rest))
    return tuple(blocks)


def _row_block(window: Window, outputs: int, columns: int) -> RowBlock:
    body = _body(window, outputs)
    return RowBlock(
        outputs=outputs,
        columns=columns,
        body=body,
        registers=tuple(dict.fromkeys(op.name for op in body if isinstance(op, Load))),
        stores=tuple((f"a{output}", output * window.out_stride) for output in range(outputs)),
        step_words=outputs * window.stride[1] // 2,
        step_outputs=outputs * window.out_stride,
    )


def _plane(window: Window) -> Plane:
    rows, columns = window.reach(0), window.reach(1)
    words = -(-columns // 2)
    left = window.before[1]

    def source(column: int) -> int | None:
        inside = 0 <= column - left < window.ifmap[1] and column < columns
        return (column - left) * window.in_stride if inside else None

    pairs = tuple((word, source(2 * word), source(2 * word + 1)) for word in range(words))
    return Plane(
        rows=rows,
        words=words,
        size=rows * words,
        first=window.before[0] * words,
        filled=min(window.ifmap[0], rows - window.before[0]),
        pairs=tuple(pair for pair in pairs if pair[1] is not None or pair[2] is not None),
    )


def _instructions(window: Window, plane: Plane, blocks: Sequence[RowBlock], tail: Tail) -> int:
    """An estimate: packing, taps, rows."""
    pack = plane.filled * (len(plane.pairs) * 4 + 5)
    taps = window.kernel[0] * (window.kernel[1] + 2 * len(_tap_words(window))) + 20
    per_output = 3 if tail.integer else 9
    row = (
        sum(block.columns // block.outputs * (len(block.body) + block.outputs * per_output + 9) for block in blocks) + 8
    )
    channel = taps + window.ofmap[0] * row
    fill = plane.size * 2
    return fill + window.batch * window.channels_in * (pack + window.group_out * channel)
