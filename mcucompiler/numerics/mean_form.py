# SPDX-License-Identifier: Apache-2.0
"""The integer form of means over a whole window: a convolution's staircase, over the sums that can occur."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.forms import MeanForm
from mcucompiler.numerics.integer_form import INT32_MAX, INT32_MIN, find_requant_form
from mcucompiler.numerics.requantize import mean_multiplier
from mcucompiler.numerics.verify import verify_mean_form

__all__ = ["MeanForm", "find_mean_form", "verify_mean_form"]


def find_mean_form(count: int, qx: QuantParams, qy: QuantParams, lo: int, hi: int) -> MeanForm | None:
    """An integer form of ``clamp(rint(f32(f32(S) * f32(sx / f32(sy * n)))) + zy, lo, hi)``.

    ``S`` is the sum of ``x - zx`` over ``n`` int8 elements, so it is any integer from ``n * (-128 - zx)`` to
    ``n * (127 - zx)``: the requantization of one channel with ``M = f32(sx / f32(sy * n))``.

    Args:
        count: n, the number of elements, at least 1.
        qx: per-tensor quantization of the input, zero point within int8.
        qy: per-tensor quantization of the output, likewise.
        lo: least output, at least -128.
        hi: greatest output, at most 127.

    Returns:
        The form, or None where no multiplier is exact (exact ties: ``n`` a power of two and ``sx = sy``; a
        multiplier of 1/4 or more) or the sum may leave int32.

    Raises:
        ValueError: a count below 1.
    """
    if count < 1:
        raise ValueError(f"a mean of {count} elements")
    least, greatest = count * (-128 - qx.z), count * (127 - qx.z)
    if least < INT32_MIN or greatest > INT32_MAX:
        return None
    factor = mean_multiplier(count, qx.s, qy.s)
    form = find_requant_form(np.array([factor]), qy.z, lo, hi, least, greatest)
    if not form.all_proved:
        return None
    return MeanForm(
        count=count,
        zero_in=qx.z,
        shift=form.shift,
        multiplier=int(form.multipliers[0]),
        addend=form.addend,
        lo=lo,
        hi=hi,
    )
