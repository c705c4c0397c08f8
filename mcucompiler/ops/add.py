# SPDX-License-Identifier: Apache-2.0
"""Elementwise sum and difference with ONNX broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import add_float, saturate
from mcucompiler.ops._binary import Binary
from mcucompiler.ops._quantized import bounds, quantization, value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import Clamp, MaybeTensors


def _sum(
    inputs: MaybeTensors, output: Tensor, values: Sequence[Array | None], clamp: Clamp | None, *, subtract: bool
) -> Array:
    """``a + b`` or ``a - b``, quantized or float32."""
    a, b = value(values, 0, "a"), value(values, 1, "b")
    if not output.is_quantized:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(a - b if subtract else a + b)
    qa, qb = quantization(operand(inputs, 0, "a")), quantization(operand(inputs, 1, "b"))
    real = add_float(a, b, qa, qb, quantization(output), subtract=subtract)
    lo, hi = bounds(output, clamp)
    return saturate(real, 0, lo, hi).astype(output.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Binary):
    """Elementwise sum with ONNX broadcasting; QLinearAdd where the tensors are quantized.

    inputs: a, b.

    Quantized: ``y = clamp(rint(fma(a, ra, fma(b, rb, fx))))`` with ``ra = f32(sa / sy)``, ``rb = f32(sb / sy)`` and
    ``fx = f32(zy - fma(ra, za, f32(rb * zb)))``; a is the first input, also where it is the broadcast one.
    """

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The sum of the values."""
        return (_sum(inputs, outputs[0], values, self.clamp, subtract=False),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sub(Binary):
    """Elementwise difference with ONNX broadcasting.

    inputs: a, b; ``y = a - b``.

    Quantized: as :class:`Add` with ``-rb`` in place of ``rb``.
    """

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The difference of the values."""
        return (_sum(inputs, outputs[0], values, self.clamp, subtract=True),)
