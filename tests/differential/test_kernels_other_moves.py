# SPDX-License-Identifier: Apache-2.0
"""Kernels that move elements: equal to their definitions for random shapes, memory orders, strides and places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.lower.layout import Layout, row_major
from mcucompiler.lower.types import NodeContext
from mcucompiler.lower.variants.copy import CopyIndexed, CopyNest
from mcucompiler.ops import Reshape, Slice
from tests.support.kernels import Case, lowered, run_node
from tests.support.move_cases import Q, a_concat, a_copy, a_flip, a_lookup, a_nearest, a_pad, a_slice, a_transpose
from tests.support.random_cases import (
    batch,
    check,
    tensor,
    unary_case,
    values,
    variants_used,
)

SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=3, deadline=None, derandomize=True, database=None)


@FEW
@given(seed=SEEDS)
def test_copies_and_transpositions(seed: int) -> None:
    check(batch(a_copy, seed, 30) + batch(a_transpose, seed, 30))


@FEW
@given(seed=SEEDS)
def test_slices_and_concatenations(seed: int) -> None:
    check(batch(a_slice, seed, 30) + batch(a_concat, seed, 30))


@FEW
@given(seed=SEEDS)
def test_tables_and_signs(seed: int) -> None:
    check(batch(a_lookup, seed, 35) + batch(a_flip, seed, 15))


@FEW
@given(seed=SEEDS)
def test_padding_and_nearest_resizing(seed: int) -> None:
    check(batch(a_pad, seed, 30) + batch(a_nearest, seed, 30))


def test_no_compiler_or_option_matters() -> None:
    makers = (a_copy, a_transpose, a_slice, a_concat, a_lookup, a_flip, a_pad, a_nearest)
    cases = [case for number, make in enumerate(makers) for case in batch(make, number, 6)]
    check(cases, sanitize=False, cflags=("-std=c11", "-O3"))
    check(cases, sanitize=False, cflags=("-std=c17", "-O2"), compiler="clang")
    assert {"copy", "concat", "slice", "lookup", "flip_sign", "pad", "resize_nearest"} <= variants_used(cases)


def test_reshape_between_orders_without_common_axes() -> None:
    x, y = tensor("x", (6, 4), "int8", Q), tensor("y", (4, 6), "int8", Q)
    data = values(np.random.default_rng(1), x)
    layouts = (Layout(view=(6, 4), perm=(1, 0)), Layout(view=(4, 6), perm=(1, 0)))
    case = Case(
        op=Reshape(shape=(4, 6)),
        inputs=(x,),
        outputs=(y,),
        values=(data,),
        in_layouts={0: layouts[0]},
        out_layout=layouts[1],
    )
    context: NodeContext = lowered(case)[0]
    assert CopyNest().reject(context) == "the two memory orders have no common axes"
    assert CopyIndexed().reject(context) is None
    check([case])


def test_flattened_image_is_copied_to_onnx_order() -> None:
    x, y = tensor("x", (1, 60), "int8", Q), tensor("y", (1, 60), "int8", Q)
    data = values(np.random.default_rng(2), x)
    image = Layout(view=(1, 3, 4, 5), perm=(0, 2, 3, 1))
    (got,) = run_node(
        Reshape(shape=(1, 60)), [x], [y], [data], in_layouts={0: image}, out_layout=row_major((1, 60)), sanitize=True
    )
    assert np.array_equal(got, data)


def test_a_transposed_flattened_image_with_split_axes_is_refused_with_a_reason() -> None:
    rng = np.random.default_rng(3)
    case = unary_case(
        rng,
        Slice(starts=(0, 7), stops=(1, 50), steps=(1, 1)),
        tensor("x", (1, 60), "int8", Q),
        tensor("y", (1, 43), "int8", Q),
        strided=False,
    )
    image = Layout(view=(1, 3, 4, 5), perm=(0, 2, 3, 1))
    with pytest.raises(AssertionError, match="split in memory"):
        lowered(replace(case, in_layouts={0: image}))
