# SPDX-License-Identifier: Apache-2.0
"""Exact integer forms with a bias and an addend of the channel's own.

What :mod:`mcucompiler.numerics.raised_form` does with an offset in parts of an accumulator, whole numbers do here: an
offset ``o`` to the accumulator and a difference ``d`` to the addend shift the line by ``o * m + d * 2^32``, which may
be as little as one likes though both terms are large. So differences are tried from small to large ones, each with the
multipliers around that of the widest room, until some whole ``o`` brings the shift within the bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mcucompiler.numerics.forms import RequantForm
from mcucompiler.numerics.raised_form import Steps, steps_of, widest_room
from mcucompiler.numerics.staircase import MAX_MULTIPLIER
from mcucompiler.numerics.verify import verify_requant_form

Int64Array = npt.NDArray[np.int64]

_DIFFERENCES = np.array([sign * size for size in range(1, 2049) for sign in (1, -1)], np.int64).reshape(-1, 128)
_MULTIPLIERS = np.arange(-24, 25)
_INT32 = 2**31 - 1


def with_own_addends(
    form: RequantForm, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike, room: npt.ArrayLike
) -> RequantForm:
    """The form with more channels proved, by offsets and addends of their own.

    Args:
        form: the plain form of a layer.
        acc_lo: least accumulators [M].
        acc_hi: greatest accumulators [M].
        room: int64 [M], greatest size of the offsets; negative where there may be none.

    Returns:
        The form, checked by ``verify_requant_form``; equal arrays where nothing was found.

    Raises:
        VerificationError: the form found is wrong (a defect).
    """
    shape = form.proved.shape
    least, greatest, most = (np.broadcast_to(np.asarray(a, dtype=np.int64), shape) for a in (acc_lo, acc_hi, room))
    usable = np.isfinite(form.float_multipliers) & (form.float_multipliers > 0)
    index = np.flatnonzero(~form.proved & usable & (np.maximum(-least, greatest) < _INT32 // 2))
    if index.size == 0:
        return form
    steps = steps_of(form, index, least[index], greatest[index], 0)
    widest, first, last = widest_room(steps, form.float_multipliers[index], 32 + form.shift)
    multipliers, proved = form.multipliers.copy(), form.proved.copy()
    offsets, differences = form.offsets.copy(), form.differences.copy()
    for row in np.flatnonzero(first <= last):
        found = _search(steps, int(row), int(widest[row]), int(min(most[index[row]], _INT32 // 2)))
        if found is not None:
            channel = index[row]
            multipliers[channel], offsets[channel], differences[channel] = found
            proved[channel] = True
    own = replace(form, multipliers=multipliers, proved=proved, offsets=offsets, differences=differences)
    verify_requant_form(own, least, greatest)
    return own


def _search(steps: Steps, row: int, widest: int, most: int) -> tuple[int, int, int] | None:
    """Multiplier, offset and difference of a channel, the smallest difference that will do."""
    m = widest + _MULTIPLIERS
    m = m[(m > 0) & (m <= MAX_MULTIPLIER)]
    one = np.full(len(m), row)
    first, last, _ = steps.part(one).room(m)
    inside = first <= last
    m, first, last = m[inside], first[inside], last[inside]
    for some in _DIFFERENCES:
        shifts = some[:, None] << 32
        least, greatest = -((shifts - first) // m), (last - shifts) // m
        hits = np.argwhere((least <= greatest) & (np.abs(least) <= most))
        if len(hits):
            number, at = hits[0]
            return int(m[at]), int(least[number, at]), int(some[number])
    return None
