# SPDX-License-Identifier: Apache-2.0
"""Kernels of convolutions and fully connected layers: the C equals the definition, bit by bit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.variants._weighted import weighted_layer
from mcucompiler.ops.conv import Conv
from mcucompiler.ops.gemm import Gemm
from tests.support.conv_cases import (
    Numbers,
    band_cases,
    band_conv,
    conv_cases,
    float_case,
    gemm_cases,
    integer_case,
    plain_conv,
    shaped_cases,
    with_little_scratch,
)
from tests.support.kernels import Case, check_cases, lowered
from tests.support.packed_cases import packed_cases
from tests.support.raised_cases import raised_case

CHECKS = settings(
    deadline=None, derandomize=True, max_examples=14, database=None, suppress_health_check=list(HealthCheck)
)


def batches(cases: st.SearchStrategy[Case]) -> st.SearchStrategy[list[Case]]:
    return st.lists(cases, min_size=1, max_size=12)


@given(batches(conv_cases(depthwise=False)))
@CHECKS
def test_convolutions(cases: list[Case]) -> None:
    check_cases(cases)


@given(batches(band_cases()))
@CHECKS
def test_convolutions_of_bands(cases: list[Case]) -> None:
    check_cases(cases)


@given(batches((conv_cases(depthwise=False) | band_cases() | gemm_cases()).map(with_little_scratch)))
@settings(CHECKS, max_examples=8)
def test_with_little_scratch(cases: list[Case]) -> None:
    check_cases(cases, sanitize=True, cflags=("-std=c11", "-O1"))


@pytest.mark.parametrize(("channels", "pixels"), [(4, 4), (16, 4), (32, 2), (64, 1)])
def test_little_scratch_takes_fewer_pixels_at_a_time(channels: int, pixels: int) -> None:
    case = replace(band_conv((channels, 12), 5, 3), variant="conv")
    fast, lean = (lowered(c)[1] for c in (case, with_little_scratch(case)))
    products = 9 * channels
    assert fast.scratch_bytes == 4 * 2 * products + products
    assert lean.scratch_bytes == pixels * 2 * products + products <= 2048
    check_cases([case, with_little_scratch(case)])


def test_bands_are_not_padded_above_or_below() -> None:
    padded = replace(plain_conv((3, 5, 6), 4, (3, 3)), row_pointers=True, variant="conv")
    with pytest.raises(AssertionError, match="padding above or below"):
        lowered(padded)


@given(batches(conv_cases(depthwise=True)))
@CHECKS
def test_depthwise_convolutions(cases: list[Case]) -> None:
    check_cases(cases)


@given(batches(gemm_cases()))
@CHECKS
def test_fully_connected(cases: list[Case]) -> None:
    check_cases(cases)


@given(batches(conv_cases(depthwise=False) | band_cases() | conv_cases(depthwise=True) | gemm_cases()))
@settings(CHECKS, max_examples=8)
def test_under_sanitizers(cases: list[Case]) -> None:
    check_cases(cases, sanitize=True, cflags=("-std=c11", "-O1"))


def test_every_path() -> None:
    cases = shaped_cases()
    assert {lowered(case)[1].variant for case in cases} == {"pointwise", "conv", "depthwise"}
    check_cases(cases)


@pytest.mark.parametrize(
    ("compiler", "cflags"),
    [
        ("gcc", ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast")),
        ("gcc", ("-std=c11", "-O0")),
        ("gcc", ("-std=c17", "-Os")),
        ("clang", ("-std=c11", "-O2")),
        ("clang", ("-std=gnu11", "-O3", "-march=native", "-ffp-contract=fast")),
    ],
)
def test_compilers_do_not_matter(compiler: str, cflags: tuple[str, ...]) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    extreme = Numbers(seed=5, gain=1e8, extreme=True)
    floats = Numbers(seed=6, exact="float")
    op = Conv(strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1))
    packed = packed_cases(np.random.default_rng(22), 12)
    check_cases(
        [
            *packed,
            *(with_little_scratch(case) for case in (band_conv((64, 5), 3, 3), plain_conv((3, 9, 9), 5, (3, 3)))),
            integer_case(op, (1, 3, 6, 6), (5, 3, 3, 3), extreme),
            integer_case(op, (1, 3, 6, 6), (5, 3, 3, 3), floats),
            integer_case(Gemm(), (2, 33), (5, 33), floats),
            float_case(op, (1, 3, 6, 6), (5, 3, 3, 3), 7),
            float_case(Gemm(), (2, 33), (5, 33), 8),
        ],
        compiler=compiler,
        cflags=cflags,
    )


def test_float_islands() -> None:
    conv = Conv(strides=(2, 1), pads=(1, 0, 0, 2), dilations=(1, 2), groups=2)
    cases = [
        float_case(conv, (2, 4, 7, 8), (6, 2, 3, 2), 1),
        float_case(Conv(strides=(1,), pads=(1, 1), dilations=(1,)), (1, 3, 9), (4, 3, 3), 2),
        float_case(Gemm(), (3, 20), (7, 20), 3),
        float_case(Gemm(), (20,), (7, 20), 4),
    ]
    assert all(lowered(case)[1].float_arithmetic for case in cases)
    check_cases(cases)
    check_cases(cases, sanitize=True)


def test_a_float_row_in_the_order_of_an_image() -> None:
    case = replace(float_case(Gemm(), (1, 24), (3, 24), 5), in_layouts={0: channels_last((1, 2, 3, 4))})
    check_cases([case])


def test_equal_shapes_share_a_kernel() -> None:
    floats = [integer_case(Gemm(), (1, 16), (8, 16), Numbers(seed=seed, exact="float")) for seed in (1, 2)]
    first, second = (lowered(case)[1] for case in floats)
    assert first.kernel == second.kernel
    assert first.exactness.proved == 0
    assert first.exactness.float_tail == 8


def test_infinite_multipliers_are_refused() -> None:
    case = integer_case(Gemm(), (1, 16), (8, 16), Numbers(seed=1, gain=1e43))
    with pytest.raises(AssertionError, match="infinite requantization multiplier"):
        lowered(case)


def test_sums_at_every_step_of_raised_forms() -> None:
    """Channels that only raised sums prove: sums that pass through all of their range, one by one."""
    case = raised_case()
    context, call = lowered(case)
    form = weighted_layer(context, None).form
    assert call.exactness is not None
    assert int(form.proved.sum()) < call.exactness.proved
    check_cases([case])
