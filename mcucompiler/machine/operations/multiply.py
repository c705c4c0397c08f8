# SPDX-License-Identifier: Apache-2.0
"""Multiplications, with 32-bit and 64-bit accumulators."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mcucompiler.machine import meaning as m
from mcucompiler.machine.core import Kind
from mcucompiler.machine.operations.types import Meaning, Opcode, simple

Product = Callable[[int, int], int]


def _wide(first: int, second: int) -> int:
    return m.signed(first) * m.signed(second)


def _dual(first: int, second: int) -> int:
    return m.low(first) * m.low(second) + m.high(first) * m.high(second)


def _dual_crossed(first: int, second: int) -> int:
    return m.low(first) * m.high(second) + m.high(first) * m.low(second)


def _dual_difference(first: int, second: int) -> int:
    return m.low(first) * m.low(second) - m.high(first) * m.high(second)


_HALVES: tuple[tuple[str, Callable[[int], int]], ...] = (("b", m.low), ("t", m.high))


def _half_product(left: Callable[[int], int], right: Callable[[int], int]) -> Product:
    return lambda first, second: left(first) * right(second)


def _word_half_product(right: Callable[[int], int]) -> Product:
    """SMULW: the upper 32 bits of a 48-bit product."""
    return lambda first, second: m.signed(first) * right(second) >> 16


def _products() -> Iterator[tuple[str, str, Product]]:
    """(name without addend, name with addend, product), all of which the 32-bit addend is added to."""
    yield "mul", "mla", _wide
    yield "smuad", "smlad", _dual
    yield "smuadx", "smladx", _dual_crossed
    yield "smusd", "smlsd", _dual_difference
    for first, left in _HALVES:
        for second, right in _HALVES:
            yield f"smul{first}{second}", f"smla{first}{second}", _half_product(left, right)
    for second, right in _HALVES:
        yield f"smulw{second}", f"smlaw{second}", _word_half_product(right)


def _short() -> Iterator[Opcode]:
    for plain, adding, product in _products():
        yield simple(plain, Kind.MAC, "rr", _masked(product))
        yield simple(adding, Kind.MAC, "rrr", _added(product), accumulator=2)
    yield simple("mls", Kind.MAC, "rrr", lambda a, b, c: (c - a * b) & m.MASK, accumulator=2)
    for suffix, rounding in (("", 0), ("r", 1 << 31)):
        yield simple(f"smmul{suffix}", Kind.MAC, "rr", _upper(rounding))
        yield simple(f"smmla{suffix}", Kind.MAC, "rrr", _upper_added(rounding), accumulator=2)


def _masked(product: Product) -> Meaning:
    return lambda first, second: product(first, second) & m.MASK


def _added(product: Product) -> Meaning:
    return lambda first, second, addend: (product(first, second) + addend) & m.MASK


def _upper(rounding: int) -> Meaning:
    return lambda first, second: (_wide(first, second) + rounding) >> 32 & m.MASK


def _upper_added(rounding: int) -> Meaning:
    """SMMLA(R): the upper word of the 64-bit sum of (addend << 32), the product and the rounding."""
    return lambda first, second, addend: ((addend << 32) + _wide(first, second) + rounding) >> 32 & m.MASK


def _long() -> Iterator[Opcode]:
    """64-bit results, (low, high); the accumulating ones read and write the same register pair."""
    yield simple("smull", Kind.MAC_LONG, "rr", lambda a, b: m.pair(_wide(a, b)), results="rr")
    yield simple("umull", Kind.MAC_LONG, "rr", lambda a, b: m.pair(a * b), results="rr")
    accumulating: tuple[tuple[str, Product], ...] = (("smlal", _wide), ("umlal", lambda a, b: a * b), ("smlald", _dual))
    for name, product in accumulating:
        yield Opcode(
            name=name,
            kind=Kind.MAC_LONG,
            results="rr",
            operands="rrrr",
            text=f"{name} {{d0}}, {{d1}}, {{u0}}, {{u1}}",
            meaning=_long_sum(product),
            tied=((0, 2), (1, 3)),
        )


def _long_sum(product: Product) -> Meaning:
    return lambda first, second, low, high: m.pair((low | high << 32) + product(first, second))


def operations() -> Iterator[Opcode]:
    """All multiplications."""
    yield from _short()
    yield from _long()
