# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution over 1 or 2 spatial axes."""

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
from mcucompiler.ops._shapes import check_bias, check_groups, check_spatial, operand, pad_pairs
from mcucompiler.ops._taps import tap_slices
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose(Operator):
    """Transposed convolution: ``y[o] = sum of x[i] * w[k]`` over all ``o = i * stride + k * dilation - pad``.

    inputs: x [N, C, *S], w [C, M/groups, *K], bias [M] or absent.

    Quantized, in the manner of QLinearConv (ONNX Runtime has no integer kernel): exact sums of (x - zx)(w - zw) plus
    bias, modulo 2^32 as int32, then ``y = clamp(rint(f32(f32(acc) * M)) + zy)``, ``M = f32(f32(sx * sw) / sy)``.

    Float32: the accumulator starts at the bias, or at +0; then, in the order of kernel rows, kernel columns and input
    channels of the group, ``acc = fma(w, x, acc)`` for the taps that reach the output element.

    Attributes:
        strides: for each spatial axis.
        pads: what is cut off the full result: all begins, then all ends.
        dilations: for each spatial axis.
        output_padding: elements without a tap added at the end, for each spatial axis.
        groups: how many independent convolutions the channels are split into.
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.CHANNELS_LAST
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    output_padding: tuple[int, ...]
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
                supported="input [N, C, L] or [N, C, H, W], weights [C, M/groups, ...] of the same rank",
            )
        check_spatial(
            rank, strides=self.strides, pads=self.pads, dilations=self.dilations, output_padding=self.output_padding
        )
        channels = w.shape[1] * self.groups
        check_groups(x.shape[1], w.shape[0], channels, self.groups)
        check_bias(inputs, channels)
        spatial = tuple(
            (dim - 1) * stride + dilation * (k - 1) + 1 + extra - begin - end
            for dim, k, stride, dilation, extra, (begin, end) in zip(
                x.shape[2:],
                w.shape[2:],
                self.strides,
                self.dilations,
                self.output_padding,
                pad_pairs(self.pads),
                strict=True,
            )
        )
        if min(spatial) < 1:
            raise ModelError("the padding removes the whole output", found=f"output {list(spatial)}")
        return ((x.shape[0], channels, *spatial),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The transposed convolution of the values."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        xv, wv, bias = value(values, 0, "x"), value(values, 1, "weights"), optional(values, 2)
        y = outputs[0]
        if not y.is_quantized:
            return (self._float(xv, wv, bias, y.shape),)
        # Integers below 2^53 in float64: the sums are exact in whatever order BLAS adds them.
        result, parts = self._taps(centered(xv, x).astype(np.float64), centered(wv, w).astype(np.float64), y.shape)
        for acc, xs, ws in parts:
            term = np.matmul(ws.swapaxes(1, 2), xs.reshape(*xs.shape[:3], -1))
            acc += term.reshape(acc.shape)
        return (finish_accumulator(result, inputs, y, self.clamp, bias, channel_axis=1),)

    def _taps(self, x: Array, w: Array, shape: Shape) -> tuple[Array, list[tuple[Array, Array, Array]]]:
        """The accumulator [N, M, *S], and for each tap its part of it [N, G, M/G, ...], of x, and w [G, C/G, M/G].

        The inputs that a tap of this convolution reaches are the outputs of the same tap of the convolution whose
        transpose it is, so the slices are those of that convolution with the roles exchanged.
        """
        groups = self.groups
        acc = np.zeros((shape[0], groups, shape[1] // groups, *shape[2:]), dtype=x.dtype)
        xg = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
        wg = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
        every: tuple[Any, ...] = (slice(None),) * 3
        parts = [
            (acc[(*every, *out)], xg[(*every, *src)], wg[(*every, *tap)])
            for tap, src, out in tap_slices(
                shape[2:], x.shape[2:], w.shape[2:], self.strides, self.pads, self.dilations
            )
        ]
        return acc.reshape(shape), parts

    def _float(self, x: Array, w: Array, bias: Array | None, shape: Shape) -> Array:
        result, parts = self._taps(x, w, shape)
        ones = (1,) * (len(shape) - 2)
        if bias is not None:
            result[...] = bias.reshape(-1, *ones)
        for acc, xs, ws in parts:
            for channel in range(xs.shape[2]):
                weights = ws[:, channel].reshape(1, *ws[:, channel].shape, *ones)
                acc[...] = fma32(weights, xs[:, :, channel : channel + 1], acc)
        return result

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """Types and quantization; weight scales may differ along axis 1 where there is one group."""
        causes = check_weighted(inputs, outputs, self.clamp, channel_axis=1)
        w = inputs[1]
        if self.groups > 1 and w is not None and w.quant is not None and not w.quant.per_tensor:
            causes += (f"the weights of {self.groups} groups are quantized per channel; per tensor is supported",)
        return causes

    def macs(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> int:
        """Taps of all input elements."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        return x.size * prod(w.shape[1:])

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The inputs whose taps reach the outputs; along the channels those of the groups."""
        if index != 0 or axis == 0:
            return (start, stop) if index == 0 else None
        w = operand(inputs, 1, "weights")
        if axis == 1:
            size, per_group = w.shape[0] // self.groups, w.shape[1]
            whole = self.groups == 1
            return None if whole else (start // per_group * size, ((stop - 1) // per_group + 1) * size)
        s = axis - 2
        stride, pad = self.strides[s], self.pads[s]
        reach = self.dilations[s] * (w.shape[axis] - 1)
        return (-((reach - start - pad) // stride), (stop - 1 + pad) // stride + 1)
