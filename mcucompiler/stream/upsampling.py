# SPDX-License-Identifier: Apache-2.0
"""Layers that make several rows of each row: resizing, and transposed convolutions whose windows do not overlap.

Nearest resizing and such convolutions make each group of rows from rows of their own. A linear one reads a window
that reaches beyond them, and outside the image the nearest row of it (its edge). That is what the operator means only
where rounding does not matter: there the operator gives the edge row a weight of 1, which is one row or two halves,
and the band gives the same row twice, with weights that sum to 1. In integers, with weights in fractions of a power of
two, both are the same number; in float32 they need not be, so no kernel in float32 takes such rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.lower.row_taps import InterpolatedBand, RowTaps
from mcucompiler.lower.types import NodeContext
from mcucompiler.ops import ConvTranspose, Resize
from mcucompiler.ops.base import MaybeTensors, Operator
from mcucompiler.stream.images import ROW_AXIS
from mcucompiler.stream.types import Access, Reading

UPSAMPLING = (Resize, ConvTranspose)
_MARGIN = 2  # rows of the input, more than an interpolation reaches


def least_rows(op: Operator, source: Tensor, target: Tensor) -> int:
    """The least number of rows that a band of a layer can make in a run."""
    if not isinstance(op, UPSAMPLING):
        return 1
    before, after = source.shape[ROW_AXIS], target.shape[ROW_AXIS]
    return after // before if after % before == 0 else after


def upsampled_reading(op: Operator, inputs: MaybeTensors, target: Tensor, rows: int) -> Reading | None:
    """Which rows of input 0 the runs read that make ``rows`` rows each; None where they cannot.

    Args:
        op: the operator, one of ``UPSAMPLING``.
        inputs: of the layer, whole.
        target: what the layer makes, whole.
        rows: a multiple of ``least_rows``.
    """
    source = inputs[0]
    if source is None or target.shape[ROW_AXIS] % source.shape[ROW_AXIS]:
        return None
    step = rows * source.shape[ROW_AXIS] // target.shape[ROW_AXIS]
    if isinstance(op, Resize) and _interpolates(op, source):
        return _interpolating(op, source, rows, step)
    own = _copies_alike(op, source, rows, step) if isinstance(op, Resize) else _taps_alike(op, inputs, target, rows)
    return Reading(tensor=source.name, access=Access.DENSE, step=step, count=step) if own else None


def of_band(context: NodeContext, source: Tensor) -> NodeContext:
    """A band's context; for resizing with what the shapes of the band do not say.

    Args:
        context: of the band.
        source: input 0 of the layer, whole.
    """
    op = context.node.op
    if not isinstance(op, Resize):
        return context
    rows = context.outputs[0].tensor.shape[ROW_AXIS]
    banded = replace(context, node=context.node.replace(op=_of_rows(op, rows)))
    found = _row_taps(op, source, rows) if _interpolates(op, source) else None
    if found is None:
        return banded
    return InterpolatedBand(
        node=banded.node, inputs=banded.inputs, outputs=banded.outputs, options=banded.options, row_taps=found[1]
    )


def _interpolates(op: Resize, source: Tensor) -> bool:
    return op.mode == "linear" and op.sizes != source.shape


def _of_rows(op: Resize, rows: int) -> Resize:
    return replace(op, sizes=(*op.sizes[:ROW_AXIS], rows, *op.sizes[ROW_AXIS + 1 :]))


def _copies_alike(op: Resize, source: Tensor, rows: int, step: int) -> bool:
    """Whether each run copies the rows that a resizing of just its own rows would copy."""
    if op.sizes == source.shape:
        return True
    every = op.nearest_sources(source.shape[ROW_AXIS], ROW_AXIS).reshape(-1, rows)
    first = np.arange(len(every))[:, None] * step
    return bool((every - first == _of_rows(op, rows).nearest_sources(step, ROW_AXIS)).all())


def _taps_alike(op: Operator, inputs: MaybeTensors, target: Tensor, rows: int) -> bool:
    """Whether each run of a transposed convolution reads just its own rows, and these make no more rows."""
    source = inputs[0]
    if source is None:
        return False
    factor = target.shape[ROW_AXIS] // source.shape[ROW_AXIS]
    step = rows // factor
    n, channels, _, width = source.shape
    band = (source.replace(shape=(n, channels, step, width)), *inputs[1:])
    if op.output_shapes(band)[0][ROW_AXIS] != rows or (isinstance(op, ConvTranspose) and op.strides[0] != factor):
        return False
    return all(
        op.input_range(inputs, (target,), 0, ROW_AXIS, first * factor, first * factor + rows) == (first, first + step)
        for first in range(0, source.shape[ROW_AXIS], step)
    )


def _interpolating(op: Resize, source: Tensor, rows: int, step: int) -> Reading | None:
    found = _row_taps(op, source, rows)
    if found is None:
        return None
    first, taps = found
    count = int(taps.upper.max()) + 1
    return Reading(tensor=source.name, access=Access.POINTERS, first=first, step=step, count=count, edge=True)


def _row_taps(op: Resize, source: Tensor, rows: int) -> tuple[int, RowTaps] | None:
    """The first row that run 0 reads and the taps from there on; None where they differ from run to run."""
    height = source.shape[ROW_AXIS]
    factor = op.sizes[ROW_AXIS] // height
    # The taps of run 0 as if the image went on above and below.
    higher = _of_rows(op, op.sizes[ROW_AXIS] + 2 * _MARGIN * factor)
    run = slice(_MARGIN * factor, _MARGIN * factor + rows)
    every = higher.linear_sources(height + 2 * _MARGIN, ROW_AXIS)
    lower, upper, weight_lower, weight_upper = (part[run] for part in every)
    begin = int(lower.min())
    taps = RowTaps(lower=lower - begin, upper=upper - begin, weight_lower=weight_lower, weight_upper=weight_upper)
    alike = _means_the_same(op, height, taps, begin - _MARGIN)
    return (begin - _MARGIN, taps) if alike else None


def _means_the_same(op: Resize, height: int, taps: RowTaps, first: int) -> bool:
    """Whether all rows get the weights that the operator gives, with rows outside the image taken from its edge."""
    runs = op.sizes[ROW_AXIS] // len(taps.lower)
    begins = np.repeat(first + np.arange(runs) * (height // runs), len(taps.lower))
    given = _weights(
        height,
        begins + np.tile(taps.lower, runs),
        begins + np.tile(taps.upper, runs),
        np.tile(taps.weight_lower, runs),
        np.tile(taps.weight_upper, runs),
    )
    return bool((given == _weights(height, *op.linear_sources(height, ROW_AXIS))).all())


def _weights(height: int, lower: Array, upper: Array, weight_lower: Array, weight_upper: Array) -> Array:
    """The weight [rows of the output, height] of each row of the input."""
    total = np.zeros((len(lower), height))
    for at, weight in ((lower, weight_lower), (upper, weight_upper)):
        np.add.at(total, (np.arange(len(at)), np.clip(at, 0, height - 1)), weight.astype(np.float64))
    return total
