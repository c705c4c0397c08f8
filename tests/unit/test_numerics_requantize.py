# SPDX-License-Identifier: Apache-2.0
"""The float32 semantics of requantization on values chosen for their edges."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.requantize import (
    add_float,
    conv_multiplier,
    mean_multiplier,
    mul_float,
    quantize,
    requantize,
    saturate,
    wrap32,
)


def quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


@pytest.mark.parametrize(
    ("exact", "held"),
    [
        (2**31 - 1, 2**31 - 1),
        (2**31, -(2**31)),
        (-(2**31) - 1, 2**31 - 1),
        (2**32 + 5, 5),
        (-(2**33) - 7, -7),
        (2**62, 0),
    ],
)
def test_accumulators_wrap_in_two_s_complement(exact: int, held: int) -> None:
    assert wrap32(np.array([exact], dtype=np.int64)).tolist() == [held]
    assert wrap32(np.array([[exact]])).dtype == np.int32


def test_multiplier_rounds_the_product_before_the_quotient() -> None:
    sx, sw, sy = np.float32(0.1), np.float32([0.3, 1e-30]), np.float32(0.7)
    expected = np.float32(np.float32(sx * sw[0]) / sy)
    assert conv_multiplier(sx, sw, sy)[0] == expected
    assert conv_multiplier(sx, sw, sy).dtype == np.float32
    assert conv_multiplier(np.float32(1e30), np.float32([1e30]), np.float32(1))[0] == np.inf


def test_mean_multiplier_rounds_the_scaled_count() -> None:
    sx, sy = np.float32(0.1), np.float32(0.3)
    assert mean_multiplier(49, sx, sy) == np.float32(sx / np.float32(sy * np.float32(49)))


@pytest.mark.parametrize(("acc", "y"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2)])
def test_ties_round_to_even(acc: int, y: int) -> None:
    assert requantize(np.int32([acc]), np.float32(0.5), 0, -128, 127).tolist() == [y]


def test_zero_point_is_added_after_rounding() -> None:
    assert requantize(np.int32([1, 3]), np.float32(0.5), 1, -128, 127).tolist() == [1, 3]


def test_accumulators_round_to_float32_first() -> None:
    # 2^24 + 1 is not a float32 and ties to 2^24; the exact product would round up
    factor = np.float32(100.5 / 2**24)
    exact = (2**24 + 1) * float(factor)
    assert exact > 100.5
    assert requantize(np.int32([2**24 + 1]), factor, 0, -128, 127).tolist() == [100]


def test_huge_products_saturate() -> None:
    acc = np.int32([-(2**31), -1, 1, 2**31 - 1])
    for factor in (np.float32(1e30), np.float32(3e38), np.float32(np.inf)):
        assert requantize(acc, factor, 5, -100, 90).tolist() == [-100, -100, 90, 90]


def test_not_a_number_gives_the_least_output() -> None:
    assert requantize(np.int32([0]), np.float32(np.inf), 5, -100, 90).tolist() == [-100]
    assert saturate(np.float32([np.nan, np.inf, -np.inf]), 3, -7, 7).tolist() == [-7, 7, -7]


def test_multipliers_broadcast_over_channels() -> None:
    acc = np.arange(6, dtype=np.int32).reshape(2, 3)
    factor = np.float32([1, 10])[:, None]
    assert requantize(acc, factor, 0, -128, 127).tolist() == [[0, 1, 2], [30, 40, 50]]


def test_quantize_rounds_the_quotient_and_clamps() -> None:
    x = np.float32([0.25, 0.75, -1e30, 1e30, np.nan])
    assert quantize(x, np.float32(0.5), 10, -128, 127).tolist() == [10, 12, -128, 127, -128]


def test_sum_of_equal_scales_is_the_integer_sum() -> None:
    q = quant(0.125, 3)
    a = np.arange(-128, 128)
    assert add_float(a, 7, q, q, q).tolist() == (a + 7 - 3).tolist()
    assert add_float(a, 7, q, q, q, subtract=True).tolist() == (a - 7 + 3).tolist()


def test_product_is_scaled_after_the_zero_points() -> None:
    qa, qb, qy = quant(0.5, 1), quant(0.25, -2), quant(0.125, 4)
    assert mul_float(np.array([11, 1]), np.array([-12, 5]), qa, qb, qy).tolist() == [-96.0, 4.0]
