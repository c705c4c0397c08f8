# SPDX-License-Identifier: Apache-2.0
"""Depthwise kernels on whole planes and on bands given by row pointers: the C equals the definition, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.conv_cases import Numbers
from tests.support.depthwise_cases import band_case, random_case
from tests.support.kernels import check_cases, lowered


@pytest.mark.parametrize("sanitize", [False, True])
def test_random_planes_and_bands(sanitize: bool) -> None:
    rng = np.random.default_rng(41 + sanitize)
    cases = [random_case(rng) for _ in range(60)]
    assert {lowered(case)[1].variant for case in cases} == {"depthwise"}
    check_cases(cases, sanitize=sanitize)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_band_may_lie_over_its_own_rows(rows: int) -> None:
    cases = [band_case(size, 14, 3, Numbers(seed=size), rows=rows, in_place=True) for size in (3, 5, 7)]
    check_cases(cases)
    check_cases(cases, sanitize=True)


def test_a_narrower_band_may_lie_over_a_row_too() -> None:
    cases = [
        band_case(3, 14, 3, Numbers(seed=1), stride=2, in_place=True),
        band_case(5, 15, 7, Numbers(seed=2), stride=3, in_place=True),
    ]
    check_cases(cases)
    check_cases(cases, sanitize=True)
    assert not lowered(band_case(4, 14, 3, Numbers(seed=1)))[1].overlaps, "the output is wider"
