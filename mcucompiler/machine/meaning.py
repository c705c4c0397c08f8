# SPDX-License-Identifier: Apache-2.0
"""Arithmetic on 32-bit patterns, as the Arm Architecture Reference Manual (Armv7-M, Armv8-M) defines it.

Registers hold integers in [0, 2^32). These functions are the portable definition of the operations: tests
compare them with an emulator. NaNs are given as the default NaN; the hardware may keep a payload.
"""

from __future__ import annotations

import math
import struct

MASK = 0xFFFFFFFF
DEFAULT_NAN = 0x7FC00000


def signed(value: int, bits: int = 32) -> int:
    """The two's complement reading of the low ``bits`` bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def ror(value: int, amount: int) -> int:
    """Rotate right by 0..31."""
    return (value >> amount | value << (32 - amount)) & MASK if amount else value


def asr(value: int, amount: int) -> int:
    """Arithmetic shift right by 0..32."""
    return (signed(value) >> amount) & MASK


def low(value: int) -> int:
    """The signed lower half."""
    return signed(value, 16)


def high(value: int) -> int:
    """The signed upper half."""
    return signed(value >> 16, 16)


def halves(first: int, second: int) -> int:
    """A word of two halves, ``first`` lower."""
    return (first & 0xFFFF) | (second & 0xFFFF) << 16


def extend16(value: int, rotation: int, bits_signed: bool) -> tuple[int, int]:
    """The two bytes that SXTB16 and UXTB16 extend."""
    value = ror(value, rotation)
    first, second = value & 0xFF, value >> 16 & 0xFF
    return (signed(first, 8), signed(second, 8)) if bits_signed else (first, second)


def clamp(value: int, lowest: int, highest: int) -> int:
    """``value`` limited to [lowest, highest]."""
    return lowest if value < lowest else highest if value > highest else value


def saturate(value: int, bits: int) -> int:
    """Limit a signed integer to ``bits`` signed bits."""
    return clamp(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def by_bytes(value: int) -> tuple[int, int, int, int]:
    """The four signed bytes, lowest first."""
    return signed(value, 8), signed(value >> 8, 8), signed(value >> 16, 8), signed(value >> 24, 8)


def bytes_word(values: tuple[int, ...]) -> int:
    """A word of four bytes, lowest first."""
    return sum((value & 0xFF) << 8 * index for index, value in enumerate(values))


def parallel_flags(results: tuple[int, ...], width: int) -> int:
    """APSR.GE after a parallel operation on lanes of ``width`` bytes: set where the lane is not negative."""
    flags = 0
    for index, result in enumerate(results):
        if result >= 0:
            flags |= ((1 << width) - 1) << (index * width)
    return flags


def select(flags: int, first: int, second: int) -> int:
    """SEL: each byte from ``first`` where its GE flag is set, else from ``second``."""
    chosen = 0
    for index in range(4):
        source = first if flags >> index & 1 else second
        chosen |= source & 0xFF << 8 * index
    return chosen


def pair(value: int) -> tuple[int, int]:
    """A 64-bit integer as (low word, high word)."""
    return value & MASK, value >> 32 & MASK


def compare(first: int, second: int) -> int:
    """The flags NZCV of ``first - second`` in bits 3..0."""
    difference = (first - second) & MASK
    overflow = (first ^ second) & (first ^ difference) & 0x80000000
    return (difference >> 31) << 3 | (difference == 0) << 2 | (first >= second) << 1 | (1 if overflow else 0)


def to_float(pattern: int) -> float:
    """The value of a float32 pattern."""
    return float(struct.unpack("<f", struct.pack("<I", pattern))[0])


def from_float(value: float) -> int:
    """The float32 pattern nearest to ``value``, ties to even."""
    if math.isnan(value):
        return DEFAULT_NAN
    try:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    except OverflowError:
        return 0x7F800000 if value > 0 else 0xFF800000


def fused(addend: int, first: int, second: int) -> int:
    """VFMA.F32: ``addend + first * second``, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd there, so that rounding it again
    to float32 is innocuous.
    """
    product, term = to_float(first) * to_float(second), to_float(addend)
    total = product + term
    if math.isnan(total) or math.isinf(total):
        return from_float(total)
    shifted = total - product
    error = (product - (total - shifted)) + (term - shifted)
    if error and not struct.unpack("<Q", struct.pack("<d", total))[0] & 1:
        total = math.nextafter(total, math.inf if error > 0 else -math.inf)
    return from_float(total)


def to_integer(value: float, *, nearest: bool) -> int:
    """VCVT and VCVTN to a saturated int32: toward zero, or to nearest with ties to even."""
    if math.isnan(value):
        return 0
    if math.isinf(value):
        return 0x7FFFFFFF if value > 0 else 0x80000000
    return saturate(round(value) if nearest else math.trunc(value), 32) & MASK


def float_sum(first: int, second: int) -> int:
    """VADD.F32; float64 has bits enough that rounding twice is innocuous."""
    return from_float(to_float(first) + to_float(second))


def float_product(first: int, second: int) -> int:
    """VMUL.F32; the product is exact in float64."""
    return from_float(to_float(first) * to_float(second))
