# SPDX-License-Identifier: Apache-2.0
"""Blocks of the depthwise kernel around its rows: a channel's taps and plane, and the float tail."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.depthwise import FARTHEST, FIELD_BITS, HIGH_FIELD, OFFSET, RowForm, RowFrame, advance
from mcucompiler.machine.blocks.tails import float_result, limited, limits
from mcucompiler.machine.value import WORD, Value

HEADER = 2 * WORD
"""Bytes of a channel's record before its taps: bias and multiplier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """How the lines of a plane are packed.

    Attributes:
        pairs: for each word that holds input its number, and the offsets of its halves; None for the zero point.
        packed: words for packed sums, else for dual multiplications.
        step: bytes from one row of the input to the next.
        line_bytes: bytes from one line of the plane to the next.
        rows: whether the rows are given by pointers, to which the channel's offset is added.
    """

    pairs: tuple[tuple[int, int | None, int | None], ...]
    packed: bool
    step: int
    line_bytes: int
    rows: bool

    @property
    def farthest(self) -> int:
        """The greatest offset of an element in its row."""
        return max(at for _, *halves in self.pairs for at in halves if at is not None)


def pack_lines(lines: Lines, count: int, loop: bool) -> Block:
    """Packs rows of a channel into plane words.

    Args:
        lines: what they are like.
        count: lines.
        loop: whether the block is the body of a loop, which leaves the flags "more".
    """
    block = Block("pack rows of a depthwise plane")
    given = block.live_in("source", register="r0", alias="rows" if lines.rows else "y")
    target = block.live_in("target", register="r1", alias="x")
    zero = block.live_in("zero", register="r3", keep=loop)
    channel = block.live_in("channel", register="r4", keep=loop) if lines.rows else None
    source, first, farthest = given, 0, lines.farthest
    for line in range(count):
        if channel is not None:
            source = block.add(block.load(given, WORD * line), channel)
        elif first + farthest > FARTHEST:
            source, first = advance(block, source, first), 0
        for word, *halves in lines.pairs:
            low, high = (zero if at is None else block.load_byte(source, first + at, alias="y") for at in halves)
            pair = block.add(low, high, ("lsl", FIELD_BITS)) if lines.packed else block.pkhbt(low, high, 16)
            block.store(pair, target, line * lines.line_bytes + WORD * word)
        first += 0 if lines.rows else lines.step
    if loop:
        end = block.live_in("end", register="r2", keep=True)
        following = advance(block, target, lines.line_bytes)
        block.live_out("source", advance(block, given, WORD if lines.rows else lines.step), register="r0")
        block.live_out("target", following, register="r1")
        block.live_out("more", block.compare(following, end))
    return block


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """How the taps of a row lie in the frame.

    Attributes:
        columns: taps of a row.
        words: for each word those that are its low and its high half, None where there is none.
        packed: words for packed sums, whose parts are added, else for dual multiplications.
    """

    columns: int
    words: tuple[tuple[int | None, int | None], ...]
    packed: bool


def channel_start(
    taps: Taps, rows: int, offsets: RowFrame, difference: tuple[int, int] | None = None, common: int = 0
) -> Block:
    """What the record of a channel (r0) says, to the frame.

    Args:
        taps: how they lie.
        rows: of taps that are unpacked.
        offsets: in the frame, of the starts of sums, the multiplier and the taps.
        difference: word and shift, as in ``DepthwiseForm``.
        common: where the frame has the addend to which it is added.
    """
    block = Block("start of a depthwise channel")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    record = block.live_in("record", register="r0", alias="w", keep=True)
    bias = block.load(record)
    if taps.packed:
        field = block.add(bias, OFFSET)
        block.store(block.orr(field, field, ("lsl", FIELD_BITS)), frame, offsets.start)
        high = block.sub(block.lsr(field, 32 - FIELD_BITS), OFFSET << HIGH_FIELD)
        block.store(high, frame, offsets.start + WORD)
    else:
        block.store(bias, frame, offsets.start)
    block.store(block.load(record, WORD), frame, offsets.multiplier)
    if difference is not None:
        word, shift = block.load(record, WORD * difference[0]), ("asr", difference[1]) if difference[1] else None
        block.store(block.add(block.load(frame, common), word, shift), frame, offsets.addend)
    for row in range(rows):
        first = WORD * row * len(taps.words)
        _unpack(block, taps, (record, HEADER + row * taps.columns), (frame, offsets.taps + first))
    return block


def unpack_taps(taps: Taps) -> Block:
    """Bytes of a row of taps to words in the frame: the body of the loop over rows, which leaves the flags "more"."""
    block = Block("taps of a depthwise row")
    source = block.live_in("source", register="r0", alias="w")
    target = block.live_in("target", register="r1", alias="frame")
    end = block.live_in("end", register="r2", keep=True)
    _unpack(block, taps, (source, 0), (target, 0))
    following = block.add(target, WORD * len(taps.words))
    block.live_out("source", block.add(source, taps.columns), register="r0")
    block.live_out("target", following, register="r1")
    block.live_out("more", block.compare(following, end))
    return block


def _unpack(block: Block, taps: Taps, source: tuple[Value, int], target: tuple[Value, int]) -> None:
    """A row of taps from bytes to words; both places are a pointer with an offset."""
    octets = [block.load_byte(source[0], source[1] + tap) for tap in range(taps.columns)]
    for number, (low, high) in enumerate(taps.words):
        if high is None:
            word = octets[low or 0]
        elif low is None:
            word = block.lsl(octets[high], FIELD_BITS if taps.packed else 16)
        elif taps.packed:
            word = block.add(octets[low], octets[high], ("lsl", FIELD_BITS))
        else:
            word = block.pkhbt(octets[low], octets[high], 16)
        block.store(word, target[0], target[1] + WORD * number)


def float_tail(form: RowForm) -> Block:
    """The float tail of one sum from the frame: the body of a loop, which leaves the flags "more"."""
    block = Block("depthwise, float tail")
    source = block.live_in("source", register="r0", alias="frame")
    target = block.live_in("target", register="r1", alias="y")
    end = block.live_in("end", register="r2", keep=True)
    zero = block.live_in("zero", register="r3", keep=True)
    multiplier = block.live_in("multiplier", register="s0", kind="s", keep=True)
    lo, hi = limits(block, form.lo, form.hi)
    result = float_result(block, block.load_float(source), multiplier, zero)
    block.store_byte(limited(block, result, lo, hi), target)
    following = block.add(source, WORD)
    block.live_out("source", following, register="r0")
    block.live_out("target", block.add(target, form.element_stride), register="r1")
    block.live_out("more", block.compare(following, end))
    return block
