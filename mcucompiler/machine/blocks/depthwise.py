# SPDX-License-Identifier: Apache-2.0
"""Blocks of the depthwise kernel: one output row of one channel from a packed plane.

Two forms, for odd square kernels of size k. In both, the plane of the channel, with its border, was packed to one
word per two horizontal neighbors, and the weights to words of two taps, row by row.

**Packed 64-bit sums** (stride 1). A plane word is x[2i] + x[2i+1] * 2^21, a weight word w[2j+1] + w[2j] * 2^21.
One SMLAL then adds to three fields of 21 bits: the lowest, x[2i] * w[2j+1], and the highest, x[2i+1] * w[2j], are the
two halves of an odd output, the middle one is all of an even output: four multiplications an instruction. The sum q
holds the upper half of y[2q-1] in its lowest field, y[2q] in the middle, the lower half of y[2q+1] in its highest.
The fields are kept non-negative by what the sums start with, so no borrow crosses them, which needs
128 * sum |w| + |bias| < 2^20 for the channel.

**Dual multiplications** (SMLAD; any range, stride 1 and 2). A word holds two int16; at stride 1 odd outputs need
weight words shifted by one tap, so there are k - 1 words a row, whose halves at the ends are used by SMLABT and SMLATB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcucompiler.machine.block import Block
from mcucompiler.machine.value import Value

WORD = 4
FIELD_BITS = 21
_HIGH_FIELD = 2 * FIELD_BITS - 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RowShape:
    """What a row block is specialized for.

    Attributes:
        kernel: k, odd.
        stride: 1 or 2 (packed sums: 1).
        width: outputs of a row.
        row_words: words of a row of the packed plane.
        element_stride: bytes between the outputs of a channel.
        shift: of the requantization, 1..22.
        group: accumulators (packed sums: pairs of them) at a time.
    """

    kernel: int
    stride: int
    width: int
    row_words: int
    element_stride: int
    shift: int
    group: int

    @property
    def pairs(self) -> int:
        """Words that a row of k taps fills."""
        return (self.kernel + 1) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFrame:
    """Where in the frame (bytes from SP) the row loop keeps what has no register.

    Attributes:
        weights: the weight words of the channel.
        start: what the sums start with: the bias, or the packed pair (low, high).
        multiplier: of the requantization, followed by its rounding addend.
        output: address of the next row.
        end: address of the plane row at which to stop.
    """

    weights: int
    start: int
    multiplier: int
    output: int
    end: int


@dataclass(frozen=True, slots=True)
class _Constants:
    multiplier: Value
    rounding: Value
    output: Value


class _Row:
    """What the forms share: a block with its pointers, and the requantization."""

    def __init__(self, name: str, shape: RowShape, frame: RowFrame) -> None:
        self.shape, self.offsets = shape, frame
        self.block = Block(name)
        self.frame = self.block.live_in("frame", register="sp", alias="frame", keep=True)
        self.plane = self.block.live_in("plane", alias="x")

    def weight(self, row: int, word: int, words: int) -> Value:
        return self.block.load(self.frame, self.offsets.weights + WORD * (row * words + word), alias="w")

    def inputs(self, row: int, word: int) -> Value:
        return self.block.load(self.plane, WORD * (row * self.shape.row_words + word))

    def constants(self) -> _Constants:
        """Loaded anew for each group: between groups the sums need the registers."""
        load, first = self.block.load, self.offsets.multiplier
        return _Constants(
            load(self.frame, first), load(self.frame, first + WORD), load(self.frame, self.offsets.output)
        )

    def finish(self, value: Value, column: int, constants: _Constants) -> None:
        scaled = self.block.smmla(value, constants.multiplier, constants.rounding)
        result = self.block.ssat(scaled, 8, asr=self.shape.shift)
        self.block.store_byte(result, constants.output, column * self.shape.element_stride, alias="y")

    def close(self, output_step: int) -> Block:
        block, shape = self.block, self.shape
        output = block.load(self.frame, self.offsets.output)
        block.store(block.add(output, output_step), self.frame, self.offsets.output)
        following = block.add(self.plane, WORD * shape.row_words * shape.stride)
        block.live_out("plane", following)
        block.live_out("more", block.compare(following, block.load(self.frame, self.offsets.end)))
        return block


def _groups(total: int, size: int) -> Iterator[tuple[int, int]]:
    """(first, count) of groups as equal as possible, none larger than ``size``."""
    parts = -(-total // size)
    first = 0
    for part in range(parts):
        count = (total - first) // (parts - part) + ((total - first) % (parts - part) > 0)
        yield first, count
        first += count


def packed_row(shape: RowShape, frame: RowFrame, *, output_step: int) -> Block:
    """One output row with packed 64-bit sums: the body of the loop over rows, which leaves the flags "more".

    Args:
        shape: stride 1; ``row_words`` at least width // 2 + pairs.
        frame: offsets in the frame.
        output_step: bytes from one row of outputs to the next.
    """
    row = _Row(f"depthwise {shape.kernel}x{shape.kernel} row, packed sums", shape, frame)
    block = row.block
    before: Value | None = None
    for first, count in _groups(shape.width // 2 + 1, shape.group):
        low = [block.load(row.frame, frame.start) for _ in range(count)]
        high = [block.load(row.frame, frame.start + WORD) for _ in range(count)]
        for tap_row in range(shape.kernel):
            weights = [row.weight(tap_row, word, shape.pairs) for word in range(shape.pairs)]
            for position in range(count + shape.pairs - 1):
                inputs = row.inputs(tap_row, first + position)
                for word, weight in enumerate(weights):
                    q = position - word
                    if 0 <= q < count:
                        low[q], high[q] = block.smlal(inputs, weight, low[q], high[q])
        constants = row.constants()
        for q in range(count):
            odd, even = 2 * (first + q) - 1, 2 * (first + q)
            if before is not None and odd < shape.width:
                halves = block.add(block.ubfx(low[q], 0, FIELD_BITS), before, ("asr", _HIGH_FIELD))
                row.finish(halves, odd, constants)
            if even < shape.width:
                middle = block.bfi(block.lsr(low[q], FIELD_BITS), high[q], 32 - FIELD_BITS, _HIGH_FIELD)
                row.finish(middle, even, constants)
            before = high[q]
    return row.close(output_step)


def dual_terms(shape: RowShape, count: int) -> list[tuple[int, int, int, str]]:
    """(weight word, output, plane word, operation) of one row of taps for ``count`` outputs.

    Stride 2, and even outputs at stride 1, use pairs of taps (2j, 2j+1); odd outputs use (2j-1, 2j), stored behind.
    """
    terms: list[tuple[int, int, int, str]] = []
    pairs = shape.pairs
    for output in range(count):
        if shape.stride == 2:
            terms += [(word, output, output + word, "smlad") for word in range(pairs)]
        elif output % 2 == 0:
            terms += [(word, output, output // 2 + word, "smlad") for word in range(pairs - 1)]
            terms.append((2 * pairs - 3, output, output // 2 + pairs - 1, "smlabt"))
        else:
            terms.append((0, output, output // 2, "smlatb"))
            terms += [(pairs - 2 + word, output, output // 2 + word, "smlad") for word in range(1, pairs)]
    return terms


def weight_words(shape: RowShape) -> list[tuple[int, int]]:
    """The taps (lower, upper) in each weight word of a row; a tap of k is none."""
    pairs = shape.pairs
    if shape.stride == 2:
        return [(2 * word, 2 * word + 1) for word in range(pairs)]
    return [(2 * word, 2 * word + 1) for word in range(pairs - 1)] + [
        (2 * word - 1, 2 * word) for word in range(1, pairs)
    ]


def dual_row(shape: RowShape, frame: RowFrame, *, output_step: int) -> Block:
    """One output row with SMLAD: the body of the loop over rows, which leaves the flags "more".

    Args:
        shape: ``group`` even at stride 1, since groups start at plane words.
        frame: offsets in the frame; weights as ``weight_words`` says.
        output_step: bytes from one row of outputs to the next.
    """
    row = _Row(f"depthwise {shape.kernel}x{shape.kernel} row, dual multiplications", shape, frame)
    block, words = row.block, len(weight_words(shape))
    for first in range(0, shape.width, shape.group):
        count = min(shape.group, shape.width - first)
        bias = block.load(row.frame, frame.start)
        sums = [bias] * count
        for tap_row in range(shape.kernel):
            for wanted in _word_groups(words):
                weights = {word: row.weight(tap_row, word, words) for word in wanted}
                terms = [term for term in dual_terms(shape, count) if term[0] in weights]
                for position in sorted({term[2] for term in terms}):
                    inputs = row.inputs(tap_row, first * shape.stride // 2 + position)
                    for word, output, _, opcode in (term for term in terms if term[2] == position):
                        sums[output] = block.one(opcode, (inputs, weights[word], sums[output]))
        constants = row.constants()
        for output, value in enumerate(sums):
            row.finish(value, first + output, constants)
    return row.close(output_step)


def _word_groups(words: int) -> list[tuple[int, ...]]:
    """Weight words to hold at a time: all where there are few; else those that share plane words."""
    if words <= 4:
        return [tuple(range(words))]
    half = words // 2
    return [tuple(w for w in range(words) if w % half in part) for part in (range(0, half, 2), range(1, half, 2))]


def pack_plane_row(
    *, columns: int, border: int, element_stride: int, packed_sums: bool, output_step: int, zero_word: int
) -> Block:
    """Packs one row of a channel into plane words: the body of the loop over rows, which leaves the flags "more".

    Words that lie wholly in the border are not written: they are the same for every channel and filled once.

    Args:
        columns: elements of the row.
        border: elements of the zero point on the left; the right is filled up likewise.
        element_stride: bytes between elements of a channel.
        packed_sums: words for packed sums, else for dual multiplications.
        output_step: bytes from one row of plane words to the next.
        zero_word: offset in the frame of the zero point; the end of the plane follows.
    """
    block = Block("pack a row of a depthwise plane")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    source = block.live_in("source", alias="y")
    target = block.live_in("target", alias="x")
    zero = block.load(frame, zero_word)
    for word in range((columns + 2 * border + 1) // 2):
        taps = [2 * word - border, 2 * word + 1 - border]
        if all(not 0 <= tap < columns for tap in taps):
            continue
        low, high = (block.load_byte(source, tap * element_stride) if 0 <= tap < columns else zero for tap in taps)
        packed = block.add(low, high, ("lsl", FIELD_BITS)) if packed_sums else block.pkhbt(low, high, 16)
        block.store(packed, target, WORD * word)
    following = block.add(target, output_step)
    block.live_out("source", block.add(source, columns * element_stride))
    block.live_out("target", following)
    block.live_out("more", block.compare(following, block.load(frame, zero_word + WORD)))
    return block
