# SPDX-License-Identifier: Apache-2.0
"""Convolution over 1 or 2 spatial axes, any groups; depthwise where groups equals the input channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import fma32
from mcucompiler.ops._quantized import centered, check_weighted, finish_accumulator, optional, value
from mcucompiler.ops._shapes import check_bias, check_groups, check_spatial, operand, window_range, window_shape
from mcucompiler.ops._taps import tap_slices
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Operator):
    """Convolution; QLinearConv where the tensors are quantized.

    inputs: x [N, C, *S], w [M, C/groups, *K], bias [M] or absent (int32 in units of sx * sw, or float32).

    Quantized: exact sums of (x - zx)(w - zw) over the taps plus bias, modulo 2^32 as int32, then
    ``y = clamp(rint(f32(f32(acc) * M)) + zy)`` with ``M = f32(f32(sx * sw) / sy)``. Padding reads zx.

    Float32: the accumulator starts at the bias, or at +0; then, in the order of kernel rows, kernel columns and input
    channels of the group, ``acc = fma(w, x, acc)``. Taps in the padding are skipped.

    Attributes:
        strides: for each spatial axis.
        pads: all begins, then all ends.
        dilations: for each spatial axis.
        groups: how many independent convolutions the channels are split into.
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.CHANNELS_LAST
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """[N, M, *spatial]."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        rank = len(x.shape) - 2
        if rank not in (1, 2) or len(w.shape) != len(x.shape):
            raise ModelError(
                "unsupported rank",
                found=f"input {list(x.shape)}, weights {list(w.shape)}",
                supported="input [N, C, L] or [N, C, H, W], weights [M, C/groups, ...] of the same rank",
            )
        check_spatial(rank, strides=self.strides, pads=self.pads, dilations=self.dilations)
        check_groups(x.shape[1], w.shape[1] * self.groups, w.shape[0], self.groups)
        check_bias(inputs, w.shape[0])
        spatial = window_shape(x.shape[2:], w.shape[2:], self.strides, self.pads, self.dilations)
        return ((x.shape[0], w.shape[0], *spatial),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The convolution of the values."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        xv, wv, bias = value(values, 0, "x"), value(values, 1, "weights"), optional(values, 2)
        y = outputs[0]
        if not y.is_quantized:
            return (self._float(xv, wv, bias, y.shape),)
        # Integers below 2^53 in float64: the sums are exact in whatever order BLAS adds them.
        xc = centered(xv, x).astype(np.float64)
        wc = centered(wv, w).astype(np.float64)
        acc = self._exact(xc, wc, y.shape)
        return (finish_accumulator(acc, inputs, y, self.clamp, bias, channel_axis=1),)

    def _taps(self, x: Array, w: Array, shape: Shape) -> tuple[Array, Array, list[tuple[Array, Array, Array]]]:
        """The accumulator [N, G, M/G, *S], its view [N, M, *S], and for each tap (its part of acc, x, w)."""
        groups = self.groups
        acc = np.zeros((shape[0], groups, shape[1] // groups, *shape[2:]), dtype=x.dtype)
        xg = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
        every: tuple[Any, ...] = (slice(None),) * 3
        parts = [
            (acc[(*every, *out)], xg[(*every, *src)], wg[(*every, *tap)])
            for tap, out, src in tap_slices(
                x.shape[2:], shape[2:], w.shape[2:], self.strides, self.pads, self.dilations
            )
        ]
        return acc, acc.reshape(shape), parts

    def _exact(self, x: Array, w: Array, shape: Shape) -> Array:
        _, result, parts = self._taps(x, w, shape)
        for acc, xs, ws in parts:
            columns = xs.reshape(*xs.shape[:3], -1)
            # One input channel a group: a matrix product with an inner dimension of 1 is slow.
            term = ws * columns if columns.shape[2] == 1 else np.matmul(ws, columns)
            acc += term.reshape(acc.shape)
        return result

    def _float(self, x: Array, w: Array, bias: Array | None, shape: Shape) -> Array:
        _, result, parts = self._taps(x, w, shape)
        if bias is not None:
            result[...] = bias.reshape(-1, *(1,) * (len(shape) - 2))
        ones = (1,) * (len(shape) - 2)
        for acc, xs, ws in parts:
            for channel in range(xs.shape[2]):
                weights = ws[:, :, channel].reshape(1, *ws.shape[:2], *ones)
                acc[...] = fma32(weights, xs[:, :, channel : channel + 1], acc)
        return result

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """Types and quantization of x, weights, bias and output."""
        return check_weighted(inputs, outputs, self.clamp, channel_axis=0)

    def macs(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> int:
        """Taps of all output elements."""
        w = operand(inputs, 1, "weights")
        return outputs[0].size * prod(w.shape[1:])

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The window along spatial axes; along the channels those of the groups."""
        if index != 0 or axis == 0:
            return (start, stop) if index == 0 else None
        w = operand(inputs, 1, "weights")
        if axis == 1:
            per_group = w.shape[0] // self.groups
            size = w.shape[1]
            whole = self.groups == 1
            return None if whole else (start // per_group * size, ((stop - 1) // per_group + 1) * size)
        s = axis - 2
        return window_range(w.shape[axis], self.strides[s], self.pads[s], self.dilations[s], start, stop)
