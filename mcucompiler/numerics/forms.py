# SPDX-License-Identifier: Apache-2.0
"""The integer forms of requantization: plain numbers that a kernel holds as literals or in its weights.

Two's complement throughout, ``asr`` shifts right rounding down, ``ssat8(v) = min(max(v, -128), 127)`` and
``smmla(x, m, A) = A + floor(x * m / 2^32)``, the Armv7E-M instruction without its rounding bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequantForm:
    """Requantization of the accumulators of a layer with M output channels.

    Proved channels: ``y = clamp(ssat8(smmla(acc, multipliers[c], addend) asr shift), lo, hi)``. The others:
    ``y = clamp(rint(f32(f32(acc) * float_multipliers[c])) + zero_point, lo, hi)``. Both give the same result on all
    reachable accumulators of a proved channel. ``smmla`` never overflows: ``|acc * m / 2^32| <= 2^30`` and
    ``|addend| <= 2^29 + 2^21``.

    With ``own_addends`` (see :mod:`mcucompiler.numerics.own_addend`) the integer form of a channel is
    ``smmla(acc + offsets[c], multipliers[c], addend + differences[c])``; else both are 0.

    Attributes:
        shift: 1 to 22, for the whole layer.
        addend: ``(zero_point << shift) + (1 << (shift - 1))``.
        multipliers: int32 [M], 0 < m < 2^31; 0 where the channel is not proved.
        proved: bool [M].
        offsets: int32 [M], for the bias.
        differences: int32 [M], from the common addend.
        float_multipliers: float32 [M], of the float form.
        zero_point: zero point of the output.
        lo: least output, not below -128.
        hi: greatest output, not above 127.
    """

    shift: int
    addend: int
    multipliers: Int32Array
    proved: BoolArray
    offsets: Int32Array
    differences: Int32Array
    float_multipliers: Float32Array
    zero_point: int
    lo: int
    hi: int

    def __post_init__(self) -> None:
        for array in (self.multipliers, self.proved, self.offsets, self.differences, self.float_multipliers):
            array.setflags(write=False)

    @property
    def all_proved(self) -> bool:
        """Whether no channel needs the float form."""
        return bool(self.proved.all())

    @property
    def own_addends(self) -> bool:
        """Whether some channel has an offset and an addend of its own."""
        return bool(self.offsets.any() or self.differences.any())


RAISED_BITS = 8
"""Raised accumulators are so many bits to the left, which leaves room for a fraction below them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RaisedForm:
    """Requantization of accumulators that come as ``256 * acc + offset``, of channels that ``RequantForm`` leaves.

    ``y = clamp(ssat8(smmla(256 * acc + offsets[c], multipliers[c], addend << 8) asr (shift + 8)), lo, hi)`` with the
    ``RequantForm``'s addend, shift and limits: its own form with a multiplier and a start in parts of 1/256.

    Attributes:
        offsets: int32 [M].
        multipliers: int32 [M], 0 < m < 2^31; 0 where there is no such form, or no need of one.
    """

    offsets: Int32Array
    multipliers: Int32Array

    def __post_init__(self) -> None:
        for array in (self.offsets, self.multipliers):
            array.setflags(write=False)

    @property
    def found(self) -> BoolArray:
        """Which channels have one, bool [M]."""
        return np.asarray(self.multipliers > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddForm:
    """Sum or difference of two int8 tensors in 32-bit integers.

    ``v = addend + b * multiplier_b + a * multiplier_a``, in that order without leaving int32, and
    ``y = clamp(ssat8(v asr shift), lo, hi)``; with ``half_even``
    ``y = clamp(ssat8((v + ((v asr shift) & 1)) asr shift), lo, hi)``. Equal to the float form for all 65,536 pairs.

    Attributes:
        shift: 1 to 30.
        multiplier_a: factor of the first tensor's integers.
        multiplier_b: factor of the second tensor's integers; negative for a difference.
        addend: zero points and rounding.
        half_even: whether the sum has exact ties, which the parity bit rounds to even.
        lo: least output.
        hi: greatest output.
    """

    shift: int
    multiplier_a: int
    multiplier_b: int
    addend: int
    half_even: bool
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MulForm:
    """Product of two int8 tensors: ``y = clamp(ssat8(smmla(p, m, A) asr shift), lo, hi)``, ``p = (a - za)(b - zb)``.

    Equal to the float form for all 65,536 pairs.

    Attributes:
        zero_a: zero point of the first tensor.
        zero_b: zero point of the second tensor.
        shift: 1 to 22.
        multiplier: 0 < m < 2^31.
        addend: ``(zero_point << shift) + (1 << (shift - 1))``.
        lo: least output.
        hi: greatest output.
    """

    zero_a: int
    zero_b: int
    shift: int
    multiplier: int
    addend: int
    lo: int
    hi: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanForm:
    """Mean of ``count`` int8 elements: ``y = clamp(ssat8(smmla(S, multiplier, addend) asr shift), lo, hi)``.

    ``S`` is the sum of ``x - zero_in`` over the elements. Equal to the float form for all sums that can occur.

    Attributes:
        count: number of elements.
        zero_in: zero point of the input.
        shift: 1 to 22.
        multiplier: 0 < m < 2^31.
        addend: ``(zero_point << shift) + (1 << (shift - 1))``.
        lo: least output.
        hi: greatest output.
    """

    count: int
    zero_in: int
    shift: int
    multiplier: int
    addend: int
    lo: int
    hi: int
