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

Bands of streams give the input's rows by pointers. For the same reason their output rows may lie over
input rows, if these are at least as long and have as many channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.packing import is_narrow
from mcucompiler.lower.types import ConstantArray, Kernel, KernelCall, NodeContext, Overlap, kernel
from mcucompiler.lower.variants._conv import layer_of, plane_arguments, plane_params
from mcucompiler.lower.variants._depthwise_form import record_of, scheduled_form, trimmed, with_room_for_own_addends
from mcucompiler.lower.variants._pointwise import INCLUDES
from mcucompiler.lower.variants._rows import (
    MOST_OPERATIONS,
    Plane,
    RowBlock,
    operations,
    plane_of,
    row_blocks,
    tap_words,
    taps_of,
)
from mcucompiler.lower.variants._tail import Tail, own_tail
from mcucompiler.lower.variants._weighted import WeightedLayer, exactness, integer_refusal, later
from mcucompiler.lower.variants._window import Window, window_of
from mcucompiler.machine.blocks.depthwise_form import DepthwiseForm
from mcucompiler.machine.blocks.depthwise_function import depthwise_function
from mcucompiler.machine.blocks.products import Effort

_ROOMY = 8  # up to so many outputs leave registers for a channel's constants
_MOST_TAP_WORDS = 48  # on the stack; more lie in scratch memory
_CYCLES_PER_INSTRUCTION = 0.85  # of the portable form
_AROUND, _CALL, _FILL = 24, 12, 3  # instructions around the scheduled function: of a call, an image, a plane word
_OWN_STACK_BYTES = 64  # besides the scheduled function


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
        if operations(window, 1) > MOST_OPERATIONS:
            return f"a kernel of {window.kernel[0]}x{window.kernel[1]} taps is too large to unroll"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """One channel after the other."""
        window, layer = trimmed(window_of(context), layer_of(context))
        layer = with_room_for_own_addends(layer)
        proved = layer.form.proved
        tail = own_tail(layer.form)
        plane, blocks = plane_of(window), row_blocks(window)
        taps, narrow = taps_of(window), is_narrow(layer.weights)
        in_scratch = len(taps) > _MOST_TAP_WORDS
        rows = context.activation(0).place.row_pointers
        form = scheduled_form(window, layer, tail, narrow=narrow, rows=rows)
        effort = _effort(window, plane, blocks, tail, form, int(proved.sum()))
        return KernelCall(
            kernel=_kernel(window, layer, tail, form, in_scratch=in_scratch, rows=rows),
            arguments=plane_arguments(layer, _records(layer, window, narrow), tail),
            variant=self.name,
            overlaps=_overlaps(window, rows),
            scratch_bytes=4 * (plane.size + (len(taps) if in_scratch else 0)),
            stack_bytes=max(
                128 + (0 if in_scratch else 4 * len(taps)),
                0 if isinstance(form, str) else _OWN_STACK_BYTES + depthwise_function(form).stack_bytes,
            ),
            instructions=effort.instructions,
            cycles=round(effort.cycles),
            exactness=exactness(int(proved.sum()), window.channels_out),
            reason=_reason(form),
        )


def _reason(form: DepthwiseForm | str) -> str:
    """What the report says about the code."""
    if isinstance(form, str):
        return f"portable: {form}"
    return f"{'packed 64-bit sums' if form.taps.packed else 'dual multiplications'} in scheduled assembly"


def _kernel(
    window: Window, layer: WeightedLayer, tail: Tail, form: DepthwiseForm | str, *, in_scratch: bool, rows: bool
) -> Kernel:
    plane, blocks = plane_of(window), row_blocks(window)
    narrow = is_narrow(layer.weights)
    record = record_of(window, narrow, own=layer.form.own_addends)
    return kernel(
        "depthwise",
        f"dwconv{window.label}" + (f"_x{window.group_out}" if window.group_out > 1 else "") + "_band" * rows,
        plane_params(tail, rows=rows),
        includes=INCLUDES,
        window=window,
        plane=plane,
        rows=rows,
        lines=() if isinstance(form, str) else depthwise_function(form).lines,
        packed=not isinstance(form, str) and form.taps.packed,
        taps=taps_of(window),
        taps_in_scratch=in_scratch,
        narrow=narrow,
        crowded="volatile " if blocks[0].outputs > _ROOMY else "",
        blocks=blocks,
        tail=tail,
        difference=record.difference,
        record_words=record.words,
        image_words=window.channels_out * record.words,
        image_in=window.ifmap[0] * window.ifmap[1] * window.in_stride,
        image_out=window.ofmap[0] * window.ofmap[1] * window.out_stride,
        row_in=window.ifmap[1] * window.in_stride,
        line_words=plane.words * window.stride[0],
    )


def _overlaps(window: Window, rows: bool) -> tuple[Overlap, ...]:
    """In place, for the reasons in the module's description; ``rows``: where rows are given by pointers."""
    same_places = window.group_out == 1 and window.in_dense and window.out_dense
    fits = window.pixels_out <= window.pixels_in
    if rows:
        fits = window.ofmap[1] <= window.ifmap[1]
    return (Overlap(input=0, output=0, same=True),) if same_places and fits else ()


def _records(layer: WeightedLayer, window: Window, narrow: bool) -> ConstantArray:
    """For each channel: bias, multiplier (bit 31 set for a float one), taps as bytes or, beyond int8, as pairs.

    The differences of the channels' addends, where there are any, are in the upper bits of the last word.
    """
    return ConstantArray(
        label="weights",
        ctype="uint32_t",
        given=later(layer, lambda layer: _words(layer, window, narrow)),
        comment=f"for each channel: bias, multiplier (bit 31: float32), taps as {'bytes' if narrow else 'pairs'}"
        + ", difference of the addend" * layer.form.own_addends,
    )


def _words(layer: WeightedLayer, window: Window, narrow: bool) -> Array:
    """The values of ``_records``, channel by channel."""
    channels, taps = layer.weights.shape
    if narrow:
        octets = np.zeros((channels, -(-taps // 4) * 4), np.int8)
        octets[:, :taps] = layer.weights
        weights = octets.view("<u4")
    else:
        padded = np.concatenate([layer.weights, np.zeros((channels, 1), np.int64)], axis=1)
        halves = np.array([(low, taps if high is None else high) for low, high in taps_of(window)])
        weights = np.ascontiguousarray(padded[:, halves].astype("<i2")).view("<u4").reshape(channels, -1)
    record = record_of(window, narrow, own=layer.form.own_addends)
    table = np.zeros((channels, record.words), np.uint32)
    table[:, 0] = layer.bias + layer.form.offsets & 0xFFFFFFFF
    table[:, 1] = layer.record_bits
    table[:, 2 : 2 + weights.shape[1]] = weights
    if record.difference is not None:
        word, shift = record.difference
        table[:, word] |= layer.form.differences.view(np.uint32) << np.uint32(shift)
    return table.reshape(-1)


def _effort(
    window: Window, plane: Plane, blocks: Sequence[RowBlock], tail: Tail, form: DepthwiseForm | str, proved: int
) -> Effort:
    """The whole call."""
    if isinstance(form, str):
        instructions = _instructions(window, plane, blocks, tail)
        return Effort(instructions=instructions, cycles=instructions * _CYCLES_PER_INSTRUCTION)
    one = depthwise_function(form).effort(proved, window.channels_in - proved)
    around = _AROUND + _FILL * plane.size
    instructions = around + window.batch * (one.instructions + _CALL)
    return Effort(instructions=instructions, cycles=around + window.batch * (one.cycles + _CALL))


def _instructions(window: Window, plane: Plane, blocks: Sequence[RowBlock], tail: Tail) -> int:
    """An estimate of the portable form: packing, taps, rows."""
    pack = plane.filled * (len(plane.pairs) * 4 + 5)
    taps = window.kernel[0] * (window.kernel[1] + 2 * len(tap_words(window))) + 20
    per_output = 3 if tail.integer else 9
    row = (
        sum(block.columns // block.outputs * (len(block.body) + block.outputs * per_output + 9) for block in blocks) + 8
    )
    channel = taps + window.ofmap[0] * row
    fill = plane.size * 2
    return fill + window.batch * window.channels_in * (pack + window.group_out * channel)
