# SPDX-License-Identifier: Apache-2.0
"""Blocks of the matrix product kernel: two output channels times four pixels, int8.

The weights are one stream of words per pair of output channels: two biases, then one word for two input channels
(bytes: channel 0 of a, channel 1 of a, channel 0 of b, channel 1 of b), then two multipliers. SXTB16 of a word
gives (a, b) of channel 0, with rotation by 8 of channel 1. The pixels were expanded to int16 pairs: a buffer of words
[step][pixel], each with the inputs (a, b) of one pixel. One step is five loads, two extensions and eight SMLADs:
15 instructions for 32 multiplications.

The multiplier bounds a step by eight cycles. Beside eight accumulators and the stream's pointer, four registers are
left without R9 and five with it: an exact modulo scheduler (constraint programming, on the model of the Cortex-M7)
proves that no schedule of one step in eight cycles exists with either, and that nine are reached with four. The list
scheduler reaches nine, so software pipelining of single steps has nothing to add. A rolled loop needs one register
more, for the pixels' pointer: compile it with R9, without which a step takes twelve cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.machine.block import Block
from mcucompiler.machine.value import Value

WORD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmShape:
    """How a block of the product is cut.

    Attributes:
        channels: output channels at a time; even.
        pixels: pixels at a time.
    """

    channels: int = 2
    pixels: int = 4

    @property
    def step_bytes(self) -> int:
        """Bytes of the expanded pixels of one step."""
        return WORD * self.pixels

    @property
    def stream_bytes(self) -> int:
        """Bytes of the weights of one step."""
        return 2 * self.channels


TWO_BY_FOUR = GemmShape()

Accumulators = list[list[Value]]


def product_steps(
    block: Block,
    shape: GemmShape,
    accumulators: Accumulators,
    stream: Value,
    pixels: Value,
    steps: int,
    offset: int = 0,
) -> Accumulators:
    """Add ``steps`` steps of two input channels to accumulators [channel][pixel].

    Args:
        block: to emit into.
        shape: channels and pixels.
        accumulators: what the products are added to; one value may stand in several places (a bias).
        stream: address of the weights.
        pixels: address of the expanded pixels.
        steps: how many.
        offset: of the first word from ``stream``, in bytes.
    """
    sums = [list(row) for row in accumulators]
    for step in range(steps):
        weights: list[Value] = []
        for pair in range(shape.channels // 2):
            word = block.load(stream, offset + step * shape.stream_bytes + WORD * pair)
            weights += [block.sxtb16(word), block.sxtb16(word, rotate=8)]
        for pixel in range(shape.pixels):
            inputs = block.load(pixels, step * shape.step_bytes + WORD * pixel)
            for channel, weight in enumerate(weights):
                sums[channel][pixel] = block.smlad(weight, inputs, sums[channel][pixel])
    return sums


def requantize(
    block: Block, sums: Accumulators, multipliers: list[Value], rounding: Value, *, shift: int
) -> Accumulators:
    """SSAT8((sum * multiplier >> 32) + rounding ASR shift): three instructions an output with its store."""
    return [
        [block.ssat(block.smmla(value, multiplier, rounding), 8, asr=shift) for value in row]
        for row, multiplier in zip(sums, multipliers, strict=True)
    ]


def k_loop_body(unroll: int, shape: GemmShape = TWO_BY_FOUR, *, end_offset: int) -> Block:
    """The body of the loop over input channels: ``unroll`` steps.

    Carries ``stream``, ``pixels`` and the sums ``sum<channel>_<pixel>``; reads the address behind the expanded pixels
    from the frame at SP + ``end_offset``, and leaves the flags "more" (repeat while ne).
    """
    block = Block(f"gemm loop of {unroll} steps")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    stream = block.live_in("stream", alias="w")
    pixels = block.live_in("pixels", alias="x")
    sums = [[block.live_in(f"sum{c}_{p}") for p in range(shape.pixels)] for c in range(shape.channels)]
    sums = product_steps(block, shape, sums, stream, pixels, unroll)
    end = block.load(frame, end_offset)
    following = block.add(pixels, unroll * shape.step_bytes)
    block.live_out("stream", block.add(stream, unroll * shape.stream_bytes))
    block.live_out("pixels", following)
    block.live_out("more", block.compare(following, end))
    for c, row in enumerate(sums):
        for p, value in enumerate(row):
            block.live_out(f"sum{c}_{p}", value)
    return block


def channel_pair_body(
    steps: int, output_stride: int, *, shift: int, offsets: FrameOffsets, shape: GemmShape = TWO_BY_FOUR
) -> Block:
    """The whole body of the loop over pairs of output channels, all steps unrolled, expanded pixels at SP.

    Carries ``stream``; the output address and the end of the stream are in the frame. Leaves the flags "more".
    """
    block = Block(f"gemm of {steps} steps, channel pair")
    frame = block.live_in("pixels", register="sp", alias="x", keep=True)
    stream = block.live_in("stream", alias="w")
    biases = [block.load(stream, WORD * channel) for channel in range(shape.channels)]
    start = WORD * shape.channels
    sums = product_steps(block, shape, [[bias] * shape.pixels for bias in biases], stream, frame, steps, start)
    after = start + steps * shape.stream_bytes
    multipliers = [block.load(stream, after + WORD * channel) for channel in range(shape.channels)]
    rounding = block.load(frame, offsets.rounding, alias="frame")
    output = block.load(frame, offsets.output, alias="frame")
    for c, row in enumerate(requantize(block, sums, multipliers, rounding, shift=shift)):
        for p, value in enumerate(row):
            block.store_byte(value, output, p * output_stride + c, alias="y")
    block.store(block.add(output, shape.channels), frame, offsets.output, alias="frame")
    following = block.add(stream, after + WORD * shape.channels)
    block.live_out("stream", following)
    block.live_out("more", block.compare(following, block.load(frame, offsets.end, alias="frame")))
    return block


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameOffsets:
    """Where in the frame (bytes from SP) the loop over output channels keeps what has no register.

    Attributes:
        output: address of the next outputs.
        rounding: the addend of the requantization.
        end: address behind the stream.
    """

    output: int
    rounding: int
    end: int
