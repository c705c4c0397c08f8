# SPDX-License-Identifier: Apache-2.0
"""Depthwise kernels on the core they are written for: bits, instructions, stack."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.conv_cases import Numbers
from tests.support.depthwise_cases import depthwise_case, random_case
from tests.support.kernel_qemu import measure_cases
from tests.support.kernels import lowered, reference_of, run_cases

pytestmark = pytest.mark.qemu


def test_scheduled_and_portable_forms_agree_on_random_shapes() -> None:
    """Planes and bands, both kinds of sums, heads and tails of rows, odd kernels and even ones, clamps, float tails."""
    rng = np.random.default_rng(30)
    cases = [random_case(rng) for _ in range(50)]
    twins = run_cases(cases)
    for case, measured, twin in zip(cases, measure_cases(cases), twins, strict=True):
        _, call = lowered(case)
        np.testing.assert_array_equal(twin[0], reference_of(case)[0])
        np.testing.assert_array_equal(measured.outputs[0], twin[0], err_msg=f"{call.kernel.label}: {call.reason}")
        assert measured.stack_bytes <= call.stack_bytes


def test_estimates_are_what_is_executed() -> None:
    """Shapes of networks; large kernels, whose taps are unpacked in a loop; one larger than its plane."""
    shapes = [
        ((3, 3), (12, 25, 5), (1, 1), "dual"),
        ((5, 5), (12, 10, 10), (1, 1), "packed"),
        ((7, 7), (12, 5, 5), (1, 1), "packed"),
        ((7, 7), (12, 3, 3), (1, 1), "dual"),
        ((3, 3), (12, 24, 24), (2, 2), "dual"),
        ((9, 9), (12, 21, 21), (2, 2), "dual"),
    ]
    cases = [
        depthwise_case(kernel, ifmap, Numbers(seed=5), stride=stride, pads=(kernel[0] // 2,) * 4)
        for kernel, ifmap, stride, _ in shapes
    ]
    for case, measured, (_, _, _, form) in zip(cases, measure_cases(cases), shapes, strict=True):
        _, call = lowered(case)
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        assert call.reason.startswith(form)
        assert abs(call.instructions / measured.instructions - 1.0) < 0.02, call.kernel.label
