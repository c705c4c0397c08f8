# SPDX-License-Identifier: Apache-2.0
"""Moves, arithmetic with plain, constant and shifted operands, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mcucompiler.machine import meaning as m
from mcucompiler.machine.core import Kind
from mcucompiler.machine.operations.types import (
    ADDEND,
    HALF,
    MODIFIED,
    MOVED,
    Immediate,
    Meaning,
    Opcode,
    simple,
    within,
)

_ALU: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: (a + b) & m.MASK,
    "sub": lambda a, b: (a - b) & m.MASK,
    "rsb": lambda a, b: (b - a) & m.MASK,
    "and": lambda a, b: a & b,
    "orr": lambda a, b: a | b,
    "eor": lambda a, b: a ^ b,
    "bic": lambda a, b: a & ~b & m.MASK,
}
SHIFTS: Mapping[str, tuple[Immediate, Callable[[int, int], int]]] = {
    "lsl": (within(1, 31), lambda value, amount: value << amount & m.MASK),
    "lsr": (within(1, 31), lambda value, amount: value >> amount),
    "asr": (within(1, 31), m.asr),
    "ror": (within(1, 31), m.ror),
}


def _alu_operations() -> Iterator[Opcode]:
    for name, function in _ALU.items():
        three = f"{name} {{d0}}, {{u0}}, "
        yield Opcode(name=name, kind=Kind.ALU, results="r", operands="rr", text=three + "{u1}", meaning=function)
        limit = ADDEND if name in ("add", "sub") else MODIFIED
        constant = _with_constant(function)
        yield Opcode(
            name=f"{name}#",
            kind=Kind.ALU,
            results="r",
            operands="r",
            immediates=(limit,),
            text=three + "#{i0}",
            meaning=constant,
        )
        for shift, (amounts, shifted) in SHIFTS.items():
            yield Opcode(
                name=f"{name}.{shift}",
                kind=Kind.ALU_SHIFT,
                results="r",
                operands="rr",
                immediates=(amounts,),
                text=three + f"{{u1}}, {shift} #{{i0}}",
                meaning=_with_shift(function, shifted),
            )
    for shift, (amounts, shifted) in SHIFTS.items():
        text = f"{shift} {{d0}}, {{u0}}, #{{i0}}"
        yield Opcode(
            name=shift,
            kind=Kind.ALU_SHIFT,
            results="r",
            operands="r",
            immediates=(amounts,),
            text=text,
            meaning=shifted,
        )


def _with_constant(function: Callable[[int, int], int]) -> Meaning:
    return lambda value, constant: function(value, constant & m.MASK)


def _with_shift(function: Callable[[int, int], int], shifted: Callable[[int, int], int]) -> Meaning:
    return lambda first, second, amount: function(first, shifted(second, amount))


def _moves() -> Iterator[Opcode]:
    yield simple("mov", Kind.ALU, "r", lambda a: a)
    yield simple("mvn", Kind.ALU, "r", lambda a: ~a & m.MASK)
    yield simple("mov#", Kind.ALU, "", lambda i: i & m.MASK, MOVED, tail=", #{i0}", mnemonic="mov")
    yield simple("mvn#", Kind.ALU, "", lambda i: ~i & m.MASK, MODIFIED, tail=", #{i0}", mnemonic="mvn")
    yield Opcode(
        name="movt",
        kind=Kind.ALU,
        results="r",
        operands="r",
        immediates=(HALF,),
        text="movt {d0}, #{i0}",
        meaning=lambda a, i: (a & 0xFFFF) | i << 16,
        tied=((0, 0),),
    )
    yield simple("cmp", Kind.ALU, "rr", m.compare, results="f")
    yield simple(
        "cmp#",
        Kind.ALU,
        "r",
        lambda a, i: m.compare(a, i & m.MASK),
        MODIFIED,
        results="f",
        tail=", #{i0}",
        mnemonic="cmp",
    )
    yield simple(
        "subs#",
        Kind.ALU,
        "r",
        lambda a, i: ((a - i) & m.MASK, m.compare(a, i & m.MASK)),
        MODIFIED,
        results="rf",
        tail=", #{i0}",
        mnemonic="subs",
    )
    yield simple("clz", Kind.ALU, "r", lambda a: 32 - a.bit_length())
    yield simple("rev", Kind.EXTEND, "r", lambda a: int.from_bytes(a.to_bytes(4, "little"), "big"))
    yield simple("rev16", Kind.EXTEND, "r", lambda a: (a & 0x00FF00FF) << 8 | (a >> 8 & 0x00FF00FF))


def operations() -> Iterator[Opcode]:
    """All operations of this file."""
    yield from _alu_operations()
    yield from _moves()
