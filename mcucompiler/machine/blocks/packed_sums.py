# SPDX-License-Identifier: Apache-2.0
"""A function of dense 3x3 convolutions of stride 1: sums of one output channel over input channels, packed.

The input's rows, with their border, were packed to words of two neighboring columns, a[i] = x[2i-1] + x[2i] * 2^21, for
each input channel three rows one after the other. With the taps of a row as w[0] and as w[2] + w[1] * 2^21, SMLAL adds
w[0] * a[q] and (w[2] + w[1] * 2^21) * a[q+1] to the sum q, which has three fields of 21 bits: the middle one is all of
output 2q, the lowest holds w[0] and w[2] of output 2q-1, the highest w[1] of output 2q+1: six multiplications in two
instructions. The words of taps lie in flash: to make them of bytes costs a quarter of the loop. As the fields start in
the middle of their range, no borrow crosses them while 128 * sum |w| < 2^20.

The function turns the fields into 32-bit sums or adds them to such, so that several calls cover more input channels
than the range allows. Its C declaration and portable twin are in templates/kernels/conv_packed.c.j2::

    (plane, end, weights, sums)  ->  nothing; sums[2q], sums[2q+1], sums[2q+2] get the fields of sum q
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.depthwise import FIELD_BITS
from mcucompiler.machine.blocks.products import Effort
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS
from mcucompiler.machine.value import WORD, Value

SIZE = 3
"""Rows and columns of the window."""
RECORD_BYTES = 16
"""Of an input channel's taps: three words w[2] + w[1] * 2^21, then three bytes w[0] and one that is not used."""
FIELD_START = 1 << (FIELD_BITS - 1)
"""What each field starts with."""
LARGEST_SUM = (FIELD_START - 1) // 128
"""How large the weights' magnitudes may be in sum, so that fields with int8 inputs keep their range."""
_START = FIELD_START * (1 + (1 << FIELD_BITS) + (1 << 2 * FIELD_BITS))
_HIGH_FIELD = 2 * FIELD_BITS - 32
_END, _SUMS = 0, WORD
_FRAME = 12
_SAVED = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
_STACK_BYTES = _FRAME + WORD * (len(_SAVED) + 1)
_LOOP = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedForm:
    """What a function is specialized to.

    Attributes:
        group: packed sums, 1 to 4.
        row_words: words of a packed row.
        unroll: input channels in the body of the loop.
        adds: whether the fields are added to sums that exist, or are the sums.
    """

    group: int
    row_words: int
    unroll: int
    adds: bool

    @property
    def channel_bytes(self) -> int:
        """From an input channel's packed rows to the next one's."""
        return WORD * SIZE * self.row_words


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFunction:
    """The compiled function.

    Attributes:
        lines: assembler text, prologue and epilogue included.
        stack_bytes: frame and saved registers.
        call: effort of a call besides its loop.
        loop: of an iteration.
    """

    lines: tuple[str, ...]
    stack_bytes: int
    call: Effort
    loop: Effort

    def effort(self, rounds: int) -> Effort:
        """One call with so many iterations."""
        return Effort(
            instructions=self.call.instructions + rounds * self.loop.instructions,
            cycles=self.call.cycles + rounds * self.loop.cycles,
        )


def _pair_names(group: int) -> list[tuple[str, str]]:
    return [(f"low{q}", f"high{q}") for q in range(group)]


def loop_block(form: PackedForm) -> Block:
    """Some input channels; leaves the flags "more" (repeat while ne)."""
    block = Block(f"packed sums, {form.unroll} channels")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    plane = block.live_in("plane", register="r0", alias="x")
    weights = block.live_in("weights", register="r2", alias="w")
    names = _pair_names(form.group)
    sums = [(block.live_in(low), block.live_in(high)) for low, high in names]
    for channel in range(form.unroll):
        for row in range(SIZE):
            one = block.load_byte(weights, channel * RECORD_BYTES + WORD * SIZE + row)
            two = block.load(weights, channel * RECORD_BYTES + WORD * row)
            for position in range(form.group + 1):
                word = block.load(plane, channel * form.channel_bytes + WORD * (row * form.row_words + position))
                for q, weight in ((position, one), (position - 1, two)):
                    if 0 <= q < form.group:
                        sums[q] = block.smlal(word, weight, *sums[q])
    following = block.add(plane, form.unroll * form.channel_bytes)
    block.live_out("plane", following)
    block.live_out("more", block.compare(following, block.load(frame, _END)))
    block.live_out("weights", block.add(weights, form.unroll * RECORD_BYTES))
    for (low, high), (low_value, high_value) in zip(names, sums, strict=True):
        block.live_out(low, low_value)
        block.live_out(high, high_value)
    return block


def tail_block(form: PackedForm, at: dict[str, str]) -> Block:
    """The fields become the sums in memory, or are added to them; ``at``: registers of the packed sums."""
    block = Block(f"packed sums, {form.group} taken apart")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    pairs = [tuple(block.live_in(name, register=at[name]) for name in names) for names in _pair_names(form.group)]
    target = block.load(frame, _SUMS)
    fields: list[Value] = []
    for low, high in pairs:
        lowest = block.ubfx(low, 0, FIELD_BITS)
        fields[-1:] = [block.add(lowest, fields[-1], ("lsr", _HIGH_FIELD))] if fields else [lowest]
        fields.append(block.bfi(block.lsr(low, FIELD_BITS), high, 32 - FIELD_BITS, _HIGH_FIELD))
        fields.append(high)
    for index, value in enumerate(fields):
        last = index == len(fields) - 1
        if form.adds:
            old = block.load(target, WORD * index, alias="y")
            value = block.add(old, value, ("lsr", _HIGH_FIELD)) if last else block.add(old, value)
        elif last:
            value = block.lsr(value, _HIGH_FIELD)
        block.store(value, target, WORD * index, alias="y")
    return block


@cache
def packed_function(form: PackedForm) -> PackedFunction:
    """The function of a form.

    Raises:
        MachineError: more sums than registers, or rows too long for the offsets of loads.
    """
    loop = compile_block(loop_block(form), registers=ALL_REGISTERS)
    tail = compile_block(tail_block(form, loop.live_out), registers=ALL_REGISTERS)
    enter, leave = _enter(form, loop), [f"add sp, sp, #{_FRAME}", f"pop {{{', '.join(_SAVED)}, pc}}"]
    lines = (*enter, f"{_LOOP}:", *loop.lines, f"bne {_LOOP}b", *tail.lines, *leave)
    around = len(enter) + len(leave)
    return PackedFunction(
        lines=lines,
        stack_bytes=_STACK_BYTES,
        call=Effort(instructions=around + len(tail.lines), cycles=around + tail.cycles),
        loop=Effort(instructions=len(loop.lines) + 1, cycles=loop.cycles),
    )


def _enter(form: PackedForm, loop: Code) -> list[str]:
    """r0 is the plane, r1 its end, r2 the weights, r3 the sums, which go to the frame."""
    lines = [f"push {{{', '.join(_SAVED)}, lr}}", f"sub sp, sp, #{_FRAME}"]
    lines += [f"str r1, [sp, #{_END}]", f"str r3, [sp, #{_SUMS}]"]
    low, high = _START & 0xFFFFFFFF, _START >> 32
    first = [loop.live_in[name] for name in _pair_names(form.group)[0]]
    lines += [f"mov {first[0]}, #{low}", f"movw {first[1]}, #{high & 0xFFFF}", f"movt {first[1]}, #{high >> 16}"]
    for names in _pair_names(form.group)[1:]:
        lines += [f"mov {loop.live_in[name]}, {source}" for name, source in zip(names, first, strict=True)]
    return lines
