# SPDX-License-Identifier: Apache-2.0
"""Weights as kernels read them: one stream of words, in the order of their use.

A stream holds, for each group of channels, two words (numbers of blocks that are requantized in
integers and, behind them, in float32), then the blocks. A block of ``channels`` outputs is: their
biases, the weights, their multipliers, and their channel indices, two in a word. Weights come in steps of
two inputs (a, b). Narrow weights of two outputs (c, d) share a word of the bytes c.a, d.a, c.b, d.b,
so that SXTB16 gives the pairs of c and, rotated by 8, those of d. *Stacked* weights are the same bytes, but d.a
is one less where c.a is negative, so that the word is the two numbers 256 * d + c: multiplied as it is, it gives
256 times the sum of d plus the sum of c, and the sum of c is there to be subtracted. That saves one of two SXTB16;
what is left is the sum of d raised by 8 bits, so its bias may have a fraction, and its float32 multiplier is
1/256 of the channel's. Wide weights (beyond int8, from
asymmetric zero points) have a word of 16-bit a, b for each output.

Inputs are taken in fours (0, 1, 2, 3) as the steps (0, 2) and (1, 3), which is what SXTB16 makes of
four consecutive bytes of an activation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mcucompiler.numerics.forms import RAISED_BITS, RaisedForm

Int64Array = npt.NDArray[np.int64]
Word = npt.NDArray[np.uint32]

_INT8 = (-128, 127)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channels:
    """Output channels with what their tail needs.

    Attributes:
        weights: integers [M, K] less their zero point.
        bias: integers [M] to start the sums with, input zero point folded in; modulo 2^32.
        multipliers: uint32 [M], of the integer tail.
        float_bits: uint32 [M], bits of the float32 multipliers of the float tail.
        proved: bool [M], whether the integer tail is exact.
        index: [M], where the channel lies in the output.
        raised: multipliers and offsets of the integer tail of raised sums, where it is exact for them only.
    """

    weights: Int64Array
    bias: Int64Array
    multipliers: Word
    float_bits: Word
    proved: npt.NDArray[np.bool_]
    index: Int64Array
    raised: RaisedForm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockCounts:
    """How many blocks of output channels a group has.

    Attributes:
        integer: channels of each block with an integer tail, padded by repetition.
        floating: the same for the float tail.
    """

    integer: tuple[tuple[int, ...], ...]
    floating: tuple[tuple[int, ...], ...]


def is_narrow(weights: npt.NDArray[np.integer]) -> bool:
    """Whether all weights fit int8."""
    return bool(weights.size == 0 or (weights.min() >= _INT8[0] and weights.max() <= _INT8[1]))


def step_order(inputs: int, steps: int) -> Int64Array:
    """Which inputs each step multiplies.

    Args:
        inputs: number of inputs of a sum.
        steps: number of steps, at least half of ``inputs`` rounded up to a multiple of four.

    Returns:
        [steps, 2] indices, -1 where there is no input.
    """
    fours = np.arange(-(-steps * 2 // 4) * 4).reshape(-1, 4)
    order = fours[:, [0, 2, 1, 3]].reshape(-1, 2)[:steps]
    return np.where(order < inputs, order, -1)


def arrange_blocks(proved: npt.NDArray[np.bool_], size: int) -> BlockCounts:
    """Divides channels into blocks of ``size``, integer tails first.

    The last block of a kind is filled up by repeating a channel, which computes and stores it
    twice. Left-over proved channels join the float ones where that saves a block.
    """
    return _arranged(proved.tobytes(), size)


@lru_cache(maxsize=1024)
def _arranged(proved: bytes, size: int) -> BlockCounts:
    """``arrange_blocks`` of as many channels as there are bytes: bands of a layer are all divided alike."""
    exact = [channel for channel, known in enumerate(proved) if known]
    rest = [channel for channel, known in enumerate(proved) if not known]
    left = len(exact) % size
    if rest and _saves_a_block(rest, left, size):
        exact, rest = exact[:-left], sorted(rest + exact[-left:])
    return BlockCounts(integer=_chunks(exact, size), floating=_chunks(rest, size))


def _saves_a_block(rest: list[int], left: int, size: int) -> bool:
    """Whether the blocks of the ``rest`` have room for those ``left`` over, if any are."""
    return left > 0 and -(-(len(rest) + left) // size) == -(-len(rest) // size)


def arrange_pairs(
    proved: npt.NDArray[np.bool_], raised: npt.NDArray[np.bool_], light: npt.NDArray[np.bool_], size: int
) -> BlockCounts | None:
    """The same for stacked weights, or None where there are too many channels that cannot be the second of a pair.

    The second channel of a pair is a light one, and those that ``raised`` sums prove come second behind a proved one.

    Args:
        proved: bool [M], channels with an integer tail at either place.
        raised: bool [M], those with an integer tail at the second place only.
        light: bool [M], those that may come second; all ``raised`` ones are light.
        size: channels of a block, even.
    """
    heavy, either, second = _numbers(proved & ~light), _numbers(proved & light), _numbers(raised & ~proved)
    kept = min(len(heavy) + len(either), len(second))
    rest = [*_numbers(~proved & ~raised), *second[kept:]]
    left = (len(heavy) + len(either) + kept) % size
    stay = len(either) - left
    if rest and stay >= abs(len(heavy) - kept) and _saves_a_block(rest, left, size):
        either, rest = either[:stay], rest + either[stay:]
    integer = _pairs(heavy, either, second[:kept])
    rest = sorted(rest)
    floating = _pairs([c for c in rest if not light[c]], [c for c in rest if light[c]], [])
    if integer is None or floating is None:
        return None
    return BlockCounts(integer=_chunks(integer, size), floating=_chunks(floating, size))


def _pairs(first: list[int], either: list[int], second: list[int]) -> list[int] | None:
    """Channels that come first, at either place and second, as pairs one after the other; None if that cannot be."""
    together = min(len(first), len(second))
    pairs = list(zip(first[:together], second, strict=False))
    first, second = first[together:], second[together:]
    if len(first) > len(either) or len(second) > len(either):
        return None
    pairs += zip(first, either, strict=False)
    pairs += zip(either, second, strict=False)
    left = either[max(len(first), len(second)) :]
    left += left[-1:] * (len(left) % 2)
    return [*(channel for pair in pairs for channel in pair), *left]


def _numbers(chosen: npt.NDArray[np.bool_]) -> list[int]:
    return [int(channel) for channel in np.flatnonzero(chosen)]


def _chunks(channels: list[int], size: int) -> tuple[tuple[int, ...], ...]:
    """Blocks of ``size``, the last one filled up by repeating the last channel, or the last pair of an even number."""
    blocks = [tuple(channels[i : i + size]) for i in range(0, len(channels), size)]
    again = 2 - len(channels) % 2
    return tuple((block + block[-again:] * size)[:size] for block in blocks)


def pack_stream(channels: Channels, counts: BlockCounts, *, steps: int, narrow: bool, stacked: bool = False) -> Word:
    """The words of one group of output channels.

    Args:
        channels: the group.
        counts: its blocks, of evenly many channels.
        steps: steps of two inputs.
        narrow: whether weights are packed as bytes.
        stacked: whether they are stacked.
    """
    order = step_order(channels.weights.shape[1], steps)
    padded = np.concatenate([channels.weights, np.zeros((len(channels.weights), 1), np.int64)], axis=1)
    words: list[Word] = [_words([len(counts.integer), len(counts.floating)])]
    for number, members in enumerate((*counts.integer, *counts.floating)):
        picked, floating = list(members), number >= len(counts.integer)
        bits = (channels.float_bits if floating else channels.multipliers)[picked]
        biases, weights = channels.bias[picked], padded[picked][:, order]
        if stacked:
            biases, bits = _raise_second(channels, picked, floating)
            weights[1::2] -= weights[::2] < 0
        words += [_words(biases), _pack_weights(weights, narrow), bits, _halves(channels.index[picked])]
    return np.concatenate(words)


def _raise_second(channels: Channels, picked: list[int], floating: bool) -> tuple[Int64Array, Word]:
    """Biases and multipliers of a block of stacked weights."""
    biases = channels.bias[picked].copy()
    bits = (channels.float_bits if floating else channels.multipliers)[picked]
    first, second = picked[::2], picked[1::2]
    biases[1::2] = (channels.bias[second] << RAISED_BITS) + channels.bias[first]
    if floating:
        scaled = channels.float_bits[second].view(np.float32) / np.float32(1 << RAISED_BITS)
        bits[1::2] = scaled.astype(np.float32).view(np.uint32)
    else:
        found = channels.raised.found[second]
        biases[1::2] += np.where(found, channels.raised.offsets[second], 0)
        bits[1::2] = np.where(found, channels.raised.multipliers[second].view(np.uint32), bits[1::2])
    return biases, bits


def _pack_weights(weights: Int64Array, narrow: bool) -> Word:
    """[block, steps, 2] weights as words: by step, then by output."""
    if not narrow:
        packed = _words(weights[..., 0]) & 0xFFFF | _words(weights[..., 1]) << 16
        return np.asarray(packed.T, np.uint32).reshape(-1)
    pairs = weights.reshape(-1, 2, *weights.shape[1:])  # [pairs of outputs, 2, steps, 2]
    octets = _words(pairs) & 0xFF
    packed = octets[:, 0, :, 0] | octets[:, 1, :, 0] << 8 | octets[:, 0, :, 1] << 16 | octets[:, 1, :, 1] << 24
    return np.asarray(packed.T, np.uint32).reshape(-1)


def _halves(values: Int64Array) -> Word:
    """Two 16-bit numbers in a word, the first one low."""
    pairs = _words(values).reshape(-1, 2)
    return np.asarray(pairs[:, 0] | pairs[:, 1] << 16, np.uint32)


def _words(values: npt.ArrayLike) -> Word:
    """Integers modulo 2^32."""
    return (np.asarray(values, dtype=np.int64) & 0xFFFFFFFF).astype(np.uint32)
