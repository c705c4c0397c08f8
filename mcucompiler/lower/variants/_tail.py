# SPDX-License-Identifier: Apache-2.0
"""How kernels of weighted layers requantize their sums: literals, parameters and their values."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import Param, ScalarArg
from mcucompiler.lower.variants._weighted import INT8_RANGE
from mcucompiler.numerics.integer_form import RequantForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """The requantization literals of a kernel.

    Attributes:
        shift: of the integer tail.
        integer: whether some channels have an integer tail.
        floating: whether some channels have a float tail.
        lo: least output, None where saturation to int8 sees to it.
        hi: greatest output, likewise.
    """

    shift: int
    integer: bool
    floating: bool
    lo: int | None
    hi: int | None


def tail_of(form: RequantForm, *, integer: bool, floating: bool) -> Tail:
    """The literals of a requantization; the shift is 0 where nothing uses it, so that equal kernels are equal."""
    return Tail(
        shift=form.shift if integer else 0,
        integer=integer,
        floating=floating,
        lo=form.lo if form.lo > INT8_RANGE[0] else None,
        hi=form.hi if form.hi < INT8_RANGE[1] else None,
    )


def own_tail(form: RequantForm) -> Tail:
    """The literals of a kernel that has just the tails which its layer's channels need."""
    return tail_of(form, integer=bool(form.proved.any()), floating=not bool(form.proved.all()))


def tail_params(tail: Tail) -> tuple[Param, ...]:
    """The parameters that requantization needs."""
    names = (("addend", tail.integer), ("out_zero", tail.floating))
    return tuple(Param(ctype="int32_t", name=name) for name, used in names if used)


def tail_arguments(form: RequantForm, tail: Tail) -> tuple[ScalarArg, ...]:
    """Their values."""
    values = ((form.addend, tail.integer), (form.zero_point, tail.floating))
    return tuple(ScalarArg(ctype="int32_t", value=value) for value, used in values if used)
