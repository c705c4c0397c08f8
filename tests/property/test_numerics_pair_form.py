# SPDX-License-Identifier: Apache-2.0
"""Sums, differences and products of two int8 tensors: integer forms on all 65,536 pairs."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.pair_form import find_add_form, find_mul_form
from mcucompiler.numerics.requantize import add_float, mul_float
from mcucompiler.numerics.verify import evaluate_add, evaluate_mul, verify_add_form, verify_mul_form

A = np.arange(-128, 128)[:, None]
B = np.arange(-128, 128)[None, :]

zero_points = st.integers(-128, 127)
scales = st.floats(min_value=2.0**-10, max_value=2.0**-2, width=32)


@st.composite
def quants(draw: st.DrawFn) -> QuantParams:
    return QuantParams(scale=(draw(scales),), zero_point=(draw(zero_points),))


@st.composite
def binary_quants(draw: st.DrawFn) -> QuantParams:
    """Scales that are powers of two."""
    return QuantParams(scale=(2.0 ** draw(st.integers(-7, -4)),), zero_point=(draw(zero_points),))


def quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


@settings(deadline=None, derandomize=True, max_examples=80)
@given(quants(), quants(), quants(), st.booleans(), st.integers(-128, 0), st.integers(1, 127))
def test_sums_are_exact_where_a_form_is_found(
    qa: QuantParams, qb: QuantParams, qy: QuantParams, subtract: bool, lo: int, hi: int
) -> None:
    form = find_add_form(qa, qb, qy, lo, hi, subtract=subtract)
    if form is None:
        return
    expected = np.clip(add_float(A, B, qa, qb, qy, subtract=subtract), lo, hi)
    assert (evaluate_add(form, A, B) == expected).all()
    partial = form.addend + B * form.multiplier_b
    for held in (partial, partial + A * form.multiplier_a + (1 if form.half_even else 0)):
        assert -(2**31) <= held.min() <= held.max() < 2**31


def test_typical_sums_have_a_linear_form() -> None:
    rng = np.random.default_rng(1)
    found = []
    for index in range(60):
        qa, qb, qy = (quant(rng.uniform(0.01, 0.1), int(rng.integers(-128, 128))) for _ in range(3))
        form = find_add_form(qa, qb, qy, -128, 127, subtract=index % 2 == 1)
        found.append(form is not None and not form.half_even)
    assert sum(found) >= 58


@settings(deadline=None, derandomize=True, max_examples=40)
@given(binary_quants(), binary_quants(), binary_quants(), st.booleans())
def test_powers_of_two_always_have_a_form(qa: QuantParams, qb: QuantParams, qy: QuantParams, subtract: bool) -> None:
    form = find_add_form(qa, qb, qy, -128, 127, subtract=subtract)
    assert form is not None
    exact = [
        [
            round(Fraction(qa.scale[0]) / Fraction(qy.scale[0]) * (a - qa.z) + sign_b + qy.z)
            for a in range(-128, 128, 17)
        ]
        for b in range(-128, 128, 13)
        for sign_b in [Fraction(qb.scale[0]) / Fraction(qy.scale[0]) * (b - qb.z) * (-1 if subtract else 1)]
    ]
    assert (evaluate_add(form, A[::17], B[:, ::13]) == np.clip(np.array(exact).T, -128, 127)).all()


def test_halves_need_the_parity_bit() -> None:
    q, wide = quant(0.125, 3), quant(0.25, -5)
    form = find_add_form(q, q, wide, -128, 127)
    assert form is not None
    assert form.half_even
    assert not find_add_form(q, q, q, -128, 127).half_even
    with pytest.raises(VerificationError, match="sum differs"):
        verify_add_form(replace(form, half_even=False), q, q, wide)


@pytest.mark.parametrize(
    "change",
    [
        {"multiplier_a": 400_000},
        {"multiplier_b": -400_000},
        {"addend": 2**20},
        {"addend": 2**31},
        {"shift": 1},
        {"shift": -30},
        {"lo": 1},
        {"hi": -1},
    ],
)
def test_changed_sums_are_refused(change: dict[str, int]) -> None:
    qa, qb, qy = quant(0.031, 4), quant(0.027, -9), quant(0.043, 11)
    form = find_add_form(qa, qb, qy, -100, 100)
    assert form is not None
    verify_add_form(form, qa, qb, qy)
    changed = replace(form, **{name: getattr(form, name) + step for name, step in change.items()})
    if "lo" in change or "hi" in change:
        # another clamp is another function: it is right for itself and not what was asked for
        expected = np.clip(add_float(A, B, qa, qb, qy), -100, 100)
        assert (evaluate_add(changed, A, B) != expected).any()
    else:
        with pytest.raises(VerificationError):
            verify_add_form(changed, qa, qb, qy)
    with pytest.raises(VerificationError):
        verify_add_form(form, qa, qb, qy, subtract=True)
    with pytest.raises(VerificationError):
        verify_add_form(form, qb, qa, qy)


def test_sums_that_cannot_be_held_have_no_form() -> None:
    assert find_add_form(quant(1e30, 0), quant(1, 0), quant(1e-3, 0), -128, 127) is None
    assert find_add_form(quant(3e38, 0), quant(1, 0), quant(1e-3, 0), -128, 127) is None
    with pytest.raises(ValueError, match="outside int8"):
        find_add_form(quant(1, 0), quant(1, 0), quant(1, 0), 0, 255)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(quants(), quants(), quants(), st.integers(-128, 0), st.integers(1, 127))
def test_products_are_exact_where_a_form_is_found(
    qa: QuantParams, qb: QuantParams, qy: QuantParams, lo: int, hi: int
) -> None:
    form = find_mul_form(qa, qb, qy, lo, hi)
    if form is not None:
        assert (evaluate_mul(form, A, B) == np.clip(mul_float(A, B, qa, qb, qy), lo, hi)).all()


def test_typical_products_have_a_form() -> None:
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(60):
        qa, qb, qy = (quant(rng.uniform(0.01, 0.05), int(rng.integers(-128, 128))) for _ in range(3))
        found += find_mul_form(qa, qb, qy, -128, 127) is not None
    assert found >= 56


def test_changed_products_are_refused() -> None:
    qa, qb, qy = quant(0.031, 4), quant(0.027, -9), quant(0.043, 11)
    form = find_mul_form(qa, qb, qy, -128, 127)
    assert form is not None
    verify_mul_form(form, qa, qb, qy)
    for change in (
        {"multiplier": form.multiplier + 2**20},
        {"multiplier": form.multiplier - 2**20},
        {"multiplier": 0},
        {"multiplier": 2**31},
        {"addend": form.addend + 2},
        {"addend": 2**30},
        {"shift": form.shift + 1},
        {"zero_a": 5},
        {"zero_b": 9},
    ):
        with pytest.raises(VerificationError):
            verify_mul_form(replace(form, **change), qa, qb, qy)


def test_products_without_a_form() -> None:
    assert find_mul_form(quant(1, 0), quant(1, 0), quant(1, 0), -128, 127) is None
    assert find_mul_form(quant(3e38, 0), quant(3e38, 0), quant(1, 0), -128, 127) is None
    with pytest.raises(ValueError, match="outside int8"):
        find_mul_form(quant(1, 0), quant(1, 0), quant(1, 0), 3, 2)
