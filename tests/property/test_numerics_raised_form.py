# SPDX-License-Identifier: Apache-2.0
"""Integer forms of raised accumulators: exact where they are found, found where offsets can help, refused if wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.numerics.forms import RAISED_BITS, RaisedForm, RequantForm
from mcucompiler.numerics.integer_form import find_requant_form
from mcucompiler.numerics.raised_form import LARGEST_RAISED, find_raised_form, verify_raised_form
from mcucompiler.numerics.requantize import requantize

CHECKS = settings(deadline=None, derandomize=True, max_examples=150)


def evaluated(form: RequantForm, raised: RaisedForm, channel: int, acc: np.ndarray) -> np.ndarray:
    """What the generated program makes of accumulators, int64 [N]."""
    m, offset = int(raised.multipliers[channel]), int(raised.offsets[channel])
    values = ((acc * 2**RAISED_BITS + offset) * m // 2**32) + (form.addend << RAISED_BITS)
    return np.clip(values >> (form.shift + RAISED_BITS), form.lo, form.hi)


def left_over(seed: int, channels: int = 60) -> tuple[RequantForm, np.ndarray, np.ndarray]:
    """A form, and ranges short enough to try every accumulator; many channels are not proved."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(100_000, 400_000))
    low = rng.integers(-length, 1, channels)
    factor = np.exp2(rng.uniform(-13, -8, channels)).astype(np.float32)
    lo = int(rng.choice([-128, -128, -100, 0]))
    zero_point = int(rng.integers(-128, 128))
    return find_requant_form(factor, zero_point, lo, 127, low, low + length), low, low + length


@given(st.integers(0, 2**32 - 1))
@settings(CHECKS, max_examples=40)
def test_what_is_found_is_exact_for_every_accumulator(seed: int) -> None:
    form, low, high = left_over(seed)
    raised = find_raised_form(form, low, high)
    assert not (raised.found & form.proved).any()
    for channel in np.flatnonzero(raised.found)[:4]:
        acc = np.arange(low[channel], high[channel] + 1)
        exact = requantize(acc, form.float_multipliers[channel], form.zero_point, form.lo, form.hi)
        assert (evaluated(form, raised, channel, acc) == exact).all()


def test_offsets_prove_a_good_part_of_what_multipliers_cannot() -> None:
    forms = [left_over(seed) for seed in range(40)]
    found = sum(int(find_raised_form(*case).found.sum()) for case in forms)
    left = sum(int((~form.proved).sum()) for form, _, _ in forms)
    assert left > 50
    assert 0.2 * left < found < left


@given(st.integers(0, 2**32 - 1), st.integers(-3, 3), st.integers(-40, 40))
@CHECKS
def test_the_verifier_decides_as_exhaustive_comparison_does(seed: int, more: int, offset: int) -> None:
    form, low, high = left_over(seed, channels=1)
    shift = form.shift + RAISED_BITS
    ideal = float(form.float_multipliers[0]) * 2.0 ** (32 + shift - RAISED_BITS)
    multiplier = min(max(round(ideal) + more, 1), 2**31 - 1)
    raised = RaisedForm(offsets=np.int32([offset]), multipliers=np.int32([multiplier]))
    acc = np.arange(low[0], high[0] + 1)
    exact = requantize(acc, form.float_multipliers[0], form.zero_point, form.lo, form.hi)
    if (evaluated(form, raised, 0, acc) == exact).all():
        verify_raised_form(form, raised, low, high)
    else:
        with pytest.raises(VerificationError, match="differ from the float form"):
            verify_raised_form(form, raised, low, high)


def test_accumulators_that_do_not_fit_are_left_alone_and_refused() -> None:
    form, low, high = next(case for case in map(left_over, range(99)) if find_raised_form(*case).found.any())
    raised = find_raised_form(form, low, high)
    channel = int(np.flatnonzero(raised.found)[0])
    wide = high.copy()
    wide[channel] = LARGEST_RAISED + 1
    assert not find_raised_form(form, low, wide).found[channel]
    wide[channel] = 2**23 + 2**15
    with pytest.raises(VerificationError, match="out of range"):
        verify_raised_form(form, raised, low, wide)
    large = replace(form, shift=15, addend=(form.zero_point << 15) + (1 << 14))
    assert not find_raised_form(large, low, high).found.any()
    with pytest.raises(VerificationError, match="out of range"):
        verify_raised_form(large, raised, low, high)
