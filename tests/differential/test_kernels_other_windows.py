# SPDX-License-Identifier: Apache-2.0
"""Pools, means, softmax, linear resizing, transposed convolution: kernels equal their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.lower.variants.average_pool import window_form
from mcucompiler.ops import AveragePool, ConvTranspose, ReduceMean
from tests.support.kernels import lowered
from tests.support.random_cases import (
    batch,
    check,
    quant,
    tensor,
    unary_case,
    variants_used,
)
from tests.support.window_cases import (
    a_conv_transpose,
    a_disjoint_conv_transpose,
    a_mean,
    a_pool,
    a_pool_of_rows,
    a_resize,
    a_softmax,
    weights,
)

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None)


@FEW
@given(seed=SEEDS)
def test_pools(seed: int) -> None:
    check(batch(a_pool, seed, 40))


@FEW
@given(seed=SEEDS)
def test_pools_of_rows_by_pointers(seed: int) -> None:
    cases = batch(a_pool_of_rows, seed, 40)
    check(cases)
    assert {"max_pool", "average_pool", "average_pool_float"} <= variants_used(cases)


def test_rows_by_pointers_are_refused_where_their_number_matters() -> None:
    """Padding that is not counted, padding above the rows, and what may be the whole image."""
    rng = np.random.default_rng(3)
    q = quant(0.1, 3)
    for width, kernel, pads, reason in (
        (5, (2, 3), (0, 1, 0, 1), "fewer elements"),
        (5, (2, 3), (1, 0, 0, 0), "above or below"),
        (3, (2, 3), (0, 0, 0, 0), "the whole image"),
    ):
        op = AveragePool(kernel=kernel, strides=(1, 1), pads=pads, dilations=(1, 1))
        x = tensor("x", (1, 4, 2, width), "int8", q)
        y = tensor("y", op.output_shapes((x,))[0], "int8", q)
        with pytest.raises(AssertionError, match=reason):
            lowered(replace(unary_case(rng, op, x, y), row_pointers=True, variant="average_pool"))


@FEW
@given(seed=SEEDS)
def test_means_and_softmax(seed: int) -> None:
    check(batch(a_mean, seed, 30) + batch(a_softmax, seed, 20))


@FEW
@given(seed=SEEDS)
def test_linear_resizing(seed: int) -> None:
    check(batch(a_resize, seed, 35))


@FEW
@given(seed=SEEDS)
def test_transposed_convolutions(seed: int) -> None:
    check(batch(a_conv_transpose, seed, 25))


@FEW
@given(seed=SEEDS)
def test_transposed_convolutions_as_products(seed: int) -> None:
    check(batch(a_disjoint_conv_transpose, seed, 25))


def test_products_of_transposed_convolutions_need_disjoint_windows() -> None:
    rng = np.random.default_rng(0)
    x, y_quant = tensor("x", (1, 4, 5, 5), "int8", quant(0.1, 3)), quant(0.1, 0)
    w = weights(rng, (4, 6, 2, 2), 1, "int8")
    plain = {"strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1), "output_padding": (0, 0)}
    changes: tuple[dict[str, tuple[int, ...]], ...] = (
        {"strides": (1, 2)},
        {"pads": (0, 1, 0, 0)},
        {"output_padding": (0, 1)},
        {"dilations": (1, 2)},
    )
    for change in ({}, *changes):
        op = ConvTranspose(**{**plain, **change})
        y = tensor("y", op.output_shapes((x, w, None))[0], "int8", y_quant)
        variant = lowered(unary_case(rng, op, x, y, constants=(w, None), strided=False))[1].variant
        assert variant == ("conv_transpose" if change else "conv_transpose_product"), change


def test_no_compiler_or_option_matters() -> None:
    makers = (a_pool, a_mean, a_softmax, a_resize, a_conv_transpose, a_disjoint_conv_transpose)
    cases = [case for number, make in enumerate(makers) for case in batch(make, 40 + number, 12)]
    check(cases, sanitize=False, cflags=("-std=c11", "-O3", "-ffp-contract=fast", "-march=native"))
    check(cases, sanitize=False, cflags=("-std=c17", "-O2", "-ffp-contract=fast"), compiler="clang")
    wanted = {"max_pool", "average_pool", "average_pool_float", "reduce_mean", "softmax", "resize_linear"}
    assert wanted | {"resize_linear_integer", "conv_transpose", "conv_transpose_product"} <= variants_used(cases)


def test_large_means_flush_their_lanes() -> None:
    rng = np.random.default_rng(5)
    for shape, axes in (((1, 8, 40, 40), (2, 3)), ((1000, 9), (0,)), ((3, 1000), (1,))):
        op = ReduceMean(axes=axes)
        x = tensor("x", shape, "int8", quant(0.1, -3))
        y = tensor("y", op.output_shapes((x,))[0], "int8", quant(0.013, 4))
        for value in (None, np.full(shape, -128, np.int8), np.full(shape, 127, np.int8)):
            check([unary_case(rng, op, x, y, value=value)])


@pytest.mark.parametrize("taps", [2, 4, 9, 25])
def test_average_windows_next_to_a_step_take_the_definition(taps: int) -> None:
    """Equal scales make exact ties, which the integer sum must not decide: every sum of a window occurs here."""
    rng = np.random.default_rng(taps)
    q = quant(0.0371, 11)
    assert window_form(taps, q, q, -128, 127) is not None
    op = AveragePool(kernel=(1, taps), strides=(1, taps), pads=(0,) * 4, dilations=(1, 1))
    x = tensor("x", (1, 4, 1, taps * 255 * 2), "int8", q)
    y = tensor("y", op.output_shapes((x,))[0], "int8", q)
    rows = np.full((4, 510, taps), -128)
    for number in range(510):
        total = number * taps // 2 + rng.integers(0, 2)
        for tap in range(taps):  # spread the sum over the window in another order each time
            rows[:, number, tap] += min(255, total // taps + (1 if tap < total % taps else 0))
        rows[:, number] = rng.permuted(rows[:, number], axis=-1)
    case = unary_case(rng, op, x, y, value=rows.clip(-128, 127).astype(np.int8).reshape(x.shape), strided=False)
    assert lowered(case)[1].variant == "average_pool"
    check([case])


def test_average_pools_of_extreme_scales_keep_the_definition() -> None:
    assert window_form(9, quant(1e-30, 0), quant(1e-30, 0), -128, 127) is None
    assert window_form(9, quant(1e6, 0), quant(1e-3, 0), -128, 127) is None
