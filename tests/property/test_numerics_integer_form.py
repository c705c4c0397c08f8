# SPDX-License-Identifier: Apache-2.0
"""Integer requantization: what is proved is exact, what is exact is proved, and what is wrong is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.numerics.forms import RequantForm
from mcucompiler.numerics.integer_form import accumulator_range, find_requant_form
from mcucompiler.numerics.requantize import requantize
from mcucompiler.numerics.staircase import (
    admissible_multipliers,
    float_thresholds,
    multipliers_at,
    output_steps,
)
from mcucompiler.numerics.verify import evaluate_requant, verify_requant_form

INT32 = (-(2**31), 2**31 - 1)
RELAXED = settings(deadline=None, derandomize=True, max_examples=250)

zero_points = st.integers(-128, 127)


@st.composite
def clamps(draw: st.DrawFn) -> tuple[int, int]:
    lo = draw(st.one_of(st.just(-128), st.integers(-128, 127)))
    return lo, draw(st.one_of(st.just(127), st.integers(lo, 127)))


@st.composite
def multipliers(draw: st.DrawFn) -> float:
    """The whole legal range: typical, powers of two, beyond 1, denormal and zero."""
    mantissa = draw(st.one_of(st.just(2**23), st.integers(2**23, 2**24 - 1)))
    exponent = draw(st.one_of(st.integers(-36, -24), st.integers(-172, 20)))
    with np.errstate(under="ignore"):
        return float(np.float32(np.ldexp(float(mantissa), exponent)))


@st.composite
def small_ranges(draw: st.DrawFn) -> tuple[int, int]:
    """Ranges short enough to try every accumulator, anywhere in int32."""
    length = draw(st.integers(0, 6000))
    middle = draw(st.one_of(st.integers(-8000, 8000), st.integers(-(2**31), 2**31 - 1)))
    low = min(max(middle - length // 2, INT32[0]), INT32[1] - length)
    return low, low + length


def one_channel(form: RequantForm, multiplier: int) -> RequantForm:
    """A form of one channel with another multiplier, declared to be proved."""
    return replace(form, multipliers=np.int32([multiplier]), proved=np.array([True]))


def float_outputs(form: RequantForm, acc: np.ndarray) -> np.ndarray:
    return requantize(acc, form.float_multipliers[0], form.zero_point, form.lo, form.hi)


@RELAXED
@given(multipliers(), zero_points, clamps(), small_ranges())
def test_proved_channels_are_exact_for_every_accumulator(
    factor: float, zero_point: int, clamp: tuple[int, int], reach: tuple[int, int]
) -> None:
    form = find_requant_form([factor], zero_point, *clamp, [reach[0]], [reach[1]])
    acc = np.arange(reach[0], reach[1] + 1)
    if form.proved[0]:
        assert (evaluate_requant(form, acc[None, :])[0] == float_outputs(form, acc)).all()
    else:
        assert form.multipliers[0] == 0


@RELAXED
@given(multipliers(), zero_points, clamps(), small_ranges())
def test_thresholds_are_those_of_the_float_form(
    factor: float, zero_point: int, clamp: tuple[int, int], reach: tuple[int, int]
) -> None:
    lo, hi = clamp
    found = float_thresholds(np.float32([factor]), zero_point, lo, hi, np.array([reach[0]]), np.array([reach[1]]))
    outputs = requantize(np.arange(reach[0], reach[1] + 1), np.float32(factor), zero_point, lo, hi)
    assert (np.diff(outputs) >= 0).all()
    assert (found[0] == reach[0] + np.searchsorted(outputs, np.arange(lo + 1, hi + 1))).all()


@settings(deadline=None, derandomize=True, max_examples=120)
@given(multipliers(), zero_points, clamps(), small_ranges(), st.integers(1, 22))
def test_the_interval_of_multipliers_is_complete(
    factor: float, zero_point: int, clamp: tuple[int, int], reach: tuple[int, int], shift: int
) -> None:
    """Both ends are exact and their outer neighbors are not; if there is none, none near the real value is exact."""
    lo, hi = clamp
    form = find_requant_form([factor], zero_point, lo, hi, [reach[0]], [reach[1]], exact="float")
    form = replace(form, shift=shift, addend=(zero_point << shift) + (1 << (shift - 1)))
    low, high = np.array([reach[0]]), np.array([reach[1]])
    above = float_thresholds(form.float_multipliers, zero_point, lo, hi, low, high)
    interval = admissible_multipliers(
        above, above - 1, above <= reach[1], above > reach[0], output_steps(lo, hi) - zero_point
    )
    least, greatest = (int(bound[0]) for bound in multipliers_at(*interval, shift))
    acc = np.arange(reach[0], reach[1] + 1)
    expected = float_outputs(form, acc)

    def exact(multiplier: int) -> bool:
        return bool((evaluate_requant(one_channel(form, multiplier), acc[None, :])[0] == expected).all())

    if least <= greatest:
        inside, outside = {least, greatest}, {least - 1, greatest + 1}
    else:
        ideal = factor * 2.0 ** (32 + shift)
        assume(ideal < 2**31)
        inside, outside = set(), {int(ideal) + d for d in range(-20, 21)} | {least, greatest}
    assert all(exact(m) for m in inside)
    assert not any(exact(m) for m in outside if 0 < m < 2**31)


@settings(deadline=None, derandomize=True, max_examples=250)
@given(multipliers(), zero_points, clamps(), small_ranges(), st.integers(1, 22), st.integers(-3, 3))
def test_the_verifier_decides_as_exhaustive_comparison_does(
    factor: float, zero_point: int, clamp: tuple[int, int], reach: tuple[int, int], shift: int, offset: int
) -> None:
    form = find_requant_form([factor], zero_point, *clamp, [reach[0]], [reach[1]], exact="float")
    form = replace(form, shift=shift, addend=(zero_point << shift) + (1 << (shift - 1)))
    multiplier = min(max(round(factor * 2.0 ** (32 + shift)) + offset, 1), 2**31 - 1)
    form = one_channel(form, multiplier)
    acc = np.arange(reach[0], reach[1] + 1)
    exact = bool((evaluate_requant(form, acc[None, :])[0] == float_outputs(form, acc)).all())
    if exact:
        verify_requant_form(form, [reach[0]], [reach[1]])
    else:
        with pytest.raises(VerificationError, match="differ from the float form"):
            verify_requant_form(form, [reach[0]], [reach[1]])


def typical_layer(seed: int = 5, channels: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Multipliers and ranges as those of a layer with 96 inputs per output."""
    rng = np.random.default_rng(seed)
    weights = np.clip(np.rint(rng.normal(0, 40, (channels, 96))), -127, 127).astype(np.int64)
    low, high = accumulator_range(weights, rng.integers(-3000, 3000, channels), -118, 137)
    return np.float32(rng.uniform(2e-4, 4e-3, channels)), low, high


def test_most_channels_of_a_typical_layer_are_proved_and_agree_at_random() -> None:
    factor, low, high = typical_layer()
    form = find_requant_form(factor, -10, -128, 127, low, high)
    assert 0.85 < form.proved.mean() < 1
    rng = np.random.default_rng(6)
    acc = rng.integers(low[:, None], high[:, None] + 1, (len(low), 3000))
    expected = requantize(acc, factor[:, None], -10, -128, 127)
    assert (evaluate_requant(form, acc)[form.proved] == expected[form.proved]).all()


def test_the_shift_is_that_which_proves_most() -> None:
    factor, low, high = typical_layer()
    above = float_thresholds(factor, -10, -128, 127, low, high)
    interval = admissible_multipliers(
        above, above - 1, above <= high[:, None], above > low[:, None], output_steps(-128, 127) + 10
    )
    counts = [int((lo <= hi).sum()) for lo, hi in (multipliers_at(*interval, shift) for shift in range(1, 23))]
    form = find_requant_form(factor, -10, -128, 127, low, high)
    assert int(form.proved.sum()) == max(counts) == counts[form.shift - 1]


@pytest.mark.parametrize("change", [-(2**20), -(2**14), 2**14, 2**20])
def test_a_changed_multiplier_is_refused(change: int) -> None:
    factor, low, high = typical_layer()
    form = find_requant_form(factor, -10, -128, 127, low, high)
    channel = int(np.flatnonzero(form.proved)[3])
    changed = form.multipliers.copy()
    changed[channel] += change
    with pytest.raises(VerificationError, match=rf"channel {channel} at accumulator"):
        verify_requant_form(replace(form, multipliers=changed), low, high)


def test_other_changes_are_refused() -> None:
    factor, low, high = typical_layer()
    form = find_requant_form(factor, -10, -128, 127, low, high)
    channel = int(np.flatnonzero(~form.proved)[0])
    ideal = np.array(form.multipliers)
    ideal[channel] = round(float(factor[channel]) * 2.0 ** (32 + form.shift))
    claimed = np.array(form.proved)
    claimed[channel] = True
    mutants = [
        replace(form, shift=form.shift + 1),
        replace(form, addend=form.addend + 1),
        replace(form, zero_point=-9),
        replace(form, lo=-129),
        replace(form, shift=0),
        replace(form, shift=23),
        replace(form, proved=claimed),
        replace(form, proved=claimed, multipliers=ideal),
        replace(form, multipliers=ideal),
        replace(form, multipliers=form.multipliers[1:]),
        replace(form, multipliers=-form.multipliers),
        replace(form, float_multipliers=-form.float_multipliers),
        replace(form, shift=form.shift + 1, addend=(-10 << form.shift + 1) + (1 << form.shift)),
    ]
    for mutant in mutants:
        with pytest.raises(VerificationError):
            verify_requant_form(mutant, low, high)
    verify_requant_form(form, low, high)


def test_a_range_wider_than_the_proof_is_refused() -> None:
    # up to 4 the outputs are all 0, and a steeper map only shows further on
    form = find_requant_form([0.02], 0, -128, 127, [0], [4])
    assert form.proved[0]
    steep = one_channel(form, int(form.multipliers[0] * 1.2))
    verify_requant_form(steep, [0], [4])
    with pytest.raises(VerificationError):
        verify_requant_form(steep, [0], [100])


@pytest.mark.parametrize("factor", [0.0, 1e-45, 1e-38, 4e-12])
def test_dead_channels_are_proved_over_all_of_int32(factor: float) -> None:
    form = find_requant_form([factor], -7, -128, 127, [INT32[0]], [INT32[1]])
    assert form.all_proved
    assert (evaluate_requant(form, np.array([INT32]))[0] == -7).all()


def test_a_wrapping_channel_with_a_step_can_be_proved() -> None:
    form = find_requant_form([6e-9], 3, 3, 4, [INT32[0]], [INT32[1]])
    step = int(float_thresholds(np.float32([6e-9]), 3, 3, 4, np.array([INT32[0]]), np.array([INT32[1]]))[0, 0])
    assert form.all_proved
    assert evaluate_requant(form, np.array([[INT32[0], step - 1, step, INT32[1]]])).tolist() == [[3, 3, 4, 4]]
    assert float_outputs(form, np.array([INT32[0], step - 1, step, INT32[1]])).tolist() == [3, 3, 4, 4]


@pytest.mark.parametrize("factor", [0.25, 1.0, 1e10, np.inf, np.nan])
def test_large_multipliers_keep_the_float_form(factor: float) -> None:
    form = find_requant_form([factor], 0, -128, 127, [-5000], [5000])
    assert not form.proved.any()
    assert form.multipliers.tolist() == [0]


def test_a_power_of_two_has_ties_which_no_multiplier_rounds_to_even() -> None:
    assert not find_requant_form([1 / 64], 0, -128, 127, [-9000], [9000]).proved.any()
    # with a single tie in reach, rounding it up can be right
    assert find_requant_form([1 / 64], 0, -128, 127, [60, 33], [120, 95]).proved.all()


def test_only_the_clamp_in_force_matters() -> None:
    """Ties beyond the clamp do not count."""
    assert find_requant_form([1 / 64], 0, 1, 2, [-9000], [9000]).all_proved


def test_float_can_be_forced() -> None:
    factor, low, high = typical_layer(channels=5)
    form = find_requant_form(factor, 1, -128, 127, low, high, exact="float")
    assert not form.proved.any()
    assert not form.multipliers.any()
    assert form.addend == (1 << form.shift) + (1 << (form.shift - 1))


def test_a_single_multiplier_serves_all_channels_and_arrays_are_read_only() -> None:
    form = find_requant_form(np.float32(0.01), 0, -128, 127, [-900, -90], [900, 90])
    assert form.multipliers.shape == (2,)
    with pytest.raises(ValueError, match="read-only"):
        form.multipliers[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.1], 0, -129, 127, [0], [1]), "outside int8"),
        (([0.1], 0, 5, 4, [0], [1]), "outside int8"),
        (([0.1], 200, -128, 127, [0], [1]), "outside int8"),
        (([0.1], 0, -128, 127, [2], [1]), "empty"),
        (([0.1], 0, -128, 127, [0], [2**31]), "outside int32"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_requant_form(*arguments)
    with pytest.raises(ValueError, match="not 'proved' or 'float'"):
        find_requant_form([0.1], 0, -128, 127, [0], [1], exact="both")


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(st.integers(-255, 255), min_size=1, max_size=4),
    st.integers(-1000, 1000),
    st.integers(-4, 0),
    st.integers(0, 4),
)
def test_accumulator_range_is_that_of_all_inputs(weights: list[int], bias: int, x_lo: int, x_hi: int) -> None:
    sums = [
        bias + sum(w * x for w, x in zip(weights, inputs, strict=True))
        for inputs in itertools.product(range(x_lo, x_hi + 1), repeat=len(weights))
    ]
    low, high = accumulator_range([weights], [bias], x_lo, x_hi)
    assert (int(low[0]), int(high[0])) == (min(sums), max(sums))


def test_a_range_that_leaves_int32_is_all_of_it() -> None:
    weights = np.array([[1], [1], [1], [-1]])
    low, high = accumulator_range(weights, [INT32[0], INT32[0] + 128, INT32[1] - 127, INT32[1]], -128, 127)
    assert low.tolist() == [INT32[0], INT32[0], INT32[1] - 255, INT32[0]]
    assert high.tolist() == [INT32[1], INT32[0] + 255, INT32[1], INT32[1]]


def test_an_input_range_without_zero_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not contain 0"):
        accumulator_range([[1]], [0], 1, 5)
