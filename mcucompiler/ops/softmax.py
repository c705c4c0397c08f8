# SPDX-License-Identifier: Apache-2.0
"""Softmax along one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.numerics.requantize import saturate
from mcucompiler.ops._elementary import exp_of_difference
from mcucompiler.ops._quantized import bounds, check_activations, quantization, value
from mcucompiler.ops._shapes import check_axis, operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

Float32Array = npt.NDArray[np.float32]


def exponentials(scale: np.float32, count: int) -> Float32Array:
    """The table of the quantized Softmax: entry 255 - d belongs to elements d below the greatest of their row.

    ``f32(exp((i - 255 + shift) * scale))`` with ``shift = (f32(log(f32(FLT_MAX / count))) - 5) / scale``, in float64
    but for the marked roundings: the exponentials are scaled up so far that ``count`` of them cannot overflow.

    Args:
        scale: scale of the input.
        count: size of the axis.

    Returns:
        256 float32 values, ascending.
    """
    largest = np.float32(np.finfo(np.float32).max / np.float32(count))
    shift = max(0.0, float(np.float32(math.log(largest))) - 5.0) / float(scale)
    return np.array([math.exp((i - 255 + shift) * float(scale)) for i in range(256)], dtype=np.float64).astype(
        np.float32
    )


def output_factor(scale: np.float32) -> np.float32:
    """The factor from probability to output of the quantized Softmax, truncated: ``floor(f32(1 / sy))``."""
    return np.float32(np.floor(np.float32(1) / np.float32(scale)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Operator):
    """Softmax along one axis; QLinearSoftmax where the tensors are quantized.

    inputs: x.

    Quantized, with e the entries of :func:`exponentials` for the elements of a row and m its greatest:
    ``sum = f32(sum + e[255 + x - m])`` in the order of the axis, starting at +0, then
    ``y = clamp(rint(f32(f32(e * floor(f32(1 / sy))) / sum)) + zy)``. This is ONNX Runtime's kernel, element by element,
    except where the product leaves float32 (``floor(1 / sy) > 148 * count``: an output scale that cannot hold the
    probability 1 for one or two classes). There its result is an undefined conversion, and this one saturates.

    Float32: ``e = exp(x - m)`` by :func:`mcucompiler.ops._elementary.exp_of_difference`, the sum in the order of the
    axis, starting at +0, then ``y = f32(e * f32(1 / sum))``.

    Attributes:
        axis: non-negative.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.LAST_AXIS
    axis: int

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        x = operand(inputs, 0, "x")
        check_axis(self.axis, len(x.shape))
        return (x.shape,)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The softmax of each row."""
        y = outputs[0]
        rows = np.moveaxis(value(values, 0, "x"), self.axis, -1)
        if y.is_quantized:
            result = self._quantized(rows, operand(inputs, 0, "x"), y)
        else:
            terms = exp_of_difference(rows, rows.max(axis=-1, keepdims=True))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                result = terms * (np.float32(1) / _sequential_sum(terms))
        return (np.ascontiguousarray(np.moveaxis(result, -1, self.axis)),)

    def _quantized(self, rows: Array, x: Tensor, y: Tensor) -> Array:
        table = exponentials(quantization(x).s, rows.shape[-1])
        below = rows.max(axis=-1, keepdims=True).astype(np.int64) - rows
        terms = table[255 - below]
        quant = quantization(y)
        with np.errstate(over="ignore"):
            real = terms * output_factor(quant.s) / _sequential_sum(terms)
        return saturate(real, quant.z, *bounds(y, None)).astype(y.dtype)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return check_activations(inputs, outputs)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """All of the softmax axis, the same indices along the others."""
        return None if axis == self.axis else (start, stop)


def _sequential_sum(terms: Float32Array) -> Float32Array:
    """Float32 sums along the last axis, first element first, as [..., 1]."""
    acc = np.zeros(terms.shape[:-1], dtype=np.float32)
    for element in range(terms.shape[-1]):
        acc = acc + terms[..., element]
    return np.asarray(acc[..., np.newaxis])
