# SPDX-License-Identifier: Apache-2.0
"""The portable form of a block of products, operation by operation, as templates/macros/products.j2 prints it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from mcucompiler.machine.blocks.product_blocks import ProductForm

PORTABLE_STEPS = 2
"""Steps of two inputs in the body of the loop."""


@dataclass(frozen=True, slots=True)
class Unpack:
    """A word of the stream that becomes the weights of one (wide) or two (narrow) outputs.

    Attributes:
        offset: of the word.
        weights: names.
        stacked: whether the second output's weights are the word itself.
    """

    kind: ClassVar[str] = "unpack"
    offset: int
    weights: tuple[str, ...]
    stacked: bool


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
        sums: accumulator of each pixel.
        below: in stacked weights, for the second output of a pair the accumulators of the first one: with these
            subtracted, its own are raised sums. Else empty.
    """

    channel: int
    index_word: int
    high: bool
    sums: tuple[str, ...]
    below: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block as templates/macros/products.j2 prints it.

    Attributes:
        pixels: columns.
        channels: output channels.
        body: what the body of the portable form does, a few steps.
        stream_words: words of weights that it reads.
        column_step: words of columns, or bytes where ``direct``, that it reads.
        direct: whether the inputs are read as bytes from where they lie, without columns.
        outputs: for each output channel of the block, where its index lies in the words behind the
            weights, and for each pixel the accumulator.
        offset_words: number of words with channel indices.
        stride: from a pixel of the output to the next, None where it is an argument.
        form: what the scheduled form is specialized to, None where there is none.
        lines: its assembler text.
    """

    pixels: int
    channels: int
    body: tuple[Operation, ...]
    stream_words: int
    column_step: int
    direct: bool
    outputs: tuple[Output, ...]
    offset_words: int
    stride: int | None
    form: ProductForm | None
    lines: tuple[str, ...]

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


@lru_cache(maxsize=256)
def portable_body(pixels: int, channels: int, words: int, *, direct: bool, stacked: bool) -> tuple[Operation, ...]:
    """What the body of the loop does; ``words`` of weights a step."""
    return tuple(op for step in range(PORTABLE_STEPS) for op in _step(step, pixels, channels, words, direct, stacked))


def _step(step: int, pixels: int, channels: int, words: int, direct: bool, stacked: bool) -> list[Operation]:
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
        ops.append(Unpack(step * words + word, names, stacked))
        for pixel, column in enumerate(columns):
            if words == 1 and not direct:
                ops.append(column)
            ops += [Product(f"a{c}{pixel}", name, column.value) for c, name in zip(members, names, strict=True)]
    return ops
