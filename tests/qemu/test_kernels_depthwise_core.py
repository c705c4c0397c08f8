# SPDX-License-Identifier: Apache-2.0
"""Depthwise kernels on the core they are written for: bits, instructions, stack."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.depthwise_cases import random_case
from tests.support.kernel_qemu import measure_cases
from tests.support.kernels import lowered, reference_of, run_cases

pytestmark = pytest.mark.qemu


def test_scheduled_and_portable_forms_agree_on_random_shapes() -> None:
    """Planes and bands, both kinds of sums, heads and tails of rows, odd kernels and even ones, clamps, float tails."""
    rng = np.random.default_rng(30)
    cases = [random_case(rng) for _ in range(60)]
    twins = run_cases(cases)
    for case, measured, twin in zip(cases, measure_cases(cases), twins, strict=True):
        _, call = lowered(case)
        np.testing.assert_array_equal(twin[0], reference_of(case)[0])
        np.testing.assert_array_equal(measured.outputs[0], twin[0], err_msg=f"{call.kernel.label}: {call.reason}")
        assert measured.stack_bytes <= call.stack_bytes
