# SPDX-License-Identifier: Apache-2.0
"""Frames: what goes in comes out, damage is noticed, and both languages agree."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.link.frame import PAYLOAD_BYTES, Frame, Receiver, decode, encode, stuff, unstuff

frames = st.builds(
    Frame,
    kind=st.integers(0, 255),
    sequence=st.integers(0, 65535),
    payload=st.binary(max_size=PAYLOAD_BYTES) | st.integers(0, PAYLOAD_BYTES).map(bytes),
)
quick = settings(deadline=None, derandomize=True, max_examples=300)


@quick
@given(st.binary(max_size=700) | st.integers(0, 700).map(lambda n: b"\1" * n))
def test_stuffing_has_no_zeros_and_is_undone(body):
    stuffed = stuff(body)
    assert 0 not in stuffed
    assert len(stuffed) <= len(body) + 1 + len(body) // 254 + 1
    assert unstuff(stuffed) == body


@pytest.mark.parametrize(
    ("body", "stuffed"),
    [
        # The examples of the paper and their usual extensions.
        (b"", b"\1"),
        (b"\0", b"\1\1"),
        (b"\0\0", b"\1\1\1"),
        (b"\x11\x22\0\x33", b"\3\x11\x22\2\x33"),
        (b"\x11\0\0\0", b"\2\x11\1\1\1"),
        (bytes(range(1, 255)), b"\xff" + bytes(range(1, 255)) + b"\1"),
    ],
)
def test_stuffing_of_known_bodies(body, stuffed):
    assert stuff(body) == stuffed
    assert unstuff(stuffed) == body


@quick
@given(st.lists(frames, max_size=5), st.binary(max_size=40), st.integers(1, 300))
def test_a_receiver_finds_frames_after_noise_however_they_are_cut(sent, noise, cut):
    stream = noise + b"".join(encode(frame) for frame in sent)
    receiver, found = Receiver(), []
    for position in range(0, len(stream), cut):
        found += receiver.feed(stream[position : position + cut])
    assert found == sent
    assert receiver.noise >= len(noise.replace(b"\0", b""))


@quick
@given(frames, st.data())
def test_no_damaged_frame_is_taken_for_another(frame, data):
    sound = encode(frame)[1:-1]
    position = data.draw(st.integers(0, len(sound) - 1))
    how = data.draw(st.sampled_from(["flip", "lose", "repeat", "cut"]))
    if how == "flip":
        spoiled = bytearray(sound)
        spoiled[position] ^= data.draw(st.integers(1, 255))
        damaged = bytes(spoiled)
    elif how == "lose":
        damaged = sound[:position] + sound[position + 1 :]
    elif how == "repeat":
        damaged = sound[: position + 1] + sound[position:]
    else:
        damaged = sound[:position]
    for part in damaged.split(b"\0"):
        assert decode(part) in (None, frame)


def test_a_stream_without_an_end_is_not_kept():
    receiver = Receiver()
    for _ in range(100):
        assert receiver.feed(b"x" * 10_000) == []
    assert len(receiver._pending) < 300
    assert receiver.feed(b"\0" + encode(Frame(kind=1, sequence=2))) == [Frame(kind=1, sequence=2)]


def test_random_bytes_are_no_frames():
    receiver = Receiver()
    assert receiver.feed(random.Random(1).randbytes(1_000_000)) == []


def test_the_crc_is_the_usual_one():
    assert zlib.crc32(b"123456789") == 0xCBF43926
    assert encode(Frame(kind=1, sequence=0x0201))[2:6] == b"\x01\x01\x01\x02"
