# SPDX-License-Identifier: Apache-2.0
"""What the generated program computes, number by number: the float32 semantics of the quantized operators.

These are the formulas of ONNX Runtime's QOperator kernels (CPU provider, x86-64 with FMA), with every rounding in
its place. ``f32()`` marks a rounding to float32, ``rint`` rounds half to even, an fma rounds once. They define the
result; the integer forms found elsewhere in this package are only ever used where they are proved equal to these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import QuantParams

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


def wrap32(acc: npt.ArrayLike) -> Int32Array:
    """An integer sum as a 32-bit accumulator holds it: modulo 2^32, two's complement.

    Args:
        acc: integers of any shape, within int64.

    Returns:
        An int32 array of the same shape.
    """
    return np.asarray(acc, dtype=np.int64).astype(np.uint64).astype(np.uint32).view(np.int32)


def conv_multiplier(sx: np.float32, sw: npt.ArrayLike, sy: np.float32) -> Float32Array:
    """The factor from accumulator to output of a convolution or matrix product: ``f32(f32(sx * sw) / sy)``.

    Args:
        sx: scale of the input.
        sw: scales of the weights, one or one per output channel.
        sy: scale of the output.

    Returns:
        A float32 array of the shape of ``sw``; infinite where float32 overflows.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product = np.float32(sx) * np.asarray(sw, dtype=np.float32)
        return np.asarray(product / np.float32(sy), dtype=np.float32)


def mean_multiplier(count: int, sx: np.float32, sy: np.float32) -> np.float32:
    """The factor from the sum of ``count`` elements to their requantized mean: ``f32(sx / f32(sy * count))``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.float32(np.float32(sx) / np.float32(np.float32(sy) * np.float32(count)))


def saturate(real: Float32Array, zero_point: int, lo: int, hi: int) -> Int32Array:
    """``clamp(rint(real) + zero_point, lo, hi)``, clamped before the conversion to an integer.

    Both bounds are integers, so clamping before the rounding gives the same result as after it, and no value is
    out of the integer's range. A NaN gives ``lo``, as ``maxps(x, lo)`` does: in C, ``x > lo ? x : lo`` in that order.

    Args:
        real: float32 array, infinities and NaN allowed.
        zero_point: added after rounding.
        lo: least result.
        hi: greatest result.

    Returns:
        An int32 array of the same shape.
    """
    low, high = np.float32(lo - zero_point), np.float32(hi - zero_point)
    with np.errstate(invalid="ignore"):
        clamped = np.where(real > low, np.minimum(real, high), low)
    return np.asarray(np.rint(clamped).astype(np.int32) + np.int32(zero_point), dtype=np.int32)


def requantize(acc: npt.ArrayLike, multiplier: npt.ArrayLike, zero_point: int, lo: int, hi: int) -> Int32Array:
    """``clamp(rint(f32(f32(acc) * M)) + zy, lo, hi)``, the tail of QLinearConv, QLinearMatMul and QGemm.

    The product is clamped to ``[lo - zy, hi - zy]`` before it becomes an integer, so products beyond int32 and
    infinite ones saturate; a NaN (0 times an infinite multiplier) gives ``lo``.

    Args:
        acc: int32 accumulators, already wrapped.
        multiplier: float32 multipliers, broadcast against ``acc``.
        zero_point: zero point of the output.
        lo: least output.
        hi: greatest output.

    Returns:
        An int32 array of the broadcast shape.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product = np.asarray(acc).astype(np.float32) * np.asarray(multiplier, dtype=np.float32)
    return saturate(np.asarray(product, dtype=np.float32), zero_point, lo, hi)


def fma32(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> Float32Array:
    """``f32(a * b + c)`` with a single rounding, for all float32 values.

    The product of two float32 (24-bit) numbers is exact in float64 (53 bits, and wider exponents). Its sum with
    ``c`` is not, and rounding it to float64 and again to float32 would round twice. So the sum's error is
    recovered exactly (Knuth's TwoSum; no overflow or underflow is possible between numbers of float32 products'
    size) and the float64 sum is rounded to odd: an inexact sum whose last bit is even moves to its neighbor on the
    side of the error. A float64 rounded to odd keeps which side of every float32 midpoint the exact sum was on,
    since 53 >= 24 + 2 (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
    rounding to odd", 2008), so rounding it to float32 equals rounding the exact sum.

    Args:
        a: float32 values.
        b: float32 values.
        c: float32 values; all three are broadcast.

    Returns:
        A float32 array of the broadcast shape.
    """
    with np.errstate(all="ignore"):
        product, addend = np.broadcast_arrays(
            np.asarray(a, dtype=np.float32).astype(np.float64) * np.asarray(b, dtype=np.float32).astype(np.float64),
            np.asarray(c, dtype=np.float32).astype(np.float64),
        )
        total = np.asarray(product + addend)
        part = total - product
        error = (product - (total - part)) + (addend - part)
        even = (total.view(np.int64) & 1) == 0
        inexact = np.isfinite(total) & np.isfinite(error) & (error != 0)
        odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
        return np.asarray(np.where(inexact & even, odd, total).astype(np.float32))


def quantize(x: npt.ArrayLike, scale: np.float32, zero_point: int, lo: int, hi: int) -> Int32Array:
    """``clamp(rint(f32(x / scale)) + zp, lo, hi)``: QuantizeLinear. A NaN gives ``lo``.

    Args:
        x: float32 values.
        scale: scale of the output.
        zero_point: zero point of the output.
        lo: least output.
        hi: greatest output.

    Returns:
        An int32 array of the same shape.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real = np.asarray(x, dtype=np.float32) / np.float32(scale)
    return saturate(np.asarray(real, dtype=np.float32), zero_point, lo, hi)


def add_float(
    a: npt.ArrayLike, b: npt.ArrayLike, qa: QuantParams, qb: QuantParams, qy: QuantParams, *, subtract: bool = False
) -> Float32Array:
    """QLinearAdd before its clamp: ``rint(fma(a, ra, fma(b, rb, fx)))``.

    With ``ra = f32(sa / sy)``, ``rb = f32(sb / sy)`` and ``fx = f32(zy - fma(ra, za, f32(rb * zb)))``. A difference
    is the sum with ``-rb``, every rounding in the same place. Sums beyond int32 (scales in a ratio above 2^23) are
    meant to saturate; there alone ONNX Runtime's conversion on x86 overflows to the least integer instead.

    Args:
        a: integers of the first tensor.
        b: integers of the second tensor, broadcast against the first.
        qa: per-tensor quantization of the first.
        qb: per-tensor quantization of the second.
        qy: per-tensor quantization of the result.
        subtract: whether to compute ``a - b``.

    Returns:
        A float32 array of integral values, zero point included, not clamped.
    """
    ra, rb, fx = add_constants(qa, qb, qy, subtract=subtract)
    inner = fma32(np.asarray(b).astype(np.float32), rb, fx)
    return np.asarray(np.rint(fma32(np.asarray(a).astype(np.float32), ra, inner)), dtype=np.float32)


def add_constants(
    qa: QuantParams, qb: QuantParams, qy: QuantParams, *, subtract: bool = False
) -> tuple[np.float32, np.float32, np.float32]:
    """The constants ``ra, rb, fx`` of :func:`add_float`, so that ``y = rint(fma(a, ra, fma(b, rb, fx)))``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        ra, rb = np.float32(qa.s / qy.s), np.float32(qb.s / qy.s)
        if subtract:
            rb = np.float32(-rb)
        zeros = fma32(ra, np.float32(qa.z), np.float32(rb * np.float32(qb.z)))
        fx = np.float32(np.float32(qy.z) - np.float32(zeros[()]))
    return ra, rb, fx


def mul_multiplier(qa: QuantParams, qb: QuantParams, qy: QuantParams) -> np.float32:
    """The factor ``s = f32(f32(sa * sb) / sy)`` of :func:`mul_float`."""
    return np.float32(conv_multiplier(qa.s, qb.s, qy.s)[()])


def mul_float(a: npt.ArrayLike, b: npt.ArrayLike, qa: QuantParams, qb: QuantParams, qy: QuantParams) -> Float32Array:
    """QLinearMul before its clamp: ``rint(f32(f32(p * s) + zy))`` with ``p = (a - za)(b - zb)``.

    Args:
        a: integers of the first tensor.
        b: integers of the second tensor, broadcast against the first.
        qa: per-tensor quantization of the first.
        qb: per-tensor quantization of the second.
        qy: per-tensor quantization of the result.

    Returns:
        A float32 array of integral values, zero point included, not clamped.
    """
    p = (np.asarray(a, dtype=np.int64) - qa.z) * (np.asarray(b, dtype=np.int64) - qb.z)
    return mul_float_of_product(p, mul_multiplier(qa, qb, qy), qy.z)


def mul_float_of_product(product: npt.ArrayLike, multiplier: np.float32, zero_point: int) -> Float32Array:
    """``rint(f32(f32(p * s) + zy))`` for integer products ``p`` (below 2^24 in size, so exact in float32)."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        real: Any = np.asarray(product).astype(np.float32) * np.float32(multiplier) + np.float32(zero_point)
    return np.asarray(np.rint(real), dtype=np.float32)
