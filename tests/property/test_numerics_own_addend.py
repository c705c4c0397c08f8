# SPDX-License-Identifier: Apache-2.0
"""Integer forms with a bias and an addend of the channel's own: exact where found, bounded, refused if changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.numerics.forms import RequantForm
from mcucompiler.numerics.integer_form import find_requant_form
from mcucompiler.numerics.own_addend import with_own_addends
from mcucompiler.numerics.raised_form import find_raised_form
from mcucompiler.numerics.requantize import requantize
from mcucompiler.numerics.verify import evaluate_requant, verify_requant_form

CHECKS = settings(deadline=None, derandomize=True, max_examples=30)


def left_over(seed: int, channels: int = 60) -> tuple[RequantForm, np.ndarray, np.ndarray]:
    """A form, and ranges short enough to try every accumulator; some channels are not proved."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(100_000, 400_000))
    low = rng.integers(-length, 1, channels)
    factor = np.exp2(rng.uniform(-13, -8, channels)).astype(np.float32)
    lo = int(rng.choice([-128, -128, -100, 0]))
    return find_requant_form(factor, int(rng.integers(-128, 128)), lo, 127, low, low + length), low, low + length


@given(st.integers(0, 2**32 - 1), st.sampled_from([300, 2**18]))
@CHECKS
def test_what_is_found_is_exact_for_every_accumulator(seed: int, room: int) -> None:
    form, low, high = left_over(seed)
    own = with_own_addends(form, low, high, np.full(low.shape, room))
    gained = own.proved & ~form.proved
    assert not (form.proved & ~own.proved).any()
    assert own.own_addends == bool(gained.any())
    assert not own.offsets[~gained].any()
    assert not own.differences[~gained].any()
    assert (np.abs(own.offsets) <= room).all()
    assert (np.abs(own.differences) <= 2048).all()
    for channel in np.flatnonzero(gained)[:4]:
        acc = np.arange(low[channel], high[channel] + 1)
        every = np.zeros((len(low), len(acc)), np.int64)
        every[channel] = acc
        exact = requantize(acc, form.float_multipliers[channel], form.zero_point, form.lo, form.hi)
        assert (evaluate_requant(own, every)[channel] == exact).all()


def test_whole_numbers_do_what_parts_of_an_accumulator_do() -> None:
    forms = [left_over(seed) for seed in range(40)]
    wide = [with_own_addends(*case, 2**18) for case in forms]
    raised = sum(int(find_raised_form(*case).found.sum()) for case in forms)
    gained = sum(int(own.proved.sum() - case[0].proved.sum()) for own, case in zip(wide, forms, strict=True))
    assert gained >= raised > 20
    assert not any(with_own_addends(*case, -1).own_addends for case in forms[:10])


def test_changes_are_refused() -> None:
    cases = ((case, with_own_addends(*case, 2**18)) for case in map(left_over, range(99)))
    (_, low, high), own = next(case for case in cases if case[1].own_addends)
    channel = int(np.flatnonzero(own.differences)[0])
    one = np.zeros(len(low), np.int32)
    one[channel] = 1
    with pytest.raises(VerificationError, match=f"channel {channel} at"):
        verify_requant_form(replace(own, offsets=own.offsets + one), low, high)
    with pytest.raises(VerificationError, match=f"channel {channel} at"):
        verify_requant_form(replace(own, differences=own.differences + one), low, high)
    with pytest.raises(VerificationError, match="out of range"):
        verify_requant_form(replace(own, offsets=own.offsets + one * (2**31 - 2**16)), low, high + 2**16 * one)
