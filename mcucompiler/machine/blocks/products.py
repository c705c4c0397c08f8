# SPDX-License-Identifier: Apache-2.0
"""A function of matrix products: all output channels of a few pixels, from the stream of weights.

The function runs over blocks of output channels; ``lower/packing.py`` describes their stream. A block is a head
(biases and the first steps, whose multiplications take the biases as addends), a loop over the other steps, and a
tail (requantization and stores). Its C declaration and portable twin are in templates/macros/products.j2::

    (columns, end, stream, ofmap [, addend] [, out_zero] [, stride])  ->  the end of the stream

With stacked weights a word needs one SXTB16 instead of two, which lets a step of 2 channels by 4 pixels take 8.3
cycles instead of 9.2: the multiplier's bound is 8. The sums of second channels are then raised; the first one's are
subtracted and the tail shifts by 8 bits more.

Eight sums, two pointers and four operands fill all core registers but SP, so R9 is saved and used like the others:
without it a step takes a third more cycles. Where a platform reserves R9, the portable twin serves instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mcucompiler.machine.blocks.product_blocks import (
    ARGUMENTS,
    COUNT,
    FLOATING,
    FRAME,
    SAVED,
    ProductForm,
    head_block,
    loop_block,
    tail_block,
)
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS
from mcucompiler.machine.value import WORD

_HEADER = 2 * WORD
_TAIL_ATTEMPTS = 4
_BRANCH_CYCLES = 1
_AROUND_COUNTED, _AROUND_TAILS = (5, 8), (4, 6)  # instructions around tails of both kinds, the integer one first
_TOP, _LOOP, _FLOAT_TAIL, _DONE = "1", "2", "3", "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Instructions and estimated cycles of a part of the function."""

    instructions: int
    cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFunction:
    """The compiled function.

    Attributes:
        lines: assembler text, prologue and epilogue included.
        stack_bytes: frame and saved registers.
        call: effort of a call besides its blocks.
        head: of a block's head.
        loop: of an iteration.
        integer: of the integer tail with what closes the loop over blocks.
        floating: of the float tail, likewise.
    """

    lines: tuple[str, ...]
    stack_bytes: int
    call: Effort
    head: Effort
    loop: Effort
    integer: Effort
    floating: Effort

    def effort(self, form: ProductForm, steps: int, integer: int, floating: int) -> Effort:
        """One call with so many steps and blocks of each kind."""
        rounds = (steps - form.head) // form.unroll if form.unroll else 0
        parts = (
            (1, self.call),
            (integer + floating, self.head),
            ((integer + floating) * rounds, self.loop),
            (integer, self.integer),
            (floating, self.floating),
        )
        return Effort(
            instructions=sum(times * part.instructions for times, part in parts),
            cycles=sum(times * part.cycles for times, part in parts),
        )


@cache
def product_function(form: ProductForm) -> ProductFunction:
    """The function of a form.

    Raises:
        MachineError: more sums than registers.
    """
    loop = compile_block(loop_block(form), registers=ALL_REGISTERS) if form.unroll else None
    head = compile_block(head_block(form, loop.live_in if loop else {}), registers=ALL_REGISTERS)
    both = form.integer and form.floating
    tails = [
        compile_block(
            tail_block(form, head.live_out, floating=floating, closing=not both),
            registers=ALL_REGISTERS,
            attempts=_TAIL_ATTEMPTS,
        )
        for floating, used in ((False, form.integer), (True, form.floating))
        if used
    ]
    # VCVTR in the default rounding mode is VCVTN, and exists in every float unit.
    body = [line.replace("vcvtn.", "vcvtr.") for line in _body(form, head, loop, tails)]
    stream = head.live_out["stream"]
    lines = (*_enter_function(form, stream), *body, *_leave_function(stream))
    around_tails = (_AROUND_COUNTED if form.unroll else _AROUND_TAILS) if both else (1,)
    efforts = [
        Effort(instructions=len(tail.lines) + extra, cycles=tail.cycles + _BRANCH_CYCLES + (extra + 1) // 2 * both)
        for tail, extra in zip(tails, around_tails, strict=True)
    ]
    nothing = Effort(instructions=0, cycles=0.0)
    around = len(lines) - sum(len(code.lines) for code in (head, *((loop,) if loop else ()), *tails))
    return ProductFunction(
        lines=lines,
        stack_bytes=ARGUMENTS,
        call=Effort(instructions=around, cycles=float(around)),
        head=Effort(instructions=len(head.lines), cycles=head.cycles),
        loop=Effort(instructions=len(loop.lines) + 1, cycles=loop.cycles) if loop else nothing,
        integer=efforts[0] if form.integer else nothing,
        floating=efforts[-1] if form.floating else nothing,
    )


def _enter_function(form: ProductForm, stream: str) -> list[str]:
    """Arguments to the frame: r0 columns, r1 end, r2 stream, r3 output."""
    lines = [f"sub r1, r1, #{form.head * form.step_bytes}"] if form.unroll else []
    lines += [f"push {{r0, r1, r2, r3, {', '.join(SAVED)}, lr}}"]
    if not form.unroll:  # all blocks are of one known size
        return [*lines, *_find_ends(form, stream)]
    lines += [f"ldr r12, [r2, #{0 if form.integer else WORD}]", f"str r12, [sp, #{COUNT}]"]
    if form.integer and form.floating:
        lines += [f"ldr r12, [r2, #{WORD}]", f"str r12, [sp, #{FLOATING}]"]
    return [*lines, f"add {stream}, r2, #{_HEADER}"]


def _find_ends(form: ProductForm, stream: str) -> list[str]:
    """Where the blocks end; with tails of both kinds, where the last integer block begins and the float ones end."""
    first, second, size = [name for name in ("r0", "r1", "r3", "r12") if name != stream][:3]
    both = form.integer and form.floating
    lines = [f"ldr {first}, [r2, #{0 if form.integer else WORD}]"]
    lines += [f"ldr {second}, [r2, #{WORD}]"] if both else []
    lines += [f"add {stream}, r2, #{_HEADER}", f"movw {size}, #{form.block_bytes}"]
    lines += [f"mla {first}, {first}, {size}, {stream}"]
    if both:
        lines += [f"mla {second}, {second}, {size}, {first}", f"sub {first}, {first}, {size}"]
        lines += [f"str {second}, [sp, #{FLOATING}]"]
    return [*lines, f"str {first}, [sp, #{COUNT}]"]


def _leave_function(stream: str) -> list[str]:
    """The result is the end of the stream."""
    moved = [] if stream == "r0" else [f"mov r0, {stream}"]
    return [*moved, f"add sp, sp, #{FRAME}", f"pop {{{', '.join(SAVED)}, pc}}"]


def _body(form: ProductForm, head: Code, loop: Code | None, tails: list[Code]) -> list[str]:
    """The loop over blocks."""
    lines = [f"{_TOP}:", *head.lines]
    if loop is not None:
        lines += [f"{_LOOP}:", *loop.lines, f"bne {_LOOP}b"]
    if len(tails) == 1:
        return [*lines, *tails[0].lines, f"bne {_TOP}b"]
    integer, floating = tails
    choice, left = (_choice_by_count if form.unroll else _choice_by_address)(head.live_out)
    return [
        *lines,
        *choice,
        *integer.lines,
        f"bgt {_TOP}b" if form.unroll else f"blo {_TOP}b",
        *left,
        f"bne {_TOP}b",
        f"b {_DONE}f",
        f"{_FLOAT_TAIL}:",
        *floating.lines,
        *left,
        f"bne {_TOP}b",
        f"{_DONE}:",
    ]


def _choice_by_count(at: dict[str, str]) -> tuple[list[str], list[str]]:
    """What leads to the float tail, and sets flags whether blocks follow: the count runs below zero for the float ones.

    Args:
        at: registers of the sums and of the stream.
    """
    free = _free_register(at)
    one, other = [name for name in ("r0", "r1", "r2") if name != at["stream"]][:2]
    choice = [f"ldr {free}, [sp, #{COUNT}]", f"subs {free}, {free}, #1", f"str {free}, [sp, #{COUNT}]"]
    left = [f"ldr {one}, [sp, #{COUNT}]", f"ldr {other}, [sp, #{FLOATING}]", f"adds {one}, {one}, {other}"]
    return [*choice, f"blt {_FLOAT_TAIL}f"], left


def _choice_by_address(at: dict[str, str]) -> tuple[list[str], list[str]]:
    """The same by the stream's address: blocks behind the last integer one are float ones."""
    free, stream = _free_register(at), at["stream"]
    one = "r0" if stream != "r0" else "r1"
    choice = [f"ldr {free}, [sp, #{COUNT}]", f"cmp {stream}, {free}", f"bhi {_FLOAT_TAIL}f"]
    return choice, [f"ldr {one}, [sp, #{FLOATING}]", f"cmp {stream}, {one}"]


def _free_register(at: dict[str, str]) -> str:
    return next(name for name in ALL_REGISTERS.core if name not in at.values())
