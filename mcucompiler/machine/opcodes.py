# SPDX-License-Identifier: Apache-2.0
"""The operations: what each computes, what it reads and writes, how it is printed, how it occupies the pipeline.

An operation's operands are values of register classes: ``r`` core registers, ``s`` single-precision registers,
``f`` the condition flags and ``g`` the GE flags (one register each). Results come first; ``{d0}`` is the first
result, ``{u0}`` the first operand, ``{i0}`` the first immediate of its text.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcucompiler.machine import meaning as m
from mcucompiler.machine.core import Kind

Meaning = Callable[..., int | tuple[int, ...]]
Check = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Immediate:
    """The admissible values of an immediate operand."""

    text: str
    accepts: Check


@dataclass(frozen=True, slots=True)
class Access:
    """How an operation touches memory: ``words`` items of ``size_bytes``."""

    size_bytes: int
    words: int = 1
    signed: bool = False
    store: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opcode:
    """One operation.

    Attributes:
        name: unique; the key of ``OPCODES``.
        kind: its class in the pipeline model.
        results: register class of each result.
        operands: register class of each operand; the base address is the first of a memory operation.
        immediates: what each immediate may be; the offset is the last of a memory operation without index.
        text: its assembler text.
        meaning: results from operands and immediates. For a load, what the index and the base add up to is
            computed by the interpreter, and the meaning is unused.
        accumulator: the operand that may arrive late when it comes from an operation of the same kind.
        tied: pairs (result, operand) that must be the same register.
        access: how it touches memory.
        indexed: a load whose address is base + (index << immediate).
        consecutive: results or operands that must be in consecutive float registers ("results", "operands" or "").
    """

    name: str
    kind: Kind
    results: str
    operands: str
    immediates: tuple[Immediate, ...] = ()
    text: str
    meaning: Meaning | None = None
    accumulator: int | None = None
    tied: tuple[tuple[int, int], ...] = ()
    access: Access | None = None
    indexed: bool = False
    consecutive: str = ""


def is_modified_immediate(value: int) -> bool:
    """Whether Thumb-2 can encode ``value`` as an operand of AND, ADD, MOV and so on (ThumbExpandImm)."""
    value &= m.MASK
    byte = value & 0xFF
    repeated = byte * 0x00010001, byte * 0x01010101, (value >> 8 & 0xFF) * 0x01000100
    if value < 256 or value in repeated:
        return True
    span = value.bit_length() - 8
    return span > 0 and value >> span << span == value


def _range(first: int, last: int) -> Immediate:
    return Immediate(f"{first}..{last}", lambda value: first <= value <= last)


_MODIFIED = Immediate("a Thumb-2 modified immediate", is_modified_immediate)
_ADDEND = Immediate("0..4095 or a modified immediate", lambda value: 0 <= value <= 4095 or is_modified_immediate(value))
_MOVED = Immediate("0..65535 or a modified immediate", lambda value: 0 <= value <= 65535 or is_modified_immediate(value))
_OFFSET = _range(-255, 4095)
_PAIR_OFFSET = Immediate("a multiple of 4 in -1020..1020", lambda value: -1020 <= value <= 1020 and value % 4 == 0)
_ROTATION = Immediate("0, 8, 16 or 24", lambda value: value in (0, 8, 16, 24))
_HALF = _range(0, 65535)

_ALU: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: (a + b) & m.MASK,
    "sub": lambda a, b: (a - b) & m.MASK,
    "rsb": lambda a, b: (b - a) & m.MASK,
    "and": lambda a, b: a & b,
    "orr": lambda a, b: a | b,
    "eor": lambda a, b: a ^ b,
    "bic": lambda a, b: a & ~b & m.MASK,
}
_SHIFTS: Mapping[str, tuple[Immediate, Callable[[int, int], int]]] = {
    "lsl": (_range(1, 31), lambda value, amount: value << amount & m.MASK),
    "lsr": (_range(1, 31), lambda value, amount: value >> amount),
    "asr": (_range(1, 31), m.asr),
    "ror": (_range(1, 31), m.ror),
}


def _alu_operations() -> Iterator[Opcode]:
    for name, function in _ALU.items():
        three = f"{name} {{d0}}, {{u0}}, "
        yield Opcode(name=name, kind=Kind.ALU, results="r", operands="rr", text=three + "{u1}", meaning=function)
        limit = _ADDEND if name in ("add", "sub") else _MODIFIED
        constant = _with_constant(function)
        yield Opcode(
            name=f"{name}#", kind=Kind.ALU, results="r", operands="r", immediates=(limit,), text=three + "#{i0}", meaning=constant
        )
        for shift, (amounts, shifted) in _SHIFTS.items():
            yield Opcode(
                name=f"{name}.{shift}",
                kind=Kind.ALU_SHIFT,
                results="r",
                operands="rr",
                immediates=(amounts,),
                text=three + f"{{u1}}, {shift} #{{i0}}",
                meaning=_with_shift(function, shifted),
            )
    for shift, (amounts, shifted) in _SHIFTS.items():
        text = f"{shift} {{d0}}, {{u0}}, #{{i0}}"
        yield Opcode(
            name=shift, kind=Kind.ALU_SHIFT, results="r", operands="r", immediates=(amounts,), text=text, meaning=shifted
        )


def _with_constant(function: Callable[[int, int], int]) -> Meaning:
    return lambda value, constant: function(value, constant & m.MASK)


def _with_shift(function: Callable[[int, int], int], shifted: Callable[[int, int], int]) -> Meaning:
    return lambda first, second, amount: function(first, shifted(second, amount))


def _simple(
    name: str,
    kind: Kind,
    operands: str,
    meaning: Meaning,
    *immediates: Immediate,
    tail: str = "",
    results: str = "r",
    accumulator: int | None = None,
    mnemonic: str = "",
) -> Opcode:
    """An operation printed as its name, its results, its operands and then ``tail``."""
    shown = [f"{{d{index}}}" for index, kind_ in enumerate(results) if kind_ in "rs"]
    shown += [f"{{u{index}}}" for index, kind_ in enumerate(operands) if kind_ in "rs"]
    text = f"{mnemonic or name} " + ", ".join(shown) + tail
    return Opcode(
        name=name,
        kind=kind,
        results=results,
        operands=operands,
        immediates=immediates,
        text=text,
        meaning=meaning,
        accumulator=accumulator,
    )


def _moves() -> Iterator[Opcode]:
    yield _simple("mov", Kind.ALU, "r", lambda a: a)
    yield _simple("mvn", Kind.ALU, "r", lambda a: ~a & m.MASK)
    yield _simple("mov#", Kind.ALU, "", lambda i: i & m.MASK, _MOVED, tail=", #{i0}", mnemonic="mov")
    yield _simple("mvn#", Kind.ALU, "", lambda i: ~i & m.MASK, _MODIFIED, tail=", #{i0}", mnemonic="mvn")
    yield Opcode(
        name="movt",
        kind=Kind.ALU,
        results="r",
        operands="r",
        immediates=(_HALF,),
        text="movt {d0}, #{i0}",
        meaning=lambda a, i: (a & 0xFFFF) | i << 16,
        tied=((0, 0),),
    )
    yield _simple("cmp", Kind.ALU, "rr", m.compare, results="f")
    yield _simple("cmp#", Kind.ALU, "r", lambda a, i: m.compare(a, i & m.MASK), _MODIFIED, results="f", tail=", #{i0}", mnemonic="cmp")
    yield _simple(
        "subs#",
        Kind.ALU,
        "r",
        lambda a, i: ((a - i) & m.MASK, m.compare(a, i & m.MASK)),
        _MODIFIED,
        results="rf",
        tail=", #{i0}",
        mnemonic="subs",
    )
    yield _simple("clz", Kind.ALU, "r", lambda a: 32 - a.bit_length())
    yield _simple("rev", Kind.EXTEND, "r", lambda a: int.from_bytes(a.to_bytes(4, "little"), "big"))
    yield _simple("rev16", Kind.EXTEND, "r", lambda a: (a & 0x00FF00FF) << 8 | (a >> 8 & 0x00FF00FF))


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

        yield _simple(f"{letter}xtb16", Kind.EXTEND, "r", extend_pair, _ROTATION, tail=rotated)
        yield _simple(f"{letter}xtab16", Kind.EXTEND, "rr", add_pair, _ROTATION, tail=rotated)
        yield _simple(f"{letter}xtb", Kind.EXTEND, "r", byte, _ROTATION, tail=rotated)
        yield _simple(f"{letter}xth", Kind.EXTEND, "r", half, _ROTATION, tail=rotated)
        yield _simple(f"{letter}xtab", Kind.EXTEND, "rr", add_byte, _ROTATION, tail=rotated)
        yield _simple(f"{letter}xtah", Kind.EXTEND, "rr", add_half, _ROTATION, tail=rotated)


def _packing() -> Iterator[Opcode]:
    yield _simple("pkhbt", Kind.BITFIELD, "rr", lambda a, b, i: (a & 0xFFFF) | (b << i & 0xFFFF0000), _range(0, 31), tail=", lsl #{i0}")
    yield _simple("pkhtb", Kind.BITFIELD, "rr", lambda a, b, i: (a & 0xFFFF0000) | (m.asr(b, i) & 0xFFFF), _range(1, 31), tail=", asr #{i0}")
    low_bit, width = _range(0, 31), _range(1, 32)
    tail = ", #{i0}, #{i1}"
    yield _simple("ubfx", Kind.BITFIELD, "r", lambda a, i, w: a >> i & ((1 << w) - 1), low_bit, width, tail=tail)
    yield _simple("sbfx", Kind.BITFIELD, "r", lambda a, i, w: m.signed(a >> i, w) & m.MASK, low_bit, width, tail=tail)

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
    bits, wide = _range(1, 32), _range(0, 31)

    def ssat(function: Callable[[int, int], int]) -> Meaning:
        return lambda value, width, amount: m.saturate(m.signed(function(value, amount)), width) & m.MASK

    def usat(function: Callable[[int, int], int]) -> Meaning:
        return lambda value, width, amount: m.clamp(m.signed(function(value, amount)), 0, (1 << width) - 1)

    for shift in ("asr", "lsl"):
        amounts, function = _SHIFTS[shift]
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
        name="ssat16", kind=Kind.SATURATE, results="r", operands="r", immediates=(_range(1, 16),),
        text="ssat16 {d0}, #{i0}, {u0}",
        meaning=lambda a, w: m.halves(m.saturate(m.low(a), w), m.saturate(m.high(a), w)),
    )  # fmt: skip
    yield Opcode(
        name="usat16", kind=Kind.SATURATE, results="r", operands="r", immediates=(_range(0, 15),),
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

        yield _simple(f"s{name}16", Kind.EXTEND, "rr", set16, results="rg")
        yield _simple(f"s{name}8", Kind.EXTEND, "rr", set8, results="rg")
        yield _simple(f"q{name}16", Kind.EXTEND, "rr", limit16)
        yield _simple(f"q{name}8", Kind.EXTEND, "rr", limit8)
    yield _simple("sel", Kind.EXTEND, "rrg", lambda a, b, flags: m.select(flags, a, b))


def _multiplies() -> Iterator[Opcode]:
    def products(a: int, b: int) -> tuple[int, int]:
        return m.low(a) * m.low(b), m.high(a) * m.high(b)

    def mac(name: str, function: Callable[[int, int], int]) -> Iterator[Opcode]:
        """An operation with and without an addend: SMLAxx and SMULxx."""
        plain, adding = name
        yield _simple(plain, Kind.MAC, "rr", lambda a, b: function(a, b) & m.MASK)
        yield _simple(adding, Kind.MAC, "rrr", lambda a, b, c: (c + function(a, b)) & m.MASK, accumulator=2)

    def crossed(a: int, b: int) -> int:
        return m.low(a) * m.high(b) + m.high(a) * m.low(b)

    yield from mac(("mul", "mla"), lambda a, b: a * b)  # type: ignore[arg-type]
