# SPDX-License-Identifier: Apache-2.0
"""Extensions, packing, bit fields, saturation and parallel arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mcucompiler.machine import meaning as m
from mcucompiler.machine.core import Kind
from mcucompiler.machine.operations.alu import SHIFTS
from mcucompiler.machine.operations.types import (
    ROTATION,
    Meaning,
    Opcode,
    simple,
    within,
)


def _extensions() -> Iterator[Opcode]:
    rotated = ", ror #{i0}"
    for letter, is_signed in (("s", True), ("u", False)):

        def extend(bits: int, is_signed: bool = is_signed) -> Callable[[int, int], int]:
            def meaning(value: int, rotation: int) -> int:
                field = m.ror(value, rotation) & ((1 << bits) - 1)
                return m.signed(field, bits) & m.MASK if is_signed else field

            return meaning

        def extend_pair(value: int, rotation: int, is_signed: bool = is_signed) -> int:
            return m.halves(*m.extend16(value, rotation, is_signed))

        def add_pair(base: int, value: int, rotation: int, is_signed: bool = is_signed) -> int:
            first, second = m.extend16(value, rotation, is_signed)
            return m.halves(base + first, (base >> 16) + second)

        byte, half = extend(8), extend(16)

        def add_byte(base: int, value: int, rotation: int, byte: Callable[[int, int], int] = byte) -> int:
            return (base + byte(value, rotation)) & m.MASK

        def add_half(base: int, value: int, rotation: int, half: Callable[[int, int], int] = half) -> int:
            return (base + half(value, rotation)) & m.MASK

        yield simple(f"{letter}xtb16", Kind.EXTEND, "r", extend_pair, ROTATION, tail=rotated)
        yield simple(f"{letter}xtab16", Kind.EXTEND, "rr", add_pair, ROTATION, tail=rotated)
        yield simple(f"{letter}xtb", Kind.EXTEND, "r", byte, ROTATION, tail=rotated)
        yield simple(f"{letter}xth", Kind.EXTEND, "r", half, ROTATION, tail=rotated)
        yield simple(f"{letter}xtab", Kind.EXTEND, "rr", add_byte, ROTATION, tail=rotated)
        yield simple(f"{letter}xtah", Kind.EXTEND, "rr", add_half, ROTATION, tail=rotated)


def _packing() -> Iterator[Opcode]:
    yield simple(
        "pkhbt",
        Kind.BITFIELD,
        "rr",
        lambda a, b, i: (a & 0xFFFF) | (b << i & 0xFFFF0000),
        within(0, 31),
        tail=", lsl #{i0}",
    )
    yield simple(
        "pkhtb",
        Kind.BITFIELD,
        "rr",
        lambda a, b, i: (a & 0xFFFF0000) | (m.asr(b, i) & 0xFFFF),
        within(1, 31),
        tail=", asr #{i0}",
    )
    low_bit, width = within(0, 31), within(1, 32)
    tail = ", #{i0}, #{i1}"
    yield simple("ubfx", Kind.BITFIELD, "r", lambda a, i, w: a >> i & ((1 << w) - 1), low_bit, width, tail=tail)
    yield simple("sbfx", Kind.BITFIELD, "r", lambda a, i, w: m.signed(a >> i, w) & m.MASK, low_bit, width, tail=tail)

    def insert(base: int, value: int, position: int, width: int) -> int:
        mask = (1 << width) - 1 << position
        return (base & ~mask & m.MASK) | (value << position & mask)

    yield Opcode(
        name="bfi",
        kind=Kind.BITFIELD,
        results="r",
        operands="rr",
        immediates=(low_bit, width),
        text="bfi {d0}, {u1}, #{i0}, #{i1}",
        meaning=insert,
        tied=((0, 0),),
    )


def _saturation() -> Iterator[Opcode]:
    bits, wide = within(1, 32), within(0, 31)

    def ssat(function: Callable[[int, int], int]) -> Meaning:
        return lambda value, width, amount: m.saturate(m.signed(function(value, amount)), width) & m.MASK

    def usat(function: Callable[[int, int], int]) -> Meaning:
        return lambda value, width, amount: m.clamp(m.signed(function(value, amount)), 0, (1 << width) - 1)

    for shift in ("asr", "lsl"):
        amounts, function = SHIFTS[shift]
        for name, limit, make in (("ssat", bits, ssat), ("usat", wide, usat)):
            yield Opcode(
                name=f"{name}.{shift}",
                kind=Kind.SATURATE,
                results="r",
                operands="r",
                immediates=(limit, amounts),
                text=f"{name} {{d0}}, #{{i0}}, {{u0}}, {shift} #{{i1}}",
                meaning=make(function),
            )
    yield Opcode(
        name="ssat", kind=Kind.SATURATE, results="r", operands="r", immediates=(bits,), text="ssat {d0}, #{i0}, {u0}",
        meaning=lambda a, w: m.saturate(m.signed(a), w) & m.MASK,
    )  # fmt: skip
    yield Opcode(
        name="usat", kind=Kind.SATURATE, results="r", operands="r", immediates=(wide,), text="usat {d0}, #{i0}, {u0}",
        meaning=lambda a, w: m.clamp(m.signed(a), 0, (1 << w) - 1),
    )  # fmt: skip
    yield Opcode(
        name="ssat16", kind=Kind.SATURATE, results="r", operands="r", immediates=(within(1, 16),),
        text="ssat16 {d0}, #{i0}, {u0}",
        meaning=lambda a, w: m.halves(m.saturate(m.low(a), w), m.saturate(m.high(a), w)),
    )  # fmt: skip
    yield Opcode(
        name="usat16", kind=Kind.SATURATE, results="r", operands="r", immediates=(within(0, 15),),
        text="usat16 {d0}, #{i0}, {u0}",
        meaning=lambda a, w: m.halves(m.clamp(m.low(a), 0, (1 << w) - 1), m.clamp(m.high(a), 0, (1 << w) - 1)),
    )  # fmt: skip


def _parallel() -> Iterator[Opcode]:
    def lanes16(a: int, b: int, sign: int) -> tuple[int, int]:
        return m.low(a) + sign * m.low(b), m.high(a) + sign * m.high(b)

    def lanes8(a: int, b: int, sign: int) -> tuple[int, ...]:
        return tuple(x + sign * y for x, y in zip(m.by_bytes(a), m.by_bytes(b), strict=True))

    for name, sign in (("add", 1), ("sub", -1)):

        def set16(a: int, b: int, sign: int = sign) -> tuple[int, int]:
            lanes = lanes16(a, b, sign)
            return m.halves(*lanes), m.parallel_flags(lanes, 2)

        def set8(a: int, b: int, sign: int = sign) -> tuple[int, int]:
            lanes = lanes8(a, b, sign)
            return m.bytes_word(lanes), m.parallel_flags(lanes, 1)

        def limit16(a: int, b: int, sign: int = sign) -> int:
            first, second = lanes16(a, b, sign)
            return m.halves(m.saturate(first, 16), m.saturate(second, 16))

        def limit8(a: int, b: int, sign: int = sign) -> int:
            return m.bytes_word(tuple(m.saturate(lane, 8) for lane in lanes8(a, b, sign)))

        yield simple(f"s{name}16", Kind.EXTEND, "rr", set16, results="rg")
        yield simple(f"s{name}8", Kind.EXTEND, "rr", set8, results="rg")
        yield simple(f"q{name}16", Kind.EXTEND, "rr", limit16)
        yield simple(f"q{name}8", Kind.EXTEND, "rr", limit8)
    yield simple("sel", Kind.EXTEND, "rrg", lambda a, b, flags: m.select(flags, a, b))


def operations() -> Iterator[Opcode]:
    """All operations of this file."""
    yield from _extensions()
    yield from _packing()
    yield from _saturation()
    yield from _parallel()
