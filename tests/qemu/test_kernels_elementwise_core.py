# SPDX-License-Identifier: Apache-2.0
"""Elementwise functions in scheduled assembly: every pair of bytes, every number of elements."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops import Add, Lookup, Mul, Sub
from mcucompiler.ops.base import Clamp
from tests.support.kernel_qemu import measure_cases
from tests.support.kernels import Case, check_cases, lowered, reference_of
from tests.support.random_cases import constant, quant, tensor, values

pytestmark = pytest.mark.qemu

BYTES = np.arange(-128, 128, dtype=np.int8)
LIMITS = Clamp(lo=-90, hi=100)
SCALES = {
    "ordinary": ((0.031, 3), (0.0517, -20), (0.0611, -5)),
    "exact ties": ((0.25, 0), (0.5, 7), (0.5, -1)),
    "small ratios": ((0.0002, 3), (0.0001, 90), (0.9, -5)),
    "great ratios": ((0.9, 3), (0.002, 90), (0.06, -5)),
}


def pairs(op: Add | Sub | Mul, scales: str) -> Case:
    """All 65,536 pairs."""
    shape = (65536,)
    a, b, y = (tensor(n, shape, "int8", quant(*q)) for n, q in zip("aby", SCALES[scales], strict=True))
    return Case(op=op, inputs=(a, b), outputs=(y,), values=(np.repeat(BYTES, 256), np.tile(BYTES, 256)))


@pytest.mark.parametrize("scales", list(SCALES))
@pytest.mark.parametrize("clamp", [None, LIMITS], ids=["whole", "limited"])
def test_every_pair(scales: str, clamp: Clamp | None) -> None:
    cases = [pairs(op, scales) for op in (Add(clamp=clamp), Sub(clamp=clamp), Mul(clamp=clamp))]
    check_cases(cases)
    for case, measured in zip(cases, measure_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0], err_msg=str(case.op))
        call = lowered(case)[1]
        assert measured.stack_bytes <= call.stack_bytes
        if call.kernel.template == "binary_words":
            assert 0.98 < call.instructions / measured.instructions < 1.02


@pytest.mark.parametrize("optimize", ["speed", "size"])
def test_every_remainder(optimize: str) -> None:
    """Spans of 4 to 24 elements and whatever is left over, in rows and without; in place, too."""
    rng = np.random.default_rng(11)
    cases = []
    for extent in range(4, 25):
        for shape, small in (((extent,), (extent,)), ((2, 3, extent), (3, extent))):
            op = (Add(), Mul(clamp=LIMITS), Sub(clamp=LIMITS))[extent % 3]
            a, b, y = (
                tensor(name, of, "int8", quant(*q))
                for name, of, q in zip("aby", (shape, small, shape), SCALES["ordinary"], strict=True)
            )
            case = Case(
                op=op,
                inputs=(a, b),
                outputs=(y,),
                values=(values(rng, a), values(rng, b)),
                in_place=extent % 2 == 0,
                options=LoweringOptions(optimize=optimize),
            )
            assert lowered(case)[1].kernel.template == "binary_words", op
            cases.append(case)
    check_cases(cases, sanitize=True)
    for case, measured in zip(cases, measure_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0], err_msg=f"{case.op} {case.inputs}")


def test_tables_of_every_length() -> None:
    """In one piece, in place, and with pixels apart."""
    rng = np.random.default_rng(12)
    cases = []
    for extent in range(8, 21):
        for shape, stride in (((extent,), None), ((3, extent), extent + 3)):
            x = tensor("x", shape, ("int8", "uint8")[extent % 2], quant(0.1, 3))
            y = tensor("y", shape, "int8", quant(0.2, -4))
            case = Case(
                op=Lookup(),
                inputs=(x, constant(rng, tensor("table", (256,), "int8"))),
                outputs=(y,),
                values=(values(rng, x), None),
                in_strides={} if stride is None else {0: stride},
                in_place=stride is None and extent % 3 == 0,
            )
            assert lowered(case)[1].kernel.template == "lookup_words"
            cases.append(case)
    check_cases(cases, sanitize=True)
    for case, measured in zip(cases, measure_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0], err_msg=str(case.inputs))
