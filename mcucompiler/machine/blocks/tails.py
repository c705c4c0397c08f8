# SPDX-License-Identifier: Apache-2.0
"""What ends a sum in several blocks: requantization of an accumulator to int8, and a range for the result."""

from __future__ import annotations

from mcucompiler.machine.block import Block
from mcucompiler.machine.value import Value


def integer_result(block: Block, value: Value, multiplier: Value, addend: Value, shift: int) -> Value:
    """The accumulator requantized in integers; ``addend`` holds zero point and rounding."""
    return block.ssat(block.smmla(value, multiplier, addend), 8, asr=shift)


def float_result(block: Block, value: Value, multiplier: Value, zero_point: Value) -> Value:
    """The accumulator, which is in a float register, requantized in float32.

    The zero point is added to 16 bits: what is beyond them saturates to int8 in any case.
    """
    product = block.vmul(block.float_of(value), multiplier)
    rounded = block.ssat(block.from_float_register(block.nearest_integer(product)), 16)
    return block.ssat(block.add(rounded, zero_point), 8)


def limits(block: Block, lo: int | None, hi: int | None) -> tuple[Value | None, Value | None]:
    """The least and the greatest output as bytes; None where saturation sees to it."""
    least, greatest = (None if limit is None else block.constant(limit & 0xFF) for limit in (lo, hi))
    return least, greatest


def limited(block: Block, value: Value, lo: Value | None, hi: Value | None) -> Value:
    """Each byte limited to a range, whose bounds are bytes or words of four equal ones; None for none."""
    if lo is not None:
        value = block.maximum_bytes(value, lo)
    if hi is not None:
        _, flags = block.emit("ssub8", (hi, value))
        value = block.one("sel", (value, hi, flags))
    return value
