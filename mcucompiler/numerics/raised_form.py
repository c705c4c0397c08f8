# SPDX-License-Identifier: Apache-2.0
"""Exact integer forms of accumulators that come raised, as ``256 * acc + offset``: the offset is for us to choose.

Where float32 rounds products to ties, the plain form misses a step by a small part of one accumulator, and no
multiplier puts that right without missing another. With an offset the form is any line near the float form's instead of
one through zero: it is exact where the line passes on the right side of all steps,

    ``(256 * above_k + offset) * m >= c_k > (256 * below_k + offset) * m``

in the terms of :mod:`mcucompiler.numerics.staircase`, at a shift that is 8 greater. For a given ``m`` that bounds
``offset * m`` from both sides; how far apart the bounds are is a concave function of ``m``, so bisection finds where
they are farthest apart, and with it the offset in the middle. For that offset the admissible ``m`` are an interval, as
for the plain form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcucompiler.numerics.forms import RAISED_BITS, BoolArray, Float32Array, RaisedForm, RequantForm
from mcucompiler.numerics.staircase import (
    MAX_MULTIPLIER,
    MAX_SHIFT,
    admissible_multipliers,
    float_thresholds,
    output_steps,
    pick_multipliers,
)
from mcucompiler.numerics.verify import verify_raised_form

__all__ = ["LARGEST_RAISED", "RAISED_BITS", "RaisedForm", "find_raised_form", "verify_raised_form"]

Int64Array = npt.NDArray[np.int64]

LARGEST_RAISED = 2**23 - 2**7
"""So large accumulators may be: raised and with any offset that is chosen here they are int32."""
_LARGEST_OFFSET = 2**14
_NEAR = 16  # the multiplier is sought within a part in 2^16 of the real one
_FAR = 1 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Inequalities of C channels and K outputs: ``above * m + a >= need > below * m + a``, all raised; [C, K]."""

    above: Int64Array
    below: Int64Array
    has_above: BoolArray
    has_below: BoolArray
    need: Int64Array

    def part(self, rows: Int64Array) -> Steps:
        """Those of some channels."""
        return Steps(
            above=self.above[rows],
            below=self.below[rows],
            has_above=self.has_above[rows],
            has_below=self.has_below[rows],
            need=self.need[rows],
        )

    def room(self, m: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Least and greatest ``a`` at multipliers [C], and how their distance grows with ``m``."""
        factor = m[:, None]
        least = np.where(self.has_above, self.need - self.above * factor, -_FAR)
        greatest = np.where(self.has_below, self.need - self.below * factor - 1, _FAR)
        rows = np.arange(len(m))
        low, high = least.argmax(axis=1), greatest.argmin(axis=1)
        slope = self.above[rows, low] - self.below[rows, high]
        return least[rows, low], greatest[rows, high], slope


def steps_of(form: RequantForm, index: Int64Array, least: Int64Array, greatest: Int64Array, raised: int) -> Steps:
    """The inequalities of the channels ``index`` of a form, with accumulators that come raised by so many bits."""
    factor = form.float_multipliers[index]
    reached = float_thresholds(factor, form.zero_point, form.lo, form.hi, least, greatest)
    outputs = output_steps(form.lo, form.hi) - form.zero_point
    return Steps(
        above=reached << raised,
        below=(reached - 1) << raised,
        has_above=reached <= greatest[:, None],
        has_below=reached > least[:, None],
        need=np.broadcast_to((2 * outputs - 1) << (form.shift + raised + 31), reached.shape),
    )


def find_raised_form(form: RequantForm, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike) -> RaisedForm:
    """Raised forms for the channels that the plain form leaves.

    Args:
        form: the plain form of the layer.
        acc_lo: least accumulators [M].
        acc_hi: greatest accumulators [M].

    Returns:
        The form, checked by ``verify_raised_form``.

    Raises:
        VerificationError: the form found is wrong (a defect).
    """
    shape = form.proved.shape
    least, greatest = (np.broadcast_to(np.asarray(acc, dtype=np.int64), shape) for acc in (acc_lo, acc_hi))
    offsets, multipliers = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    usable = np.isfinite(form.float_multipliers) & (form.float_multipliers > 0)
    fits = (least >= -LARGEST_RAISED) & (greatest <= LARGEST_RAISED)
    index = np.flatnonzero(~form.proved & usable & fits)
    if index.size and form.shift + RAISED_BITS <= MAX_SHIFT:
        offsets[index], multipliers[index] = _search(form, index, least[index], greatest[index])
    raised = RaisedForm(offsets=offsets, multipliers=multipliers)
    verify_raised_form(form, raised, least, greatest)
    return raised


def _search(
    form: RequantForm, index: Int64Array, least: Int64Array, greatest: Int64Array
) -> tuple[Int64Array, Int64Array]:
    """Offsets and multipliers of the channels ``index``; both 0 where there are none."""
    factor, shift = form.float_multipliers[index], form.shift + RAISED_BITS
    outputs = output_steps(form.lo, form.hi) - form.zero_point
    steps = steps_of(form, index, least, greatest, RAISED_BITS)
    widest, first, last = widest_room(steps, factor, 32 + form.shift)
    middle = ((first >> 1) + (last >> 1)) // widest
    offsets, multipliers = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    for more in (0, 1, -1):
        tried = np.clip(middle + more, -_LARGEST_OFFSET, _LARGEST_OFFSET)
        bounds = admissible_multipliers(
            steps.above + tried[:, None], steps.below + tried[:, None], steps.has_above, steps.has_below, outputs
        )
        found = pick_multipliers(*bounds, shift, factor.astype(np.float64) / (1 << RAISED_BITS))
        better = (multipliers == 0) & (found > 0)
        offsets, multipliers = np.where(better, tried, offsets), np.where(better, found, multipliers)
    return offsets, multipliers


def widest_room(steps: Steps, factor: Float32Array, exponent: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For each channel the multiplier near ``factor * 2^exponent`` that leaves the widest room, and its bounds."""
    ideal = np.clip(factor.astype(np.float64) * 2.0**exponent, 1.0, MAX_MULTIPLIER).astype(np.int64)
    low, high = np.maximum(ideal - (ideal >> _NEAR) - 1, 1), np.minimum(ideal + (ideal >> _NEAR) + 1, MAX_MULTIPLIER)
    while bool((low < high).any()):
        middle = (low + high) >> 1
        grows = steps.room(middle)[2] > 0
        low, high = np.where(grows & (low < high), middle + 1, low), np.where(grows, high, middle)
    first, last, _ = steps.room(low)
    return low, first, last
