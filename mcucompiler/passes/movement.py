# SPDX-License-Identifier: Apache-2.0
"""Operators that only pick elements, and so commute with quantisation.

``f(dequantize(q)) == dequantize(f(q))`` and ``quantize(f(x)) == f(quantize(x))`` hold exactly for operators whose
outputs are elements of their inputs, and for maxima, since quantisation is monotone (scales are positive). Bounds
commute with quantisation too: for a monotone q, ``q(min(max(x, a), b)) == min(max(q(x), q(a)), q(b))``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, QuantParams, Tensor
from mcucompiler.numerics.requantize import quantize
from mcucompiler.ops import (
    Add,
    Cast,
    Concat,
    Div,
    MaxPool,
    Mul,
    Operator,
    Pad,
    Reshape,
    Resize,
    Slice,
    Sub,
    Transpose,
    Unary,
)

ELEMENTWISE = (Add, Cast, Div, Mul, Sub, Unary)


def is_movement(op: Operator) -> bool:
    """Whether every output of the operator is one of its inputs, a pad value, or a maximum of inputs."""
    if isinstance(op, Resize):
        return op.mode == "nearest"
    return isinstance(op, Concat | MaxPool | Pad | Reshape | Slice | Transpose)


def clip_bounds(op: Operator) -> tuple[float, float] | None:
    """The bounds of an operator that is ``min(max(x, a), b)``; None for others."""
    if not isinstance(op, Unary):
        return None
    if op.function == "relu":
        return 0.0, math.inf
    if op.function == "clip":
        low, high = op.params
        return min(low, high), high  # ONNX applies the upper bound last
    return None


def quantized_value(value: float, tensor: Tensor) -> int:
    """A real number in the units of a quantised tensor, as QuantizeLinear gives it; infinities saturate."""
    if tensor.quant is None:
        raise ValueError(f"{tensor.name!r} is not quantised")
    lo, hi = INTEGER_RANGES[tensor.dtype]
    if math.isinf(value):
        return hi if value > 0 else lo
    return int(quantize(np.float32(value), tensor.quant.s, tensor.quant.z, lo, hi))


def is_exact(value: float, tensor: Tensor) -> bool:
    """Whether a real number is exactly one that the tensor can hold, as DequantizeLinear gives it."""
    if tensor.quant is None or not math.isfinite(value):
        return False
    steps = quantized_value(value, tensor) - tensor.quant.z
    return float(np.float32(steps) * tensor.quant.s) == float(np.float32(value))


def on_integers(op: Operator, tensor: Tensor) -> Operator:
    """A movement of real numbers as the same movement of a quantised tensor's integers."""
    if isinstance(op, Pad) and op.mode == "constant":
        return replace(op, value=float(quantized_value(op.value, tensor)))
    return op


def moved_quant(op: Operator, source: Tensor, shape: tuple[int, ...]) -> QuantParams | None:
    """The parameters of a movement's result; None where the axis of per-channel ones is lost.

    Args:
        op: the movement.
        source: its quantised input.
        shape: the shape of its output.
    """
    quant = source.quant
    if quant is None or quant.axis is None:
        return quant
    axis: int | None = None
    if isinstance(op, Transpose):
        axis = op.perm.index(quant.axis)
    elif isinstance(op, Reshape):
        before = math.prod(source.shape[: quant.axis])
        fits = (a for a in range(len(shape)) if math.prod(shape[:a]) == before and shape[a] == len(quant.scale))
        axis = next(fits, None)
    return None if axis is None else replace(quant, axis=axis)
