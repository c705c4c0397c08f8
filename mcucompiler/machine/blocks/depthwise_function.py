# SPDX-License-Identifier: Apache-2.0
"""The function of a depthwise kernel: for each channel its taps are unpacked, its plane is packed, its rows are summed.

Its C declaration and portable twin are in templates/kernels/depthwise.c.j2::

    (ifmap or rows, ofmap, plane, weights, in_zero [, addend] [, out_zero])

A row consists of parts, each one a straight-line block, some of which repeat along the row. The pointer into the plane
and the field of packed sums that goes from part to part stay in registers, all else is in the frame. R9 is saved and
used like the others; where a platform reserves it, the portable twin serves instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from mcucompiler.machine.blocks.depthwise_channel import HEADER, channel_start, float_tail, pack_lines, unpack_taps
from mcucompiler.machine.blocks.depthwise_form import SAVED, DepthwiseForm, Frame, frame_of
from mcucompiler.machine.blocks.depthwise_rows import FLOATS, FREE, Rows, Text, add_lines, printed
from mcucompiler.machine.blocks.products import Effort
from mcucompiler.machine.value import WORD

_CHANNEL, _TAPS, _LINE, _NEXT, _EACH_FLOAT, _FLOAT_ROWS = range(1, 7)  # labels
_ROW, _FLOAT_ROW = 10, 20  # labels, with those of parts behind them
_TAPS_AT_ONCE = 49  # so many taps are unpacked without a loop
_WORDS_AT_ONCE = 16  # so many words of a plane are packed without a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseFunction:
    """The compiled function.

    Attributes:
        lines: assembler text, prologue and epilogue included.
        stack_bytes: frame and saved registers.
        call: effort of a call besides its channels.
        channel: of a channel, besides what depends on the kind of its tail.
        integer: of the tails of a channel in integers.
        floating: likewise in float32.
    """

    lines: tuple[str, ...]
    stack_bytes: int
    call: Effort
    channel: Effort
    integer: Effort
    floating: Effort

    def effort(self, integer: int, floating: int) -> Effort:
        """One call with so many channels of each kind."""
        parts = ((1, self.call), (integer + floating, self.channel), (integer, self.integer), (floating, self.floating))
        return Effort(
            instructions=sum(times * part.instructions for times, part in parts),
            cycles=sum(times * part.cycles for times, part in parts),
        )


@cache
def depthwise_function(form: DepthwiseForm, attempts: int = 0) -> DepthwiseFunction:
    """The function of a form.

    Args:
        form: what it computes.
        attempts: schedules to try for each block, see ``compile_block``.

    Raises:
        MachineError: an offset that cannot be encoded, or more sums than registers.
    """
    text, frame = Text(attempts=attempts), frame_of(form)
    _enter(text, form, frame)
    text.put("all", f"{_CHANNEL}:")
    _taps(text, form, frame)
    _lines(text, form, frame)
    if form.floating:
        text.put("all", f"ldr r0, [sp, #{frame.row.multiplier}]", "cmp r0, #0", f"bmi {_FLOAT_ROWS}f")
    if form.integer:
        Rows(text, "integer", form.row, form.segments, form, frame).put(_ROW)
    text.put("all", f"{_NEXT}:")
    moving = frame.channel if form.lines.rows else frame.source  # either is followed by the target
    text.put("all", f"ldrd r0, r1, [sp, #{moving}]", f"ldr r2, [sp, #{frame.target_end}]", "add r0, r0, #1")
    text.put("all", "add r1, r1, #1", f"strd r0, r1, [sp, #{moving}]", "cmp r1, r2", f"bne {_CHANNEL}b")
    text.put("call", f"add sp, sp, #{frame.size}", f"pop {{{', '.join(SAVED)}, pc}}")
    if form.floating:
        _float_tail(text, form, frame)
        text.put("floating", f"{_FLOAT_ROWS}:")
        row = replace(form.row, floating=True, held=False)
        Rows(text, "floating", row, form.float_segments, form, frame).put(_FLOAT_ROW)
        text.put("floating", f"b {_NEXT}b")
    return DepthwiseFunction(
        lines=tuple(text.lines),
        stack_bytes=frame.size + WORD * (len(SAVED) + 1),
        call=text.effort("call"),
        channel=text.effort("all"),
        integer=text.effort("integer"),
        floating=text.effort("floating"),
    )


def _enter(text: Text, form: DepthwiseForm, frame: Frame) -> None:
    """Arguments to the frame: r0 input, r1 output, r2 plane, r3 weights."""
    text.put("call", f"push {{{', '.join(SAVED)}, lr}}", f"sub sp, sp, #{frame.size}")
    for number, offset in enumerate((frame.source, frame.target, frame.plane, frame.weights)):
        text.put("call", f"str r{number}, [sp, #{offset}]")
    sums = (
        ("r2", frame.plane_first, WORD * form.first_word),
        ("r1", frame.target_end, form.channels),
        ("r2", frame.lines_end, WORD * form.first_word + form.filled * form.lines.line_bytes),
        ("r2", frame.rows_end, WORD * form.ofmap_rows * form.line_step),
    )
    for register, offset, size in sums:
        text.put("call", *add_lines("r4", register, size), f"str r4, [sp, #{offset}]")
    if form.lines.rows:
        text.put("call", "movs r4, #0", f"str r4, [sp, #{frame.channel}]")


def _taps(text: Text, form: DepthwiseForm, frame: Frame) -> None:
    """The channel's record: what sums start with, its multiplier, its taps."""
    at_once = form.row.kernel[0] * form.row.kernel[1] <= _TAPS_AT_ONCE
    text.put("all", f"ldr r0, [sp, #{frame.weights}]")
    rows = form.row.kernel[0] if at_once else 0
    start = (form.taps, rows, frame.row, form.difference, frame.addend)
    text.code("all", text.compiled(channel_start, *start))
    text.put("all", f"add r1, r0, #{WORD * form.record_words}", f"str r1, [sp, #{frame.weights}]")
    if at_once:
        return
    size = WORD * len(form.taps.words) * form.row.kernel[0]
    text.put("all", f"add r0, r0, #{HEADER}", f"add r1, sp, #{frame.row.taps}", f"add r2, r1, #{size}", f"{_TAPS}:")
    text.code("all", text.compiled(unpack_taps, form.taps), f"bne {_TAPS}b", times=form.row.kernel[0])


def _lines(text: Text, form: DepthwiseForm, frame: Frame) -> None:
    """The plane of the channel."""
    at_once = len(form.lines.pairs) * form.filled <= _WORDS_AT_ONCE
    text.put("all", f"ldr r0, [sp, #{frame.source}]", f"ldr r1, [sp, #{frame.plane_first}]")
    text.put("all", f"ldr r3, [sp, #{frame.in_zero}]")
    if form.lines.rows:
        text.put("all", f"ldr r4, [sp, #{frame.channel}]")
    if at_once:
        text.code("all", text.compiled(pack_lines, form.lines, form.filled, False))
        return
    text.put("all", f"ldr r2, [sp, #{frame.lines_end}]", f"{_LINE}:")
    text.code("all", text.compiled(pack_lines, form.lines, 1, True), f"bne {_LINE}b", times=form.filled)


def _float_tail(text: Text, form: DepthwiseForm, frame: Frame) -> None:
    """A subroutine: the sums in the frame up to r2, to r1 and behind. Keeps ``PLANE`` and ``BEFORE``."""
    code = text.compiled(float_tail, form.row, registers=FREE)
    text.lines += [f"{FLOATS}:", f"ldr r0, [sp, #{frame.row.multiplier}]", "bic r0, r0, #0x80000000", "vmov s0, r0"]
    text.lines += [f"add r0, sp, #{frame.row.sums}", f"ldr r3, [sp, #{frame.out_zero}]", f"{_EACH_FLOAT}:"]
    text.lines += [*printed(code), f"bne {_EACH_FLOAT}b", "bx lr"]
