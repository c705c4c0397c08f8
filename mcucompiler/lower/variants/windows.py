# SPDX-License-Identifier: Apache-2.0
"""Windows of pools: where they start, which taps lie inside the tensor, how far an output may lie over the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, Tensor
from mcucompiler.lower.types import NodeContext, Overlap, Param, Stored
from mcucompiler.lower.variants.calls import reads
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.ops._pool import Pool

_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A pool along one axis.

    Attributes:
        size: extent of the input.
        out: extent of the output.
        kernel: taps.
        stride: step of the window.
        pad: padding before the first element.
        dilation: distance of taps.
    """

    size: int
    out: int
    kernel: int
    stride: int
    pad: int
    dilation: int

    @property
    def starts(self) -> Array:
        """Position of the first tap for each output; negative in the padding."""
        return np.arange(self.out) * self.stride - self.pad

    @property
    def first_tap(self) -> Array:
        """The first tap inside the tensor, for each output."""
        return np.asarray(np.maximum(0, -(self.starts // self.dilation)))

    @property
    def end_tap(self) -> Array:
        """One past the last tap inside the tensor, for each output."""
        return np.asarray(np.minimum(self.kernel, -((self.starts - self.size) // self.dilation)))

    @property
    def padded(self) -> bool:
        """Whether some window reaches outside the tensor."""
        return bool((self.first_tap > 0).any() or (self.end_tap < self.kernel).any())

    @property
    def empty(self) -> bool:
        """Whether some window has no tap inside the tensor."""
        return bool((self.first_tap >= self.end_tap).any())


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """A pool over a tensor stored N, H, W, C; one-dimensional ones have H = 1.

    Attributes:
        batch: N.
        channels: C.
        rows: vertical span.
        columns: horizontal span.
        from_stride: elements between pixels of the input.
        to_stride: elements between pixels of the output.
        row_pointers: whether the rows of the (one) image are given by pointers to each.
    """

    batch: int
    channels: int
    rows: Span
    columns: Span
    from_stride: int
    to_stride: int
    row_pointers: bool = False

    @property
    def padded(self) -> bool:
        """Whether some window reaches outside the tensor."""
        return self.rows.padded or self.columns.padded

    @property
    def taps(self) -> tuple[tuple[str, int], ...]:
        """A whole window's taps, rows outer: the C pointer that each is counted from, and its element offset.

        The pointers are ``first``, the window's first tap, or ``row0``, ``row1``..., the first tap of each of its rows.
        """
        row = 0 if self.row_pointers else self.rows.dilation * self.columns.size * self.from_stride
        return tuple(
            (f"row{ky}" if self.row_pointers else "first", ky * row + kx * self.columns.dilation * self.from_stride)
            for ky in range(self.rows.kernel)
            for kx in range(self.columns.kernel)
        )

    @property
    def pixels(self) -> int:
        """Output pixels of the whole batch."""
        return self.batch * self.rows.out * self.columns.out


def windows_reason(context: NodeContext) -> str | None:
    """Why a pool is out of reach of the kernels for images, None when it is not."""
    source, target = context.activation(0), context.outputs[0]
    rank = len(source.tensor.shape)
    if rank not in (3, 4):
        return f"a pool over {rank - 2} spatial axes; 1 and 2 are supported"
    wanted = (0, *range(2, rank), 1)
    for stored in (source, target):
        if stored.layout.view != stored.tensor.shape or stored.layout.perm != wanted:
            return "not stored channels last"
    return None


def rows_reason(source: Stored, pads: tuple[int, ...]) -> str | None:
    """Why a pool cannot take its input's rows by pointers, None when it can, or when they are not given so.

    Args:
        source: the input.
        pads: of the pool, those before each axis first.
    """
    if not source.place.row_pointers:
        return None
    if len(source.tensor.shape) != _IMAGE_RANK or source.tensor.shape[0] != 1:
        return "pointers to the rows of what is not one image"
    top, _, bottom, _ = pads
    return "padding above or below rows that are given by pointers" if top or bottom else None


def input_param(tensor: Tensor, windows: Windows) -> Param:
    """The kernel's parameter for its input: elements, or pointers to rows of elements."""
    if not windows.row_pointers:
        return reads(tensor)
    return Param(ctype=f"const {CTYPES[tensor.dtype]} *const *", name="rows")


def pool_of(context: NodeContext) -> Pool:
    """The node's operator, which must be a pool."""
    op = context.node.op
    if not isinstance(op, Pool):
        raise TypeError(f"{op.kind} is no pool")
    return op


def windows_of(context: NodeContext) -> Windows:
    """The windows of a pool."""
    source, target, op = context.activation(0), context.outputs[0], pool_of(context)
    rank = len(op.kernel)
    sizes, outs = source.tensor.shape[2:], target.tensor.shape[2:]
    spans = [
        Span(
            size=sizes[axis],
            out=outs[axis],
            kernel=op.kernel[axis],
            stride=op.strides[axis],
            pad=op.pads[axis],
            dilation=op.dilations[axis],
        )
        for axis in range(rank)
    ]
    if rank == 1:
        spans.insert(0, Span(size=1, out=1, kernel=1, stride=1, pad=0, dilation=1))
    return Windows(
        batch=source.tensor.shape[0],
        channels=source.tensor.shape[1],
        rows=spans[0],
        columns=spans[1],
        from_stride=source.pixel_stride,
        to_stride=target.pixel_stride,
        row_pointers=source.place.row_pointers,
    )


def pixel_overlap(first_read: Array, source: Stored, target: Stored) -> tuple[Overlap, ...]:
    """How far before a dense input the output of a pixel-by-pixel kernel must start.

    Args:
        first_read: for each output pixel in order, the first input pixel that it reads.
        source: input 0.
        target: output 0.

    Returns:
        One permission, () where either is not dense. An output pixel may cover what only earlier
        output pixels read.
    """
    if not (source.place.dense and target.place.dense) or source.place.row_pointers or first_read.size == 0:
        return ()
    channels_in, channels_out = source.memory_shape[-1], target.memory_shape[-1]
    item_in, item_out = ITEM_BYTES[source.tensor.dtype], ITEM_BYTES[target.tensor.dtype]
    still_read = np.minimum.accumulate(first_read[::-1])[::-1] * channels_in * item_in
    written = np.arange(1, first_read.size + 1) * channels_out * item_out
    return (Overlap(input=0, output=0, same=False, distance=max(0, int((written - still_read).max()))),)


def first_pixels(rows: Array, columns: Array, width: int, height: int, batch: int) -> Array:
    """First input pixel of each output pixel, from the first row and column of each output row and column."""
    image = (np.asarray(rows)[:, None] * width + np.asarray(columns)[None, :]).reshape(-1)
    return np.asarray((np.arange(batch)[:, None] * (height * width) + image[None, :]).reshape(-1))


def window_overlap(windows: Windows, source: Stored, target: Stored) -> tuple[Overlap, ...]:
    """How far before its input the output of a pool must start."""
    rows, columns = windows.rows, windows.columns
    first = first_pixels(
        rows.starts + rows.first_tap * rows.dilation,
        columns.starts + columns.first_tap * columns.dilation,
        columns.size,
        rows.size,
        windows.batch,
    )
    return pixel_overlap(first, source, target)
