# SPDX-License-Identifier: Apache-2.0
"""Exponential, logistic function and hyperbolic tangent in float32, as ONNX Runtime's CPU kernels compute them.

They are made of additions, multiplications, divisions and fused multiply-adds only, so that a C program with ``fmaf``
has the same bits, whatever its libm. In all of them ``a * b + c`` is one fused operation.

Sources of the formulas: the logistic function and the tangent are the rational approximations of the Eigen library;
the exponential is a degree 6 polynomial after a reduction modulo log 2. The constants are those of ONNX Runtime's
vector kernels, which the tests compare bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcucompiler.numerics.requantize import fma32

Float32Array = npt.NDArray[np.float32]

LOGISTIC_LIMIT = np.float32(18.0)
LOGISTIC_NUMERATOR = tuple(
    np.float32(c)
    for c in (
        4.37031012579801e-11,
        1.15627324459942e-07,
        6.08574864600143e-05,
        8.51377133304701e-03,
        2.48287947061529e-01,
    )
)
LOGISTIC_DENOMINATOR = tuple(
    np.float32(c)
    for c in (
        6.10247389755681e-13,
        5.76102136993427e-09,
        6.29106785017040e-06,
        1.70198817374094e-03,
        1.16817656904453e-01,
        9.93151921023180e-01,
    )
)
TANH_LIMIT = np.float32(9.0)
TANH_NUMERATOR = tuple(
    np.float32(c)
    for c in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
TANH_DENOMINATOR = tuple(
    np.float32(c) for c in (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
)
EXP_LOWEST = np.float32(-88.3762626647949)
EXP_ROUNDING = np.float32(12582912.0)
EXP_LOG2_E = np.float32(1.44269504088896341)
EXP_LN2_HIGH = np.float32(-6.93145752e-1)
EXP_LN2_LOW = np.float32(-1.42860677e-6)
EXP_POLYNOMIAL = tuple(
    np.float32(float.fromhex(c))
    for c in ("0x1.694p-10", "0x1.125edcp-7", "0x1.555b5ap-5", "0x1.55545p-3", "0x1.fffff6p-2", "0x1p+0", "0x1p+0")
)


def _horner(coefficients: Sequence[np.float32], x: Float32Array) -> Float32Array:
    """The polynomial, highest coefficient first, by fused multiply-adds."""
    result = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        result = fma32(result, x, coefficient)
    return result


def _clip(x: npt.ArrayLike, lo: np.float32, hi: np.float32) -> Float32Array:
    """Clamping that keeps a NaN."""
    array = np.asarray(x, dtype=np.float32)
    low = np.where(array < lo, lo, array)
    return np.asarray(np.where(low > hi, hi, low), dtype=np.float32)


def logistic(x: npt.ArrayLike) -> Float32Array:
    """``1 / (1 + exp(-x))``: ``clamp(f32(f32(f32(p(x^2) * x) / q(x^2)) + 0.5), 0, 1)`` with x clamped to [-18, 18].

    Args:
        x: float32 values.

    Returns:
        A float32 array of the same shape.
    """
    v = _clip(x, np.float32(-LOGISTIC_LIMIT), LOGISTIC_LIMIT)
    square = v * v
    numerator = _horner(LOGISTIC_NUMERATOR, square) * v
    ratio = numerator / _horner(LOGISTIC_DENOMINATOR, square)
    return _clip(ratio + np.float32(0.5), np.float32(0), np.float32(1))


def tanh(x: npt.ArrayLike) -> Float32Array:
    """The hyperbolic tangent: ``f32(f32(p(x^2) * x) / q(x^2))`` with x clamped to [-9, 9].

    Args:
        x: float32 values.

    Returns:
        A float32 array of the same shape.
    """
    v = _clip(x, np.float32(-TANH_LIMIT), TANH_LIMIT)
    square = v * v
    return np.asarray(_horner(TANH_NUMERATOR, square) * v / _horner(TANH_DENOMINATOR, square), dtype=np.float32)


def exp_of_difference(x: npt.ArrayLike, largest: npt.ArrayLike) -> Float32Array:
    """``exp(x - largest)`` for ``x <= largest``, the exponential of Softmax.

    With ``v = max(f32(x - largest), -88.3762...)``, ``m = rint(v / log 2)`` by adding and subtracting 1.5 * 2^23,
    ``r = v - m log 2`` in two fused steps, the result is ``f32(p(r) * 2^m)``, and 0 where m is below -126.

    Args:
        x: float32 values.
        largest: what is subtracted, broadcast against x.

    Returns:
        A float32 array of the broadcast shape.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        v = np.asarray(x, dtype=np.float32) - np.asarray(largest, dtype=np.float32)
    v = np.where(v < EXP_LOWEST, EXP_LOWEST, v)
    m = fma32(v, EXP_LOG2_E, EXP_ROUNDING) - EXP_ROUNDING
    r = fma32(m, EXP_LN2_LOW, fma32(m, EXP_LN2_HIGH, v))
    p = _horner(EXP_POLYNOMIAL, r)
    exponent = np.where(m >= -126, m, 0).astype(np.int32)
    power = np.where(m < -126, np.float32(0), np.ldexp(np.float32(1), exponent))
    with np.errstate(under="ignore", invalid="ignore"):
        return np.asarray(p * power, dtype=np.float32)
