# SPDX-License-Identifier: Apache-2.0
"""The builder of straight-line blocks: kernel generators call its methods, each of which adds one operation.

Every value is defined once; an operation returns the value that it computes::

    block = Block("example")
    stream = block.live_in("w", register="lr", alias="w")
    total = block.live_in("sum")
    word = block.load(stream, 0)
    total = block.smlad(block.sxtb16(word), block.sxtb16(word, rotate=8), total)
    block.live_out("sum", total)

A name that is live-in and live-out stays in one register, so the block can be the body of a loop. Memory is
divided into alias classes: what different classes touch never overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcucompiler.machine.arithmetic import ArithmeticMixin
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.memory_operations import MemoryMixin
from mcucompiler.machine.operations import OPCODES, Opcode
from mcucompiler.machine.program import Live, Operation, Program
from mcucompiler.machine.value import Value

# The result of these points to what their first operand points to.
_POINTER_ARITHMETIC = ("add", "sub", "mov")


class Block(ArithmeticMixin, MemoryMixin):
    """A straight-line block under construction.

    Args:
        name: for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._classes: list[str] = []
        self._operations: list[Operation] = []
        self._live_ins: list[Live] = []
        self._live_outs: list[Live] = []
        self._values: dict[int, Value] = {}

    def live_in(self, name: str, *, register: str = "", kind: str = "r", alias: str = "", keep: bool = False) -> Value:
        """A value that is in a register when the block starts.

        Args:
            name: unique among live-ins.
            register: where it must be ("r3", "lr", "sp", "s5"); any where empty.
            kind: register class, "r" or "s".
            alias: the memory class it points to; default for loads and stores through it.
            keep: whether it must still be there when the block ends.
        """
        if any(live.name == name for live in self._live_ins):
            raise MachineError(f"block {self.name!r}: live-in {name!r} is declared twice")
        value = self._new(kind, alias)
        self._live_ins.append(Live(value.index, name, register))
        if keep:
            self.live_out(name, value, register=register)
        return value

    def live_out(self, name: str, value: Value, *, register: str = "") -> None:
        """A value that must be in a register when the block ends; with a live-in's name, in the same one."""
        if any(live.name == name for live in self._live_outs):
            raise MachineError(f"block {self.name!r}: live-out {name!r} is declared twice")
        self._check_owner(value)
        self._live_outs.append(Live(value.index, name, register))

    def emit(
        self, opcode: str, operands: Sequence[Value], immediates: Sequence[int] = (), *, alias: str = ""
    ) -> tuple[Value, ...]:
        """Add an operation by its name in ``OPCODES``; the typed methods are shorter to write.

        Raises:
            MachineError: a register class, a count or an immediate that the operation does not take.
        """
        code = OPCODES.get(opcode)
        if code is None:
            raise MachineError(f"block {self.name!r}: no operation {opcode!r}")
        self._check(code, operands, immediates)
        points_to = operands[0].alias if opcode.startswith(_POINTER_ARITHMETIC) and operands else ""
        results = tuple(self._new(kind, points_to) for kind in code.results)
        operation = Operation(
            opcode,
            tuple(result.index for result in results),
            tuple(operand.index for operand in operands),
            tuple(immediates),
            alias or (operands[0].alias if code.access else ""),
        )
        self._operations.append(operation)
        return results

    def freeze(self) -> Program:
        """The block as a frozen value."""
        return Program(
            self.name,
            "".join(self._classes),
            tuple(self._operations),
            tuple(self._live_ins),
            tuple(self._live_outs),
        )

    def _new(self, kind: str, alias: str) -> Value:
        value = Value(len(self._classes), kind, alias)
        self._classes.append(kind)
        self._values[value.index] = value
        return value

    def _check_owner(self, value: Value) -> None:
        if self._values.get(value.index) is not value:
            raise MachineError(f"block {self.name!r}: value v{value.index} belongs to another block")

    def _check(self, code: Opcode, operands: Sequence[Value], immediates: Sequence[int]) -> None:
        where = f"block {self.name!r}, operation {len(self._operations)} ({code.name})"
        for operand in operands:
            self._check_owner(operand)
        kinds = "".join(operand.kind for operand in operands)
        if kinds != code.operands:
            raise MachineError(f"{where}: takes operands of classes {code.operands!r}, got {kinds!r}")
        if len(immediates) != len(code.immediates):
            raise MachineError(f"{where}: takes {len(code.immediates)} immediates, got {len(immediates)}")
        for value, limit in zip(immediates, code.immediates, strict=True):
            if not limit.accepts(value):
                raise MachineError(f"{where}: immediate {value} is outside {limit.text}")
        if code.name in ("bfi", "ubfx", "sbfx") and sum(immediates) > 32:
            raise MachineError(f"{where}: bits {immediates[0]}..{sum(immediates) - 1} do not exist")
