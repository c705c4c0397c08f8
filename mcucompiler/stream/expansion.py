# SPDX-License-Identifier: Apache-2.0
"""Inverted bottlenecks without the expanded tensor: a 1x1 convolution made anew for each window of a depthwise one.

Where rows of the narrow input are cheap to keep and those of the expanded tensor are not, each run of
the depthwise convolution first expands the rows of its window, a few channels at a time. That repeats
work: with windows of K rows that advance by s, each row is expanded K / s times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcucompiler.ir.graph import Node, QuantParams, Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.select import choose
from mcucompiler.lower.types import (
    Call,
    KernelCall,
    Lowered,
    LoweredStep,
    LoweringOptions,
    NodeContext,
    Place,
    Stored,
    dense_place,
)
from mcucompiler.lower.variants import row_pointer_variants, variants_of
from mcucompiler.ops import Conv
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.columns import overhang
from mcucompiler.stream.images import dense_image
from mcucompiler.stream.types import Access, Band, Chunk, Expansion, total_exactness

_MOST_CHANNELS = {False: 16, True: 8}  # of a chunk, with little scratch or not
_LEAST_CHANNELS = 4


def expandable(lowered: Lowered, expand: LoweredStep, depthwise: LoweredStep) -> bool:
    """Whether two layers are the first two of an inverted bottleneck."""
    graph = lowered.graph
    first, second = expand.node, depthwise.node
    if not isinstance(first.op, Conv) or not isinstance(second.op, Conv) or depthwise.reads.get(0) != expand.writes[0]:
        return False
    weights, taps = graph.ins(first)[1], graph.ins(second)[1]
    if weights is None or taps is None or weights.data is None or taps.data is None:
        return False
    channels = graph.tensors[expand.writes[0]].shape[1]
    pointwise = weights.shape[2:] == (1, 1) and first.op.groups == 1
    plain = set(first.op.strides) == {1} and not any(first.op.pads)
    return pointwise and plain and second.op.groups == channels == taps.shape[0] and _chunk(channels, lean=True) > 0


def expanded_band(lowered: Lowered, expand: LoweredStep, depthwise: Band, options: LoweringOptions) -> Band | None:
    """The band that computes both layers; None where no kernel can do it.

    Args:
        lowered: the program.
        expand: the 1x1 convolution.
        depthwise: the band of the depthwise convolution alone, which reads its window by pointers.
        options: what kernels are chosen for.
    """
    ((_, window),) = depthwise.readings
    source = lowered.stored[expand.reads[0]]
    wide = lowered.graph.tensors[expand.writes[0]]
    channels, height, width = wide.shape[1:]
    if window.access is not Access.POINTERS or wide.quant is None:
        return None
    size = _chunk(channels, lean=options.optimize == "ram")
    maker = _ChunkMaker(lowered, expand.node, depthwise, options)
    made: dict[tuple[int, int, int], tuple[Chunk, ...] | None] = {}
    hangs = _hangs(depthwise, width)
    for hang in dict.fromkeys(hangs):
        made[hang] = _chunks(maker, source.tensor, channels, size, hang)
    strips = [made[hang] for hang in hangs]
    chunks = tuple(strip for strip in strips if strip is not None)
    if len(chunks) < len(strips):
        return None
    buffer = whole_words(max(max(c.expand.scratch_bytes, c.depthwise.scratch_bytes) for strip in chunks for c in strip))
    row_bytes = max(columns for _, columns, _ in hangs) * size
    return replace(
        depthwise,
        call=_needs(chunks, window.count, buffer, row_bytes),
        readings=((0, replace(window, tensor=source.tensor.name, access=Access.EACH, border=0)),),
        macs=depthwise.macs + expand.macs,
        recomputed_macs=_repeated(depthwise, height, width) * expand.macs // (height * width),
        strips=(),
        expansion=Expansion(
            node=expand.node,
            strips=chunks,
            rows=window.count,
            row_bytes=row_bytes,
            buffer=buffer,
            height=height,
            border=wide.quant.z,
        ),
    )


def _hangs(depthwise: Band, width: int) -> list[tuple[int, int, int]]:
    """Of the columns that each strip of a layer reads, those left of the image, in it, and right of it."""
    ((_, window),) = depthwise.readings
    if window.span is None:
        (left, right) = depthwise.node.op.pads[1::2] if isinstance(depthwise.node.op, Conv) else (0, 0)
        return [(left, width, right)]
    firsts = [window.span.first + strip * window.span.step for strip in range(depthwise.units)]
    return [overhang((first, first + window.span.count), width) for first in firsts]


def _repeated(depthwise: Band, height: int, width: int) -> int:
    """Pixels of the expanded image that are made again, counted as often as they are repeated."""
    ((_, window),) = depthwise.readings
    runs = range(0, depthwise.runs, depthwise.units)
    rows = [row for begin in map(window.begin, runs) for row in range(max(begin, 0), min(begin + window.count, height))]
    span = window.span
    columns = list(range(width))
    if span is not None:
        columns = [c for strip in range(span.strips) for c in range(span.begin(strip), span.stop(strip))]
    return len(rows) * len(columns) - len(set(rows)) * len(set(columns))


def _chunks(
    maker: _ChunkMaker, source: Tensor, channels: int, size: int, hang: tuple[int, int, int]
) -> tuple[Chunk, ...] | None:
    """All channels of some columns; None where no kernel can do it."""
    chunks = []
    for first in range(0, channels, size):
        calls = maker.expand(source, first, size, hang[1]), maker.depthwise(first, size, hang)
        if calls[0] is None or calls[1] is None:
            return None
        chunks.append(Chunk(channel=first, expand=calls[0], depthwise=calls[1]))
    return tuple(chunks)


def _chunk(channels: int, *, lean: bool = False) -> int:
    """Channels of a chunk; 0 where they cannot be divided."""
    most = _MOST_CHANNELS[lean]
    return max((n for n in range(_LEAST_CHANNELS, most + 1) if channels % n == 0), default=0)


def _needs(strips: Sequence[Sequence[Chunk]], rows: int, buffer: int, row_bytes: int) -> Call:
    """What a run needs; of time the mean over the strips."""
    calls = [call for strip in strips for chunk in strip for call in (chunk.expand, chunk.depthwise)]
    first = [call for chunk in strips[0] for call in (chunk.expand, chunk.depthwise)]
    chunks = [chunk for strip in strips for chunk in strip]
    instructions = sum(rows * chunk.expand.instructions + chunk.depthwise.instructions for chunk in chunks)
    cycles = sum(rows * chunk.expand.cycles + chunk.depthwise.cycles for chunk in chunks)
    return Call(
        variant="expansion",
        scratch_bytes=buffer + whole_words(rows * row_bytes),
        stack_bytes=max(call.stack_bytes for call in calls),
        instructions=-(-instructions // len(strips)),
        cycles=-(-cycles // len(strips)),
        exactness=total_exactness(first),
        float_arithmetic=any(call.float_arithmetic for call in calls),
    )


class _ChunkMaker:
    def __init__(self, lowered: Lowered, expand: Node, depthwise: Band, options: LoweringOptions) -> None:
        self.lowered, self.node, self.band, self.options = lowered, expand, depthwise, options
        self.wide = lowered.graph.tensors[expand.outputs[0]]

    def expand(self, source: Tensor, first: int, size: int, width: int) -> KernelCall | None:
        """The call that makes ``width`` pixels of one row of a chunk."""
        row = source.replace(shape=(1, source.shape[1], 1, width))
        made = self.wide.replace(shape=(1, size, 1, width))
        constants = _constants(self.lowered, self.node, first, size)
        context = NodeContext(
            node=self.node,
            inputs=(dense_image(row), *constants),
            outputs=(dense_image(made),),
            options=self.options,
        )
        return choose(variants_of(self.node.op), context)

    def depthwise(self, first: int, size: int, hang: tuple[int, int, int]) -> KernelCall | None:
        """The call that convolves the rows of a window of a chunk, into its channels of the output.

        Args:
            first: the first channel.
            size: channels.
            hang: columns of the window left of the image, in it, and right of it.
        """
        node, (_, window) = self.band.node, self.band.readings[0]
        target = self.lowered.graph.tensors[self.band.writes]
        channels, width = target.shape[1], target.shape[3] // self.band.units
        rows = self.wide.replace(shape=(1, size, window.count, hang[1]))
        made = target.replace(shape=(1, size, self.band.rows, width))
        place = Place(buffer=target.name, offset=0, rows=self.band.rows * width, row=size, stride=channels)
        op = node.op
        if not isinstance(op, Conv):
            raise TypeError(f"{node.name!r} is {op.kind}, not Conv")
        context = NodeContext(
            node=node.replace(op=replace(op, pads=(0, hang[0], 0, hang[2]), groups=size)),
            inputs=(
                Stored(
                    tensor=rows,
                    layout=channels_last(rows.shape),
                    place=replace(dense_place(rows.name, rows), row_pointers=True),
                ),
                *_constants(self.lowered, node, first, size),
            ),
            outputs=(Stored(tensor=made, layout=channels_last(made.shape), place=place),),
            options=self.options,
        )
        return choose(row_pointer_variants(op), context)


def _constants(lowered: Lowered, node: Node, first: int, size: int) -> tuple[Tensor | None, ...]:
    """Weights and bias of some output channels."""
    return tuple(_part(tensor, first, size) for tensor in lowered.graph.ins(node)[1:])


def _part(tensor: Tensor | None, first: int, size: int) -> Tensor | None:
    if tensor is None or tensor.data is None:
        return tensor
    quant = tensor.quant
    if quant is not None and not quant.per_tensor and quant.axis == 0:
        part = slice(first, first + size)
        quant = QuantParams(scale=quant.scale[part], zero_point=quant.zero_point[part], axis=0)
    return tensor.replace(shape=(size, *tensor.shape[1:]), data=tensor.data[first : first + size], quant=quant)
