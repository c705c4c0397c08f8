# SPDX-License-Identifier: Apache-2.0
"""From the geometry of a depthwise convolution to the function in scheduled assembly that computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mcucompiler.lower.variants._rows import Load, RowBlock, plane_of, row_blocks, tap_words, taps_of
from mcucompiler.lower.variants._tail import Tail
from mcucompiler.lower.variants._weighted import INT8_RANGE, Int64Array, WeightedLayer
from mcucompiler.lower.variants._window import Window
from mcucompiler.machine.blocks.depthwise import OFFSET, RowForm, Term
from mcucompiler.machine.blocks.depthwise_channel import Lines, Taps
from mcucompiler.machine.blocks.depthwise_form import (
    DepthwiseForm,
    DualPart,
    Segment,
    packed_pairs,
    packed_segments,
)
from mcucompiler.machine.blocks.depthwise_function import depthwise_function
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.value import WORD
from mcucompiler.numerics.forms import RequantForm
from mcucompiler.numerics.integer_form import accumulator_range
from mcucompiler.numerics.own_addend import with_own_addends
from mcucompiler.numerics.requantize import wrap32

_MOST_FRAME_TAPS = 64  # words of taps of a channel, in the frame
_MOST_CHANNELS = 65535
_HEADER_WORDS = 2
_PACKED_SUMS = (3, 4)  # sums at a time that are tried
_DUAL_SUMS = (8, 6)  # outputs at a time that are tried
# Packed sums rely on SMLAL taking one cycle, which others measured and we did not: a small gain is not worth it.
_PACKED_GAIN = 0.9
_ROUGHLY = 3  # schedules tried to compare forms; the chosen one is worth more
_FLOAT_SUMS = 2  # outputs at a time in channels with a float tail
_DUAL_REGISTERS = 11  # for sums and words of taps


def scheduled_form(
    window: Window, layer: WeightedLayer, tail: Tail, *, narrow: bool, rows: bool
) -> DepthwiseForm | str:
    """The form of least estimated cycles, or why there is none.

    Args:
        window: the geometry.
        layer: weights and biases, which decide whether sums may be packed.
        tail: requantization literals.
        narrow: whether the weights fit int8.
        rows: whether the input's rows are given by pointers.
    """
    refusal = _refusal(window, narrow)
    if refusal is not None:
        return refusal
    plain = window.stride == (1, 1) and window.dilation[1] == 1
    best = _best_form(window, tail, rows, plain and bool(packable(layer).all()))
    record = record_of(window, narrow, own=layer.form.own_addends)
    return best if isinstance(best, str) else replace(best, difference=record.difference, record_words=record.words)


@lru_cache(maxsize=1024)
def _best_form(window: Window, tail: Tail, rows: bool, packable: bool) -> DepthwiseForm | str:
    """``scheduled_form``; ``packable``: whether sums may be packed."""
    few = 1 if rows else None  # planning streams asks for many bands
    best = _best([_dual_form(window, tail, most, rows=rows) for most in _DUAL_SUMS[:few]])
    if packable:
        packed = _best([_packed_form(window, tail, most, rows=rows) for most in _PACKED_SUMS[:few]])
        best = packed if _cycles(packed) < _PACKED_GAIN * _cycles(best) else best
    if math.isinf(_cycles(best)):
        return "the pixels of a row lie too far apart, or the sums find no registers"
    return best


def _best(forms: Sequence[DepthwiseForm]) -> DepthwiseForm:
    """The form of least estimated cycles, the address of the outputs in a register if that is better."""
    best = min(forms, key=_cycles)
    return min(replace(best, row=replace(best.row, held=True)), best, key=_cycles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What the weights of a channel begin and end with: bias, multiplier, taps.

    Attributes:
        words: of a record.
        difference: the word whose upper bits are the difference of the channel's addend, and by how many bits it is to
            be shifted: that of the last taps where these leave 16 bits or more, else one behind them. None where no
            channel has an addend of its own.
    """

    words: int
    difference: tuple[int, int] | None


def record_of(window: Window, narrow: bool, *, own: bool) -> Record:
    """The record of a channel; ``own``: whether there are addends of channels' own."""
    taps = window.kernel[0] * window.kernel[1]
    words = _HEADER_WORDS + (-(-taps // WORD) if narrow else len(taps_of(window)))
    if not own:
        return Record(words=words, difference=None)
    if narrow and taps % WORD in (1, 2):
        return Record(words=words, difference=(words - 1, 8 * (taps % WORD)))
    return Record(words=words + 1, difference=(words, 0))


def with_room_for_own_addends(layer: WeightedLayer) -> WeightedLayer:
    """The layer with channels proved by biases and addends of their own; sums that may be packed remain so."""
    if layer.form.all_proved or not bool(layer.form.proved.any()):
        return layer
    room = OFFSET - 1 - _largest(layer)
    least, greatest = accumulator_range(layer.weights, layer.bias, *INT8_RANGE)
    most = np.where(room >= 0, room, 2 * OFFSET)
    return replace(layer, form=_with_own_addends(layer.form, least.tobytes(), greatest.tobytes(), most.tobytes()))


@lru_cache(maxsize=1024)
def _with_own_addends(form: RequantForm, least: bytes, greatest: bytes, room: bytes) -> RequantForm:
    """``with_own_addends`` on the bytes of arrays: bands of a layer share one form."""
    return with_own_addends(form, *(np.frombuffer(values, np.int64) for values in (least, greatest, room)))


def packable(layer: WeightedLayer) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """For each channel whether no sum, nor any part of it, reaches 2^20, the room of a field."""
    return np.asarray(_largest(layer) + np.abs(layer.form.offsets) < OFFSET)


def _largest(layer: WeightedLayer) -> Int64Array:
    """How far from 0 the sums of each channel, and all parts of them, stay."""
    return np.asarray(np.abs(layer.weights).sum(axis=1) * -INT8_RANGE[0] + np.abs(layer.bias))


def _refusal(window: Window, narrow: bool) -> str | None:
    if not narrow:
        return "weights beyond int8"
    if window.group_out != 1:
        return "several output channels for an input channel"
    if window.kernel[0] * len(tap_words(window)) > _MOST_FRAME_TAPS:
        return "too many taps for the frame"
    if window.channels_in > _MOST_CHANNELS:
        return "too many channels"
    return None


def _cycles(form: DepthwiseForm) -> float:
    """Rough cycles of a call; infinite where an offset cannot be encoded or sums find no registers."""
    for attempts in (_ROUGHLY, 0):
        try:
            function = depthwise_function(form, attempts)
        except MachineError:
            continue
        return function.effort(form.channels * form.integer, form.channels * (not form.integer)).cycles
    return math.inf


def trimmed(window: Window, layer: WeightedLayer) -> tuple[Window, WeightedLayer]:
    """The convolution without rows and columns of taps that never meet the input, as in large kernels on small planes.

    Their share of the sums, taps times zero point, goes to the bias.
    """
    rows, columns = _met(window, 0), _met(window, 1)
    if (len(rows), len(columns)) == window.kernel:
        return window, layer
    weights = layer.weights.reshape(-1, *window.kernel)
    kept = weights[:, rows.start : rows.stop, columns.start : columns.stop].reshape(len(weights), -1)
    smaller = replace(
        window,
        kernel=(len(rows), len(columns)),
        before=(
            window.before[0] - rows.start * window.dilation[0],
            window.before[1] - columns.start * window.dilation[1],
        ),
    )
    bias = layer.bias + layer.zero_point * (layer.weights.sum(axis=1) - kept.sum(axis=1))
    return smaller, replace(layer, weights=np.ascontiguousarray(kept), bias=wrap32(bias).astype(np.int64))


def _met(window: Window, axis: int) -> range:
    """The rows or columns of taps that are kept: from the first to the last one that meets the input.

    The first one must not begin behind the start of the input, which dilated taps could.
    """
    starts = np.arange(window.ofmap[axis]) * window.stride[axis] - window.before[axis]
    places = starts[:, None] + np.arange(window.kernel[axis])[None] * window.dilation[axis]
    met = np.flatnonzero(((places >= 0) & (places < window.ifmap[axis])).any(axis=0))
    if len(met) == 0:
        return range(window.kernel[axis])
    return range(min(int(met[0]), window.before[axis] // window.dilation[axis]), int(met[-1]) + 1)


def _packed_form(window: Window, tail: Tail, most: int, *, rows: bool) -> DepthwiseForm:
    width, words = window.kernel[1], -(-window.kernel[1] // 2)
    taps = tuple((2 * word + 1 if 2 * word + 1 < width else None, 2 * word) for word in range(words))
    outputs = window.ofmap[1]
    return _form(window, tail, (packed_segments(outputs, most), packed_pairs(outputs)), taps, packed=True, rows=rows)


def _dual_form(window: Window, tail: Tail, most: int, *, rows: bool) -> DepthwiseForm:
    taps = tuple((word.low, word.high) for word in tap_words(window))
    segments = _dual_segments(window, most), _dual_segments(window, _FLOAT_SUMS)
    return _form(window, tail, segments, taps, packed=False, rows=rows)


def _form(
    window: Window,
    tail: Tail,
    segments: tuple[tuple[Segment, ...], tuple[Segment, ...]],
    taps: tuple[tuple[int | None, int | None], ...],
    *,
    packed: bool,
    rows: bool,
) -> DepthwiseForm:
    """The form with segments for integer and for float tails."""
    plane = plane_of(window)
    return DepthwiseForm(
        row=RowForm(
            kernel=window.kernel,
            line_words=plane.words * window.dilation[0],
            element_stride=window.out_stride,
            floating=False,
            held=False,
            shift=tail.shift,
            lo=tail.lo,
            hi=tail.hi,
        ),
        difference=None,
        segments=segments[0],
        float_segments=segments[tail.integer],
        integer=tail.integer,
        floating=tail.floating,
        taps=Taps(columns=window.kernel[1], words=taps, packed=packed),
        lines=Lines(
            pairs=plane.pairs,
            packed=packed,
            step=window.ifmap[1] * window.in_stride,
            line_bytes=WORD * plane.words,
            rows=rows,
        ),
        channels=window.channels_in,
        record_words=2 + -(-window.kernel[0] * window.kernel[1] // 4),
        first_word=plane.first,
        filled=plane.filled,
        ofmap_rows=window.ofmap[0],
        line_step=plane.words * window.stride[0],
        out_step=window.ofmap[1] * window.out_stride,
    )


def _dual_segments(window: Window, most: int) -> tuple[Segment, ...]:
    segments, words, outputs = list[Segment](), 0, 0
    for block in row_blocks(window, most=most, registers=_DUAL_REGISTERS):
        segments.append(_segment(block, words, outputs))
        if segments[-1].times == 1:  # the pointers go on with repetitions only
            words, outputs = words + block.step_words, outputs + block.outputs
    return tuple(segments)


def _segment(block: RowBlock, first_word: int, first_output: int) -> Segment:
    """A block of the portable form as a part with dual multiplications, so far behind the pointers."""
    steps: list[list[Term]] = [[]]
    taps: dict[str, int] = {}
    word, summed = 0, False
    for op in block.body:
        if isinstance(op, Load):
            if op.source == "row":
                word = first_word + op.offset
                continue
            if summed:
                steps.append([])
                summed = False
            taps[op.name] = op.offset
        else:
            summed = True
            opcode = op.function.removeprefix("mc_")
            steps[-1].append(Term(opcode=opcode, word=word, tap=taps[op.taps], output=int(op.acc[1:])))
    times = block.columns // block.outputs
    return Segment(
        part=DualPart(steps=tuple(map(tuple, steps)), outputs=tuple(range(first_output, first_output + block.outputs))),
        times=times,
        step_words=block.step_words,
        step_outputs=block.outputs,
    )
