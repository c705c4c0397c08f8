# SPDX-License-Identifier: Apache-2.0
"""Dense 3x3 convolutions of stride 1 with three sums in two registers; machine/blocks/packed_sums.py says how.

For each tile, a row of outputs or, to save memory, an equal part of it, the three rows under it are packed, all input
channels, into scratch memory. Then, for each output channel, the tile is computed in groups of a few packed sums. Where
the weights of an output channel are too large for one packed sum over all input channels, these are taken in several
sections, whose fields are added up in 32 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.packing import is_narrow
from mcucompiler.lower.types import ConstantArray, Kernel, KernelCall, NodeContext, kernel
from mcucompiler.lower.variants._conv import (
    conv_overlaps,
    conv_refusal,
    layer_of,
    plane_arguments,
    plane_params,
    rows_refusal,
)
from mcucompiler.lower.variants._pointwise import INCLUDES
from mcucompiler.lower.variants._tail import Tail, own_tail
from mcucompiler.lower.variants._weighted import Int64Array, WeightedLayer, exactness, integer_weights, later
from mcucompiler.lower.variants._window import Window, window_of
from mcucompiler.machine.blocks.depthwise import FIELD_BITS
from mcucompiler.machine.blocks.packed_sums import (
    FIELD_START,
    LARGEST_SUM,
    RECORD_BYTES,
    SIZE,
    PackedForm,
    PackedFunction,
    packed_function,
)
from mcucompiler.machine.blocks.products import Effort
from mcucompiler.machine.value import WORD
from mcucompiler.words import counted

_MOST_SUMS = 4  # packed sums in registers
_TILE, _LONGEST_TILE = 20, 40  # outputs, where the row divides equally, and where it does not
_MOST_TILES = 4  # each has code that packs it
_CYCLES_PER_INSTRUCTION = 0.9  # of what the C compiler orders
_OWN_STACK_BYTES = 176
# Instructions of the C around the functions: of a packed word, of an input channel's row, of a call, of a group of
# sums, of an output channel, of an output and, in float32, as many more.
_WORD, _ROW, _CALL, _GROUP, _CHANNEL, _OUTPUT, _MORE_FLOAT = 4, 8, 8, 18, 24, 5, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How a layer's rows and channels are divided.

    Attributes:
        columns: outputs of a tile.
        tiles: of a row.
        group_sizes: packed sums computed at a time, a function for each, and how many such groups: (sums, groups).
        sections: input channels of a packed sum, for each output channel.
        channels_in: input channels.
        unroll: input channels in the body of the loop.
    """

    columns: int
    tiles: int
    group_sizes: tuple[tuple[int, int], ...]
    sections: tuple[int, ...]
    channels_in: int
    unroll: int

    @property
    def divided(self) -> bool:
        """Whether some output channel takes several sections."""
        return min(self.sections) < self.channels_in

    @property
    def calls(self) -> int:
        """Sections of all output channels."""
        return sum(-(-self.channels_in // section) for section in self.sections)

    @property
    def row_words(self) -> int:
        """Words of a packed row."""
        return self.columns // 2 + 2

    @property
    def channel_words(self) -> int:
        """Words of the packed rows of an input channel."""
        return SIZE * self.row_words

    def forms(self) -> tuple[PackedForm, ...]:
        """What the functions are specialized to."""
        return tuple(
            PackedForm(group=size, row_words=self.row_words, unroll=self.unroll, adds=self.divided)
            for size, _ in self.group_sizes
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """A function as the template prints it: its packed sums, groups from word ``first`` to ``end``, assembler."""

    size: int
    first: int
    end: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A tile as the template prints it.

    Attributes:
        offset: of its first output from the row's.
        pairs: for each word of a packed row, the offsets of its two inputs, None for the zero point.
    """

    offset: int
    pairs: tuple[tuple[int | None, int | None], ...]

    @property
    def sides(self) -> bool:
        """Whether it reads zero points."""
        return any(offset is None for pair in self.pairs for offset in pair)


@dataclass(frozen=True, slots=True)
class PackedConv:
    """Quicker than the general kernel in rows of some length, for more flash; its rows may be given by pointers."""

    name: str = "conv_packed"

    def reject(self, context: NodeContext) -> str | None:
        """Only dense 3x3 windows of stride 1 in rows of moderate length, weights within int8."""
        window = window_of(context)
        refusal = conv_refusal(context, window) or _shape_refusal(window)
        if refusal is not None:
            return refusal
        if not is_narrow(integer_weights(context.constant(1))):
            return "weights beyond int8"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """Row by row."""
        window, layer = window_of(context), layer_of(context)
        packing = packing_of(window, layer.weights)
        proved = layer.form.proved
        tail = own_tail(layer.form)
        effort = _effort(window, packing, floating=int((~proved).sum()))
        functions = [packed_function(form) for form in packing.forms()]
        return KernelCall(
            kernel=_kernel(window, packing, functions, tail),
            arguments=plane_arguments(layer, _records(layer, window, packing), tail),
            variant=self.name,
            overlaps=conv_overlaps(window, group=packing.columns),
            scratch_bytes=WORD * packing.channel_words * window.channels_in,
            stack_bytes=_OWN_STACK_BYTES + max(function.stack_bytes for function in functions),
            instructions=effort.instructions,
            cycles=round(effort.cycles),
            passes=window.batch * window.ofmap[0] * packing.tiles,
            exactness=exactness(int(proved.sum()), window.channels_out),
            reason=_reason(packing, functions),
        )


def packing_of(window: Window, weights: Int64Array) -> Packing:
    """The division of a layer with weights [M, K] in ONNX order."""
    columns = tile_of(window.ofmap[1])
    if columns is None:
        raise ValueError(f"rows of {window.ofmap[1]} outputs have no tile")
    sums = columns // 2 + 1
    groups = -(-sums // _MOST_SUMS)
    small, large = divmod(sums, groups)
    sizes = ((small + 1, large), (small, groups - large))
    unroll = 1 if window.channels_in % 2 else 2
    return Packing(
        columns=columns,
        tiles=window.ofmap[1] // columns,
        group_sizes=tuple((size, count) for size, count in sizes if count),
        sections=tuple(sections_of(weights, window.channels_in, unroll)),
        channels_in=window.channels_in,
        unroll=unroll,
    )


def tile_of(width: int) -> int | None:
    """Outputs of a tile in rows of so many; None where the rows are too short or too long."""
    equal = [tiles for tiles in range(1, _MOST_TILES + 1) if width % tiles == 0 and width // tiles <= _TILE]
    columns = width // equal[0] if equal else width
    return columns if 2 <= columns <= _LONGEST_TILE else None


def sections_of(weights: Int64Array, channels_in: int, unroll: int) -> Iterator[int]:
    """For each output channel, in how many input channels at a time packed sums keep their range.

    Args:
        weights: [M, K] in ONNX order.
        channels_in: input channels.
        unroll: what sections are multiples of.
    """
    for sizes in np.abs(weights.reshape(len(weights), channels_in, -1)).sum(axis=2):
        counts = range(1, channels_in + 1)
        sections = dict.fromkeys(-(-channels_in // (count * unroll)) * unroll for count in counts)
        yield next(section for section in sections if section == unroll or _largest(sizes, section) <= LARGEST_SUM)


def _largest(sizes: Int64Array, section: int) -> int:
    """The largest sum over a section."""
    return int(np.add.reduceat(sizes, np.arange(0, len(sizes), section)).max(initial=0))


def _shape_refusal(window: Window) -> str | None:
    if window.kernel != (SIZE, SIZE) or window.stride != (1, 1) or window.dilation != (1, 1) or window.groups != 1:
        return "the window is not a dense 3x3 one with stride 1"
    refusal = rows_refusal(window)
    if refusal is not None:
        return refusal
    if tile_of(window.ofmap[1]) is None:
        return f"rows of {counted(window.ofmap[1], 'output')}"
    return None


def _effort(window: Window, packing: Packing, *, floating: int) -> Effort:
    """Of a whole call with so many channels that are requantized in float32."""
    tiles, channels = window.batch * window.ofmap[0] * packing.tiles, window.channels_out
    pack = SIZE * window.channels_in * (packing.row_words * _WORD + _ROW) + 20
    groups = sum(count for _, count in packing.group_sizes)
    outputs = packing.columns * (channels * _OUTPUT + floating * _MORE_FLOAT)
    stores = channels * (groups * _GROUP + _CHANNEL) + outputs
    around = pack + stores + groups * packing.calls * _CALL
    instructions, cycles = 0, 0.0
    for (_, count), form in zip(packing.group_sizes, packing.forms(), strict=True):
        one = packed_function(form)
        times, rounds = count * packing.calls, count * channels * window.channels_in // packing.unroll
        instructions += times * one.call.instructions + rounds * one.loop.instructions
        cycles += times * one.call.cycles + rounds * one.loop.cycles
    return Effort(
        instructions=tiles * (around + instructions),
        cycles=tiles * (_CYCLES_PER_INSTRUCTION * around + cycles),
    )


def _records(layer: WeightedLayer, window: Window, packing: Packing) -> ConstantArray:
    """For each output channel: bias, multiplier (bit 31 set for a float one), sections, its input channels' taps."""
    named = ", input channels of a section, what its fields are too large" if packing.divided else ""
    return ConstantArray(
        label="weights",
        ctype="uint32_t",
        given=later(layer, lambda layer: _words(layer, window, packing)),
        comment=(
            f"for each output channel: bias, multiplier (bit 31: float32){named}; for each input channel: "
            "taps 2 + (taps 1 << 21) of three rows, then taps 0 as bytes"
        ),
    )


def _words(layer: WeightedLayer, window: Window, packing: Packing) -> Array:
    """The values of ``_records``, channel by channel."""
    channels = len(layer.weights)
    taps = layer.weights.reshape(channels, window.channels_in, SIZE, SIZE)
    pairs = ((taps[..., 2] + (taps[..., 1] << FIELD_BITS)) & 0xFFFFFFFF).astype(np.uint32)
    octets = np.zeros((channels, window.channels_in, WORD), np.int8)
    octets[..., :SIZE] = taps[..., 0]
    singles = octets.view("<u4")
    weights = np.concatenate([pairs, singles], axis=2).reshape(channels, -1)
    bias = (layer.bias & 0xFFFFFFFF).astype(np.uint32)
    sections = np.array(packing.sections, np.int64)
    more = (sections, -(-window.channels_in // sections) * FIELD_START) if packing.divided else ()
    head = [bias, layer.record_bits, *(values.astype(np.uint32) for values in more)]
    return np.concatenate([np.stack(head, axis=1), weights], axis=1).reshape(-1)


def _kernel(window: Window, packing: Packing, functions: list[PackedFunction], tail: Tail) -> Kernel:
    return kernel(
        "conv_packed",
        f"conv{window.label}_{window.channels_out}ch_packed" + "_band" * window.row_pointers,
        plane_params(tail, rows=window.row_pointers),
        includes=INCLUDES,
        window=window,
        tail=tail,
        row_words=packing.row_words,
        channel_words=packing.channel_words,
        columns=packing.columns,
        divided=packing.divided,
        functions=_functions(packing, functions),
        tiles=_tiles(window, packing),
        row_in=window.ifmap[1] * window.in_stride,
        row_out=window.ofmap[1] * window.out_stride,
        image_in=window.ifmap[0] * window.ifmap[1] * window.in_stride,
        record_words=RECORD_BYTES // WORD,
        size=SIZE,
        field_bits=FIELD_BITS,
        field_start=FIELD_START,
        last=sum(size * count for size, count in packing.group_sizes) - packing.group_sizes[-1][0],
    )


def _functions(packing: Packing, functions: list[PackedFunction]) -> tuple[Sums, ...]:
    result, first = [], 0
    for (size, count), function in zip(packing.group_sizes, functions, strict=True):
        result.append(Sums(size=size, first=first, end=first + size * count, lines=function.lines))
        first += size * count
    return tuple(result)


def _tiles(window: Window, packing: Packing) -> tuple[Tile, ...]:
    firsts = range(0, window.ofmap[1], packing.columns)
    return tuple(
        Tile(
            offset=first * window.out_stride,
            pairs=_column_pairs(window, packing, first - window.before[1]),
        )
        for first in firsts
    )


def _column_pairs(window: Window, packing: Packing, first: int) -> tuple[tuple[int | None, int | None], ...]:
    """For each word of a packed row, the offsets of its two inputs; the window of output 0 begins at ``first``."""
    columns = range(first - 1, first - 1 + 2 * packing.row_words)
    offsets = [column * window.in_stride if 0 <= column < window.ifmap[1] else None for column in columns]
    return tuple(zip(offsets[::2], offsets[1::2], strict=True))


def _reason(packing: Packing, functions: list[PackedFunction]) -> str:
    loops = ", ".join(
        f"{function.loop.cycles:g} for {size}"
        for (size, _), function in zip(packing.group_sizes, functions, strict=True)
    )
    several = sum(section < packing.channels_in for section in packing.sections)
    sections = f", {counted(several, 'channel')} in several sections of the input" if several else ""
    body = counted(packing.unroll, "input channel")
    return f"sums of 21 bits, packed{sections}; estimated cycles of {body}: {loops} sums"
