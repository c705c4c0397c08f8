# SPDX-License-Identifier: Apache-2.0
"""The fused multiply-add against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcucompiler.numerics.requantize import fma32

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def round_to_float32(exact: Fraction) -> float:
    """The float32 nearest a rational number, ties to even."""
    if exact == 0:
        return 0.0
    size = abs(exact)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if Fraction(2) ** exponent > size:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    rounded = round(size / unit) * unit
    value = math.inf if rounded >= 2**128 else float(rounded)
    return math.copysign(value, exact)


@settings(deadline=None, derandomize=True, max_examples=800)
@given(FLOATS, FLOATS, FLOATS)
def test_rounds_once_for_all_floats(a: float, b: float, c: float) -> None:
    expected = round_to_float32(Fraction(a) * Fraction(b) + Fraction(c))
    assert float(fma32(a, b, c)) == expected


@settings(deadline=None, derandomize=True, max_examples=800)
@given(st.integers(2**23, 2**24 - 1), st.integers(2**23, 2**24 - 1), st.integers(1, 2**24 - 1), st.integers(-80, 30))
@example(2**23 + 1, 2**23 + 1, 1, -60)
def test_rounds_once_when_the_addend_only_breaks_a_tie(a: int, b: int, c: int, exponent: int) -> None:
    """Small addends, which a float64 sum loses: where rounding twice goes wrong."""
    for sign in (1, -1):
        addend = sign * math.ldexp(float(c), exponent)
        expected = round_to_float32(Fraction(a) * b + Fraction(addend))
        assert float(fma32(float(a), float(b), addend)) == expected


def test_differs_from_rounding_twice() -> None:
    """A case in which float64 arithmetic would be wrong, so the tests above can fail."""
    a, b, c = np.float32(1 + 2.0**-12), np.float32(1 + 2.0**-12), np.float32(2.0**-80)
    # the product 1 + 2^-11 + 2^-24 is a float32 tie, which the addend pushes up
    twice = np.float32(float(a) * float(b) + float(c))
    assert twice == np.float32(1 + 2.0**-11)
    assert fma32(a, b, c) == np.nextafter(twice, np.float32(2))


def test_broadcasts_and_keeps_special_values() -> None:
    y = fma32(np.float32([[1], [np.inf]]), np.float32([2, 3]), np.float32(-1))
    assert y.dtype == np.float32
    assert y.tolist() == [[1, 2], [math.inf, math.inf]]
    assert np.isnan(fma32(np.inf, 0.0, 1.0))
    assert fma32(3e38, 3e38, 0.0) == np.inf
    assert fma32(3e38, 2.0, -3e38) == np.float32(3e38)
