# SPDX-License-Identifier: Apache-2.0
"""Dense convolutions with packed sums: the C equals the definition, and no field leaves its range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.lower.variants.conv_packed import sections_of
from mcucompiler.machine.blocks.packed_sums import LARGEST_SUM
from tests.support.conv_cases import Numbers, plain_conv
from tests.support.kernels import check_cases, lowered
from tests.support.packed_cases import packed_case, packed_cases


@pytest.mark.parametrize("sanitize", [False, True])
def test_random_images_and_bands(sanitize: bool) -> None:
    cases = packed_cases(np.random.default_rng(7 + sanitize), 40)
    assert {lowered(case)[1].variant for case in cases} == {"conv_packed"}
    check_cases(cases, sanitize=sanitize)


def test_the_range_is_used_to_its_end() -> None:
    """Weights and inputs at the ends of int8, over as many channels as the range allows and over more."""
    check_cases([packed_case((channels, 4, 9), 3, Numbers(seed=1, extreme=True)) for channels in (6, 14, 15, 40)])


def test_sections_are_as_long_as_the_range_allows() -> None:
    """At most 8191 in magnitude: 7 input channels of nine weights of -128 are 8064, 8 are 9216."""
    weights = np.full((3, 16 * 9), -128, np.int64)
    weights[1] //= 4
    weights[2, 9:] = 0
    assert LARGEST_SUM == 8191
    assert list(sections_of(weights, 16, 1)) == [6, 16, 16]
    assert list(sections_of(weights, 16, 2)) == [6, 16, 16]
    assert list(sections_of(weights[:, : 14 * 9], 14, 1)) == [7, 14, 14]


def test_it_is_estimated_to_be_quicker_in_long_rows_alone() -> None:
    for width, quicker in [(32, True), (16, True), (4, False)]:
        case = plain_conv((32, 8, width), 32, (3, 3))
        packed, general = (lowered(replace(case, variant=name))[1] for name in ("conv_packed", "conv"))
        assert (packed.cycles < 0.95 * general.cycles) is quicker


def test_other_windows_are_refused() -> None:
    for case in (plain_conv((16, 8, 32), 16, (3, 3), stride=2), plain_conv((16, 8, 32), 16, (5, 5))):
        with pytest.raises(AssertionError, match="not a dense 3x3 one"):
            lowered(replace(case, variant="conv_packed"))


def test_equal_shapes_share_a_kernel_whatever_their_sections() -> None:
    """The sections are data."""
    first, second = (
        lowered(packed_case((40, 4, 9), 3, Numbers(seed=seed, extreme=True, exact="float")))[1] for seed in (1, 2)
    )
    assert first.kernel == second.kernel
