# SPDX-License-Identifier: Apache-2.0
"""Maximum over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._quantized import check_activations, check_same_quantization, value
from mcucompiler.ops._shapes import check_spatial, operand, window_range, window_shape
from mcucompiler.ops._taps import tap_slices
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Operator):
    """Maximum over windows, of the elements as they are: the output has the input's quantization.

    inputs: x [N, C, *S]. Padding never wins; a window that lies in the padding altogether gives the least value of
    the type (-FLT_MAX for float32). A NaN never wins either.

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

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The maxima of the windows."""
        x, y = value(values, 0, "x"), outputs[0]
        least = np.finfo(np.float32).min if y.dtype == "float32" else INTEGER_RANGES[y.dtype][0]
        result = np.full(y.shape, least, dtype=x.dtype)
        every = (slice(None), slice(None))
        for _, out, src in tap_slices(x.shape[2:], y.shape[2:], self.kernel, self.strides, self.pads, self.dilations):
            so_far = result[(*every, *out)]
            tap = x[(*every, *src)]
            result[(*every, *out)] = np.where(tap > so_far, tap, so_far)
        return (result,)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """float32 or 8-bit integers, the output of the input's quantization."""
        return (*check_activations(inputs, outputs), *check_same_quantization(inputs, outputs))

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The window along spatial axes, the same indices along the others."""
        if axis < 2:
            return (start, stop)
        s = axis - 2
        return window_range(self.kernel[s], self.strides[s], self.pads[s], self.dilations[s], start, stop)
