# SPDX-License-Identifier: Apache-2.0
"""Means over whole windows: integer forms on all sums that can occur."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.mean_form import find_mean_form
from mcucompiler.numerics.requantize import mean_multiplier, requantize
from mcucompiler.numerics.verify import evaluate_mean, verify_mean_form


def quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


@settings(deadline=None, derandomize=True, max_examples=80)
@given(
    st.integers(1, 400),
    st.floats(min_value=2.0**-9, max_value=1, width=32),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(-128, 0),
)
def test_means_are_exact_where_a_form_is_found(count: int, ratio: float, zx: int, zy: int, lo: int) -> None:
    qx, qy = quant(0.03, zx), quant(0.03 / ratio, zy)
    form = find_mean_form(count, qx, qy, lo, 127)
    if form is not None:
        sums = np.arange(count * (-128 - zx), count * (127 - zx) + 1)
        expected = requantize(sums, mean_multiplier(count, qx.s, qy.s), zy, lo, 127)
        assert (evaluate_mean(form, sums) == expected).all()


@pytest.mark.parametrize("count", [9, 25, 49, 100, 125, 144, 196])
def test_common_windows_have_a_form(count: int) -> None:
    assert find_mean_form(count, quant(0.0235, -128), quant(0.0171, -128), -128, 127) is not None


def test_exact_ties_and_large_multipliers_have_none() -> None:
    q = quant(0.05, -3)
    assert find_mean_form(16, q, q, -128, 127) is None
    assert find_mean_form(1, q, quant(0.04, 1), -128, 127) is None
    assert find_mean_form(2**25, q, q, -128, 127) is None
    with pytest.raises(ValueError, match="mean of 0"):
        find_mean_form(0, q, q, -128, 127)


def test_changed_means_are_refused() -> None:
    qx, qy = quant(0.0235, -128), quant(0.0171, 3)
    form = find_mean_form(49, qx, qy, -128, 127)
    assert form is not None
    verify_mean_form(form, qx, qy)
    for change in (
        {"multiplier": form.multiplier + 2**20},
        {"multiplier": -form.multiplier},
        {"addend": form.addend + 2},
        {"shift": form.shift + 1},
        {"shift": 0},
        {"count": 50},
        {"zero_in": -127},
    ):
        with pytest.raises(VerificationError):
            verify_mean_form(replace(form, **change), qx, qy)
