# SPDX-License-Identifier: Apache-2.0
"""Executes blocks and their code in Python: the portable definition of what a block computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import TypeVar

from mcucompiler.machine import meaning as m
from mcucompiler.machine.compile import Code
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.program import Operation, Program

_Place = TypeVar("_Place", int, str)


class Memory:
    """Regions of bytes at 32-bit addresses.

    Args:
        regions: start address and content of each region; the content is changed in place.
    """

    def __init__(self, regions: Mapping[int, bytearray]) -> None:
        self._regions = dict(regions)

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, content in self._regions.items():
            if start <= address and address + size <= start + len(content):
                return content, address - start
        raise MachineError(f"access to {size} bytes at {address:#x}, where there is no memory")

    def read(self, address: int, size: int) -> int:
        """``size`` bytes, little-endian."""
        content, offset = self._find(address, size)
        return int.from_bytes(content[offset : offset + size], "little")

    def write(self, address: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of ``value``."""
        content, offset = self._find(address, size)
        content[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def execute(operation: Operation, operands: tuple[int, ...], memory: Memory) -> tuple[int, ...]:
    """The results of one operation; stores change ``memory``."""
    code = operation.code
    if code.access is None:
        if code.meaning is None:
            raise MachineError(f"operation {code.name} has no meaning")
        result = code.meaning(*operands, *operation.immediates)
        return result if isinstance(result, tuple) else (result,)
    access, immediate = code.access, operation.immediates[-1]
    address = operands[0] + (operands[1] << immediate if code.indexed else immediate) & m.MASK
    where = [address + access.size_bytes * word for word in range(access.words)]
    if access.store:
        for each, value in zip(where, operands[1:], strict=True):
            memory.write(each, access.size_bytes, value)
        return ()
    loaded = [memory.read(each, access.size_bytes) for each in where]
    bits = 8 * access.size_bytes
    return tuple(m.signed(value, bits) & m.MASK if access.signed else value for value in loaded)


def run_program(program: Program, inputs: Mapping[str, int], memory: Memory, *, times: int = 1) -> dict[str, int]:
    """Execute a block by its definition.

    Args:
        program: the block.
        inputs: 32-bit pattern of each live-in, by name.
        memory: what it loads from and stores to.
        times: how often; live-outs become the live-ins of the same name.

    Returns:
        The live-outs by name.
    """
    entering = dict(inputs)
    leaving: dict[str, int] = {}
    for _ in range(times):
        values = {live.value: entering[live.name] & m.MASK for live in program.live_ins}
        _run(program, values, lambda value: value, memory)
        leaving = {live.name: values[live.value] for live in program.live_outs}
        entering |= leaving
    return leaving


def run_code(code: Code, registers: Mapping[str, int], memory: Memory, *, times: int = 1) -> dict[str, int]:
    """Execute scheduled, allocated code on registers; returns all registers afterwards."""
    state = dict(registers)
    for _ in range(times):
        _run(code.program, state, code.registers.__getitem__, memory)
    return state


def _run(program: Program, state: MutableMapping[_Place, int], place: Callable[[int], _Place], memory: Memory) -> None:
    for operation in program.operations:
        operands = tuple(state[place(value)] for value in operation.operands)
        for value, result in zip(operation.results, execute(operation, operands, memory), strict=True):
            state[place(value)] = result
