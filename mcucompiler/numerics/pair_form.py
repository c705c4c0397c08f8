# SPDX-License-Identifier: Apache-2.0
"""Integer forms of sums, differences and products of two int8 tensors, exact on all 65,536 pairs.

**Sums.** The float form is ``rint(fma(a, ra, fma(b, rb, fx)))``; its integer twin is
``(addend + b * mb + a * ma) asr sh`` with ``ma = ra * 2^sh``, ``mb = rb * 2^sh`` and ``addend = (fx + 1/2) * 2^sh``,
all rounded. It agrees with the float form where for every pair, ``y`` being the float form's clamped result,

    ``y << sh  <=  addend + b * mb + a * ma  <=  ((y + 1) << sh) - 1``

(the left side only if ``y > lo``, the right one only if ``y < hi``). These are linear in the three integers. The real
values are a solution up to rounding, so only pairs whose sum lies next to a step can be violated by integers close
to them: a few hundred. For each ``(ma, mb)`` near the real ones those pairs bound the addend from both sides, so a
small grid is searched, ring by ring, with the addend solved for exactly.

A greater shift only adds solutions (double all three), so the greatest that keeps the sums in int32 finds one if any
does. The greatest that keeps the factors below 2^23 as well is tried before: kernels multiply faster by such factors.

**Exact ties** (scales in power-of-two ratios) round half to even, which no linear form does; then the parity of the
rounded-down sum is added before the shift, ``(v + ((v asr sh) & 1)) asr sh``. Only a ``v`` whose ``sh`` low bits are
all ones is moved by that, and only up from an odd value to the even one above it. So the same inequalities decide,
with bounds that are one less where the value reached is even: an even ``y`` begins at ``(y << sh) - 1``, an odd one
ends at ``((y + 1) << sh) - 2``. Ties lie there if ``addend = fx * 2^sh + 2^(sh-1) - 1``.

**Products.** The float form ``rint(f32(f32(p * s) + zy))`` depends on ``p = (a - za)(b - zb)`` only, and every step of
it is monotone, so it is a staircase of :mod:`mcucompiler.numerics.staircase` over the products that can occur.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.forms import AddForm, MulForm
from mcucompiler.numerics.requantize import add_constants, add_float, mul_float_of_product, mul_multiplier
from mcucompiler.numerics.staircase import (
    admissible_multipliers,
    choose_shift,
    output_steps,
    pick_multipliers,
    rounding_addend,
)
from mcucompiler.numerics.verify import verify_add_form, verify_mul_form

__all__ = ["AddForm", "MulForm", "find_add_form", "find_mul_form", "verify_add_form", "verify_mul_form"]

Int64Array = npt.NDArray[np.int64]

_INT8 = np.arange(-128, 128, dtype=np.int64)
_MAX_SUM_SHIFT = 30
_NARROW = 2**23
_RADII = (2, 8, 24)
"""Half-widths of the grids of (ma, mb) searched around the real values, one after the other."""
_SAMPLE = 1500
"""So many of the tightest inequalities are tried first; the others only on what they leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Inequalities ``side * (addend + a * ma + b * mb) >= side * need``: arrays [N]; side is 1 or -1."""

    a: Int64Array
    b: Int64Array
    need: Int64Array
    side: int

    def part(self, index: slice | Int64Array) -> _Line:
        """Some of the inequalities."""
        return _Line(a=self.a[index], b=self.b[index], need=self.need[index], side=self.side)

    def bound(self, ma: Int64Array, mb: Int64Array) -> Int64Array:
        """The bound on the addend for each of the multipliers [G]: least for side 1, greatest for -1."""
        rest = self.need[None, :] - ma[:, None] * self.a[None, :] - mb[:, None] * self.b[None, :]
        if self.side > 0:
            return np.asarray(rest.max(axis=1, initial=-(2**40)), dtype=np.int64)
        return np.asarray(rest.min(axis=1, initial=2**40), dtype=np.int64)


def find_add_form(
    qa: QuantParams, qb: QuantParams, qy: QuantParams, lo: int, hi: int, *, subtract: bool = False
) -> AddForm | None:
    """An integer form of QLinearAdd, or of the difference, that is exact on all 65,536 pairs.

    Args:
        qa: per-tensor quantization of the first tensor, zero point within int8.
        qb: per-tensor quantization of the second, likewise.
        qy: per-tensor quantization of the result, likewise.
        lo: least output, at least -128.
        hi: greatest output, at most 127.
        subtract: whether to compute ``a - b``.

    Returns:
        The form, or None where none was found.

    Raises:
        ValueError: bounds out of order or outside int8.
        VerificationError: the form found is wrong (a defect).
    """
    _check_clamp(lo, hi)
    real = tuple(float(value) for value in add_constants(qa, qb, qy, subtract=subtract))
    shifts = _sum_shifts(*real)
    if not shifts:
        return None
    exact = add_float(_INT8[:, None], _INT8[None, :], qa, qb, qy, subtract=subtract)
    outputs = np.clip(exact, lo, hi).astype(np.int64)
    for half_even, shift in product((False, True), shifts):
        found = _search_sum(real, shift, outputs, (lo, hi), half_even)
        if found is not None:
            ma, mb, addend = found
            form = AddForm(
                shift=shift, multiplier_a=ma, multiplier_b=mb, addend=addend, half_even=half_even, lo=lo, hi=hi
            )
            verify_add_form(form, qa, qb, qy, subtract=subtract)
            return form
    return None


def _check_clamp(lo: int, hi: int) -> None:
    if not -128 <= lo <= hi <= 127:
        raise ValueError(f"clamp {lo}..{hi} is outside int8")


def _reach(radius: int) -> int:
    """How far a sum moves at most between a grid of a radius and the real values.

    ``a`` and ``b``, up to 128, times the distance of ``(ma, mb)`` from ``(ra, rb)``; the addend can balance no more.
    """
    return 2 * 2 * 128 * (radius + 1)


def _sum_shifts(ra: float, rb: float, fx: float) -> tuple[int, ...]:
    """The greatest shifts, with room for the search, at which no partial sum of any pair leaves int32.

    The first one also keeps the factors below 2^23.
    """
    largest = 128.0 * (abs(ra) + abs(rb)) + abs(fx) + 1.0
    if not np.isfinite(largest):
        return ()
    room = 2.0**31 - 1 - _reach(_RADII[-1])
    greatest = min(int(np.floor(np.log2(room / largest))), _MAX_SUM_SHIFT)
    ratio = max(abs(ra), abs(rb), 2.0**-_MAX_SUM_SHIFT)
    narrow = min(greatest, int(np.floor(np.log2((_NARROW - _RADII[-1] - 1) / ratio))))
    return tuple(shift for shift in dict.fromkeys((narrow, greatest)) if shift >= 1)


def _search_sum(
    real: tuple[float, ...], shift: int, outputs: Int64Array, clamp: tuple[int, int], half_even: bool
) -> tuple[int, int, int] | None:
    """``(ma, mb, addend)`` that keep every pair on its side of each step, near the real values; None if not found."""
    ra, rb, fx = (value * 2.0**shift for value in real)
    offset = fx + 2.0 ** (shift - 1) - (1.0 if half_even else 0.0)
    a, b = (grid.ravel() for grid in np.broadcast_arrays(_INT8[:, None], _INT8[None, :]))
    y = outputs.ravel()
    first = (y << shift) - (1 - (y & 1) if half_even else 0)
    last = ((y + 1) << shift) - 1 - (y & 1 if half_even else 0)
    ideal = a * ra + b * rb + offset
    for radius in _RADII:
        lines = []
        for side, need, active in ((1, first, y > clamp[0]), (-1, last, y < clamp[1])):
            slack = side * (ideal - need)
            near = np.flatnonzero(active & (slack < _reach(radius)))
            near = near[np.argsort(slack[near], kind="stable")]
            lines.append(_Line(a=a[near], b=b[near], need=need[near], side=side))
        found = _search_grid((ra, rb, offset), radius, lines[0], lines[1])
        if found is not None:
            return found
    return None


def _search_grid(
    center: tuple[float, float, float], radius: int, lower: _Line, upper: _Line
) -> tuple[int, int, int] | None:
    """The solution nearest ``center`` with multipliers on the grid of a radius around it."""
    steps = np.arange(-radius, radius + 1, dtype=np.int64)
    i, j = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    order = np.argsort(i * i + j * j, kind="stable")
    ma, mb = round(center[0]) + i[order], round(center[1]) + j[order]
    few = slice(0, _SAMPLE)
    left = np.flatnonzero(lower.part(few).bound(ma, mb) <= upper.part(few).bound(ma, mb))
    for index in left[:64]:
        one = slice(index, index + 1)
        least, greatest = int(lower.bound(ma[one], mb[one])[0]), int(upper.bound(ma[one], mb[one])[0])
        if least <= greatest:
            return int(ma[index]), int(mb[index]), min(max(round(center[2]), least), greatest)
    return None


def find_mul_form(qa: QuantParams, qb: QuantParams, qy: QuantParams, lo: int, hi: int) -> MulForm | None:
    """An integer form of QLinearMul that is exact on all 65,536 pairs.

    Args:
        qa: per-tensor quantization of the first tensor, zero point within int8.
        qb: per-tensor quantization of the second, likewise.
        qy: per-tensor quantization of the result, likewise.
        lo: least output, at least -128.
        hi: greatest output, at most 127.

    Returns:
        The form, or None where no multiplier is exact, or the real one is 1/4 or more.

    Raises:
        ValueError: bounds out of order or outside int8.
        VerificationError: the form found is wrong (a defect).
    """
    _check_clamp(lo, hi)
    factor = mul_multiplier(qa, qb, qy)
    if not np.isfinite(factor):
        return None
    products = np.unique((_INT8[:, None] - qa.z) * (_INT8[None, :] - qb.z))
    outputs = np.clip(mul_float_of_product(products, factor, qy.z), lo, hi).astype(np.int64)
    steps = output_steps(lo, hi)
    index = np.searchsorted(outputs, steps)  # of the least product that reaches each output
    has_above, has_below = index < len(products), index > 0
    above = products[np.minimum(index, len(products) - 1)]
    below = products[np.maximum(index - 1, 0)]
    low, high = admissible_multipliers(
        above[None, :], below[None, :], has_above[None, :], has_below[None, :], steps - qy.z
    )
    shift = choose_shift(low, high)
    multiplier = int(pick_multipliers(low, high, shift, np.array([factor]))[0])
    if multiplier == 0:
        return None
    form = MulForm(
        zero_a=qa.z,
        zero_b=qb.z,
        shift=shift,
        multiplier=multiplier,
        addend=rounding_addend(qy.z, shift),
        lo=lo,
        hi=hi,
    )
    verify_mul_form(form, qa, qb, qy)
    return form
