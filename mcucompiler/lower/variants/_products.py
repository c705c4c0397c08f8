# SPDX-License-Identifier: Apache-2.0
"""Blocks of products: a few output channels by a few pixels, summed in registers over all inputs.

The unit of convolutions and matrix products: ``pixels`` columns of pairs of inputs lie in scratch
memory, a stream of weights is read once for each of them. 2 channels by 4 pixels fill the registers
of an Armv7E-M core; a single pixel takes 4 channels to share its loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.lower.packing import BlockCounts, Channels, is_narrow, pack_stream
from mcucompiler.lower.types import ConstantArg, ConstantArray
from mcucompiler.lower.variants._weighted import INT8_RANGE, WeightedLayer
from mcucompiler.numerics.integer_form import RequantForm

_LONGEST_BODY = 8  # steps in the body of the loop over inputs
_WHOLE_BODY = 12  # sums of up to so many steps need no loop
_THREES = (6, 9)  # so many pixels are done by threes as quickly as by fours and the rest, in less code
_LOOP_COST = 5  # instructions of an iteration besides its steps
_TAIL_COST = {"integer": 3, "float": 9}  # instructions of an output element
_BLOCK_COST = 18  # instructions of a block besides


@dataclass(frozen=True, slots=True)
class Unpack:
    """A word of the stream that becomes the weights of one (wide) or two (narrow) outputs."""

    kind: ClassVar[str] = "unpack"
    offset: int
    weights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A pair of inputs of one pixel."""

    kind: ClassVar[str] = "column"
    offset: int
    value: str


@dataclass(frozen=True, slots=True)
class Octets:
    """Four inputs of a pixel as they lie in memory, which become two pairs."""

    kind: ClassVar[str] = "octets"

    offset: int
    values: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Product:
    """Two multiply-accumulates."""

    kind: ClassVar[str] = "product"
    acc: str
    weights: str
    value: str


Operation = Unpack | Column | Octets | Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """An output channel of a block.

    Attributes:
        channel: its number in the block.
        index_word: word behind the weights that holds the channel's index.
        high: whether in its high half.
        pixels: accumulator and offset from the first pixel, for each pixel.
    """

    channel: int
    index_word: int
    high: bool
    pixels: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as templates/macros/products.j2 prints it.

    Attributes:
        pixels: columns.
        channels: output channels.
        steps: steps of two inputs in a sum.
        unroll: steps in the body of the loop over inputs; equal to ``steps`` where there is none.
        body: what the body does.
        stream_words: words of weights that the body reads.
        column_step: words of columns, or bytes where ``direct``, that the body reads.
        direct: whether the inputs are read as bytes from where they lie, without columns.
        outputs: for each output channel of the block, where its index lies in the words behind the
            weights, and for each pixel the accumulator and the offset in elements from the first.
        offset_words: number of words with channel indices.
        step_outputs: elements of the output from one block of pixels to the next.
    """

    pixels: int
    channels: int
    steps: int
    unroll: int
    body: tuple[Operation, ...]
    stream_words: int
    column_step: int
    direct: bool
    outputs: tuple[Output, ...]
    offset_words: int
    step_outputs: int

    @property
    def registers(self) -> tuple[str, ...]:
        """The names of weights and inputs in the body."""
        names: dict[str, None] = {}
        for op in self.body:
            if isinstance(op, Unpack):
                names.update(dict.fromkeys(op.weights))
            elif isinstance(op, Column):
                names[op.value] = None
            elif isinstance(op, Octets):
                names.update(dict.fromkeys(op.values))
        return tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The requantization literals of a kernel.

    Attributes:
        shift: of the integer tail.
        integer: whether some channels have an integer tail.
        floating: whether some channels have a float tail.
        lo: least output, None where saturation to int8 sees to it.
        hi: greatest output, likewise.
    """

    shift: int
    integer: bool
    floating: bool
    lo: int | None
    hi: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """How a layer is divided into blocks.

    Attributes:
        whole: pixels at a time.
        rest: pixels left over, 0 for none.
        channels: output channels at a time.
        steps: steps of two inputs, padding included.
        unroll: steps in a loop body.
        narrow: whether weights are packed as bytes.
        pixels: pixels in all.
        direct: whether a single pixel is read as bytes from where it lies.
    """

    whole: int
    rest: int
    channels: int
    steps: int
    unroll: int
    narrow: bool
    pixels: int
    direct: bool

    @property
    def column_words(self) -> int:
        """Words of scratch for the columns."""
        return 0 if self.direct else self.whole * self.steps

    def blocks(self, out_stride: int) -> tuple[Block, ...]:
        """The kinds of blocks: that of ``whole`` pixels, and that of the ``rest``."""
        return tuple(self._block(pixels, out_stride) for pixels in (self.whole, self.rest) if pixels)

    def _block(self, pixels: int, out_stride: int) -> Block:
        words = self.channels // 2 if self.narrow else self.channels
        body: list[Operation] = []
        for step in range(self.unroll):
            body += _step(step, pixels, self.channels, words, self.direct)
        return Block(
            pixels=pixels,
            channels=self.channels,
            steps=self.steps,
            unroll=self.unroll,
            body=tuple(body),
            stream_words=self.unroll * words,
            column_step=self.unroll * (2 if self.direct else pixels),
            direct=self.direct,
            outputs=tuple(
                Output(
                    channel=channel,
                    index_word=self.channels + channel // 2,
                    high=channel % 2 == 1,
                    pixels=tuple((f"a{channel}{pixel}", pixel * out_stride) for pixel in range(pixels)),
                )
                for channel in range(self.channels)
            ),
            offset_words=self.channels // 2,
            step_outputs=pixels * out_stride,
        )

    def instructions(self, counts: BlockCounts) -> int:
        """An estimate for one group of channels over all pixels, without filling the columns."""
        words = self.channels // 2 * 3 if self.narrow else self.channels
        total = 0
        for pixels, times in ((self.whole, self.pixels // self.whole), (self.rest, 1)):
            if not pixels:
                continue
            step = words + pixels + self.channels * pixels
            sums = self.steps * step + self.steps // self.unroll * _LOOP_COST + _BLOCK_COST
            outputs = self.channels * pixels
            total += times * (
                len(counts.integer) * (sums + outputs * _TAIL_COST["integer"])
                + len(counts.floating) * (sums + outputs * _TAIL_COST["float"])
            )
        return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedLayer:
    """A layer's stream of weights.

    Attributes:
        stream: the argument that points to it.
        counts: blocks of each group.
        tail: requantization literals.
        proved: channels that are computed with an integer tail.
    """

    stream: ConstantArg
    counts: tuple[BlockCounts, ...]
    tail: Tail
    proved: int


def choose_blocking(pixels: int, inputs: int, narrow: bool, *, contiguous: bool = False) -> Blocking:
    """The blocks for a layer: the fewest instructions among the bodies that are short enough.

    Args:
        pixels: output pixels, or rows of a matrix.
        inputs: products in a sum.
        narrow: whether the weights fit int8.
        contiguous: whether a pixel's inputs lie side by side, so that a single pixel needs no columns.
    """
    whole = 3 if pixels in _THREES else min(pixels, 4)
    steps = max(2, -(-inputs // 4) * 2)
    unroll = steps
    direct = contiguous and pixels == 1 and inputs % 4 == 0
    if direct and steps > _WHOLE_BODY:
        unroll = next((u for u in range(_LONGEST_BODY, 3, -2) if steps % u == 0), 0)
        direct = unroll > 0  # the last iteration must not read beyond the inputs
    if not direct and steps > _WHOLE_BODY:
        width = 8 + whole + 3  # of a step; only the ratio to the loop's cost matters
        unroll = min(range(_LONGEST_BODY, 3, -1), key=lambda u: -(-steps // u) * (u * width + _LOOP_COST))
    return Blocking(
        whole=whole,
        rest=pixels % whole,
        channels=2 if pixels > 2 else 4,
        steps=-(-steps // unroll) * unroll,
        unroll=unroll,
        narrow=narrow,
        pixels=pixels,
        direct=direct,
    )


def pack_layer(layer: WeightedLayer, blocking: Blocking, groups: int, comment: str) -> PackedLayer:
    """The stream of a layer whose output channels come in ``groups`` of equal size."""
    size = len(layer.weights) // groups
    streams, counts = [], []
    for group in range(groups):
        part = slice(group * size, (group + 1) * size)
        stream, count = pack_stream(
            Channels(
                weights=layer.weights[part],
                bias=layer.bias[part],
                multipliers=layer.integer_bits[part],
                float_bits=layer.float_bits[part],
                proved=layer.form.proved[part],
                index=np.arange(group * size, (group + 1) * size),
            ),
            block=blocking.channels,
            steps=blocking.steps,
            narrow=blocking.narrow,
        )
        streams.append(stream)
        counts.append(count)
    proved = sum(len({*block}) for count in counts for block in count.integer)
    return PackedLayer(
        stream=ConstantArg(
            array=ConstantArray(label="weights", ctype="uint32_t", values=np.concatenate(streams), comment=comment)
        ),
        counts=tuple(counts),
        tail=tail_of(layer.form, integer=any(c.integer for c in counts), floating=any(c.floating for c in counts)),
        proved=proved,
    )


def tail_of(form: RequantForm, *, integer: bool, floating: bool) -> Tail:
    """The literals of a requantization; the shift is 0 where nothing uses it, so that equal kernels are equal."""
    return Tail(
        shift=form.shift if integer else 0,
        integer=integer,
        floating=floating,
        lo=form.lo if form.lo > INT8_RANGE[0] else None,
        hi=form.hi if form.hi < INT8_RANGE[1] else None,
    )


def stream_comment(blocking: Blocking) -> str:
    """What the stream holds, for the reader of the C."""
    kind = "bytes" if blocking.narrow else "halfwords"
    return (
        f"for each {blocking.channels} output channels: biases, weights as {kind} by pairs of inputs, "
        "multipliers, channel indices"
    )


def narrow_layer(layer: WeightedLayer) -> bool:
    """Whether the layer's weights are packed as bytes."""
    return is_narrow(layer.weights)


def _step(step: int, pixels: int, channels: int, words: int, direct: bool) -> list[Operation]:
    """One step of two inputs: the inputs are loaded first where several words of weights share them."""
    per_word = channels // words
    columns = [Column(step * pixels + p, f"x{p}" if words > 1 else "x") for p in range(pixels)]
    ops: list[Operation] = []
    if direct:
        columns = [Column(0, f"x{step % 2}")]
        ops += [Octets(step * 2, ("x0", "x1"))] if step % 2 == 0 else []
    elif words > 1:
        ops += columns
    for word in range(words):
        members = [word * per_word + c for c in range(per_word)]
        names = tuple(f"w{c}" for c in range(per_word))
        ops.append(Unpack(step * words + word, names))
        for pixel, column in enumerate(columns):
            if words == 1 and not direct:
                ops.append(column)
            ops += [Product(f"a{c}{pixel}", name, column.value) for c, name in zip(members, names, strict=True)]
    return ops
