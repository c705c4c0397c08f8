# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer: x [.., K] times the transpose of constant w [N, K], plus bias [N]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import fma32
from mcucompiler.ops._quantized import centered, check_weighted, finish_accumulator, optional, value
from mcucompiler.ops._shapes import check_bias, operand
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Gemm(Operator):
    """Fully connected layer; QGemm or QLinearMatMul where the tensors are quantized.

    inputs: x [..., K] of rank >= 1, w [N, K] (constant), bias [N] or absent. The importer brings Gemm (alpha, beta,
    transA, transB), MatMul by a constant and QGemm to this form.

    Quantized: exact sums of (x - zx)(w - zw) plus bias, modulo 2^32 as int32, then
    ``y = clamp(rint(f32(f32(acc) * M)) + zy)`` with ``M = f32(f32(sx * sw) / sy)``.

    Float32: the accumulator starts at the bias, or at +0; then ``acc = fma(w, x, acc)`` in ascending order of K.

    Attributes:
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.ROWS
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """[..., N]."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        if len(w.shape) != 2 or not x.shape or x.shape[-1] != w.shape[1]:
            raise ModelError(
                "shapes do not go together",
                found=f"x {list(x.shape)}, w {list(w.shape)}",
                supported="x [..., K], w [N, K]",
            )
        check_bias(inputs, w.shape[0])
        return ((*x.shape[:-1], w.shape[0]),)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The products of the rows of x with the rows of w."""
        x, w = operand(inputs, 0, "x"), operand(inputs, 1, "weights")
        xv, wv, bias = value(values, 0, "x"), value(values, 1, "weights"), optional(values, 2)
        y = outputs[0]
        if y.is_quantized:
            # Integers below 2^53 in float64: the sums are exact in whatever order BLAS adds them.
            acc = np.matmul(centered(xv, x).astype(np.float64), centered(wv, w).astype(np.float64).T)
            acc = acc.reshape(y.shape)
            return (finish_accumulator(acc, inputs, y, self.clamp, bias, channel_axis=acc.ndim - 1),)
        result = np.zeros(y.shape, dtype=np.float32)
        if bias is not None:
            result[...] = bias
        for k in range(wv.shape[1]):
            result = fma32(wv[:, k], xv[..., k : k + 1], result)
        return (result,)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """Types and quantization of x, weights, bias and output; the weights must be constant."""
        causes = check_weighted(inputs, outputs, self.clamp, channel_axis=0)
        w = inputs[1]
        if w is not None and not w.is_constant:
            causes += (f"the second operand {w.name!r} is not constant; a constant matrix is supported",)
        return causes

    def macs(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> int:
        """K for each output element."""
        return outputs[0].size * operand(inputs, 1, "weights").shape[1]

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same rows; all of a row."""
        return (start, stop) if index == 0 and axis < len(outputs[0].shape) - 1 else None
