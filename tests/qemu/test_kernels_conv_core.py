# SPDX-License-Identifier: Apache-2.0
"""Kernels of convolutions and fully connected layers on the core they are written for: bits, instructions, stack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.ops.base import Clamp
from mcucompiler.ops.conv import Conv
from mcucompiler.ops.gemm import Gemm
from tests.support.conv_cases import Numbers, integer_case, plain_conv, shaped_cases, with_little_scratch
from tests.support.kernel_qemu import measure_cases
from tests.support.kernels import Case, lowered, reference_of, run_cases
from tests.support.packed_cases import packed_cases
from tests.support.raised_cases import raised_case

pytestmark = pytest.mark.qemu


def test_every_path_gives_the_same_bits() -> None:
    cases = shaped_cases()
    for case, measured in zip(cases, measure_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        assert measured.stack_bytes <= lowered(case)[1].stack_bytes


def test_scheduled_and_portable_forms_agree_on_random_shapes() -> None:
    """Heads, loops and tails of all kinds, pixels left over, odd channels, clamps, groups, wide weights."""
    rng = np.random.default_rng(20)
    cases = [random_products(rng) for _ in range(60)]
    cases += [with_little_scratch(random_products(rng)) for _ in range(20)]
    cases += [raised_case()]
    twins = run_cases(cases)
    for case, measured, twin in zip(cases, measure_cases(cases), twins, strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        np.testing.assert_array_equal(measured.outputs[0], twin[0])


def random_products(rng: np.random.Generator) -> Case:
    """A pointwise or small convolution, or a fully connected layer."""
    numbers = Numbers(
        seed=int(rng.integers(2**32)),
        weight_zero=int(rng.choice([0, 0, 0, 0, 9])),
        gain=float(rng.choice([1.0, 1.0, 0.3, 30.0, 1e8])),
        extreme=bool(rng.integers(2)),
        exact=str(rng.choice(["proved", "proved", "float"])),
        clamp=[None, None, Clamp(lo=-128, hi=40), Clamp(lo=-11, hi=127), Clamp(lo=-3, hi=3)][int(rng.integers(5))],
    )
    inputs, outputs = int(rng.integers(1, 90)), int(rng.integers(1, 20))
    kind = str(rng.choice(["pointwise", "window", "rows"]))
    if kind == "rows":
        return integer_case(Gemm(), (int(rng.integers(1, 3)), inputs), (outputs, inputs), numbers)
    size = (int(rng.integers(1, 4)), int(rng.integers(1, 8)))
    if kind == "pointwise":
        conv = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1)
        return integer_case(conv, (1, inputs, *size), (outputs, inputs, 1, 1), numbers)
    conv = Conv(strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=2)
    group = inputs // 8 + 1
    return integer_case(conv, (1, 2 * group, *size), (2 * outputs, group, 3, 3), numbers)


def test_instructions_per_product() -> None:
    """Upper bounds some percent above what was measured, so that a slower kernel is noticed."""
    limits = [
        (plain_conv((16, 20, 20), 96, (1, 1)), 1.45),
        (plain_conv((96, 20, 20), 24, (1, 1)), 1.20),
        (plain_conv((192, 10, 10), 48, (1, 1)), 1.12),
        (plain_conv((3, 40, 40), 16, (3, 3), stride=2), 1.75),
        (plain_conv((16, 16, 16), 16, (3, 3)), 1.35),
        (plain_conv((24, 20, 20), 24, (3, 3), depthwise=True, in_place=True), 2.0),
        (plain_conv((24, 20, 20), 24, (5, 5), depthwise=True, in_place=True), 1.4),
        (plain_conv((24, 20, 20), 24, (7, 7), depthwise=True, in_place=True), 1.2),
        (plain_conv((24, 20, 20), 24, (3, 3), stride=2, depthwise=True, in_place=True), 3.0),
        (integer_case(Gemm(), (1, 256), (128, 256), Numbers(seed=3)), 1.65),
    ]
    cases = [case for case, _ in limits]
    for (case, limit), measured in zip(limits, measure_cases(cases), strict=True):
        context, call = lowered(case)
        macs = case.op.macs(context.tensors, case.outputs)
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        assert measured.instructions / macs < limit, call.kernel.label
        assert 0.75 < call.instructions / measured.instructions < 1.35, call.kernel.label


def test_packed_sums_agree_with_their_twin_on_random_shapes() -> None:
    cases = packed_cases(np.random.default_rng(21), 40)
    twins = run_cases(cases)
    for case, measured, twin in zip(cases, measure_cases(cases), twins, strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        np.testing.assert_array_equal(measured.outputs[0], twin[0])
        assert measured.stack_bytes <= lowered(case)[1].stack_bytes


def test_instructions_of_packed_sums() -> None:
    """Upper bounds some percent above what was measured; the estimate is within two percent."""
    for width, limit in [(32, 1.03), (16, 1.03)]:
        case = replace(plain_conv((32, 8, width), 32, (3, 3)), variant="conv_packed")
        context, call = lowered(case)
        measured = measure_cases([case])[0]
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        assert measured.instructions / case.op.macs(context.tensors, case.outputs) < limit
        assert 0.98 < call.instructions / measured.instructions < 1.02
