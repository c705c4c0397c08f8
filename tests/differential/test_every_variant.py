# SPDX-License-Identifier: Apache-2.0
"""Every variant that accepts a node gives the same bits: selection may take any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcucompiler.lower.variants import variants_of
from mcucompiler.ops import AveragePool
from tests.support.arithmetic_cases import a_conversion, a_pair
from tests.support.conv_cases import conv_cases, gemm_cases
from tests.support.kernels import Case, check_cases, lowered
from tests.support.move_cases import a_concat, a_copy, a_flip, a_lookup, a_nearest, a_pad, a_slice, a_transpose
from tests.support.random_cases import batch, check, quant, tensor, unary_case
from tests.support.window_cases import a_conv_transpose, a_mean, a_pool, a_resize, a_softmax

FEW = settings(deadline=None, derandomize=True, max_examples=3, database=None, suppress_health_check=list(HealthCheck))
ROWS_OF_CASES = (
    a_conversion,
    a_pair,
    a_concat,
    a_copy,
    a_flip,
    a_lookup,
    a_nearest,
    a_pad,
    a_slice,
    a_transpose,
    a_conv_transpose,
    a_mean,
    a_pool,
    a_resize,
    a_softmax,
)


def in_all_ways(cases: Sequence[Case]) -> Iterator[Case]:
    """Each case once for each variant that accepts it, in its own place in memory."""
    for case in cases:
        context, _ = lowered(case)
        for variant in variants_of(case.op):
            if variant.reject(context) is None:
                overlapping = bool(variant.lower(context).overlaps)
                yield replace(case, variant=variant.name, in_place=case.in_place and overlapping)


@pytest.mark.parametrize("make", ROWS_OF_CASES)
def test_operators(make: Callable[[np.random.Generator], Case]) -> None:
    check(list(in_all_ways(batch(make, 5, 40))))


@FEW
@given(st.lists(conv_cases(depthwise=False) | conv_cases(depthwise=True) | gemm_cases(), min_size=4, max_size=10))
def test_convolutions(cases: list[Case]) -> None:
    check_cases(list(in_all_ways(cases)))


def test_the_mean_of_a_whole_image_is_left_to_the_variant_that_computes_it() -> None:
    rng = np.random.default_rng(2)
    op = AveragePool(kernel=(2, 2), strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    x, y = (tensor(name, (1, 4, size, size), "int8", quant(0.1, 3)) for name, size in (("x", 2), ("y", 1)))
    case = unary_case(rng, op, x, y)
    assert [each.variant for each in in_all_ways([case])] == ["average_pool_global"]
