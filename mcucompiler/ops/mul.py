# SPDX-License-Identifier: Apache-2.0
"""Elementwise product and quotient with ONNX broadcasting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import mul_float, saturate
from mcucompiler.ops._quantized import (
    bounds,
    centered,
    check_activations,
    check_clamp,
    quantization,
    saturate_real,
    value,
)
from mcucompiler.ops._shapes import broadcast, broadcast_range, operand
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Operator):
    """Elementwise product with ONNX broadcasting; QLinearMul where the tensors are quantized.

    inputs: a, b.

    Quantized: ``y = clamp(rint(f32(f32(p * s) + zy)))`` with ``p = (a - za)(b - zb)``, ``s = f32(f32(sa * sb) / sy)``.

    Attributes:
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The common shape."""
        return (broadcast([operand(inputs, 0, "a").shape, operand(inputs, 1, "b").shape]),)

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

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return (*check_activations(inputs, outputs), *check_clamp(self.clamp, outputs))

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices, or the only one of a broadcast operand."""
        return broadcast_range(operand(inputs, index, "operand").shape, outputs[0].shape, axis, start, stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Div(Operator):
    """Elementwise quotient with ONNX broadcasting.

    inputs: a, b; ``y = a / b``.

    Quantized (ONNX Runtime has no integer kernel): the real quotient rounded once, computed in float64 as
    ``y = clamp(rint((a - za) * sa / ((b - zb) * sb) / sy) + zy)``. A division by zero saturates; 0 / 0 gives the
    least output.

    Attributes:
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The common shape."""
        return (broadcast([operand(inputs, 0, "a").shape, operand(inputs, 1, "b").shape]),)

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

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return (*check_activations(inputs, outputs), *check_clamp(self.clamp, outputs))

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices, or the only one of a broadcast operand."""
        return broadcast_range(operand(inputs, index, "operand").shape, outputs[0].shape, axis, start, stop)
