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
from mcucompiler.machine.blocks.gemm import WORD, Accumulators
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS
from mcucompiler.machine.value import Value

# The frame, in bytes from SP; arguments beyond the fourth follow behind the saved registers.
_COUNT, _FLOATING, _OUTPUT, _COLUMNS, _END = range(0, 20, WORD)
_FRAME = 20
_SAVED = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11")
_ARGUMENTS = _FRAME + WORD * (len(_SAVED) + 1)
_HEADER = 2 * WORD
FARTHEST = 4095
"""The greatest offset in a load or store."""
_TAIL_ATTEMPTS = 4
_BRANCH_CYCLES = 1
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


def tail_block(form: ProductForm, at: dict[str, str], *, floating: bool, counted: bool) -> Block:
    """Requantization and stores of a block.

    Args:
        form: the function's.
        at: registers of the sums and of the stream.
        floating: whether in float32.
        counted: whether to count the block here and leave the flags "more".
    """
    block = Block(f"products, {'float' if floating else 'integer'} tail")
    frame, stream, sums = _enter(block, form, at)
    weights = WORD * form.channels + form.head * form.stream_bytes
    indices = weights + WORD * form.channels
    output = block.load(frame, _OUTPUT)
    stride = block.load(frame, form.argument("stride")) if form.stride is None else None
    rounding = block.load(frame, form.argument("out_zero" if floating else "addend"))
    limits = [None if limit is None else block.constant(limit & 0xFF) for limit in (form.lo, form.hi)]
    for c, row in enumerate(sums):
        index = block.load_half(stream, indices + 2 * c, signed=False)
        target = block.add(output, index)
        load = block.load_float if floating else block.load
        multiplier = load(stream, weights + WORD * c)
        for p, value in enumerate(row):
            requantize = _float_result if floating else _integer_result
            result = requantize(block, value, multiplier, rounding, form.shift)
            block.store_byte(_limited(block, result, *limits), target, p * (form.stride or 0), alias="y")
            if stride is not None and p + 1 < form.pixels:
                target = block.add(target, stride)
    if counted:
        count, more = block.count_down(block.load(frame, _COUNT), 1)
        block.store(count, frame, _COUNT)
        block.live_out("more", more)
    end = block.add(stream, indices + 2 * form.channels)
    block.live_out("stream", end, register=at["stream"])
    return block


def _integer_result(block: Block, value: Value, multiplier: Value, rounding: Value, shift: int) -> Value:
    return block.ssat(block.smmla(value, multiplier, rounding), 8, asr=shift)


def _float_result(block: Block, value: Value, multiplier: Value, zero_point: Value, shift: int) -> Value:
    """The zero point is added to 16 bits: what is beyond them saturates to int8 in any case."""
    del shift
    product = block.vmul(block.float_of(block.to_float_register(value)), multiplier)
    rounded = block.ssat(block.from_float_register(block.nearest_integer(product)), 16)
    return block.ssat(block.add(rounded, zero_point), 8)


def _limited(block: Block, value: Value, lo: Value | None, hi: Value | None) -> Value:
    """The lowest byte limited to a range; the others are never used."""
    if lo is not None:
        value = block.maximum_bytes(value, lo)
    if hi is not None:
        _, flags = block.emit("ssub8", (hi, value))
        value = block.one("sel", (value, hi, flags))
    return value


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
            tail_block(form, head.live_out, floating=floating, counted=not both),
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
    branch = 2 * _BRANCH_CYCLES + 3 if both else _BRANCH_CYCLES
    efforts = [Effort(instructions=len(tail.lines) + (5 if both else 1), cycles=tail.cycles + branch) for tail in tails]
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
    lines = [f"push {{{', '.join(_SAVED)}, lr}}", f"sub sp, sp, #{_FRAME}"]
    lines += [f"str r0, [sp, #{_COLUMNS}]", f"str r3, [sp, #{_OUTPUT}]"]
    if form.unroll:
        lines += [f"sub r1, r1, #{form.head * form.step_bytes}", f"str r1, [sp, #{_END}]"]
    lines += [f"ldr r12, [r2, #{0 if form.integer else WORD}]", f"str r12, [sp, #{_COUNT}]"]
    if form.integer and form.floating:
        lines += [f"ldr r12, [r2, #{WORD}]", f"str r12, [sp, #{_FLOATING}]"]
    return [*lines, f"add {stream}, r2, #{_HEADER}"]


def _leave_function(stream: str) -> list[str]:
    """The result is the end of the stream."""
    moved = [] if stream == "r0" else [f"mov r0, {stream}"]
    return [*moved, f"add sp, sp, #{_FRAME}", f"pop {{{', '.join(_SAVED)}, pc}}"]


def _body(form: ProductForm, head: Code, loop: Code | None, tails: list[Code]) -> list[str]:
    """The loop over blocks. With tails of both kinds the count runs on below zero for the float ones."""
    lines = [f"{_TOP}:", *head.lines]
    if loop is not None:
        lines += [f"{_LOOP}:", *loop.lines, f"bne {_LOOP}b"]
    if len(tails) == 1:
        return [*lines, *tails[0].lines, f"bne {_TOP}b"]
    integer, floating = tails
    busy = set(head.live_out.values())
    free = next(name for name in ALL_REGISTERS.core if name not in busy)
    one, other = [name for name in ("r0", "r1", "r2") if name != head.live_out["stream"]][:2]
    left = [f"ldr {one}, [sp, #{_COUNT}]", f"ldr {other}, [sp, #{_FLOATING}]", f"adds {one}, {one}, {other}"]
    return [
        *lines,
        f"ldr {free}, [sp, #{_COUNT}]",
        f"subs {free}, {free}, #1",
        f"str {free}, [sp, #{_COUNT}]",
        f"blt {_FLOAT_TAIL}f",
        *integer.lines,
        f"bgt {_TOP}b",
        *left,
        f"bne {_TOP}b",
        f"b {_DONE}f",
        f"{_FLOAT_TAIL}:",
        *floating.lines,
        *left,
        f"bne {_TOP}b",
        f"{_DONE}:",
    ]
