# SPDX-License-Identifier: Apache-2.0
"""Straight-line blocks as frozen values: operations on numbered values, each defined once.

A ``Program`` is what a ``Block`` builds, what the scheduler orders, and the key under which results are cached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mcucompiler.machine.operations import OPCODES, Opcode


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on virtual registers.

    Attributes:
        opcode: key of ``OPCODES``.
        results: the values it defines.
        operands: the values it reads.
        immediates: its constants.
        alias: for loads and stores, the memory class that it touches; classes are disjoint.
    """

    opcode: str
    results: tuple[int, ...]
    operands: tuple[int, ...]
    immediates: tuple[int, ...] = ()
    alias: str = ""

    @property
    def code(self) -> Opcode:
        """Its record in the table of operations."""
        return OPCODES[self.opcode]


@dataclass(frozen=True, slots=True)
class Live:
    """A value that is in a register when the block starts, or when it ends.

    Attributes:
        value: the value.
        name: what callers call it. A name at the start and at the end is the same register at both: such a block
            can be repeated.
        register: where it must be, or "" for any.
    """

    value: int
    name: str
    register: str = ""


@dataclass(frozen=True)
class Program:
    """A block: what enters, what it does, what leaves.

    Attributes:
        name: for messages; not part of equality of code, but of the cache's key.
        classes: register class of each value ("r", "s", "f", "g").
        operations: in an order that defines the meaning.
        live_ins: in the order of their declaration.
        live_outs: likewise.
    """

    name: str
    classes: str
    operations: tuple[Operation, ...]
    live_ins: tuple[Live, ...]
    live_outs: tuple[Live, ...]

    @cached_property
    def carried(self) -> tuple[tuple[int, int], ...]:
        """Pairs (value at the start, value at the end) of names that are both live-in and live-out."""
        entering = {live.name: live.value for live in self.live_ins}
        return tuple((entering[live.name], live.value) for live in self.live_outs if live.name in entering)

    @cached_property
    def names(self) -> dict[int, str]:
        """Names of the values that have one, for messages."""
        leaving = {live.value: live.name for live in self.live_outs}
        return leaving | {live.value: live.name for live in self.live_ins}

    def describe(self, operation: Operation) -> str:
        """An operation for messages, with values as v0, v1 and so on."""
        return render(operation, lambda value: f"v{value}")


def render(operation: Operation, register: Callable[[int], str]) -> str:
    """Assembler text of an operation in GNU unified syntax."""
    code = operation.code
    fields = {f"d{index}": register(value) for index, value in enumerate(operation.results)}
    fields |= {f"u{index}": register(value) for index, value in enumerate(operation.operands)}
    fields |= {f"i{index}": str(value) for index, value in enumerate(operation.immediates)}
    text = code.text.format(**fields)
    for idle in (", ror #0", ", lsl #0"):
        text = text.removesuffix(idle).replace(idle + "]", "]")
    return text.replace(", #0]", "]")
