# SPDX-License-Identifier: Apache-2.0
"""The integer form of a layer's requantization: reachable accumulators, and the multipliers exact on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mcucompiler.numerics.forms import RequantForm
from mcucompiler.numerics.staircase import (
    DEFAULT_SHIFT,
    admissible_multipliers,
    choose_shift,
    float_thresholds,
    output_steps,
    pick_multipliers,
    rounding_addend,
)
from mcucompiler.numerics.verify import verify_requant_form

__all__ = ["RequantForm", "accumulator_range", "find_requant_form", "verify_requant_form"]

Int64Array = npt.NDArray[np.int64]

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def accumulator_range(
    weights: npt.ArrayLike, bias: npt.ArrayLike, x_lo: int, x_hi: int
) -> tuple[Int64Array, Int64Array]:
    """The least and greatest accumulators that each output channel can reach.

    A positive weight takes the least input to the least sum and a negative one the greatest. Where the sum may leave
    int32 it wraps, and every int32 is taken to be reachable.

    Args:
        weights: integers [M, K], less their zero point.
        bias: integers [M], within int32.
        x_lo: least of ``x - zx``, not above 0 (padding reads zero).
        x_hi: greatest of ``x - zx``, not below 0.

    Returns:
        int64 [M] least, int64 [M] greatest.

    Raises:
        ValueError: the input range does not contain 0.
    """
    if not x_lo <= 0 <= x_hi:
        raise ValueError(f"the input range {x_lo}..{x_hi} does not contain 0")
    values = np.asarray(weights, dtype=np.int64)
    positive = np.maximum(values, 0).sum(axis=1)
    negative = np.minimum(values, 0).sum(axis=1)
    start = np.asarray(bias, dtype=np.int64)
    lo = start + positive * x_lo + negative * x_hi
    hi = start + positive * x_hi + negative * x_lo
    wraps = (lo < INT32_MIN) | (hi > INT32_MAX)
    return np.where(wraps, INT32_MIN, lo), np.where(wraps, INT32_MAX, hi)


def find_requant_form(
    multipliers: npt.ArrayLike,
    zero_point: int,
    lo: int,
    hi: int,
    acc_lo: npt.ArrayLike,
    acc_hi: npt.ArrayLike,
    *,
    exact: str = "proved",
) -> RequantForm:
    """The integer form that is exact for most channels of a layer.

    For each channel the thresholds of the float form on the reachable accumulators bound the integer multiplier from
    both sides (see :mod:`mcucompiler.numerics.staircase`), so a channel is proved or known to have no exact
    multiplier at a given shift; nothing is searched at random. The result is checked by ``verify_requant_form``.

    Args:
        multipliers: float32 [M] (or one for all), ``M = f32(f32(sx * sw) / sy)``.
        zero_point: zero point of the output, within int8.
        lo: least output, at least -128.
        hi: greatest output, at most 127.
        acc_lo: least accumulators [M], within int32.
        acc_hi: greatest accumulators [M], within int32.
        exact: "proved" to use the integer form where it is exact, "float" for none.

    Returns:
        The form, arrays of length M.

    Raises:
        ValueError: bounds outside int8 or out of order, or an unknown ``exact``.
        VerificationError: the form found is wrong (a defect).
    """
    if not -128 <= lo <= hi <= 127 or not -128 <= zero_point <= 127:
        raise ValueError(f"clamp {lo}..{hi} or zero point {zero_point} is outside int8")
    if exact not in ("proved", "float"):
        raise ValueError(f"exact is {exact!r}, not 'proved' or 'float'")
    factor, least, greatest = _broadcast(multipliers, acc_lo, acc_hi)
    shift, chosen = DEFAULT_SHIFT, np.zeros(factor.shape, dtype=np.int64)
    if exact == "proved":
        shift, chosen = _search(factor, zero_point, lo, hi, least, greatest)
    form = RequantForm(
        shift=shift,
        addend=rounding_addend(zero_point, shift),
        multipliers=chosen.astype(np.int32),
        proved=chosen > 0,
        offsets=np.zeros(factor.shape, np.int32),
        differences=np.zeros(factor.shape, np.int32),
        float_multipliers=factor,
        zero_point=zero_point,
        lo=lo,
        hi=hi,
    )
    verify_requant_form(form, least, greatest)
    return form


def _broadcast(multipliers: npt.ArrayLike, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike) -> tuple[Any, Any, Any]:
    """Own, one-dimensional arrays of one length."""
    arrays = np.broadcast_arrays(
        np.atleast_1d(np.asarray(multipliers, dtype=np.float32)),
        np.atleast_1d(np.asarray(acc_lo, dtype=np.int64)),
        np.atleast_1d(np.asarray(acc_hi, dtype=np.int64)),
    )
    factor, least, greatest = (np.array(array) for array in arrays)
    if factor.ndim != 1 or bool((least > greatest).any()):
        raise ValueError("multipliers and ranges are not one-dimensional, or a range is empty")
    if bool((least < INT32_MIN).any()) or bool((greatest > INT32_MAX).any()):
        raise ValueError("accumulators are outside int32")
    return factor, least, greatest


def _search(
    factor: npt.NDArray[np.float32], zero_point: int, lo: int, hi: int, least: Int64Array, greatest: Int64Array
) -> tuple[int, Int64Array]:
    """The shift for the layer and its multipliers, 0 where there is none."""
    usable = np.isfinite(factor) & (factor >= 0)
    safe = np.where(usable, factor, np.float32(0))
    above = float_thresholds(safe, zero_point, lo, hi, least, greatest)
    low, high = admissible_multipliers(
        above, above - 1, above <= greatest[:, None], above > least[:, None], output_steps(lo, hi) - zero_point
    )
    high = np.where(usable, high, 0)
    shift = choose_shift(low, high)
    return shift, pick_multipliers(low, high, shift, safe)
