# SPDX-License-Identifier: Apache-2.0
"""Kernels that are no products of matrices on the core they are written for: bits, instructions, stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.lower.types import LoweringOptions
from mcucompiler.lower.variants.calls import COMPILED_LOOPS
from mcucompiler.ops import (
    Add,
    AveragePool,
    Dequantize,
    FlipSign,
    Lookup,
    MaxPool,
    Mul,
    Quantize,
    ReduceMean,
    Resize,
    Softmax,
)
from mcucompiler.ops.base import Operator
from tests.support.arithmetic_cases import a_conversion, a_pair
from tests.support.compiled_loops import innermost_loops
from tests.support.kernel_qemu import build_cases, measure_cases
from tests.support.kernels import Case, lowered, reference_of
from tests.support.move_cases import a_concat, a_copy, a_flip, a_lookup, a_nearest, a_pad, a_slice, a_transpose
from tests.support.random_cases import batch, constant, quant, tensor, unary_case, values
from tests.support.window_cases import (
    a_conv_transpose,
    a_disjoint_conv_transpose,
    a_mean,
    a_pool,
    a_pool_of_rows,
    a_resize,
    a_softmax,
)

pytestmark = pytest.mark.qemu

HALVED = {"strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
DOUBLED = Resize(
    sizes=(1, 16, 32, 32), scales=(1.0, 1.0, 2.0, 2.0), mode="linear", coordinates="half_pixel", truncate=False
)


def compare(cases: Sequence[Case]) -> list[int]:
    """Instructions of each case, whose output must equal its definition and whose stack must be as declared."""
    counts = []
    for case, measured in zip(cases, measure_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0], err_msg=str(case.op))
        assert measured.stack_bytes <= lowered(case)[1].stack_bytes, case.op
        counts.append(measured.instructions)
    return counts


@pytest.mark.parametrize(
    "makers",
    [
        (a_copy, a_transpose, a_slice, a_concat, a_lookup, a_flip, a_pad, a_nearest),
        (a_pool, a_pool_of_rows, a_mean, a_softmax, a_resize, a_conv_transpose, a_disjoint_conv_transpose),
        (a_pair, a_pair, a_conversion),
    ],
    ids=["moves", "windows", "arithmetic"],
)
def test_every_path_gives_the_same_bits(makers: Sequence[object]) -> None:
    compare([case for number, make in enumerate(makers) for case in batch(make, 70 + number, 12)])  # type: ignore[arg-type]


STRETCHED = replace(DOUBLED, sizes=(1, 16, 25, 25), scales=(1.0, 1.0, 25 / 16, 25 / 16))


def image_case(op: Operator, shape: tuple[int, ...], *, table: bool = False, same: bool = False) -> Case:
    rng = np.random.default_rng(1)
    x = tensor("x", shape, "uint8" if isinstance(op, FlipSign) else "int8", quant(0.031, 3))
    constants = (constant(rng, tensor("table", (256,), "int8")),) if table else ()
    result = op.output_shapes((x, *constants))[0]
    return unary_case(
        rng,
        op,
        x,
        tensor("y", result, "int8", x.quant if same else quant(0.0511, -7)),
        constants=constants,
        strided=False,
    )


def pair_case(op: Operator) -> Case:
    rng, shape = np.random.default_rng(2), (1, 96, 10, 10)
    a, b, y = (
        tensor(n, shape, "int8", quant(s, z)) for n, s, z in (("a", 0.031, 3), ("b", 0.0517, -20), ("y", 0.0611, -5))
    )
    return Case(op=op, inputs=(a, b), outputs=(y,), values=(values(rng, a), values(rng, b)))


def a_float_pair(op: Operator) -> Case:
    rng, shape = np.random.default_rng(3), (1, 96, 10, 10)
    a, b, y = (tensor(name, shape, "float32", None) for name in "aby")
    return Case(op=op, inputs=(a, b), outputs=(y,), values=(values(rng, a), values(rng, b)))


def a_conversion_of(source: str, target: str) -> Case:
    """From or to float32."""
    rng, shape = np.random.default_rng(4), (1, 32, 16, 16)
    x, y = (
        tensor(name, shape, dtype, None if dtype == "float32" else quant(0.05, 3))
        for name, dtype in (("x", source), ("y", target))
    )
    return unary_case(rng, Quantize() if source == "float32" else Dequantize(), x, y, strided=False)


def test_instructions_per_element() -> None:
    """Upper bounds some percent above what was measured, so that a slower kernel is noticed."""
    limits = [
        (pair_case(Add()), 9600, 6.2),
        (pair_case(Mul()), 9600, 6.2),
        (image_case(ReduceMean(axes=(2, 3)), (1, 320, 6, 6)), 11520, 1.2),
        (image_case(Lookup(), (1, 32, 16, 16), table=True), 8192, 3.9),
        (image_case(FlipSign(), (1, 32, 16, 16)), 8192, 1.4),
        (image_case(MaxPool(kernel=(2, 2), **HALVED), (1, 32, 16, 16), same=True), 2048, 4.0),
        (image_case(AveragePool(kernel=(2, 2), **HALVED), (1, 32, 16, 16)), 2048, 18.0),
        (image_case(Softmax(axis=1), (1, 100)), 100, 34.0),
        (image_case(DOUBLED, (1, 16, 16, 16), same=True), 16384, 15.0),
    ]
    cases = [case for case, _, _ in limits]
    for (case, elements, limit), instructions in zip(limits, compare(cases), strict=True):
        call = lowered(case)[1]
        assert instructions / elements < limit, call.kernel.label
        assert 0.75 < call.instructions / instructions < 1.35, call.kernel.label


def test_cycles_of_compiled_loops() -> None:
    """The cycles an instruction that estimates assume are those of the compiler's code on the model of the core."""
    exact = LoweringOptions(exact="float")
    cases = {
        "average_pool": image_case(AveragePool(kernel=(2, 2), **HALVED), (1, 32, 16, 16)),
        "average_pool_float": replace(image_case(AveragePool(kernel=(3, 3), **HALVED), (1, 32, 17, 17)), options=exact),
        "binary_float": replace(pair_case(Add()), options=exact),
        "binary_float32": a_float_pair(Add()),
        "dequantize": a_conversion_of("int8", "float32"),
        "flip_sign": image_case(FlipSign(), (1, 32, 16, 16)),
        "max_pool": image_case(MaxPool(kernel=(2, 2), **HALVED), (1, 32, 16, 16), same=True),
        "quantize": a_conversion_of("float32", "int8"),
        "reduce_mean": image_case(ReduceMean(axes=(2, 3)), (1, 320, 6, 6)),
        "resize_linear": image_case(STRETCHED, (1, 16, 16, 16), same=True),
        "resize_linear_integer": image_case(DOUBLED, (1, 16, 16, 16), same=True),
        "softmax": image_case(Softmax(axis=1), (1, 100)),
    }
    assert cases.keys() == COMPILED_LOOPS.keys()
    program, functions = build_cases(list(cases.values()))
    for name, function in zip(cases, functions, strict=True):
        longest = innermost_loops(program, function)[0]
        assert longest.cycles / longest.instructions == pytest.approx(COMPILED_LOOPS[name], rel=0.1), name
