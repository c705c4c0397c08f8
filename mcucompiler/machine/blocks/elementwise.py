# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions of bytes, four elements a word: sums and products of two tensors, tables.

**Sums.** ``v = addend + a * factor_a + b * factor_b`` by SMLAWB and SMLAWT, which multiply a word by a half and drop
the 16 low bits of the product: with a byte in the upper half of its lane and a factor times 2^8 nothing but zeros is
dropped. With SSAT and a byte store for each element that makes 22 instructions for four. Where the output has limits of
its own, four sums are packed first, saturated as halves (PKHTB, SSAT16 to the bits above the shift), limited and stored
as one word; without limits that takes as many instructions, but more cycles: packing and saturation share a unit.

**Products.** The zero points are added while bytes are extended (SXTAB16); SMULBB or SMULTT, SMMLA, SSAT and a byte
store for each element: 22 instructions for four.

**Tables.** The bytes of a word are indices; the four entries are put together and stored as one word: 14 instructions.

Each function is a loop over a whole number of words; pointers need no alignment. The output may be an operand: an
element is read before its place is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.tails import limited
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS
from mcucompiler.machine.value import WORD, Value

_BYTES_ON_TOP = 0xFF00FF00
_SAVED = tuple(f"r{number}" for number in range(4, 12))
_ARGUMENTS = ("r0", "r1", "r2", "r3")
_BRANCH_CYCLES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopFunction:
    """A function around one loop.

    Attributes:
        lines: assembler text, prologue and epilogue included.
        stack_bytes: what it saves.
        around: instructions of a call besides the rounds of the loop.
        instructions: of a round.
        cycles: of a round, estimated by the model of the core.
    """

    lines: tuple[str, ...]
    stack_bytes: int
    around: int
    instructions: int
    cycles: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SumForm:
    """What a function of sums is specialized to.

    Attributes:
        words: of four elements in a round.
        shift: of the sum.
        half_even: whether the parity of the shifted sum is added before the shift.
        lo: least output.
        hi: greatest output.
    """

    words: int
    shift: int
    half_even: bool
    lo: int
    hi: int

    @property
    def packs(self) -> bool:
        """Whether sums are saturated two at a time and limited four at a time."""
        return 16 <= self.shift <= 24 and (self.lo, self.hi) != (-128, 127)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorForm:
    """What a function of products is specialized to; see ``SumForm``."""

    words: int
    shift: int
    lo: int
    hi: int


def sum_block(form: SumForm) -> Block:
    """A round of the loop of sums."""
    block = Block(f"sums of {form.words} words")
    a, b, y, end = _pointers(block)
    factor_a, factor_b, addend, mask = (
        block.live_in(name, keep=True) for name in ("factor_a", "factor_b", "addend", "mask")
    )
    for word in range(form.words):
        x, w = block.load(a, WORD * word), block.load(b, WORD * word)
        xs = (block.and_(mask, x, ("lsl", 8)), block.and_(mask, x))
        ws = (block.and_(mask, w, ("lsl", 8)), block.and_(mask, w))
        sums = []
        for lane in range(WORD):
            pair, half = lane % 2, "bt"[lane // 2]
            value = block.smlaw(factor_b, ws[pair], addend, half)
            value = block.smlaw(factor_a, xs[pair], value, half)
            if form.half_even:
                value = block.add(value, block.ubfx(value, form.shift, 1))
            sums.append(value)
        if form.packs:
            packed = _packed(block, sums, mask, form.shift)
            block.store(_limited(block, packed, form.lo, form.hi), y, WORD * word)
        else:
            _store_bytes(block, sums, form, y, WORD * word)
    _step(block, (("a", a), ("b", b), ("y", y)), end, WORD * form.words)
    return block


def factor_block(form: FactorForm) -> Block:
    """A round of the loop of products."""
    block = Block(f"products of {form.words} words")
    a, b, y, end = _pointers(block)
    zero_a, zero_b, factor, addend = (
        block.live_in(name, keep=True) for name in ("zero_a", "zero_b", "factor", "addend")
    )
    for word in range(form.words):
        x, w = block.load(a, WORD * word), block.load(b, WORD * word)
        xs = [block.sxtab16(zero_a, x, rotate) for rotate in (0, 8)]
        ws = [block.sxtab16(zero_b, w, rotate) for rotate in (0, 8)]
        values = []
        for lane in range(WORD):
            product = block.smul_halves(xs[lane % 2], ws[lane % 2], "bbtt"[lane // 2 * 2 :][:2])
            values.append(block.smmla(product, factor, addend))
        _store_bytes(block, values, form, y, WORD * word)
    _step(block, (("a", a), ("b", b), ("y", y)), end, WORD * form.words)
    return block


def table_block(words: int) -> Block:
    """A round of the loop through a table of 256 bytes: ``words`` words of four elements."""
    block = Block(f"table, {words} words")
    x = block.live_in("x", register="r0", alias="x")
    table = block.live_in("table", register="r1", alias="table", keep=True)
    y = block.live_in("y", register="r2", alias="y")
    end = block.live_in("end", register="r3", keep=True)
    for word in range(words):
        four = block.load(x, WORD * word)
        indices = [block.uxtb(four), block.ubfx(four, 8, 8), block.ubfx(four, 16, 8), block.lsr(four, 24)]
        entries = [block.load_indexed(table, index, opcode="ldrb") for index in indices]
        packed = entries[0]
        for lane in range(1, WORD):
            packed = block.orr(packed, entries[lane], ("lsl", 8 * lane))
        block.store(packed, y, WORD * word)
    _step(block, (("x", x), ("y", y)), end, WORD * words)
    return block


def _pointers(block: Block) -> list[Value]:
    """Operands, output, and the end of the first operand."""
    aliases = ("a", "b", "y", "")
    names = ("a", "b", "y", "end")
    return [
        block.live_in(name, register=register, alias=alias, keep=name == "end")
        for name, register, alias in zip(names, _ARGUMENTS, aliases, strict=True)
    ]


def _step(block: Block, pointers: Sequence[tuple[str, Value]], end: Value, amount: int) -> None:
    """Advance the pointers; the flags "more" say whether the first one has reached the end."""
    following = [block.add(pointer, amount) for _, pointer in pointers]
    for (name, _), value in zip(pointers, following, strict=True):
        block.live_out(name, value)
    block.live_out("more", block.compare(following[0], end))


def _packed(block: Block, sums: Sequence[Value], mask: Value, shift: int) -> Value:
    """The saturated bytes of four sums, whose integer part begins at bit ``shift``."""
    halves = [block.ssat16(block.pkhtb(sums[2 + lane], sums[lane], 16), shift - 8) for lane in (0, 1)]
    tops = [block.and_(mask, value, ("lsl", 24 - shift)) for value in halves]
    return block.orr(tops[1], tops[0], ("lsr", 8))


def _limited(block: Block, packed: Value, lo: int, hi: int) -> Value:
    """Four bytes limited to a range."""
    least = block.constant((lo & 0xFF) * 0x01010101) if lo > -128 else None
    greatest = block.constant((hi & 0xFF) * 0x01010101) if hi < 127 else None
    return limited(block, packed, least, greatest)


def _store_bytes(block: Block, values: Sequence[Value], form: SumForm | FactorForm, y: Value, offset: int) -> None:
    for lane, value in enumerate(values):
        result = block.ssat(value, 8, asr=form.shift)
        block.store_byte(_limited(block, result, form.lo, form.hi), y, offset + lane)


@cache
def sum_function(form: SumForm) -> LoopFunction:
    """``(a, b, y, end, factor_a, factor_b, addend)``: sums from ``a`` up to ``end``; factors are times 2^8."""
    code = compile_block(sum_block(form), registers=ALL_REGISTERS)
    return loop_function(code, ("factor_a", "factor_b", "addend"), {"mask": ("mov", _BYTES_ON_TOP)})


@cache
def factor_function(form: FactorForm) -> LoopFunction:
    """``(a, b, y, end, zero_a, zero_b, factor, addend)``; the zero points are negated, in both halves of a word."""
    code = compile_block(factor_block(form), registers=ALL_REGISTERS)
    return loop_function(code, ("zero_a", "zero_b", "factor", "addend"), {})


@cache
def table_function(words: int) -> LoopFunction:
    """``(x, table, y, end)``: the table's entries for the bytes from ``x`` up to ``end``."""
    return loop_function(compile_block(table_block(words), registers=ALL_REGISTERS), (), {})


def loop_function(code: Code, stack: Sequence[str], constants: Mapping[str, tuple[str, int]]) -> LoopFunction:
    """A function whose loop's live-ins are its arguments.

    Args:
        code: a loop's body, which leaves condition flags: it is repeated while they say "not equal". The live-ins
            that are arguments in registers are there.
        stack: names of the live-ins that are arguments on the stack, in order.
        constants: live-ins that are constants: instruction and immediate operand.
    """
    registers = code.live_in
    used = {*code.written, *registers.values()}
    saved = [name for name in (*_SAVED, "lr") if name in used]
    first = WORD * len(saved)
    loads = [f"ldr {registers[name]}, [sp, #{first + WORD * index}]" for index, name in enumerate(stack)]
    loads += [f"{opcode} {registers[name]}, #{value:#x}" for name, (opcode, value) in constants.items()]
    enter = [f"push {{{', '.join(saved)}}}"] if saved else []
    leave = [f"pop {{{', '.join(saved).replace('lr', 'pc')}}}"] if saved else []
    leave += [] if "lr" in saved else ["bx lr"]
    lines = (*enter, *loads, "1:", *code.lines, "bne 1b", *leave)
    return LoopFunction(
        lines=lines,
        stack_bytes=first,
        around=len(lines) - len(code.lines) - 2 + 2 * len(saved),
        instructions=len(code.lines) + 1,
        cycles=code.cycles,
    )
