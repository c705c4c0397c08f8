# SPDX-License-Identifier: Apache-2.0
"""Mean over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import mean_multiplier, requantize, saturate, wrap32
from mcucompiler.ops._pool import Pool
from mcucompiler.ops._quantized import (
    bounds,
    centered,
    check_activations,
    check_clamp,
    dequantized,
    quantization,
    value,
)
from mcucompiler.ops._shapes import operand
from mcucompiler.ops._taps import tap_slices
from mcucompiler.ops.base import Clamp, MaybeTensors, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Pool):
    """Mean over windows; QLinearAveragePool where the tensors are quantized.

    inputs: x [N, C, *S].

    n is the number of taps inside the input, or of all taps where ``count_include_pad``.

    Quantized, where the kernel is the whole unpadded input, with S the sum of x - zx over the n elements:
    ``y = clamp(rint(f32(f32(S) * f32(sx / f32(sy * n)))) + zy)``. Otherwise a float32 sum in the order of rows, then
    columns, that starts at +0: ``acc = f32(acc + f32(f32(x - zx) * sx))``, then
    ``y = clamp(rint(f32(f32(f32(acc / n) / sy) + zy)))``.

    Float32: the same sum of x, divided by n.

    A window that lies in the padding altogether has the mean 0 (n is taken as 1).

    Attributes (and those of ``Pool``):
        count_include_pad: whether taps in the padding count as zeros.
        clamp: an activation folded into the operator.
    """

    count_include_pad: bool = False
    clamp: Clamp | None = None

    def is_global(self, spatial: Shape) -> bool:
        """Whether the single window is the whole input, without padding: then the integer form of the mean holds.

        Args:
            spatial: the input's spatial shape.
        """
        return self.kernel == tuple(spatial) and not any(self.pads) and all(d == 1 for d in self.dilations)

    def counts(self, spatial: Shape, outputs: Shape) -> Array:
        """The divisor n of each window.

        Args:
            spatial: the input's spatial shape.
            outputs: the output's spatial shape.

        Returns:
            int64 array of the shape ``outputs``.
        """
        if self.count_include_pad:
            return np.full(outputs, prod(self.kernel), dtype=np.int64)
        counts = np.zeros(outputs, dtype=np.int64)
        for _, out, _ in tap_slices(spatial, outputs, self.kernel, self.strides, self.pads, self.dilations):
            counts[out] += 1
        return np.maximum(counts, 1)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The means of the windows."""
        x, xv, y = operand(inputs, 0, "x"), value(values, 0, "x"), outputs[0]
        spatial = x.shape[2:]
        if not y.is_quantized:
            return (self._mean(xv, y.shape),)
        qx, qy = quantization(x), quantization(y)
        lo, hi = bounds(y, self.clamp)
        if self.is_global(spatial):
            axes = tuple(range(2, len(x.shape)))
            sums = wrap32(centered(xv, x).sum(axis=axes, keepdims=True))
            return (requantize(sums, mean_multiplier(prod(spatial), qx.s, qy.s), qy.z, lo, hi).astype(y.dtype),)
        mean = self._mean(dequantized(xv, x), y.shape)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            real = np.asarray(mean / qy.s + np.float32(qy.z), dtype=np.float32)
        return (saturate(np.rint(real), 0, lo, hi).astype(y.dtype),)

    def _mean(self, x: Array, shape: Shape) -> Array:
        """The sequential float32 sums over the taps, divided by n."""
        acc = np.zeros(shape, dtype=np.float32)
        every = (slice(None), slice(None))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for _, out, src in tap_slices(x.shape[2:], shape[2:], self.kernel, self.strides, self.pads, self.dilations):
                acc[(*every, *out)] += x[(*every, *src)]
            return np.asarray(acc / self.counts(x.shape[2:], shape[2:]).astype(np.float32), dtype=np.float32)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return (*check_activations(inputs, outputs), *check_clamp(self.clamp, outputs))
