# SPDX-License-Identifier: Apache-2.0
"""What an operation is, and how the tables of operations are written.

An operation's operands are values of register classes: ``r`` core registers, ``s`` single-precision registers,
``f`` the condition flags and ``g`` the GE flags (one register each). Results come first; ``{d0}`` is the first
result, ``{u0}`` the first operand, ``{i0}`` the first immediate of its text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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


def within(first: int, last: int) -> Immediate:
    """An immediate in [first, last]."""
    return Immediate(f"{first}..{last}", lambda value: first <= value <= last)


MODIFIED = Immediate("a Thumb-2 modified immediate", is_modified_immediate)
ADDEND = Immediate("0..4095 or a modified immediate", lambda value: 0 <= value <= 4095 or is_modified_immediate(value))
MOVED = Immediate("0..65535 or a modified immediate", lambda value: 0 <= value <= 65535 or is_modified_immediate(value))
OFFSET = within(-255, 4095)
PAIR_OFFSET = Immediate("a multiple of 4 in -1020..1020", lambda value: -1020 <= value <= 1020 and value % 4 == 0)
VFP_OFFSET = PAIR_OFFSET
ROTATION = Immediate("0, 8, 16 or 24", lambda value: value in (0, 8, 16, 24))
HALF = within(0, 65535)


def simple(
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
