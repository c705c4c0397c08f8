# SPDX-License-Identifier: Apache-2.0
"""Software pipelining by rotation: the next iteration's first operands are computed at the end of this one.

A loop body begins with loads and ends with arithmetic, so the pipeline runs dry at the seam. ``rotate`` moves
the first loads, and what is computed from them alone, from the head of iteration i + 1 to the tail of iteration
i, once more in a prologue. They are computed once too often at the end: the loop reads up to one iteration
beyond its streams, so what lies there must be readable memory; the values are unused. Operations that change
memory or accumulators never move.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mcucompiler.machine.block import Block
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.core import CORTEX_M7, Core
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.program import Live, Operation, Program
from mcucompiler.machine.registers import DEFAULT_REGISTERS, RegisterFile

_PREFIX = "next"


@dataclass(frozen=True, slots=True)
class Rotated:
    """A loop body with its prologue; the prologue followed by n bodies computes what n original bodies do."""

    prologue: Program
    body: Program


@dataclass(frozen=True, slots=True)
class Loop:
    """A compiled loop.

    Attributes:
        prologue: code before the first iteration, or None.
        body: code of an iteration, which ends with the flags for the branch.
        rotated: how many operations run ahead.
    """

    prologue: Code | None
    body: Code
    rotated: int


def _steps(program: Program) -> dict[int, int]:
    """How much each live-in grows per iteration, where it is constant or a constant is added."""
    source = {value: operation for operation in program.operations for value in operation.results}
    steps: dict[int, int] = {}
    for start, end in program.carried:
        total, value = 0, end
        while value != start and value in source and source[value].opcode in ("add#", "sub#"):
            operation = source[value]
            total += operation.immediates[0] if operation.opcode == "add#" else -operation.immediates[0]
            value = operation.operands[0]
        if value == start:
            steps[start] = total
    return steps


def movable(program: Program) -> tuple[int, ...]:
    """The operations that may run one iteration ahead, in order: pure, and known before the iteration starts."""
    steps = _steps(program)
    stored = {op.alias for op in program.operations if op.code.access is not None and op.code.access.store}
    stored |= {second for first, second in program.overlapping if first in stored}
    ahead: set[int] = set()
    result: list[int] = []
    for index, operation in enumerate(program.operations):
        code = operation.code
        known = all(
            value in ahead or steps.get(value) == 0 or (value in steps and code.access is not None and position == 0)
            for position, value in enumerate(operation.operands)
        )
        harmless = operation.alias not in stored if code.access else code.accumulator is None
        if known and harmless and operation.results and not code.tied and set(code.results) <= set("rs"):
            ahead |= set(operation.results)
            result.append(index)
    return tuple(result)


def _advanced(operation: Operation, step: int, renamed: dict[int, int], results: tuple[int, ...]) -> Operation:
    """The operation as the next iteration will execute it."""
    operands = tuple(renamed.get(value, value) for value in operation.operands)
    immediates = operation.immediates
    if operation.code.access is not None and step:
        moved = immediates[-1] + step
        if operation.code.indexed or not operation.code.immediates[-1].accepts(moved):
            raise MachineError(f"{operation.opcode}: offset {moved} of the next iteration cannot be encoded")
        immediates = (*immediates[:-1], moved)
    return Operation(operation.opcode, results, operands, immediates, operation.alias)


def rotate(program: Program, count: int) -> Rotated:
    """Move the first ``count`` movable operations of a loop body one iteration ahead.

    Raises:
        MachineError: an offset that cannot be encoded.
    """
    chosen = set(movable(program)[:count])
    steps, classes = _steps(program), list(program.classes)
    stay = [operation for index, operation in enumerate(program.operations) if index not in chosen]
    needed = {value for operation in stay for value in operation.operands} | {live.value for live in program.live_outs}
    ahead: list[Operation] = []
    renamed: dict[int, int] = {}
    for index in sorted(chosen):
        operation = program.operations[index]
        results = tuple(range(len(classes), len(classes) + len(operation.results)))
        classes.extend(program.classes[value] for value in operation.results)
        ahead.append(
            _advanced(operation, steps.get(operation.operands[0], 0) if operation.operands else 0, renamed, results)
        )
        renamed |= dict(zip(operation.results, results, strict=True))
    seam = [value for value in renamed if value in needed]
    body = replace(
        program,
        classes="".join(classes),
        operations=(*stay, *ahead),
        live_ins=(*program.live_ins, *(Live(value, f"{_PREFIX}{value}") for value in seam)),
        live_outs=(*program.live_outs, *(Live(renamed[value], f"{_PREFIX}{value}") for value in seam)),
    )
    prologue = replace(
        program,
        name=f"{program.name}, prologue",
        operations=tuple(program.operations[index] for index in sorted(chosen)),
        live_outs=(*program.live_ins, *(Live(value, f"{_PREFIX}{value}") for value in seam)),
    )
    return Rotated(prologue, body)


def _with_registers(program: Program, entering: dict[str, str], leaving: dict[str, str]) -> Program:
    return replace(
        program,
        live_ins=tuple(replace(live, register=entering.get(live.name, live.register)) for live in program.live_ins),
        live_outs=tuple(replace(live, register=leaving.get(live.name, live.register)) for live in program.live_outs),
    )


def compile_loop(
    block: Block | Program,
    *,
    core: Core = CORTEX_M7,
    registers: RegisterFile = DEFAULT_REGISTERS,
    attempts: int = 0,
    ahead: Iterable[int] = (0, 1, 2, 3, 4, 5, 6, 8),
) -> Loop:
    """Compile a loop body with the number of operations ahead that gives the fewest cycles per iteration.

    Args:
        block: the body; it must leave condition flags and carry its pointers.
        core: the pipeline to schedule for.
        registers: what may be allocated.
        attempts: schedules to try for each number.
        ahead: the numbers of operations to try. 0 reads nothing beyond the streams.

    Raises:
        MachineError: the body does not fit in the registers.
    """
    program = block.freeze() if isinstance(block, Block) else block
    best: Loop | None = None
    problem: MachineError | None = None
    for count in sorted({min(number, len(movable(program))) for number in ahead}):
        try:
            rotated = rotate(program, count)
            body = compile_block(rotated.body, core=core, registers=registers, attempts=attempts)
            if best is not None and body.cycles >= best.body.cycles:
                continue
            best = Loop(_prologue(rotated, body, core, registers) if count else None, body, count)
        except MachineError as error:
            problem = problem or error
    if best is None:
        raise problem or MachineError(f"block {program.name!r}: no number of operations to run ahead was given")
    return best


def _prologue(rotated: Rotated, body: Code, core: Core, registers: RegisterFile) -> Code:
    """The prologue with the registers that the body expects."""
    names = body.live_in
    return compile_block(_with_registers(rotated.prologue, names, names), core=core, registers=registers)
