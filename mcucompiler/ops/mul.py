# SPDX-License-Identifier: Apache-2.0
"""Elementwise product and quotient with ONNX broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import mul_float, saturate
from mcucompiler.ops._binary import Binary
from mcucompiler.ops._quantized import (
    bounds,
    centered,
    quantization,
    saturate_real,
    value,
)
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import MaybeTensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Binary):
    """Elementwise product with ONNX broadcasting; QLinearMul where the tensors are quantized.

    inputs: a, b.

    Quantized: ``y = clamp(rint(f32(f32(p * s) + zy)))`` with ``p = (a - za)(b - zb)``, ``s = f32(f32(sa * sb) / sy)``.
    """

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The product of the values."""
        a, b, y = value(values, 0, "a"), value(values, 1, "b"), outputs[0]
        if not y.is_quantized:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                return (np.asarray(a * b),)
        qa, qb = quantization(operand(inputs, 0, "a")), quantization(operand(inputs, 1, "b"))
        lo, hi = bounds(y, self.clamp)
        return (saturate(mul_float(a, b, qa, qb, quantization(y)), 0, lo, hi).astype(y.dtype),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Div(Binary):
    """Elementwise quotient with ONNX broadcasting.

    inputs: a, b; ``y = a / b``.

    Quantized (ONNX Runtime has no integer kernel): the real quotient rounded once, computed in float64 as
    ``y = clamp(rint((a - za) * sa / ((b - zb) * sb) / sy) + zy)``. A division by zero saturates; 0 / 0 gives the
    least output.
    """

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The quotient of the values."""
        a, b, y = value(values, 0, "a"), value(values, 1, "b"), outputs[0]
        with np.errstate(all="ignore"):
            if not y.is_quantized:
                return (np.asarray(a / b),)
            ta, tb, quant = operand(inputs, 0, "a"), operand(inputs, 1, "b"), quantization(y)
            dividend = centered(a, ta) * float(quantization(ta).s)
            divisor = centered(b, tb) * float(quantization(tb).s)
            real = dividend / divisor / float(quant.s)
        lo, hi = bounds(y, self.clamp)
        return (saturate_real(real, quant.z, lo, hi).astype(y.dtype),)
