# SPDX-License-Identifier: Apache-2.0
"""Blocks of the depthwise kernel: parts of one output row of one channel from its packed plane.

In both forms the plane of the channel, with its border, lies in memory as words of two neighboring columns, and the
taps as words in the frame, row by row.

**Packed 64-bit sums** (stride 1). A plane word is x[2i] + x[2i+1] * 2^21, a word of taps w[2j+1] + w[2j] * 2^21.
One SMLAL then adds to three fields of 21 bits: the lowest, x[2i] * w[2j+1], and the highest, x[2i+1] * w[2j], are the
two halves of an odd output, the middle one is all of an even output: four multiplications an instruction. The sum q
holds the upper half of y[2q-1] in its lowest field, y[2q] in the middle, the lower half of y[2q+1] in its highest.
The sums start with the bias and 2^20 in the lower two fields, so that no borrow crosses them, and with -2^20 in the
highest. That needs 128 * sum |w| + |bias| < 2^20 for the channel.

**Dual multiplications** (SMLAD; any range, any stride). A word holds two int16; which words meet which taps is planned
by the caller. A tap alone in its word of the plane takes one half of a word of taps.

The rows of channels with an integer tail are requantized in the block of their sums; those with a float tail, which
are few, go by way of the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.tails import integer_result, limited, limits
from mcucompiler.machine.value import WORD, Value

FIELD_BITS = 21
OFFSET = 1 << 20
"""What keeps the lower fields of packed sums non-negative."""
PLANE, BEFORE, OUTPUT = "r11", "r10", "r9"
"""The registers of the pointer into the plane, of the highest field that waits for its other half, of the outputs."""
FARTHEST = 4095
"""The greatest offset in a load or store, and the greatest step of a pointer in one instruction."""
HIGH_FIELD = 2 * FIELD_BITS - 32
"""Where the highest field starts in the upper word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFrame:
    """Where in the frame (bytes from SP) the parts of a row find what has no register.

    Attributes:
        taps: the words of taps of the channel.
        start: what the sums start with: the bias, or the packed pair (low, high).
        multiplier: of the requantization; negative for a float channel.
        addend: of the integer tail.
        output: address of the outputs, where it is not held in ``OUTPUT``.
        sums: buffer for the sums of a part on their way to the float tail.
    """

    taps: int
    start: int
    multiplier: int
    addend: int
    output: int
    sums: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowForm:
    """What the parts of a row are specialized for.

    Attributes:
        kernel: taps (rows, columns).
        line_words: words of the plane from one kernel row to the next.
        element_stride: bytes between the outputs of a channel.
        floating: whether the tail is in float32, else in integers.
        held: whether the address of the outputs is in ``OUTPUT``, else in the frame.
        shift: of the integer tail.
        lo: least output, None where saturation to int8 sees to it.
        hi: greatest output, likewise.
    """

    kernel: tuple[int, int]
    line_words: int
    element_stride: int
    floating: bool
    held: bool
    shift: int
    lo: int | None
    hi: int | None

    @property
    def pairs(self) -> int:
        """Words that a row of taps fills in packed form."""
        return -(-self.kernel[1] // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Neighboring outputs of a row that are computed together from packed sums.

    Attributes:
        word: the first plane word, from the pointer into the plane.
        output: the even output of the first sum, from the address of the outputs.
        count: sums.
        opens: whether there is no odd output before the first even one.
        closes: whether the last sum has no even output.
    """

    word: int
    output: int
    count: int
    opens: bool
    closes: bool

    @property
    def outputs(self) -> tuple[int, ...]:
        """The outputs in the order of their computation."""
        columns = [2 * q + odd for q in range(self.count) for odd in (-1, 0)]
        return tuple(self.output + c for c in columns[self.opens : len(columns) - self.closes])


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """An instruction that adds one or two products: ``sums[output] += opcode(plane word, word of taps)``."""

    opcode: str
    word: int
    tap: int
    output: int


class _Sums:
    """A block that computes sums and requantizes them, or leaves them in the frame for the float tail."""

    def __init__(self, name: str, form: RowForm, frame: RowFrame) -> None:
        self.form, self.offsets = form, frame
        self.block = Block(name)
        self.frame = self.block.live_in("frame", register="sp", alias="frame", keep=True)
        self.plane = self.block.live_in("plane", register=PLANE, alias="x", keep=True)
        self.output = self.block.live_in("output", register=OUTPUT, alias="y", keep=True) if form.held else None

    def tap(self, number: int) -> Value:
        return self.block.load(self.frame, self.offsets.taps + WORD * number, alias="w")

    def inputs(self, word: int) -> Value:
        return self.block.load(self.plane, WORD * word)

    def leave(self, values: Sequence[Value], outputs: Sequence[int]) -> Block:
        block, form, frame = self.block, self.form, self.frame
        if form.floating:
            for number, value in enumerate(values):
                block.store(value, frame, self.offsets.sums + WORD * number)
            return block
        multiplier, addend = block.load(frame, self.offsets.multiplier), block.load(frame, self.offsets.addend)
        target = block.load(frame, self.offsets.output) if self.output is None else self.output
        lo, hi = limits(block, form.lo, form.hi)
        for value, output in zip(values, outputs, strict=True):
            result = integer_result(block, value, multiplier, addend, form.shift)
            block.store_byte(limited(block, result, lo, hi), target, output * form.element_stride, alias="y")
        return block


def packed_terms(form: RowForm, part: Part, row: int) -> list[Term]:
    """The multiplications of a row of taps; ``output`` is the number of the sum."""
    terms: list[Term] = []
    for position in range(part.count + form.pairs - 1):
        for word in range(form.pairs):
            q = position - word
            # Above the lowest field of a sum without even output nothing counts.
            idle = part.closes and q + 1 == part.count and form.kernel[1] % 2 == 1 and word + 1 == form.pairs
            if 0 <= q < part.count and not idle:
                at = row * form.line_words + part.word + position
                terms.append(Term(opcode="smlal", word=at, tap=row * form.pairs + word, output=q))
    return terms


def packed_sums(form: RowForm, frame: RowFrame, part: Part) -> Block:
    """A part of a row with packed sums; the highest field of the last one leaves in ``BEFORE``."""
    sums = _Sums(f"depthwise {form.kernel}, {part.count} packed sums", form, frame)
    block = sums.block
    before = None if part.opens else block.live_in("before", register=BEFORE)
    low = [block.load(sums.frame, frame.start) for _ in range(part.count)]
    high = [block.load(sums.frame, frame.start + WORD) for _ in range(part.count)]
    for row in range(form.kernel[0]):
        taps = [sums.tap(row * form.pairs + word) for word in range(form.pairs)]
        words: dict[int, Value] = {}
        for term in packed_terms(form, part, row):
            if term.word not in words:
                words[term.word] = sums.inputs(term.word)
            q, tap = term.output, taps[term.tap - row * form.pairs]
            low[q], high[q] = block.smlal(words[term.word], tap, low[q], high[q])
    values = _fields(block, part, low, high, before)
    if not part.closes:
        block.live_out("after" if part.opens else "before", high[-1], register=BEFORE)
    return sums.leave(values, part.outputs)


def _fields(block: Block, part: Part, low: Sequence[Value], high: Sequence[Value], before: Value | None) -> list[Value]:
    """The outputs in packed sums."""
    values: list[Value] = []
    for q in range(part.count):
        if before is not None:
            values.append(block.add(block.ubfx(low[q], 0, FIELD_BITS), before, ("asr", HIGH_FIELD)))
        if q + 1 < part.count or not part.closes:
            middle = block.bfi(block.lsr(low[q], FIELD_BITS), high[q], 32 - FIELD_BITS, HIGH_FIELD)
            values.append(block.sub(middle, OFFSET))
        before = high[q]
    return values


def taps_row(terms: Sequence[Term], sums: int, packed: bool, line_bytes: int, taps_bytes: int) -> Block:
    """One row of taps for a few sums in registers: the body of a loop, which leaves the flags "more".

    Args:
        terms: of the first row of taps.
        sums: their number.
        packed: whether they are pairs of registers.
        line_bytes: bytes of the plane from a row of taps to the next.
        taps_bytes: the same of the taps in the frame.
    """
    block = Block("depthwise, a row of taps")
    line, first = block.live_in("line", alias="x"), block.live_in("taps", alias="w")
    end = block.live_in("end", keep=True)
    block.live_in("plane", register=PLANE, keep=True)
    low = [block.live_in(f"low{number}") for number in range(sums)]
    high = [block.live_in(f"high{number}") for number in range(sums)] if packed else []
    taps, words = dict[int, Value](), dict[int, Value]()
    for term in terms:
        if term.tap not in taps:
            taps[term.tap] = block.load(first, WORD * term.tap)
        if term.word not in words:
            words[term.word] = block.load(line, WORD * term.word)
        n, operands = term.output, (words[term.word], taps[term.tap])
        if packed:
            low[n], high[n] = block.smlal(*operands, low[n], high[n])
        else:
            low[n] = block.one(term.opcode, (*operands, low[n]))
    for name, values in (("low", low), ("high", high)):
        for number, value in enumerate(values):
            block.live_out(f"{name}{number}", value)
    following = block.add(first, taps_bytes)
    block.live_out("line", advance(block, line, line_bytes))
    block.live_out("taps", following)
    block.live_out("more", block.compare(following, end))
    return block


def packed_results(frame: RowFrame, part: Part, registers: Iterable[tuple[str, str]]) -> Block:
    """Outputs in packed sums to the frame; ``registers``: pairs (sum, where it is)."""
    at = dict(registers)
    block = Block("depthwise, packed sums to the frame")
    pointer = block.live_in("frame", register="sp", alias="frame", keep=True)
    block.live_in("plane", register=PLANE, keep=True)
    low, high = (
        [block.live_in(f"{name}{number}", register=at[f"{name}{number}"]) for number in range(part.count)]
        for name in ("low", "high")
    )
    for number, value in enumerate(_fields(block, part, low, high, None)):
        block.store(value, pointer, frame.sums + WORD * number)
    return block


def dual_sums(form: RowForm, frame: RowFrame, steps: Sequence[Sequence[Term]], outputs: Sequence[int]) -> Block:
    """A part of a row with dual multiplications.

    Args:
        form: of the row.
        frame: offsets in the frame.
        steps: terms between which taps are loaded anew.
        outputs: their places, from the address of the outputs.
    """
    sums = _Sums(f"depthwise {form.kernel}, {len(outputs)} sums", form, frame)
    block = sums.block
    values = [block.load(sums.frame, frame.start)] * len(outputs)
    for terms in steps:
        taps = {number: sums.tap(number) for number in dict.fromkeys(term.tap for term in terms)}
        words: dict[int, Value] = {}
        for term in terms:
            if term.word not in words:
                words = {term.word: sums.inputs(term.word)}
            values[term.output] = block.one(term.opcode, (words[term.word], taps[term.tap], values[term.output]))
    return sums.leave(values, outputs)


def advance(block: Block, pointer: Value, step: int) -> Value:
    """The pointer so many bytes on."""
    return block.add(pointer, step if step <= FARTHEST else block.constant(step))
