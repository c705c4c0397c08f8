# SPDX-License-Identifier: Apache-2.0
"""Monotone staircases from integers to int8, and the integer multipliers that reproduce them.

A requantization is a monotone map ``y(x)`` of an integer ``x`` (accumulator, product, sum) to ``lo..hi``. It is
fixed by its thresholds: for each output ``k`` in ``(lo, hi]`` the least ``x`` with ``y(x) >= k`` and the greatest with
``y(x) < k``, among the ``x`` that can occur. The integer form

    ``clamp(ssat8(smmla(x, m, A) asr sh), lo, hi)``,  ``A = (zy << sh) + (1 << (sh - 1))``

is monotone too, as ``m > 0``. With ``smmla(x, m, A) = A + floor(x * m / 2^32)`` and floors of floors, it is at least
``k`` exactly where ``A + floor(x * m / 2^32) >= k << sh``, which is

    ``x * m >= c_k``,  ``c_k = ((k << sh) - A) << 32 = (2 * (k - zy) - 1) << (sh + 31)``.

(Saturation to int8 does not matter: ``k`` lies in ``(-128, 127]``.) So the two maps agree on everything that can occur
exactly if ``above_k * m >= c_k > below_k * m`` for every ``k``, with ``above_k`` the least ``x`` with ``y(x) >= k``
and ``below_k`` the greatest with ``y(x) < k``. Each is a bound on ``m``, and the admissible ``m`` are an interval.

As ``c_k`` is proportional to ``2^sh``, ``m`` is admissible at ``sh`` exactly if ``m << (22 - sh)`` is at 22: the
interval at the greatest shift holds for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MIN_SHIFT, MAX_SHIFT = 1, 22
DEFAULT_SHIFT = 4
MAX_MULTIPLIER = 2**31 - 1
_EMPTY = 1 << 62


def rounding_addend(zero_point: int, shift: int) -> int:
    """``A = (zy << sh) + (1 << (sh - 1))``: the zero point and half a unit of the output."""
    return (zero_point << shift) + (1 << (shift - 1))


def output_steps(lo: int, hi: int) -> Int64Array:
    """The outputs ``k`` in ``(lo, hi]`` at which a staircase may step, int64 [hi - lo]."""
    return np.arange(lo + 1, hi + 1, dtype=np.int64)


def float_thresholds(
    multipliers: Float32Array, zero_point: int, lo: int, hi: int, acc_lo: Int64Array, acc_hi: Int64Array
) -> Int64Array:
    """Least accumulators at which the float form reaches each output.

    The form is ``rint(f32(f32(acc) * M)) + zy``, monotone in ``acc``. In real arithmetic it reaches ``k`` at
    ``(k - zy - 1/2) / M``; the two roundings to float32 move that by less than a part in 2^22. So each threshold is
    bracketed around that estimate, the bracket is checked and replaced by the whole range where it does not hold,
    and bisection finds the threshold, for all channels and outputs at once.

    Args:
        multipliers: M, float32 [C], not negative, not NaN.
        zero_point: zero point of the output.
        lo: least output.
        hi: greatest output.
        acc_lo: least accumulators, int64 [C], within int32.
        acc_hi: greatest accumulators, int64 [C], within int32.

    Returns:
        int64 [C, hi - lo], for the outputs lo + 1 .. hi; ``acc_hi + 1`` where an output is not reached.
    """
    factor = multipliers[:, None]
    offsets = (output_steps(lo, hi) - zero_point).astype(np.float32)[None, :]

    def reaches(acc: Int64Array) -> BoolArray:
        with np.errstate(all="ignore"):
            return np.asarray(np.rint(acc.astype(np.float32) * factor) >= offsets)

    first, end = np.broadcast_arrays(acc_lo[:, None], acc_hi[:, None] + 1)
    with np.errstate(all="ignore"):
        estimate: Any = (offsets.astype(np.float64) - 0.5) / factor.astype(np.float64)
    near = np.clip(np.nan_to_num(estimate, posinf=2.0**33, neginf=-(2.0**33)), -(2.0**33), 2.0**33).astype(np.int64)
    width = (np.abs(near) >> 22) + 2
    low = np.clip(near - width, first, end)
    high = np.clip(near + width, first, end)
    holds = ((low == first) | ~reaches(low - 1)) & ((high == end) | reaches(high))
    low, high = np.where(holds, low, first), np.where(holds, high, end)
    while (low < high).any():
        middle = (low + high) >> 1
        reached = reaches(middle) & (low < high)
        low, high = np.where(reached | (low == high), low, middle + 1), np.where(reached, middle, high)
    return low


def admissible_multipliers(
    above: Int64Array, below: Int64Array, has_above: BoolArray, has_below: BoolArray, steps: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Bounds on ``m << (22 - sh)`` from the thresholds of staircases.

    Solves ``above * m >= c > below * m`` for ``m``, ``c = (2 * step - 1) << 53`` (below 2^62 in size, as
    ``|2 * step - 1| < 2^9``), dividing exactly in int64; the sense of the inequality turns with the sign of the
    threshold, and a threshold of 0 decides without ``m``.

    Args:
        above: least ``x`` that reaches each output, int64 [C, K], within int32 where it exists.
        below: greatest ``x`` that does not, int64 [C, K], likewise.
        has_above: whether any ``x`` reaches it, bool [C, K].
        has_below: whether any ``x`` does not, bool [C, K].
        steps: ``k - zy`` for each output, int64 [K].

    Returns:
        int64 [C] least and greatest admissible values, both at least 1 where any exist; least > greatest where
        none does.
    """
    need = np.broadcast_to((2 * steps - 1) << (MAX_SHIFT + 31), above.shape)
    least, greatest = _bounds(above, need, has_above)
    # below * m < c is (-below) * m >= 1 - c
    least_b, greatest_b = _bounds(-below, 1 - need, has_below)
    low = np.maximum(least.max(axis=1, initial=1), least_b.max(axis=1, initial=1))
    high = np.minimum(greatest.min(axis=1, initial=_EMPTY), greatest_b.min(axis=1, initial=_EMPTY))
    return low, high


def _bounds(factor: Int64Array, need: Int64Array, used: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Bounds on positive ``m`` from ``factor * m >= need`` where ``used``: ``(1, _EMPTY)`` where all will do."""
    divisor = np.where(used & (factor != 0), factor, 1)
    rising, falling = used & (factor > 0), used & (factor < 0)
    never = used & (factor == 0) & (need > 0)
    ceiling = -((-need) // divisor)
    least = np.where(rising, ceiling, np.where(never, _EMPTY, 1))
    greatest = np.where(falling, need // divisor, np.where(never, 0, _EMPTY))
    return least, greatest


def multipliers_at(low: Int64Array, high: Int64Array, shift: int) -> tuple[Int64Array, Int64Array]:
    """The interval of admissible multipliers at a shift, from that at the greatest shift.

    Args:
        low: from ``admissible_multipliers``.
        high: from ``admissible_multipliers``.
        shift: 1 to 22.

    Returns:
        int64 arrays of the least and greatest m, 0 < m < 2^31; least > greatest where there is none.
    """
    scale = MAX_SHIFT - shift
    return -((-low) >> scale), np.minimum(high >> scale, MAX_MULTIPLIER)


def choose_shift(low: Int64Array, high: Int64Array) -> int:
    """The shift that leaves most channels an admissible multiplier; among equals that nearest the default of 4.

    A common shift lets layers of equal shape share one kernel.
    """

    def merit(shift: int) -> tuple[int, int, int]:
        least, greatest = multipliers_at(low, high, shift)
        return int((least <= greatest).sum()), -abs(shift - DEFAULT_SHIFT), shift

    return max(range(MIN_SHIFT, MAX_SHIFT + 1), key=merit)


def pick_multipliers(low: Int64Array, high: Int64Array, shift: int, ideal: npt.ArrayLike) -> Int64Array:
    """The admissible multipliers nearest ``ideal * 2^(32 + shift)``; 0 where there are none.

    Args:
        low: from ``admissible_multipliers``.
        high: from ``admissible_multipliers``.
        shift: 1 to 22.
        ideal: the real multipliers.
    """
    least, greatest = multipliers_at(low, high, shift)
    exact = np.asarray(ideal, dtype=np.float64) * 2.0 ** (32 + shift)
    wanted = np.rint(np.clip(exact, 1.0, float(MAX_MULTIPLIER))).astype(np.int64)
    return np.where(least <= greatest, np.minimum(np.maximum(wanted, least), greatest), 0)
