# SPDX-License-Identifier: Apache-2.0
"""Verifiers of the integer forms: they evaluate both forms and share nothing with the search.

A requantization and its integer form are monotone staircases. If two monotone maps agree at both ends of a range and
on both sides of every step of one of them, they agree on the whole range: between two steps the one is constant, and
the other, equal to it at both ends of the stretch, can only be constant too. The steps of the integer form are known
in closed form, ``ceil(c_k / m)``, and evaluating it there confirms them; the search works from the steps of the float
form instead. Forms of two int8 tensors are evaluated on all 65,536 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.forms import RAISED_BITS, AddForm, MeanForm, MulForm, RaisedForm, RequantForm
from mcucompiler.numerics.requantize import add_float, mean_multiplier, mul_float, requantize

Int64Array = npt.NDArray[np.int64]

_STAGE = "numerics"
_INT8 = np.arange(-128, 128, dtype=np.int64)


def ssat8(value: npt.ArrayLike) -> Int64Array:
    """Saturation to int8."""
    return np.clip(np.asarray(value, dtype=np.int64), -128, 127)


def smmla(x: npt.ArrayLike, m: npt.ArrayLike, addend: npt.ArrayLike) -> Int64Array:
    """``A + floor(x * m / 2^32)`` of int32 values, as the instruction SMMLA computes it (overflow is not wrapped)."""
    product = np.asarray(x, dtype=np.int64) * np.asarray(m, dtype=np.int64)
    return np.asarray(np.asarray(addend, dtype=np.int64) + (product >> 32))


def evaluate_requant(form: RequantForm, acc: npt.ArrayLike) -> Int64Array:
    """What the generated program computes from accumulators ``[M, ...]`` by the integer form of each channel."""
    values = np.asarray(acc, dtype=np.int64)
    m, offset, difference = (
        array.astype(np.int64).reshape(-1, *[1] * (values.ndim - 1))
        for array in (form.multipliers, form.offsets, form.differences)
    )
    return np.clip(ssat8(smmla(values + offset, m, form.addend + difference) >> form.shift), form.lo, form.hi)


def evaluate_add(form: AddForm, a: npt.ArrayLike, b: npt.ArrayLike) -> Int64Array:
    """What the generated program computes from int8 values, broadcast."""
    total = _sum(form, a, b)
    if form.half_even:
        total = total + ((total >> form.shift) & 1)
    return np.clip(ssat8(total >> form.shift), form.lo, form.hi)


def evaluate_mul(form: MulForm, a: npt.ArrayLike, b: npt.ArrayLike) -> Int64Array:
    """What the generated program computes from int8 values, broadcast."""
    product = (np.asarray(a, dtype=np.int64) - form.zero_a) * (np.asarray(b, dtype=np.int64) - form.zero_b)
    return np.clip(ssat8(smmla(product, form.multiplier, form.addend) >> form.shift), form.lo, form.hi)


def evaluate_mean(form: MeanForm, total: npt.ArrayLike) -> Int64Array:
    """What the generated program computes from sums of ``x - zero_in``."""
    return np.clip(ssat8(smmla(total, form.multiplier, form.addend) >> form.shift), form.lo, form.hi)


def verify_requant_form(form: RequantForm, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike) -> None:
    """Check that the proved channels equal the float form on every accumulator of their range.

    Args:
        form: the form to check.
        acc_lo: least accumulators [M].
        acc_hi: greatest accumulators [M].

    Raises:
        VerificationError: a number is outside what the instructions can hold, or the forms differ somewhere.
    """
    causes = _illegal_numbers(form)
    if causes:
        raise VerificationError(_STAGE, causes)
    index = np.flatnonzero(form.proved)
    rule = _Rule(
        multipliers=form.multipliers[index].astype(np.int64)[:, None],
        offsets=form.offsets[index].astype(np.int64)[:, None],
        raised=0,
        addend=form.addend + form.differences[index].astype(np.int64)[:, None],
        shift=form.shift,
    )
    _compare_steps(form, rule, index, acc_lo, acc_hi)


def verify_raised_form(form: RequantForm, raised: RaisedForm, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike) -> None:
    """Check that the channels of a ``RaisedForm`` equal the float form on every accumulator of their range.

    Args:
        form: the form of the layer.
        raised: the form to check.
        acc_lo: least accumulators [M].
        acc_hi: greatest accumulators [M].

    Raises:
        VerificationError: a number is outside what the instructions can hold, or the forms differ somewhere.
    """
    index = np.flatnonzero(raised.found)
    if index.size == 0:
        return
    rule = _Rule(
        multipliers=raised.multipliers[index].astype(np.int64)[:, None],
        offsets=raised.offsets[index].astype(np.int64)[:, None],
        raised=RAISED_BITS,
        addend=np.full((index.size, 1), form.addend << RAISED_BITS, np.int64),
        shift=form.shift + RAISED_BITS,
    )
    if not 1 <= rule.shift <= 22 or bool((rule.multipliers <= 0).any()):
        raise VerificationError(_STAGE, ["a raised form has a shift or a multiplier that is out of range"])
    _compare_steps(form, rule, index, acc_lo, acc_hi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rule:
    """``(smmla((acc << raised) + offset, multiplier, addend)) asr shift`` of N channels; arrays int64 [N, 1]."""

    multipliers: Int64Array
    offsets: Int64Array
    raised: int
    addend: Int64Array
    shift: int

    def of(self, acc: Int64Array) -> Int64Array:
        """What it makes of accumulators [N, ...]."""
        return np.asarray(smmla(self.sums(acc), self.multipliers, self.addend) >> self.shift)

    def sums(self, acc: Int64Array) -> Int64Array:
        """What is multiplied."""
        return np.asarray((acc << self.raised) + self.offsets)

    def steps(self, outputs: range) -> Int64Array:
        """The least accumulators that reach the outputs, [N, len(outputs)]."""
        need = (np.asarray([k << self.shift for k in outputs], dtype=np.int64)[None, :] - self.addend) << 32
        sums = -(-need // self.multipliers)
        return np.asarray(-((self.offsets - sums) >> self.raised))


def _compare_steps(
    form: RequantForm, rule: _Rule, index: Int64Array, acc_lo: npt.ArrayLike, acc_hi: npt.ArrayLike
) -> None:
    """Compare a rule of the channels ``index`` with the float form around all steps of the rule, and at both ends."""
    if index.size == 0:
        return
    factor = form.float_multipliers[index][:, None]
    shape = form.proved.shape
    first = np.broadcast_to(np.asarray(acc_lo, dtype=np.int64), shape)[index][:, None]
    last = np.broadcast_to(np.asarray(acc_hi, dtype=np.int64), shape)[index][:, None]
    ends = rule.sums(np.concatenate([first, last], axis=1))
    if bool((ends != ends.astype(np.int32)).any()) or bool((np.abs(rule.addend) >= 2**30).any()):
        raise VerificationError(_STAGE, ["a sum or an addend is out of range"])
    outputs = range(form.lo + 1, form.hi + 1)
    steps = rule.steps(outputs)
    _check_steps(rule, steps, outputs)
    points = np.clip(np.concatenate([first, steps - 1, steps, last], axis=1), first, last)
    integer = np.clip(ssat8(rule.of(points)), form.lo, form.hi)
    exact = requantize(points, factor, form.zero_point, form.lo, form.hi)
    differs = integer != exact
    if bool(differs.any()):
        channel, point = (int(i) for i in np.argwhere(differs)[0])
        raise VerificationError(
            _STAGE,
            [
                f"{int(differs.any(axis=1).sum())} channels marked as proved differ from the float form; the first is "
                f"channel {int(index[channel])} at accumulator {int(points[channel, point])}: "
                f"{int(integer[channel, point])} instead of {int(exact[channel, point])}"
            ],
        )


def _illegal_numbers(form: RequantForm) -> list[str]:
    """What of the form cannot be held or is inconsistent in itself."""
    causes = []
    if not 1 <= form.shift <= 22:
        causes.append(f"shift {form.shift} is not in 1..22")
    elif form.addend != form.zero_point * 2**form.shift + 2 ** (form.shift - 1):
        causes.append(f"addend {form.addend} does not go with zero point {form.zero_point} and shift {form.shift}")
    if abs(form.addend) >= 2**30:
        causes.append(f"addend {form.addend} is not below 2^30")
    if not -128 <= form.lo <= form.hi <= 127:
        causes.append(f"clamp {form.lo}..{form.hi} is not within int8")
    if (
        len({a.shape for a in (form.multipliers, form.proved, form.offsets, form.differences, form.float_multipliers)})
        > 1
    ):
        causes.append("the arrays differ in length")
    elif bool((form.multipliers[form.proved] <= 0).any()) or bool(form.multipliers[~form.proved].any()):
        causes.append("a proved multiplier is not positive, or an unproved one is not 0")
    elif not bool((form.float_multipliers[form.proved] >= 0).all()):
        causes.append(
            "a proved channel's float multiplier is negative or not a number, so its map need not be monotone"
        )
    return causes


def _check_steps(rule: _Rule, steps: Int64Array, outputs: range) -> None:
    """Confirm by evaluation that the rule steps to each output at ``steps``, as far as its sums are int32."""
    least, greatest = ((bound - rule.offsets) >> rule.raised for bound in (-(2**31), 2**31 - 1))
    before, at = (np.clip(x, least + 1, greatest) for x in (steps - 1, steps))
    wanted = np.asarray(outputs, dtype=np.int64)[None, :]
    reached, early = rule.of(at) >= wanted, rule.of(before) >= wanted
    inside = (at == steps) & (before == steps - 1)
    if bool((inside & (~reached | early)).any()):
        raise VerificationError(_STAGE, ["the integer form does not step where its numbers say"])


def _sum(form: AddForm, a: npt.ArrayLike, b: npt.ArrayLike) -> Int64Array:
    """The sum before its shift, in int64."""
    first = np.asarray(a, dtype=np.int64) * form.multiplier_a
    return np.asarray(form.addend + np.asarray(b, dtype=np.int64) * form.multiplier_b + first)


def verify_add_form(
    form: AddForm, qa: QuantParams, qb: QuantParams, qy: QuantParams, *, subtract: bool = False
) -> None:
    """Check an ``AddForm`` against the float form on all pairs of int8 values, and its sums against int32.

    Raises:
        VerificationError: a sum leaves int32, or the forms differ somewhere.
    """
    a, b = _INT8[:, None], _INT8[None, :]
    partial = form.addend + b * form.multiplier_b
    total = _sum(form, a, b)
    largest = max(int(np.abs(partial).max()), int(np.abs(total).max()), abs(form.addend))
    if largest >= 2**31 - 1 or not 1 <= form.shift <= 30:
        raise VerificationError(_STAGE, [f"the sum reaches {largest} or the shift {form.shift} is not in 1..30"])
    exact = np.clip(add_float(a, b, qa, qb, qy, subtract=subtract), form.lo, form.hi)
    _compare_pairs("sum", evaluate_add(form, a, b), exact)


def verify_mul_form(form: MulForm, qa: QuantParams, qb: QuantParams, qy: QuantParams) -> None:
    """Check a ``MulForm`` against the float form on all pairs of int8 values.

    Raises:
        VerificationError: a number is out of range, or the forms differ somewhere.
    """
    _check_scalars(form)
    a, b = _INT8[:, None], _INT8[None, :]
    exact = np.clip(mul_float(a, b, qa, qb, qy), form.lo, form.hi)
    _compare_pairs("product", evaluate_mul(form, a, b), exact)


def verify_mean_form(form: MeanForm, qx: QuantParams, qy: QuantParams) -> None:
    """Check a ``MeanForm`` against the float form on all sums of ``count`` int8 elements, one by one.

    Raises:
        VerificationError: a number is out of range, or the forms differ somewhere.
    """
    _check_scalars(form)
    factor = mean_multiplier(form.count, qx.s, qy.s)
    first, end = form.count * (-128 - qx.z), form.count * (127 - qx.z) + 1
    for start in range(first, end, 1 << 20):
        sums = np.arange(start, min(end, start + (1 << 20)), dtype=np.int64)
        exact = requantize(sums, factor, qy.z, form.lo, form.hi)
        wrong = np.flatnonzero(evaluate_mean(form, sums) != exact)
        if wrong.size or form.zero_in != qx.z:
            raise VerificationError(_STAGE, [f"the mean differs from the float form, first at {sums[wrong[:1]]}"])


def _check_scalars(form: MulForm | MeanForm) -> None:
    """Refuse numbers that the instructions cannot hold."""
    if not (1 <= form.shift <= 22 and 0 < form.multiplier < 2**31 and abs(form.addend) < 2**30):
        raise VerificationError(_STAGE, [f"{form} has a number out of range"])


def _compare_pairs(what: str, integer: Int64Array, exact: npt.NDArray[np.float32]) -> None:
    """Refuse any difference between two tables over pairs (a, b)."""
    wrong = np.argwhere(integer != exact)
    if wrong.size:
        a, b = (int(i) for i in wrong[0])
        raise VerificationError(
            _STAGE,
            [
                f"the integer form of the {what} differs from the float form for {len(wrong)} of 65,536 pairs; the "
                f"first is a = {a - 128}, b = {b - 128}: {int(integer[a, b])} instead of {float(exact[a, b]):.0f}"
            ],
        )
