# SPDX-License-Identifier: Apache-2.0
"""Blocks of products: a few output channels by a few pixels, summed in registers over all inputs.

The unit of convolutions and matrix products: ``pixels`` columns of pairs of inputs lie in scratch
memory, a stream of weights is read once for each of them. 2 channels by 4 pixels fill the registers
of an Armv7E-M core; a single pixel takes 4 or 6 channels to share its loads. Narrow weights have a
scheduled form in assembly beside the portable one that defines it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.packing import BlockCounts, pack_stream
from mcucompiler.lower.types import ConstantArg, ConstantArray
from mcucompiler.lower.variants._product_blocks import PORTABLE_STEPS, Block, Output, portable_body
from mcucompiler.lower.variants._product_weights import Weights, arranged, channels_of, raised_form
from mcucompiler.lower.variants._tail import Tail, tail_of
from mcucompiler.lower.variants._weighted import Int64Array, WeightedLayer, later
from mcucompiler.machine.blocks.product_blocks import FARTHEST, ProductForm
from mcucompiler.machine.blocks.products import Effort, product_function
from mcucompiler.words import counted

_BODY, _REST_BODY = 12, 4  # steps in the body of the loop over inputs, for most pixels and for those left over
_WHOLE_BODY = 12  # sums of up to so many steps need no loop, in kernels that layers share
_WHOLE_OWN_BODY, _OWN_BODY = 16, 16  # the same in kernels of one layer
_SMALL_BODY = 4  # steps in the body of all loops, and of sums without one, where size counts more than speed
_THREES = (6, 9)  # so many pixels are done by threes as quickly as by fours and the rest, in less code
_LEAN_BYTES = 2048  # of scratch, where little of it counts more than speed
_SINGLE_PIXEL = {4: (5.0, 21.0), 6: (7.0, 27.0)}  # estimated cycles of a step and of a tail, by output channels
_WIDE_STEP, _WIDE_BLOCK = 3, 40  # instructions of the portable form besides loads and products
_TAIL_COST = {"integer": 3, "float": 9}  # instructions of an output element in the portable form
_PORTABLE_STACK_BYTES = 80
_PORTABLE_CYCLES = 1.0  # estimated cycles per instruction of what the C compiler orders


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """How a layer is divided into blocks.

    Attributes:
        whole: pixels at a time.
        rest: pixels left over, 0 for none.
        channels: output channels at a time.
        steps: steps of two inputs, padding included; even.
        narrow: whether weights are packed as bytes.
        stacked: whether these are stacked, which saves an instruction a step and costs one for a pixel.
        pixels: pixels in all.
        direct: whether a single pixel is read as bytes from where it lies.
        stride: elements from a pixel of the output to the next, None where it is an argument.
        unrolled: sums of up to so many steps need no loop.
        body: steps in the body of a loop.
    """

    whole: int
    rest: int
    channels: int
    steps: int
    narrow: bool
    stacked: bool
    pixels: int
    direct: bool
    stride: int | None
    unrolled: int
    body: int

    @property
    def column_words(self) -> int:
        """Words of scratch for the columns."""
        return 0 if self.direct else self.whole * self.steps

    @property
    def passes(self) -> int:
        """How often the stream is read."""
        return self.pixels // self.whole + (1 if self.rest else 0)

    @property
    def label(self) -> str:
        """Pixels and inputs as part of an identifier: what the code depends on."""
        head, unroll = self._cut(whole=True)
        inputs = f"k{2 * head}" if not unroll else f"k{2 * unroll}n" + (f"{2 * head}" if head < unroll else "")
        rest = f"and{self.rest}" if self.rest else ""
        return f"{self.whole}{rest}px_{inputs}" + (f"_to{self.stride}" if self.stride else "")

    def blocks(self, tail: Tail) -> tuple[Block, ...]:
        """The kinds of blocks: that of ``whole`` pixels, and that of the ``rest``."""
        return tuple(self._block(pixels, self._form(pixels, tail, whole=whole)) for pixels, whole in self._kinds())

    def _kinds(self) -> Iterator[tuple[int, bool]]:
        """Pixels of each kind of blocks, and whether it is that of most."""
        return ((pixels, whole) for pixels, whole in ((self.whole, True), (self.rest, False)) if pixels)

    def _cut(self, *, whole: bool) -> tuple[int, int]:
        """Steps before the loop over inputs, and in its body; 0 where there is none."""
        longest, body = (self.unrolled, self.body) if whole else (_REST_BODY, _REST_BODY)
        if self.steps <= longest:
            return self.steps, 0
        return (self.steps - 1) % body + 1, body

    def _stride(self, pixels: int) -> int | None:
        return 0 if pixels == 1 else self.stride

    def _form(self, pixels: int, tail: Tail, *, whole: bool) -> ProductForm | None:
        if not self.narrow:
            return None
        head, unroll = self._cut(whole=whole)
        return ProductForm(
            channels=self.channels,
            pixels=pixels,
            head=head,
            unroll=unroll,
            direct=self.direct,
            stacked=self.stacked,
            integer=tail.integer,
            floating=tail.floating,
            stride=self._stride(pixels),
            shift=tail.shift,
            lo=tail.lo,
            hi=tail.hi,
        )

    def _block(self, pixels: int, form: ProductForm | None) -> Block:
        words = self.channels // 2 if self.narrow else self.channels
        return Block(
            pixels=pixels,
            channels=self.channels,
            body=portable_body(pixels, self.channels, words, direct=self.direct, stacked=self.stacked),
            stream_words=PORTABLE_STEPS * words,
            column_step=PORTABLE_STEPS * (2 if self.direct else pixels),
            direct=self.direct,
            outputs=tuple(
                Output(
                    channel=channel,
                    index_word=self.channels + channel // 2,
                    high=channel % 2 == 1,
                    sums=tuple(f"a{channel}{pixel}" for pixel in range(pixels)),
                    below=tuple(f"a{channel - 1}{pixel}" for pixel in range(pixels * self.stacked * (channel % 2))),
                )
                for channel in range(self.channels)
            ),
            offset_words=self.channels // 2,
            stride=self._stride(pixels),
            form=form,
            lines=product_function(form).lines if form is not None else (),
        )

    def effort(self, groups: Iterable[BlockCounts], tail: Tail) -> Effort:
        """Instructions and estimated cycles of groups of channels over all pixels, without filling the columns."""
        instructions, cycles = 0, 0.0
        alike = Counter((len(counts.integer), len(counts.floating)) for counts in groups)
        for pixels, whole in self._kinds():
            form = self._form(pixels, tail, whole=whole)
            runs = self.pixels // self.whole if whole else 1
            for (integer, floating), times in alike.items():
                one = self._effort(pixels, form, integer, floating)
                instructions += runs * times * one.instructions
                cycles += runs * times * one.cycles
        return Effort(instructions=instructions, cycles=cycles)

    def _effort(self, pixels: int, form: ProductForm | None, integer: int, floating: int) -> Effort:
        """Of one group with so many blocks of each kind over the pixels of a block."""
        if form is not None:
            return product_function(form).effort(form, self.steps, integer, floating)
        step = self.channels + pixels + self.channels * pixels + _WIDE_STEP
        outputs = self.channels * pixels
        instructions = sum(
            blocks * (self.steps * step + _WIDE_BLOCK + outputs * _TAIL_COST[kind])
            for kind, blocks in (("integer", integer), ("float", floating))
        )
        return Effort(instructions=instructions, cycles=instructions * _PORTABLE_CYCLES)

    def stack_bytes(self, tail: Tail) -> int:
        """Stack of the deepest function of products."""
        forms = (self._form(pixels, tail, whole=whole) for pixels, whole in self._kinds())
        return max(_PORTABLE_STACK_BYTES if form is None else product_function(form).stack_bytes for form in forms)

    def reason(self, tail: Tail) -> str:
        """What the report says about the code."""
        form = self._form(self.whole, tail, whole=True)
        kind = f"{counted(self.channels, 'channel')} x {counted(self.whole, 'pixel')}"
        if form is None:
            return f"{kind}, portable: weights beyond int8"
        done = product_function(form)
        loop = f", {done.loop.cycles:g} an iteration of {counted(form.unroll, 'step')}" if form.unroll else ""
        head = f"{done.head.cycles:g} for {counted(form.head, 'step')}"
        weights = ", stacked weights" if self.stacked else ""
        return f"{kind} in scheduled assembly{weights}; estimated cycles: {head}{loop}"


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


def choose_blocking(
    pixels: int,
    inputs: int,
    weights: Weights,
    *,
    contiguous: bool = False,
    outputs: int = 4,
    out_stride: int = 0,
    shared: bool = True,
    optimize: str = "speed",
    staging_bytes: int = 0,
) -> Blocking:
    """The blocks for a layer.

    Args:
        pixels: output pixels, or rows of a matrix.
        inputs: products in a sum.
        weights: what they allow.
        contiguous: whether a pixel's inputs lie side by side, so that a single pixel needs no columns.
        outputs: output channels.
        out_stride: elements from a pixel of the output to the next.
        shared: whether layers of other shapes are to use the same code. Long sums then take it as an argument.
        optimize: "size" favors little code that many layers share, "ram" little scratch.
        staging_bytes: of scratch besides the columns.
    """
    steps = -(-inputs // 4) * 2
    whole = _pixels_at_a_time(pixels, steps, optimize, staging_bytes)
    unrolled, body = _steps_of_bodies(shared, optimize)
    return Blocking(
        whole=whole,
        rest=pixels % whole,
        channels=_channels_at_a_time(whole, steps, outputs, weights.narrow),
        steps=steps,
        narrow=weights.narrow,
        stacked=weights.stackable and steps > whole,
        pixels=pixels,
        direct=contiguous and pixels == 1 and inputs % 4 == 0,  # no read beyond the inputs
        stride=_literal_stride(whole, out_stride, not shared or (steps <= unrolled and optimize != "size")),
        unrolled=unrolled,
        body=body,
    )


def _steps_of_bodies(shared: bool, optimize: str) -> tuple[int, int]:
    """Of sums without a loop, at most, and of the body of one."""
    if optimize == "size":
        return _SMALL_BODY, _SMALL_BODY
    return (_WHOLE_BODY, _BODY) if shared else (_WHOLE_OWN_BODY, _OWN_BODY)


def _literal_stride(whole: int, out_stride: int, own: bool) -> int | None:
    """The output's stride where the code knows it: ``own`` code, where offsets reach so far; 0 if it has no use."""
    if whole == 1:
        return 0
    return out_stride if own and 3 * out_stride <= FARTHEST else None


def _pixels_at_a_time(pixels: int, steps: int, optimize: str, staging_bytes: int) -> int:
    most = 3 if pixels in _THREES and optimize != "size" else min(pixels, 4)
    if optimize != "ram":
        return most
    fitting = (n for n in (most, 2) if n <= most and n * steps * 4 + staging_bytes <= _LEAN_BYTES)
    return next(fitting, 1)


def _channels_at_a_time(whole: int, steps: int, outputs: int, narrow: bool) -> int:
    if whole > 1 or not narrow:
        return 2 if whole > 2 else 4
    costs = {c: -(-outputs // c) * (steps * step + tail) for c, (step, tail) in _SINGLE_PIXEL.items()}
    return min(costs, key=costs.__getitem__)


def pack_layer(
    layer: WeightedLayer,
    blocking: Blocking,
    groups: int,
    comment: str,
    *,
    shape: Sequence[int] = (),
    index: Int64Array | None = None,
) -> PackedLayer:
    """The stream of a layer whose output channels come in ``groups`` of equal size, behind the words ``shape``.

    Channel n of the layer lies at ``index[n]`` in an output pixel; one behind the other without ``index``.
    """
    size = len(layer.weights) // groups
    raised = raised_form(layer) if blocking.stacked else None
    places = np.arange(len(layer.weights)) if index is None else index
    parts = [slice(group * size, (group + 1) * size) for group in range(groups)]
    counts = arranged(layer, raised, parts, blocking.channels)

    def stream(layer: WeightedLayer) -> Array:
        packed = [
            pack_stream(
                channels_of(layer, part, places, raised),
                count,
                steps=blocking.steps,
                narrow=blocking.narrow,
                stacked=blocking.stacked,
            )
            for part, count in zip(parts, counts, strict=True)
        ]
        return np.concatenate([np.array(shape, np.uint32), *packed])

    integer = any(count.integer for count in counts)
    # Code that layers share has a float tail even where a layer needs none: two forms take more flash than cycles.
    floating = any(count.floating for count in counts) or (integer and blocking.stride is None)
    proved = sum(len({*block}) for count in counts for block in count.integer)
    return PackedLayer(
        stream=ConstantArg(
            array=ConstantArray(label="weights", ctype="uint32_t", given=later(layer, stream), comment=comment)
        ),
        counts=tuple(counts),
        tail=tail_of(layer.form, integer=integer, floating=floating),
        proved=proved,
    )


def stream_comment(blocking: Blocking) -> str:
    """What the stream holds, for the reader of the C."""
    kind = "bytes" if blocking.narrow else "halfwords"
    return (
        f"numbers of blocks; for each {blocking.channels} output channels: biases, "
        f"weights as {kind} by pairs of inputs, multipliers, channel indices"
    )
