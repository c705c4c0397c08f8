# SPDX-License-Identifier: Apache-2.0
"""The parts of a function of matrix products: head, loop and tails of a block of output channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.tails import float_result, integer_result, limited, limits
from mcucompiler.machine.value import WORD, Value
from mcucompiler.numerics.forms import RAISED_BITS

Accumulators = list[list[Value]]
"""Sums by output channel and pixel."""

# The frame, in bytes from SP: what R0 to R3 and, behind the saved registers, R12 are pushed for.
COLUMNS, END, COUNT, OUTPUT = range(0, 16, WORD)
FRAME = 16
SAVED = ("r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12")
FLOATING = FRAME + WORD * (len(SAVED) - 1)
ARGUMENTS = FRAME + WORD * (len(SAVED) + 1)
FARTHEST = 4095
"""The greatest offset in a load or store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductForm:
    """What a function is specialized to.

    Attributes:
        channels: output channels of a block, even.
        pixels: columns.
        head: steps of two inputs before the loop.
        unroll: steps in the body of the loop; 0 where the head does all of them.
        direct: whether the only pixel is read as bytes from where it lies; steps are then even.
        stacked: whether words of weights are multiplied as they are for the second channel of a pair, whose sums are
            then 256 times its own and once the first one's.
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
    stacked: bool
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
        return ARGUMENTS + WORD * [known for known, used in wanted if used].index(name)


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
        inputs = {pixel: halves[step % 2] for pixel in range(form.pixels)} if form.direct else {}
        for pair in range(form.channels // 2):
            word = block.load(stream, offset + step * form.stream_bytes + WORD * pair)
            weights = {1: word} if form.stacked else {0: block.sxtb16(word), 1: block.sxtb16(word, rotate=8)}
            for pixel, member in _products(form):
                if pixel not in inputs:
                    inputs[pixel] = block.load(columns, step * form.step_bytes + WORD * pixel)
                if member not in weights:
                    weights[member] = block.sxtb16(word)
                channel = 2 * pair + member
                rows[channel][pixel] = block.smlad(weights[member], inputs[pixel], rows[channel][pixel])
    return rows


def _products(form: ProductForm) -> list[tuple[int, int]]:
    """Pixel and member of a pair of channels, in an order that the scheduler does well to start from.

    Stacked weights serve the second channel as they are, so it goes ahead, by two pixels at first and by one then.
    """
    if not form.stacked:
        return [(pixel, member) for pixel in range(form.pixels) for member in (0, 1)]
    order = [(0, 1), (1, 1), (0, 0)] if form.pixels > 1 else [(0, 1)]
    for pixel in range(2, form.pixels):
        order += [(pixel - 1, 0), (pixel, 1)]
    return [*order, (form.pixels - 1, 0)]


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
    columns = block.load(frame, COLUMNS)
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
    block.live_out("more", block.compare(following, block.load(frame, END)))
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
    indices = form.block_bytes - 2 * form.channels
    rounding = block.load(frame, form.argument("out_zero" if floating else "addend"))
    results = _results(block, form, sums, stream, rounding, floating)
    if not floating:  # leads with what needs most registers; the float tail has registers of its own
        results = iter(list(results))
    output = block.load(frame, OUTPUT)
    stride = block.load(frame, form.argument("stride")) if form.stride is None else None
    lo, hi = limits(block, form.lo, form.hi)
    pair = output
    for c in range(form.channels):
        if c % 2 == 0:  # indices of two channels in a word
            pair = block.load(stream, indices + 2 * c)
            target = block.one("uxtah", (output, pair), 0)
        else:
            target = block.add(output, pair, ("lsr", 16))
        for p in range(form.pixels):
            result = limited(block, next(results), lo, hi)
            block.store_byte(result, target, p * (form.stride or 0), alias="y")
            if stride is not None and p + 1 < form.pixels:
                target = block.add(target, stride)
    end = block.add(stream, indices + 2 * form.channels)
    if closing:
        _close(block, form, frame, end)
    block.live_out("stream", end, register=at["stream"])
    return block


def _results(
    block: Block, form: ProductForm, sums: Accumulators, stream: Value, rounding: Value, floating: bool
) -> Iterator[Value]:
    """The sums as int8, channel by channel, pixel by pixel.

    ``rounding`` is the addend of the integer tail, or the zero point of the float tail.
    """
    multipliers = form.block_bytes - 2 * form.channels - WORD * form.channels
    raised = block.lsl(rounding, RAISED_BITS) if form.stacked and not floating else rounding
    for c, row in enumerate(sums):
        second = form.stacked and c % 2 == 1
        addend, shift = (raised, form.shift + RAISED_BITS) if second else (rounding, form.shift)
        multiplier = (block.load_float if floating else block.load)(stream, multipliers + WORD * c)
        for p, total in enumerate(row):
            value = block.sub(total, sums[c - 1][p]) if second else total
            if floating:
                yield float_result(block, block.to_float_register(value), multiplier, rounding)
            else:
                yield integer_result(block, value, multiplier, addend, shift)


def _close(block: Block, form: ProductForm, frame: Value, end: Value) -> None:
    """The flags "more": from the count of blocks, or from the stream's address where all are of one known size."""
    if form.unroll:
        count, more = block.count_down(block.load(frame, COUNT), 1)
        block.store(count, frame, COUNT)
    else:
        more = block.compare(end, block.load(frame, COUNT))
    block.live_out("more", more)
