# SPDX-License-Identifier: Apache-2.0
"""Weight streams, blocks of channels, and how far an output may follow its input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.lower.packing import Channels, arrange_blocks, arrange_pairs, is_narrow, pack_stream, step_order
from mcucompiler.lower.variants._product_weights import Weights
from mcucompiler.lower.variants._products import choose_blocking
from mcucompiler.lower.variants._window import Window, overlap_distance
from mcucompiler.numerics.forms import RaisedForm

CHECKS = settings(deadline=None, derandomize=True, max_examples=60, database=None)


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.sampled_from([2, 4, 6]))
@CHECKS
def test_blocks_hold_every_channel_and_no_unproved_one_gets_an_integer_tail(proved: list[bool], size: int) -> None:
    blocks = arrange_blocks(np.array(proved), size)
    integer = {channel for block in blocks.integer for channel in block}
    floating = {channel for block in blocks.floating for channel in block}
    assert integer | floating == set(range(len(proved)))
    assert not integer & floating
    assert all(proved[channel] for channel in integer)
    assert all(len(block) == size for block in (*blocks.integer, *blocks.floating))
    least = -(-len(proved) // size)
    assert len(blocks.integer) + len(blocks.floating) <= least + 1


kinds = st.lists(st.sampled_from(["proved", "proved light", "raised", "light", "heavy"]), min_size=1, max_size=24)


@given(kinds, st.sampled_from([2, 4, 6]))
@CHECKS
def test_pairs_have_light_channels_second_and_raised_ones_behind_proved_ones(names: list[str], size: int) -> None:
    proved = np.array(["proved" in name for name in names])
    raised = np.array([name == "raised" for name in names])
    light = np.array([name in ("proved light", "raised", "light") for name in names])
    blocks = arrange_pairs(proved, raised, light, size)
    if blocks is None:
        heavy = [(~light & kind).sum() - (light & kind).sum() for kind in (proved, ~proved & ~raised)]
        assert max(heavy) > 0
        return
    every = (*blocks.integer, *blocks.floating)
    assert {channel for block in every for channel in block} == set(range(len(names)))
    assert all(len(block) == size for block in every)
    assert all(light[second] for block in every for second in block[1::2])
    assert all(proved[first] for block in blocks.integer for first in block[::2])
    assert all(proved[second] or raised[second] for block in blocks.integer for second in block[1::2])
    assert len(every) <= -(-len(names) // size) + 1 + sum(not one for one in light)
    assert proved.any() <= bool(blocks.integer) or not light[proved].all() or len(blocks.floating) == 1


@given(st.integers(1, 70), st.integers(0, 9))
@CHECKS
def test_steps_take_every_input_once(inputs: int, more: int) -> None:
    order = step_order(inputs, -(-inputs // 4) * 2 + more)
    taken = order[order >= 0]
    assert sorted(taken.tolist()) == list(range(inputs))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["wide", "narrow", "stacked"]),
    st.sampled_from([2, 4, 6]),
    st.integers(1, 30),
)
@CHECKS
def test_a_stream_read_back_gives_the_sums(seed: int, kind: str, block: int, inputs: int) -> None:
    narrow, stacked = kind != "wide", kind == "stacked"
    rng = np.random.default_rng(seed)
    channels, steps = int(rng.integers(1, 9)), -(-inputs // 4) * 2 + int(rng.integers(0, 3))
    reach = 127 if narrow else 255
    weights = rng.integers(-reach, reach + 1, (channels, inputs))
    proved = rng.integers(0, 2, channels).astype(bool)
    raised = ~proved & rng.integers(0, 2, channels).astype(bool) & stacked
    layer = Channels(
        weights=weights,
        bias=rng.integers(-(2**20), 2**20, channels) if stacked else rng.integers(-(2**31), 2**31, channels),
        multipliers=rng.integers(0, 2**31, channels).astype(np.uint32),
        float_bits=rng.integers(0, 2**31, channels).astype(np.uint32),
        proved=proved,
        index=np.arange(channels) + 5,
        raised=RaisedForm(
            offsets=np.where(raised, rng.integers(-200, 200, channels), 0).astype(np.int32),
            multipliers=np.where(raised, rng.integers(1, 2**31, channels), 0).astype(np.int32),
        ),
    )
    counts = (
        arrange_pairs(proved, raised, np.ones(channels, np.bool_), block)
        if stacked
        else arrange_blocks(layer.proved, block)
    )
    assert counts is not None
    words = pack_stream(layer, counts, steps=steps, narrow=narrow, stacked=stacked)
    x = np.concatenate([rng.integers(-128, 128, inputs), np.zeros(4 + 2 * steps, np.int64)])
    fours = x[: -(-inputs // 4) * 4].reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)
    columns = np.concatenate([fours, np.zeros(2 * steps, np.int64)])[: 2 * steps].reshape(-1, 2)
    for channel, (total, bits, floating, second) in _read_back(words, columns, block, steps, kind).items():
        c = channel - 5
        exact = int(layer.bias[c]) + int(weights[c] @ x[:inputs])
        if stacked and second:
            offset = int(layer.raised.offsets[c]) * (not floating)
            assert total == (256 * exact + offset) % 2**32
            factor = (layer.float_bits[c : c + 1].view(np.float32) / 256).view(np.uint32)[0]
            assert bits == (factor if floating else layer.raised.multipliers[c] or layer.multipliers[c])
        else:
            assert total == exact % 2**32
            assert bits == (layer.float_bits if floating else layer.multipliers)[c]
        assert floating or proved[c] or (raised[c] and second)


def _read_back(
    words: np.ndarray, columns: np.ndarray, block: int, steps: int, kind: str
) -> dict[int, tuple[int, int, bool, bool]]:
    """What a kernel makes of a stream: sum, multiplier, kind of tail and place in a pair for each channel index."""
    narrow = kind != "wide"
    integer, floating = int(words[0]), int(words[1])
    at, found = 2, {}
    per_step = block // 2 if narrow else block
    for number in range(integer + floating):
        sums = [int(word) for word in words[at : at + block]]
        at += block
        for step in range(steps):
            a, b = (int(value) for value in columns[step])
            for c in range(block):
                word = int(words[at + (c // 2 if narrow else c)])
                if kind == "stacked" and c % 2:
                    low, high = (np.int16(np.uint16(word >> (16 * half) & 65535)) for half in (0, 1))
                elif narrow:
                    low, high = (np.int8(np.uint8(word >> (8 * (c % 2 + 2 * half)) & 255)) for half in (0, 1))
                else:
                    low, high = (np.int16(np.uint16(word >> (16 * half) & 65535)) for half in (0, 1))
                sums[c] += a * int(low) + b * int(high)
            at += per_step
        indices = words[at + block : at + block + block // 2]
        for c in range(block):
            index = int(indices[c // 2]) >> (16 * (c % 2)) & 65535
            total = sums[c] - sums[c - 1] * (kind == "stacked" and c % 2)
            found[index] = (total % 2**32, int(words[at + c]), number >= integer, c % 2 == 1)
        at += block + block // 2
    assert at == len(words)
    return found


def test_narrow_weights_are_those_of_int8() -> None:
    assert is_narrow(np.array([-128, 127]))
    assert not is_narrow(np.array([-129, 0]))
    assert not is_narrow(np.array([0, 128]))


@pytest.mark.parametrize("inputs", [1, 2, 3, 4, 27, 48, 97, 1000])
@pytest.mark.parametrize("pixels", [1, 2, 3, 5, 6, 9, 100])
def test_blocking_covers_all_inputs_and_pixels(inputs: int, pixels: int) -> None:
    for contiguous in (False, True):
        blocking = choose_blocking(pixels, inputs, Weights(narrow=True, stackable=True), contiguous=contiguous)
        assert inputs <= 2 * blocking.steps < inputs + 4
        assert blocking.stacked == (blocking.steps > blocking.whole)
        assert pixels // blocking.whole * blocking.whole + blocking.rest == pixels
        if blocking.direct:
            assert 2 * blocking.steps == inputs


windows = st.builds(
    Window,
    batch=st.integers(1, 2),
    channels_in=st.integers(1, 5),
    channels_out=st.integers(1, 5),
    groups=st.just(1),
    ifmap=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    ofmap=st.just((1, 1)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.just((1, 1)),
    before=st.just((0, 0)),
    in_stride=st.just(1),
    out_stride=st.just(1),
    in_dense=st.just(True),
    out_dense=st.just(True),
)


def _runs(window: Window, group: int, distance: int) -> bool:
    """Whether a convolution by groups of pixels reads only bytes that it has not written over."""
    lift = distance
    written: set[int] = set()
    height, width = window.ifmap
    outputs = [
        (image, y, x) for image in range(window.batch) for y in range(window.ofmap[0]) for x in range(window.ofmap[1])
    ]
    for start in range(0, len(outputs), group):
        members = outputs[start : start + group]
        for image, y, x in members:
            for ky in range(window.kernel[0]):
                for kx in range(window.kernel[1]):
                    row = y * window.stride[0] - window.before[0] + ky
                    column = x * window.stride[1] - window.before[1] + kx
                    if 0 <= row < height and 0 <= column < width:
                        pixel = (image * height + row) * width + column
                        first = lift + pixel * window.channels_in
                        if any(byte in written for byte in range(first, first + window.channels_in)):
                            return False
        for number in range(start, start + len(members)):
            written.update(range(number * window.channels_out, (number + 1) * window.channels_out))
    return True


@given(windows, st.integers(1, 4), st.booleans())
@CHECKS
def test_the_overlap_distance_is_safe(window: Window, group: int, padded: bool) -> None:
    before = (window.kernel[0] // 2, window.kernel[1] // 2) if padded else (0, 0)
    ofmap = tuple((window.ifmap[a] + 2 * before[a] - window.kernel[a]) // window.stride[a] + 1 for a in (0, 1))
    window = replace(window, before=before, ofmap=(ofmap[0], ofmap[1]))
    distance = overlap_distance(window, group)
    assert distance >= 0
    assert all(_runs(window, group, distance + more) for more in (0, 1, 7))


def test_the_overlap_distance_of_a_pointwise_convolution_is_tight() -> None:
    window = Window(
        batch=1,
        channels_in=3,
        channels_out=5,
        groups=1,
        ifmap=(1, 9),
        ofmap=(1, 9),
        kernel=(1, 1),
        stride=(1, 1),
        dilation=(1, 1),
        before=(0, 0),
        in_stride=3,
        out_stride=5,
        in_dense=True,
        out_dense=True,
    )
    distance = overlap_distance(window, 4)
    assert _runs(window, 4, distance)
    assert not _runs(window, 4, distance - 1)
