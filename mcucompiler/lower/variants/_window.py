# SPDX-License-Identifier: Apache-2.0
"""The geometry of convolutions, 1-D ones as 2-D of height 1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.lower.types import NodeContext
from mcucompiler.ops.conv import Conv


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Shapes and strides in C order; pairs are (rows, columns).

    Attributes:
        batch: images.
        channels_in: input channels in all.
        channels_out: output channels in all.
        groups: independent convolutions.
        ifmap: extent of the input.
        ofmap: extent of the output.
        kernel: taps.
        stride: step of the window.
        dilation: step between taps.
        before: padding above and to the left.
        in_stride: elements from an input pixel to the next.
        out_stride: elements from an output pixel to the next.
        in_dense: whether the input's pixels are contiguous.
        out_dense: whether the output's pixels are contiguous.
        row_pointers: whether the input's rows are given by pointers.
    """

    batch: int
    channels_in: int
    channels_out: int
    groups: int
    ifmap: tuple[int, int]
    ofmap: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    in_stride: int
    out_stride: int
    in_dense: bool
    out_dense: bool
    row_pointers: bool = False

    @property
    def group_in(self) -> int:
        """Input channels of a group."""
        return self.channels_in // self.groups

    @property
    def group_out(self) -> int:
        """Output channels of a group."""
        return self.channels_out // self.groups

    @property
    def pixels_in(self) -> int:
        """Input pixels of all images."""
        return self.batch * self.ifmap[0] * self.ifmap[1]

    @property
    def pixels_out(self) -> int:
        """Output pixels of all images."""
        return self.batch * self.ofmap[0] * self.ofmap[1]

    @property
    def inputs(self) -> int:
        """Products in a sum."""
        return self.kernel[0] * self.kernel[1] * self.group_in

    @property
    def macs(self) -> int:
        """Products in all."""
        return self.pixels_out * self.channels_out * self.inputs

    @property
    def pointwise(self) -> bool:
        """Whether output pixel n reads input pixel n and nothing else."""
        return (
            self.kernel == (1, 1) and self.ifmap == self.ofmap and self.before == (0, 0) and self.stride == (1, 1)
        ) or (self.kernel == (1, 1) and self.ifmap == self.ofmap == (1, 1) and self.before == (0, 0))

    def reach(self, axis: int) -> int:
        """Input positions from the first to the last that the outputs read along an axis, padding included."""
        return (self.ofmap[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def padded(self, axis: int) -> bool:
        """Whether some output reads outside the input along an axis."""
        return self.before[axis] > 0 or self.reach(axis) - self.before[axis] > self.ifmap[axis]

    @property
    def label(self) -> str:
        """Kernel, stride and shapes as part of an identifier."""
        kernel = "x".join(map(str, self.kernel))
        stride = "" if self.stride == (1, 1) else "s" + "x".join(str(s) for s in dict.fromkeys(self.stride))
        return f"{kernel}{stride}_{self.ifmap[0]}x{self.ifmap[1]}x{self.channels_in}"


def window_of(context: NodeContext) -> Window:
    """The geometry of a Conv node.

    Raises:
        TypeError: for another operator.
    """
    op = context.node.op
    if not isinstance(op, Conv):
        raise TypeError(f"{context.node.name!r} is {op.kind}, not Conv")
    x, y = context.activation(0), context.outputs[0]
    w = context.tensors[1]
    if w is None:
        raise TypeError(f"{context.node.name!r} has no weights")
    rank = len(x.tensor.shape) - 2
    return Window(
        batch=x.tensor.shape[0],
        channels_in=x.tensor.shape[1],
        channels_out=y.tensor.shape[1],
        groups=op.groups,
        ifmap=_plane(x.tensor.shape[2:], 1),
        ofmap=_plane(y.tensor.shape[2:], 1),
        kernel=_plane(w.shape[2:], 1),
        stride=_plane(op.strides, 1),
        dilation=_plane(op.dilations, 1),
        before=_plane(op.pads[:rank], 0),
        in_stride=x.pixel_stride,
        out_stride=y.pixel_stride,
        in_dense=x.place.dense,
        out_dense=y.place.dense,
        row_pointers=x.place.row_pointers,
    )


def overlap_distance(window: Window, group: int) -> int:
    """How far below its input a dense output must start, if ``group`` pixels are read before they are written.

    Returns:
        The least d >= 0 in bytes such that with ``output + d <= input`` no byte is written before all
        outputs that read it are computed.
    """
    first = _first_read(window)
    needed = np.minimum.accumulate(first[::-1])[::-1]  # first input pixel that is still to be read
    ends = np.arange(group, window.pixels_out, group)  # pixels written before more is read
    if len(ends) == 0:
        return 0
    return max(0, int((ends * window.channels_out - needed[ends] * window.channels_in).max()))


def _first_read(window: Window) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The first input pixel that each output pixel reads."""
    rows, columns = (
        np.maximum(np.arange(window.ofmap[axis]) * window.stride[axis] - window.before[axis], 0) for axis in (0, 1)
    )
    plane = (rows[:, None] * window.ifmap[1] + columns[None]).reshape(-1).astype(np.int64)
    images = np.arange(window.batch, dtype=np.int64)[:, None] * (window.ifmap[0] * window.ifmap[1])
    return np.asarray((images + plane[None]).reshape(-1))


def _plane(extents: tuple[int, ...], missing: int) -> tuple[int, int]:
    rows, columns = (missing, *extents)[-2:]
    return rows, columns
