# SPDX-License-Identifier: Apache-2.0
"""Elementwise arithmetic and conversions: kernels equal their definitions for random shapes and scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.lower.layout import channels_last, row_major
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops import Add, Mul, Sub, Unary
from mcucompiler.ops.base import Operator
from tests.support.arithmetic_cases import FUNCTION_CASES, a_conversion, a_function, a_pair
from tests.support.kernels import Case, lowered, run_node
from tests.support.random_cases import (
    batch,
    check,
    quant,
    tensor,
    unary_case,
    values,
    variants_used,
)

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None)
LIBM = ("-Wl,--no-as-needed", "-lm")
ALL_PAIRS = (1, 16, 64, 64)


@FEW
@given(seed=SEEDS)
def test_operators_of_two_tensors(seed: int) -> None:
    check(batch(a_pair, seed, 45))


@FEW
@given(seed=SEEDS)
def test_conversions(seed: int) -> None:
    check(batch(a_conversion, seed, 40))


def test_functions_of_float_elements() -> None:
    rng = np.random.default_rng(6)
    cases = [a_function(name, rng, params) for name, params in FUNCTION_CASES]
    check(cases, cflags=("-std=c11", "-O1", *LIBM))
    check(cases, cflags=("-std=c11", "-O3", "-ffp-contract=fast", "-march=native", *LIBM), sanitize=False)


def test_functions_of_quantized_elements_are_tables() -> None:
    rng = np.random.default_rng(7)
    cases = [a_function(name, rng, params, "int8") for name, params in FUNCTION_CASES]
    assert variants_used(cases) == {"unary_table"}
    check(cases)


def test_clip_of_integers() -> None:
    rng = np.random.default_rng(8)
    for dtype, bounds in (("int8", (-5.0, 90.0)), ("int16", (-500.0, 900.0)), ("int32", (-70000.0, 2.0**30))):
        x = tensor("x", (3, 50), dtype, quant(0.1, 0))
        check([unary_case(rng, Unary(function="clip_int", params=bounds), x, x.replace(name="y"))])


def test_no_compiler_or_option_matters() -> None:
    cases = batch(a_pair, 1, 50) + batch(a_conversion, 2, 30)
    check(cases, sanitize=False, cflags=("-std=c11", "-O3", "-ffp-contract=fast", "-march=native"))
    check(cases, sanitize=False, cflags=("-std=c17", "-O2", "-ffp-contract=fast"), compiler="clang")
    wanted = {"add_integer", "add_float", "add_float32", "mul_integer", "mul_float", "mul_float32"}
    assert wanted <= variants_used(cases)


@pytest.mark.parametrize("op", [Add(), Sub(), Mul()], ids=["add", "sub", "mul"])
@pytest.mark.parametrize("exact", ["proved", "float"])
@pytest.mark.parametrize("scales", [(0.031, 0.0517, 0.0611), (0.05, 0.05, 0.1), (0.5, 0.25, 0.25)])
def test_all_pairs(op: Operator, exact: str, scales: tuple[float, float, float]) -> None:
    grid = np.arange(-128, 128, dtype=np.int8)
    a, b = (np.ascontiguousarray(part).reshape(ALL_PAIRS) for part in np.meshgrid(grid, grid))
    tensors = [tensor(n, ALL_PAIRS, "int8", quant(s, z)) for n, s, z in zip("aby", scales, (3, -20, -5), strict=True)]
    options = LoweringOptions(exact=exact)
    (got,) = run_node(op, tensors[:2], tensors[2:], [a, b], options=options, sanitize=True)
    (want,) = op.reference(tensors[:2], tensors[2:], [a, b])
    assert np.array_equal(got, want)


def test_the_output_may_lie_over_either_operand() -> None:
    rng = np.random.default_rng(9)
    shape = (1, 6, 5, 5)
    a, b, y = (tensor(n, shape, "int8", quant(0.1, z)) for n, z in (("a", 1), ("b", 2), ("y", 3)))
    case = Case(op=Add(), inputs=(a, b), outputs=(y,), values=(values(rng, a), values(rng, b)))
    assert [(o.input, o.same) for o in lowered(case)[1].overlaps] == [(0, True), (1, True)]
    check([case, replace(case, in_layouts={0: channels_last(shape), 1: row_major(shape)})])
