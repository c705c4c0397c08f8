# SPDX-License-Identifier: Apache-2.0
"""Turns layers into bands: the same kernels, specialised to a few rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from mcucompiler.ir.graph import Node, Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.select import choose, options_for
from mcucompiler.lower.types import (
    KernelCall,
    Lowered,
    LoweredStep,
    LoweringOptions,
    NodeContext,
    Stored,
    dense_place,
)
from mcucompiler.lower.variants import row_pointer_variants, variants_of
from mcucompiler.lower.variants.mean_rows import mean_rows_reason
from mcucompiler.ops import AveragePool, Conv, MaxPool, ReduceMean
from mcucompiler.ops.base import Operator
from mcucompiler.stream.columns import column_reading, divisible, overhang
from mcucompiler.stream.expansion import expandable, expanded_band
from mcucompiler.stream.images import (
    COLUMN_AXIS,
    IMAGE_RANK,
    PIXELWISE,
    ROW_AXIS,
    WINDOWS,
    dense_image,
    is_image,
    row_bytes,
)
from mcucompiler.stream.means import mean_bands
from mcucompiler.stream.strips import in_strips, spans
from mcucompiler.stream.types import Access, Band, Reading, Span
from mcucompiler.stream.upsampling import UPSAMPLING, least_rows, of_band, upsampled_reading


class BandMaker:
    """Makes bands of the layers of a program, each only once.

    Args:
        lowered: the program, layer by layer.
        barred: indices of steps that can be in no stream.
    """

    def __init__(self, lowered: Lowered, barred: frozenset[int] = frozenset()) -> None:
        self.lowered, self.barred = lowered, barred
        self._options = {False: lowered.options, True: replace(lowered.options, optimize="ram")}
        self._made: dict[tuple[int, int, bool], tuple[Band, ...]] = {}
        self._asked: dict[tuple[int, int, bool], tuple[Band, ...]] = {}
        self._heights = [self._height(step) for step in range(len(lowered.steps))]
        self._expandable = [expandable(lowered, *pair) for pair in pairwise(lowered.steps)]
        self._part_calls: dict[tuple[int, bool, int, tuple[tuple[int, int, int], ...]], KernelCall | None] = {}
        self._strips: dict[tuple[int, str, int, bool], Band | None] = {}
        self._expanded: dict[tuple[int, int, bool, int], Band | None] = {}

    def height(self, step: int) -> int | None:
        """Rows that a layer makes, or takes for a mean; None where it can be in no stream."""
        return self._heights[step]

    def _height(self, step: int) -> int | None:
        layer = self.lowered.steps[step]
        if (
            step in self.barred
            or len(layer.writes) != 1
            or not isinstance(layer.node.op, (*WINDOWS, *PIXELWISE, *UPSAMPLING, ReduceMean))
        ):
            return None
        if self._mean(layer):
            return self.lowered.stored[layer.reads[0]].tensor.shape[ROW_AXIS]
        target = self.lowered.stored[layer.writes[0]]
        return target.tensor.shape[ROW_AXIS] if is_image(target) else None

    def bands(self, step: int, rows: int, *, lean: bool = False) -> tuple[Band, ...]:
        """The bands of a layer with at most ``rows`` rows a run, or as few as it can; () where no kernel can do it.

        Args:
            step: index of a layer that has a height.
            rows: at least 1.
            lean: whether kernels are to use little scratch rather than be fast.
        """
        asked = step, rows, lean
        if asked not in self._asked:
            self._asked[asked] = self._of_rows(step, self._rows(step, rows), lean)
        return self._asked[asked]

    def _of_rows(self, step: int, rows: int, lean: bool) -> tuple[Band, ...]:
        """The bands of a layer with so many rows a run."""
        layer, key = self.lowered.steps[step], (step, rows, lean)
        if key not in self._made:
            if self._mean(layer):
                self._made[key] = mean_bands(layer, self._context(layer.node), rows)
            else:
                band = self._make(layer, rows, self._options[lean])
                self._made[key] = () if band is None else (band,)
        return self._made[key]

    def part(self, step: int, columns: Mapping[str, tuple[int, int]], *, lean: bool = False) -> Band | None:
        """The band of a layer that makes one row of some columns; None where no kernel can do it.

        Args:
            step: index of the layer.
            columns: the columns of each tensor that are there or are made.
            lean: whether kernels are to use little scratch rather than be fast.
        """
        (whole,) = self.bands(step, 1, lean=lean)
        graph, node = self.lowered.graph, whole.node
        made = columns[whole.writes]
        readings = tuple((i, column_reading(graph, node, i, reading, columns, made)) for i, reading in whole.readings)
        width, all_columns = made[1] - made[0], graph.tensors[whole.writes].shape[COLUMN_AXIS]
        call = self._part_call(step, node, readings, width, lean=lean)
        if call is None:
            return None
        return replace(
            whole,
            call=call,
            readings=readings,
            row_bytes=whole.row_bytes * width // all_columns,
            macs=whole.macs * width // all_columns,
        )

    def strips(self, band: Band, step: int, count: int, *, lean: bool = False) -> Band | None:
        """The band of a layer that makes its rows in strips; None where no kernel can do it.

        Args:
            band: of whole rows, one a run.
            step: index of the layer.
            count: strips of a row.
            lean: whether kernels are to use little scratch rather than be fast.
        """
        key = step, band.writes, count, lean
        if key not in self._strips:
            self._strips[key] = self._in_strips(band, step, count, lean=lean)
        return self._strips[key]

    def _in_strips(self, band: Band, step: int, count: int, *, lean: bool) -> Band | None:
        graph = self.lowered.graph
        if not divisible(graph, band) or graph.tensors[band.writes].shape[COLUMN_AXIS] % count:
            return None
        width = graph.tensors[band.writes].shape[COLUMN_AXIS]
        columns = spans(graph, band, count)
        if columns is None:
            return None
        calls = []
        for strip in range(count):
            readings = tuple((i, _strip_of(reading, columns.get(i), strip)) for i, reading in band.readings)
            calls.append(self._part_call(step, band.node, readings, width // count, lean=lean))
        made = [call for call in calls if call is not None]
        return in_strips(band, columns, made) if len(made) == count else None

    def _part_call(
        self, step: int, node: Node, readings: tuple[tuple[int, Reading], ...], width: int, *, lean: bool
    ) -> KernelCall | None:
        """The kernel call that makes some columns of a row; equal ones are made once."""
        hangs = tuple(
            overhang(reading.columns, self.lowered.graph.tensors[reading.tensor].shape[COLUMN_AXIS])
            for _, reading in readings
            if reading.columns is not None
        )
        key = step, lean, width, hangs
        if key not in self._part_calls:
            self._part_calls[key] = self._call(node, dict(readings), 1, self._options[lean], width)
        return self._part_calls[key]

    def _rows(self, step: int, most: int) -> int:
        """The most rows, up to ``most``, that a run of a layer can make: a divisor of its height."""
        layer, tensors = self.lowered.steps[step], self.lowered.graph.tensors
        height = self.height(step) or 1
        least = least_rows(layer.node.op, tensors[layer.node.inputs[0]], tensors[layer.writes[0]])
        parts = height // least
        return least * max(rows for rows in range(1, max(1, min(most // least, parts)) + 1) if parts % rows == 0)

    def lean_layer(self, step: int) -> LoweredStep | None:
        """A layer on whole tensors with less scratch than it has; None where there is no such kernel."""
        layer = self.lowered.steps[step]
        if not layer.call.scratch_bytes:
            return None
        context = replace(self._context(layer.node), options=self._options[True])
        call = choose(variants_of(layer.node.op), context)
        if call is None or call.scratch_bytes >= layer.call.scratch_bytes:
            return None
        return replace(layer, call=call)

    def expandable(self, step: int) -> bool:
        """Whether a layer is a 1x1 convolution that may be made anew for each window of the layer that follows."""
        return step < len(self._expandable) and self._expandable[step]

    def expanded(self, step: int, rows: int, *, lean: bool = False, strips: int = 1) -> Band | None:
        """The band of a 1x1 convolution together with the depthwise one that follows; None where there is none.

        Args:
            step: index of the 1x1 convolution.
            rows: most rows of a run.
            lean: whether kernels are to use little scratch rather than be fast.
            strips: of a row, one a run.
        """
        key = step, rows, lean, strips
        if key not in self._expanded:
            band = None
            if self.expandable(step) and self.height(step + 1):
                depthwise = next(iter(self.bands(step + 1, rows, lean=lean)), None)
                if depthwise is not None and strips > 1:
                    depthwise = self.strips(depthwise, step + 1, strips, lean=lean)
                if depthwise is not None:
                    band = expanded_band(self.lowered, self.lowered.steps[step], depthwise, self._options[lean])
            self._expanded[key] = band
        return self._expanded[key]

    def _mean(self, layer: LoweredStep) -> bool:
        """Whether a layer takes the mean over an image, which needs no more of it than one row at a time."""
        if not isinstance(layer.node.op, ReduceMean | AveragePool) or not is_image(self.lowered.stored[layer.reads[0]]):
            return False
        return mean_rows_reason(self._context(layer.node)) is None

    def _context(self, node: Node) -> NodeContext:
        """A layer on whole tensors."""
        graph, stored = self.lowered.graph, self.lowered.stored
        return NodeContext(
            node=node,
            inputs=tuple(t if t is None or t.is_constant else stored[t.name] for t in graph.ins(node)),
            outputs=tuple(stored[t.name] for t in graph.outs(node)),
            options=self.lowered.options,
        )

    def _make(self, layer: LoweredStep, rows: int, options: LoweringOptions) -> Band | None:
        target = self.lowered.graph.tensors[layer.writes[0]]
        runs = target.shape[ROW_AXIS] // rows
        readings = []
        for index, name in layer.reads.items():
            reading = self._reading(layer.node, index, name, rows, runs)
            if reading is None:
                return None
            readings.append((index, reading))
        if all(reading.access is Access.WHOLE for _, reading in readings):
            return None
        call = self._call(layer.node, dict(readings), rows, options)
        if call is None:
            return None
        return Band(
            node=layer.node,
            call=call,
            readings=tuple(readings),
            writes=target.name,
            row_bytes=row_bytes(target),
            rows=rows,
            runs=runs,
            macs=layer.macs,
        )

    def _reading(self, node: Node, index: int, name: str, rows: int, runs: int) -> Reading | None:
        """Which rows of an input the runs read; None where they do not advance evenly."""
        graph, stored = self.lowered.graph, self.lowered.stored[name]
        if not stored.place.dense:
            return None
        if len(stored.tensor.shape) < IMAGE_RANK or stored.tensor.shape[ROW_AXIS] == 1 < runs * rows:
            return Reading(tensor=name, access=Access.WHOLE)
        if not is_image(stored):
            return None
        if isinstance(node.op, UPSAMPLING):
            return upsampled_reading(node.op, graph.ins(node), graph.outs(node)[0], rows)
        ranges = [
            node.op.input_range(graph.ins(node), graph.outs(node), index, ROW_AXIS, run * rows, (run + 1) * rows)
            for run in range(runs)
        ]
        known = [found for found in ranges if found is not None]
        if len(known) < runs:
            return None
        first, stop = known[0]
        step = known[1][0] - first if runs > 1 else 0
        if any(found != (first + run * step, stop + run * step) for run, found in enumerate(known)):
            return None
        count = stop - first
        dense = (first, step, count) == (0, rows, rows) or (count == 1 and first == 0)
        inside = first >= 0 and first + (runs - 1) * step + count <= stored.tensor.shape[ROW_AXIS]
        border = _border(node.op, stored.tensor)
        if not inside and (border is None or not isinstance(node.op, WINDOWS)):
            return None
        return Reading(
            tensor=name,
            access=Access.DENSE if dense and inside else Access.POINTERS,
            first=first,
            step=step,
            count=count,
            border=border or 0,
        )

    def _call(
        self,
        node: Node,
        readings: dict[int, Reading],
        rows: int,
        options: LoweringOptions,
        width: int | None = None,
    ) -> KernelCall | None:
        """The kernel call for one run; ``width``: columns that it makes, None for all."""
        graph = self.lowered.graph
        op = _padded_for(node.op, graph.tensors[node.inputs[0]], readings.get(0))
        if _like_a_whole_image(op, node.op, graph.tensors[node.inputs[0]], readings.get(0)):
            return None
        inputs = tuple(
            self._input(tensor, readings.get(index)) if tensor is not None and not tensor.is_constant else tensor
            for index, tensor in enumerate(graph.ins(node))
        )
        (target,) = graph.outs(node)
        context = NodeContext(
            node=node.replace(op=op),
            inputs=inputs,
            outputs=(dense_image(_banded(target, rows, width)),),
            options=options_for(options, node),
        )
        context = of_band(context, graph.tensors[node.inputs[0]])
        by_pointer = any(reading.access is Access.POINTERS for reading in readings.values())
        variants = row_pointer_variants(node.op) if by_pointer else variants_of(node.op)
        return choose(variants, context)

    def _input(self, tensor: Tensor, reading: Reading | None) -> Stored:
        if reading is None or reading.access is Access.WHOLE:
            return self.lowered.stored[tensor.name]
        banded = _banded(tensor, reading.count, _read_width(tensor, reading))
        place = replace(dense_place(tensor.name, banded), row_pointers=reading.access is Access.POINTERS)
        return Stored(tensor=banded, layout=channels_last(banded.shape), place=place)


def _border(op: Operator, tensor: Tensor) -> int | None:
    """The byte value that a window finds outside the image; None where rows outside cannot be had."""
    if tensor.dtype not in ("int8", "uint8") or tensor.quant is None:
        return None
    if isinstance(op, Conv):
        return tensor.quant.z
    if isinstance(op, MaxPool):
        return -128 if tensor.dtype == "int8" else 0
    return None


def _read_width(tensor: Tensor, reading: Reading) -> int:
    """Columns of the image that a kernel reads."""
    width = tensor.shape[COLUMN_AXIS]
    return width if reading.columns is None else overhang(reading.columns, width)[1]


def _like_a_whole_image(banded: Operator, op: Operator, image: Tensor, reading: Reading | None) -> bool:
    """Whether a window covers a band but not the image: the mean of a whole image is defined otherwise."""
    if not isinstance(op, AveragePool) or not isinstance(banded, AveragePool) or reading is None:
        return False
    covers = reading.access is not Access.WHOLE and banded.is_global((reading.count, _read_width(image, reading)))
    return covers and not op.is_global(image.shape[ROW_AXIS:])


def _strip_of(reading: Reading, span: Span | None, strip: int) -> Reading:
    """What a strip reads, as a reading of some columns."""
    if span is None:
        return reading
    first = span.first + strip * span.step
    return replace(reading, columns=(first, first + span.count))


def _padded_for(op: Operator, image: Tensor, reading: Reading | None) -> Operator:
    """The operator with the padding of a band.

    There is none above and below, where pointers to border rows take its place; of a part of the columns only what
    lies outside the image is padding.
    """
    if not isinstance(op, Conv | MaxPool | AveragePool):
        return op
    _, left, _, right = op.pads
    if reading is not None and reading.columns is not None:
        left, _, right = overhang(reading.columns, image.shape[COLUMN_AXIS])
    return replace(op, pads=(0, left, 0, right))


def _banded(tensor: Tensor, rows: int, width: int | None = None) -> Tensor:
    n, channels, _, whole = tensor.shape
    return tensor.replace(shape=(n, channels, rows, whole if width is None else width))
