# SPDX-License-Identifier: Apache-2.0
"""Means over an image within a stream: rows are added to sums as they come, so none of them has to wait."""

from __future__ import annotations

from dataclasses import replace

from mcucompiler.lower.types import LoweredStep, NodeContext
from mcucompiler.lower.variants.mean_rows import accumulate_call, finish_call
from mcucompiler.stream.images import ROW_AXIS
from mcucompiler.stream.types import Access, Band, Reading

_SUM_BYTES = 4


def mean_bands(layer: LoweredStep, context: NodeContext, rows: int) -> tuple[Band, Band]:
    """The band that adds rows to the sums, and the one that makes means of them.

    The sums are a tensor of one slot whose row n holds what has been added up in the runs 0 to n.

    Args:
        layer: a mean over an image.
        context: the layer on whole tensors.
        rows: rows that are added in a run; a divisor of the image's height.
    """
    source, target = context.activation(0).tensor, context.outputs[0].tensor
    name = f"{target.name}@sums"
    runs = source.shape[ROW_AXIS] // rows
    accumulate, finish = accumulate_call(context, rows), finish_call(context)
    adding = Band(
        node=layer.node,
        call=replace(accumulate, scratch_bytes=0),
        readings=((0, Reading(tensor=source.name, access=Access.DENSE, step=rows, count=rows)),),
        writes=name,
        row_bytes=_SUM_BYTES * source.shape[1],
        rows=1,
        runs=runs,
        macs=layer.macs,
        sums=name,
    )
    finishing = Band(
        node=layer.node,
        call=replace(finish, scratch_bytes=0),
        readings=((0, Reading(tensor=name, access=Access.DENSE, first=runs - 1, count=1)),),
        writes=target.name,
        row_bytes=target.size_bytes,
        rows=1,
        runs=1,
        macs=0,
        sums=name,
    )
    return adding, finishing
