# SPDX-License-Identifier: Apache-2.0
"""Weight streams, blocks of channels, and how far an output may follow its input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.lower.packing import Channels, arrange_blocks, is_narrow, pack_stream, step_order
from mcucompiler.lower.variants._products import choose_blocking
from mcucompiler.lower.variants._window import Window, overlap_distance

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


@given(st.integers(1, 70), st.integers(0, 9))
@CHECKS
def test_steps_take_every_input_once(inputs: int, more: int) -> None:
    order = step_order(inputs, -(-inputs // 4) * 2 + more)
    taken = order[order >= 0]
    assert sorted(taken.tolist()) == list(range(inputs))


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([2, 4, 6]), st.integers(1, 30))
@CHECKS
def test_a_stream_read_back_gives_the_sums(seed: int, narrow: bool, block: int, inputs: int) -> None:
    rng = np.random.default_rng(seed)
    channels, steps = int(rng.integers(1, 9)), -(-inputs // 4) * 2 + int(rng.integers(0, 3))
    reach = 127 if narrow else 255
    weights = rng.integers(-reach, reach + 1, (channels, inputs))
    layer = Channels(
        weights=weights,
        bias=rng.integers(-(2**31), 2**31, channels),
        multipliers=rng.integers(0, 2**31, channels).astype(np.uint32),
        float_bits=rng.integers(0, 2**31, channels).astype(np.uint32),
        proved=rng.integers(0, 2, channels).astype(bool),
        index=np.arange(channels) + 5,
    )
    words = pack_stream(layer, arrange_blocks(layer.proved, block), steps=steps, narrow=narrow)
    x = np.concatenate([rng.integers(-128, 128, inputs), np.zeros(4 + 2 * steps, np.int64)])
    fours = x[: -(-inputs // 4) * 4].reshape(-1, 4)[:, [0, 2, 1, 3]].reshape(-1)
    columns = np.concatenate([fours, np.zeros(2 * steps, np.int64)])[: 2 * steps].reshape(-1, 2)
    for channel, (total, bits, floating) in _read_back(words, columns, block, steps, narrow).items():
        c = channel - 5
        assert total == (int(layer.bias[c]) + int(weights[c] @ x[:inputs])) % 2**32
        assert bits == (layer.float_bits if floating else layer.multipliers)[c]
        assert not (not floating and not layer.proved[c])


def _read_back(
    words: np.ndarray, columns: np.ndarray, block: int, steps: int, narrow: bool
) -> dict[int, tuple[int, int, bool]]:
    """What a kernel makes of a stream: sum, multiplier and kind of tail for each channel index."""
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
                if narrow:
                    low, high = (np.int8(np.uint8(word >> (8 * (c % 2 + 2 * half)) & 255)) for half in (0, 1))
                else:
                    low, high = (np.int16(np.uint16(word >> (16 * half) & 65535)) for half in (0, 1))
                sums[c] += a * int(low) + b * int(high)
            at += per_step
        indices = words[at + block : at + block + block // 2]
        for c in range(block):
            index = int(indices[c // 2]) >> (16 * (c % 2)) & 65535
            found[index] = (sums[c] % 2**32, int(words[at + c]), number >= integer)
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
        blocking = choose_blocking(pixels, inputs, True, contiguous=contiguous)
        assert inputs <= 2 * blocking.steps < inputs + 4
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
