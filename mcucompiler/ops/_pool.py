# SPDX-License-Identifier: Apache-2.0
"""What operators over windows of one tensor have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mcucompiler.ir.graph import Tensor
from mcucompiler.ops._shapes import check_spatial, operand, window_range, window_shape
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Operator):
    """Base of pools: from x [N, C, *S] one element for each window and channel.

    Attributes:
        kernel: the window, for each spatial axis.
        strides: for each spatial axis.
        pads: all begins, then all ends.
        dilations: for each spatial axis.
        ceil_mode: whether a last window may hang over the padded input.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.CHANNELS_LAST
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil_mode: bool = False

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """[N, C, *spatial]."""
        x = operand(inputs, 0, "x")
        rank = len(x.shape) - 2
        check_spatial(rank, kernel=self.kernel, strides=self.strides, pads=self.pads, dilations=self.dilations)
        spatial = window_shape(
            x.shape[2:], self.kernel, self.strides, self.pads, self.dilations, ceil_mode=self.ceil_mode
        )
        return ((*x.shape[:2], *spatial),)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The window along spatial axes, the same indices along the others."""
        if axis < 2:
            return (start, stop)
        s = axis - 2
        return window_range(self.kernel[s], self.strides[s], self.pads[s], self.dilations[s], start, stop)
