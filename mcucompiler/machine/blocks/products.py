# SPDX-License-Identifier: Apache-2.0
"""A function of matrix products: all output channels of a few pixels, from the stream of weights.

The function runs over blocks of output channels; ``lower/packing.py`` describes their stream. A block is a head
(biases and the first steps, whose multiplications take the biases as addends), a loop over the other steps, and a
tail (requantization and stores). Its C declaration and portable twin are in templates/macros/products.j2::

    (columns, end, stream, ofmap [, addend] [, out_zero] [, stride])  ->  the end of the stream

Eight sums, two pointers and four operands fill all core registers but SP, so R9 is saved and used like the others:
without it a step takes a third more cycles. Where a platform reserves R9, the portable twin serves instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.tails import float_result, integer_result, limited, limits
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS
from mcucompiler.machine.value import WORD, Value

Accumulators = list[list[Value]]
"""Sums by output channel and pixel."""

# The frame, in bytes from SP: what R0 to R3 and, behind the saved registers, R12 are pushed for.
_COLUMNS, _END, _COUNT, _OUTPUT = range(0, 16, WORD)
_FRAME = 16
_SAVED = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12")
_FLOATING = _FRAME + WORD * (len(_SAVED) - 1)
_ARGUMENTS = _FRAME + WORD * (len(_SAVED) + 1)
_HEADER = 2 * WORD
FARTHEST = 4095
"""The greatest offset in a load or store."""
_TAIL_ATTEMPTS = 4
_BRANCH_CYCLES = 1
_AROUND_COUNTED, _AROUND_TAILS = (5, 8), (4, 6)  # instructions around tails of both kinds, the integer one first
_TOP, _LOOP, _FLOAT_TAIL, _DONE = "1", "2", "3", "4"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductForm:
    """What a function is specialized to.

    Attributes:
        channels: output channels of a block, even.
        pixels: columns.
        head: steps of two inputs before the loop.
        unroll: steps in the body of the loop; 0 where the head does all of them.
        direct: whether the only pixel is read as bytes from where it lies; steps are then even.
        integer: whether there are blocks with an integer tail.
        floating: whether there are blocks with a float tail.
        stride: from a pixel of the output to the next, where it is not an argument; at most ``FARTHEST`` / pixels.
        shift: of the integer tail.
        lo: least output, None where saturation sees to it.
        hi: greatest output, likewise.
    """

    channels: int
    pixels: int
    head: int
    unroll: int
    direct: bool
    integer: bool
    floating: bool
    stride: int | None
    shift: int
    lo: int | None
    hi: int | None

    @property
    def step_bytes(self) -> int:
        """Bytes of columns in a step."""
        return 2 if self.direct else WORD * self.pixels

    @property
    def stream_bytes(self) -> int:
        """Bytes of weights in a step."""
        return 2 * self.channels

    @property
    def block_bytes(self) -> int:
        """Bytes of a block in the stream, up to where the loop begins: biases, weights, multipliers and indices."""
        return 2 * WORD * self.channels + self.head * self.stream_bytes + 2 * self.channels

    def argument(self, name: str) -> int:
        """Offset from SP of an argument behind the fourth: "addend", "out_zero" or "stride"."""
        wanted = (("addend", self.integer), ("out_zero", self.floating), ("stride", self.stride is None))
        return _ARGUMENTS + WORD * [known for known, used in wanted if used].index(name)


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


def _steps(
    block: Block, form: ProductForm, sums: Accumulators, stream: Value, columns: Value, steps: range, offset: int
) -> Accumulators:
    """The sums [channel][pixel] after some steps; weights start ``offset`` bytes from ``stream``."""
    rows = [list(row) for row in sums]
    halves: list[Value] = []
    for step in steps:
        if form.direct and step % 2 == 0:
            word = block.load(columns, WORD * (step // 2))
            halves = [block.sxtb16(word), block.sxtb16(word, rotate=8)]
        shared: list[Value] = []
        for pair in range(form.channels // 2):
            word = block.load(stream, offset + step * form.stream_bytes + WORD * pair)
            weights = [block.sxtb16(word), block.sxtb16(word, rotate=8)]
            for pixel in range(form.pixels):
                if form.direct:
                    inputs = halves[step % 2]
                elif pair == 0:
                    inputs = block.load(columns, step * form.step_bytes + WORD * pixel)
                    shared.append(inputs)
                else:
                    inputs = shared[pixel]
                for member, weight in enumerate(weights):
                    channel = 2 * pair + member
                    rows[channel][pixel] = block.smlad(weight, inputs, rows[channel][pixel])
    return rows


def _leave(block: Block, form: ProductForm, sums: Accumulators, stream: Value, at: dict[str, str]) -> None:
    """The sums and the stream leave, in the registers ``at`` where those are known."""
    block.live_out("stream", stream, register=at.get("stream", ""))
    for c, row in enumerate(sums):
        for p, value in enumerate(row):
            block.live_out(f"sum{c}_{p}", value, register=at.get(f"sum{c}_{p}", ""))


def _enter(block: Block, form: ProductForm, at: dict[str, str]) -> tuple[Value, Value, Accumulators]:
    """The frame, the stream and the sums."""
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    stream = block.live_in("stream", register=at.get("stream", ""), alias="w")
    sums = [
        [block.live_in(f"sum{c}_{p}", register=at.get(f"sum{c}_{p}", "")) for p in range(form.pixels)]
        for c in range(form.channels)
    ]
    return frame, stream, sums


def head_block(form: ProductForm, at: dict[str, str]) -> Block:
    """Biases and the first steps; stream and columns stay where they are, the loop's offsets count from there."""
    block = Block(f"products, head of {form.head} steps")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    stream = block.live_in("stream", register=at.get("stream", ""), alias="w")
    columns = block.load(frame, _COLUMNS)
    biases = [block.load(stream, WORD * channel) for channel in range(form.channels)]
    start: Accumulators = [[bias] * form.pixels for bias in biases]
    sums = _steps(block, form, start, stream, columns, range(form.head), WORD * form.channels)
    if form.unroll:
        block.live_out("columns", columns, register=at.get("columns", ""))
    _leave(block, form, sums, stream, at)
    return block


def loop_block(form: ProductForm) -> Block:
    """The steps behind the head; leaves the flags "more" (repeat while ne)."""
    block = Block(f"products, loop of {form.unroll} steps")
    frame, stream, sums = _enter(block, form, {})
    columns = block.live_in("columns", alias="x")
    skipped = form.head
    steps = range(skipped, skipped + form.unroll)
    sums = _steps(block, form, sums, stream, columns, steps, WORD * form.channels)
    following = block.add(columns, form.unroll * form.step_bytes)
    block.live_out("columns", following)
    block.live_out("more", block.compare(following, block.load(frame, _END)))
    _leave(block, form, sums, block.add(stream, form.unroll * form.stream_bytes), {})
    return block


def tail_block(form: ProductForm, at: dict[str, str], *, floating: bool, closing: bool) -> Block:
    """Requantization and stores of a block.

    Args:
        form: the function's.
        at: registers of the sums and of the stream.
        floating: whether in float32.
        closing: whether to leave the flags "more" (blocks follow while ne).
    """
    block = Block(f"products, {'float' if floating else 'integer'} tail")
    frame, stream, sums = _enter(block, form, at)
    weights = WORD * form.channels + form.head * form.stream_bytes
    indices = weights + WORD * form.channels
    output = block.load(frame, _OUTPUT)
    stride = block.load(frame, form.argument("stride")) if form.stride is None else None
    rounding = block.load(frame, form.argument("out_zero" if floating else "addend"))
    lo, hi = limits(block, form.lo, form.hi)
    pair = output
    for c, row in enumerate(sums):
        if c % 2 == 0:  # indices of two channels in a word
            pair = block.load(stream, indices + 2 * c)
            target = block.one("uxtah", (output, pair), 0)
        else:
            target = block.add(output, pair, ("lsr", 16))
        load = block.load_float if floating else block.load
        multiplier = load(stream, weights + WORD * c)
        for p, value in enumerate(row):
            if floating:
                result = float_result(block, block.to_float_register(value), multiplier, rounding)
            else:
                result = integer_result(block, value, multiplier, rounding, form.shift)
            block.store_byte(limited(block, result, lo, hi), target, p * (form.stride or 0), alias="y")
            if stride is not None and p + 1 < form.pixels:
                target = block.add(target, stride)
    end = block.add(stream, indices + 2 * form.channels)
    if closing:
        _close(block, form, frame, end)
    block.live_out("stream", end, register=at["stream"])
    return block


def _close(block: Block, form: ProductForm, frame: Value, end: Value) -> None:
    """The flags "more": from the count of blocks, or from the stream's address where all are of one known size."""
    if form.unroll:
        count, more = block.count_down(block.load(frame, _COUNT), 1)
        block.store(count, frame, _COUNT)
    else:
        more = block.compare(end, block.load(frame, _COUNT))
    block.live_out("more", more)


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
        stack_bytes=_ARGUMENTS,
        call=Effort(instructions=around, cycles=float(around)),
        head=Effort(instructions=len(head.lines), cycles=head.cycles),
        loop=Effort(instructions=len(loop.lines) + 1, cycles=loop.cycles) if loop else nothing,
        integer=efforts[0] if form.integer else nothing,
        floating=efforts[-1] if form.floating else nothing,
    )


def _enter_function(form: ProductForm, stream: str) -> list[str]:
    """Arguments to the frame: r0 columns, r1 end, r2 stream, r3 output."""
    lines = [f"sub r1, r1, #{form.head * form.step_bytes}"] if form.unroll else []
    lines += [f"push {{r0, r1, r2, r3, {', '.join(_SAVED)}, lr}}"]
    if not form.unroll:  # all blocks are of one known size
        return [*lines, *_find_ends(form, stream)]
    lines += [f"ldr r12, [r2, #{0 if form.integer else WORD}]", f"str r12, [sp, #{_COUNT}]"]
    if form.integer and form.floating:
        lines += [f"ldr r12, [r2, #{WORD}]", f"str r12, [sp, #{_FLOATING}]"]
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
        lines += [f"str {second}, [sp, #{_FLOATING}]"]
    return [*lines, f"str {first}, [sp, #{_COUNT}]"]


def _leave_function(stream: str) -> list[str]:
    """The result is the end of the stream."""
    moved = [] if stream == "r0" else [f"mov r0, {stream}"]
    return [*moved, f"add sp, sp, #{_FRAME}", f"pop {{{', '.join(_SAVED)}, pc}}"]


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
    choice = [f"ldr {free}, [sp, #{_COUNT}]", f"subs {free}, {free}, #1", f"str {free}, [sp, #{_COUNT}]"]
    left = [f"ldr {one}, [sp, #{_COUNT}]", f"ldr {other}, [sp, #{_FLOATING}]", f"adds {one}, {one}, {other}"]
    return [*choice, f"blt {_FLOAT_TAIL}f"], left


def _choice_by_address(at: dict[str, str]) -> tuple[list[str], list[str]]:
    """The same by the stream's address: blocks behind the last integer one are float ones."""
    free, stream = _free_register(at), at["stream"]
    one = "r0" if stream != "r0" else "r1"
    choice = [f"ldr {free}, [sp, #{_COUNT}]", f"cmp {stream}, {free}", f"bhi {_FLOAT_TAIL}f"]
    return choice, [f"ldr {one}, [sp, #{_FLOATING}]", f"cmp {stream}, {one}"]


def _free_register(at: dict[str, str]) -> str:
    return next(name for name in ALL_REGISTERS.core if name not in at.values())
