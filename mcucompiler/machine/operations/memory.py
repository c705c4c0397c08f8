# SPDX-License-Identifier: Apache-2.0
"""Loads and stores with an immediate offset, and loads from a table with an index register."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.machine.core import Kind
from mcucompiler.machine.operations.types import OFFSET, PAIR_OFFSET, VFP_OFFSET, Access, Immediate, Opcode, within

_LOADS = (
    ("ldr", Kind.LOAD, Access(4)),
    ("ldrb", Kind.LOAD_NARROW, Access(1)),
    ("ldrsb", Kind.LOAD_NARROW, Access(1, signed=True)),
    ("ldrh", Kind.LOAD_NARROW, Access(2)),
    ("ldrsh", Kind.LOAD_NARROW, Access(2, signed=True)),
)
_STORES = (
    ("str", Access(4, store=True)),
    ("strb", Access(1, store=True)),
    ("strh", Access(2, store=True)),
)


def _access(
    name: str, kind: Kind, access: Access, *, results: str = "", operands: str = "r", offset: Immediate = OFFSET
) -> Opcode:
    shown = [f"{{d{index}}}" for index in range(len(results))] + [f"{{u{index}}}" for index in range(1, len(operands))]
    text = f"{name} {', '.join(shown)}, [{{u0}}, #{{i0}}]"
    return Opcode(
        name=name, kind=kind, results=results, operands=operands, immediates=(offset,), text=text, access=access
    )


def operations() -> Iterator[Opcode]:
    """All loads and stores. Operand 0 is the base; a store's values follow."""
    for name, kind, access in _LOADS:
        yield _access(name, kind, access, results="r")
        yield Opcode(
            name=f"{name}.index",
            kind=kind,
            results="r",
            operands="rr",
            immediates=(within(0, 3),),
            text=f"{name} {{d0}}, [{{u0}}, {{u1}}, lsl #{{i0}}]",
            access=access,
            indexed=True,
        )
    for name, access in _STORES:
        yield _access(name, Kind.STORE, access, operands="rr")
    yield _access("ldrd", Kind.LOAD_PAIR, Access(4, words=2), results="rr", offset=PAIR_OFFSET)
    yield _access("strd", Kind.STORE_PAIR, Access(4, words=2, store=True), operands="rrr", offset=PAIR_OFFSET)
    yield _access("vldr", Kind.LOAD, Access(4), results="s", offset=VFP_OFFSET)
    yield _access("vstr", Kind.STORE, Access(4, store=True), operands="rs", offset=VFP_OFFSET)
