# SPDX-License-Identifier: Apache-2.0
"""From a block to code: legalize, schedule, allocate registers, estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mcucompiler.machine.block import Block
from mcucompiler.machine.core import CORTEX_M7, Core
from mcucompiler.machine.dependences import Dependences, dependences, legalize
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.list_scheduler import BackwardScheduler, Order, depths, search
from mcucompiler.machine.pipeline import flags_of, loop_cycles, straight_cycles
from mcucompiler.machine.program import Operation, Program, render
from mcucompiler.machine.registers import DEFAULT_REGISTERS, RegisterFile, allocate, pressure_message
from mcucompiler.machine.store import Pattern, Solution, key_of, load, save

_OPERATIONS_PER_SEARCH = 5000
_LEAST_ATTEMPTS = 12  # each natural priority with each window
_ALLOCATIONS = 12


@dataclass(frozen=True)
class Code:
    """A scheduled block with registers.

    Attributes:
        program: the legalized program, whose operations are in the order of the code.
        registers: register of each value.
        cycles: estimated cycles of one execution, all live-ins ready; of a loop body (something is carried and
            condition flags leave) of one iteration in the steady state, with its branch.
        core: the model behind the estimate.
    """

    program: Program
    registers: Mapping[int, str]
    cycles: float
    core: Core

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in order."""
        return self.program.operations

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """Assembler text, one instruction each, in GNU unified syntax."""
        return tuple(render(operation, self.registers.__getitem__) for operation in self.operations)

    @property
    def live_in(self) -> dict[str, str]:
        """Register of each live-in, by name."""
        return {live.name: self.registers[live.value] for live in self.program.live_ins if live.value in self.registers}

    @property
    def live_out(self) -> dict[str, str]:
        """Register of each live-out, by name."""
        return {live.name: self.registers[live.value] for live in self.program.live_outs}

    @property
    def written(self) -> tuple[str, ...]:
        """All core and float registers that the code writes, sorted."""
        names = {self.registers[value] for operation in self.operations for value in operation.results}
        return tuple(sorted(names - {"flags", "ge"}))


def _reordered(program: Program, order: Order) -> Program:
    return Program(
        program.name,
        program.classes,
        tuple(program.operations[index] for index in order),
        program.live_ins,
        program.live_outs,
    )


def _straight_cost(program: Program, core: Core) -> Callable[[Order], float]:
    """Cycles of an order that is executed once."""
    operations = program.operations
    return lambda order: float(straight_cycles([operations[index] for index in order], core))


def _cost(program: Program, core: Core) -> Callable[[Order], float]:
    """Cycles of an order: of a loop body in the steady state."""
    flags = flags_of(program.classes, {live.name: live.value for live in program.live_outs})
    operations = program.operations
    if program.carried and flags is not None:
        return lambda order: loop_cycles([operations[index] for index in order], core, program.carried, flags)
    return _straight_cost(program, core)


def _priorities(program: Program, graph: Dependences) -> list[list[float]]:
    """Program order; length of the path from the start; the multiplier first."""
    source = [float(index) for index in range(len(program.operations))]
    depth = depths(graph)
    multiplier_first = [
        index + (3.0 if operation.code.accumulator is not None else 0.0)
        for index, operation in enumerate(program.operations)
    ]
    return [source, multiplier_first, [depth[index] + index / 1000.0 for index in range(len(source))]]


def _candidates(
    program: Program, graph: Dependences, core: Core, registers: RegisterFile, reserve: int, attempts: int
) -> list[tuple[float, Order]]:
    stepped = _stepped(program)
    unallocated = _unallocated(program, registers) | {value for pair in stepped for value in pair}
    limits = registers.limits
    limits["r"] -= reserve + sum(pair[0] not in _unallocated(program, registers) for pair in stepped)
    once, found = _straight_cost(program, core), list[tuple[float, Order]]()
    for prudent in (True, False):
        scheduler = BackwardScheduler(program, graph, core, unallocated, prudent=prudent)
        found += search(scheduler, _priorities(program, graph), limits, once, attempts)
    found.sort(key=lambda item: item[0])
    cost = _cost(program, core)
    return sorted(((cost(order), order) for _, order in found[:_ALLOCATIONS]), key=lambda item: item[0])


def _stepped(program: Program) -> tuple[tuple[int, int], ...]:
    """Pointers and counters that a loop steps by a constant: they keep a register of their own throughout.

    Others could use it between the last read and the step, but only for whole lifetimes: counting on that
    leads to schedules that cannot be allocated.
    """
    pairs = set(program.carried)
    return tuple(
        (operation.operands[0], operation.results[0])
        for operation in program.operations
        if operation.opcode in ("add#", "sub#", "subs#") and (operation.operands[0], operation.results[0]) in pairs
    )


def _unallocated(program: Program, registers: RegisterFile) -> frozenset[int]:
    """Values in fixed registers that are not in the register file."""
    known = {*registers.core, *registers.floats}
    return frozenset(
        live.value for live in (*program.live_ins, *program.live_outs) if live.register and live.register not in known
    )


def _solve(program: Program, graph: Dependences, core: Core, registers: RegisterFile, attempts: int) -> Solution:
    """The best order of a legalized program for which registers were found."""
    tries = attempts or max(_LEAST_ATTEMPTS, min(24, _OPERATIONS_PER_SEARCH // max(len(program.operations), 1) // 2))
    problem = ""
    for reserve in range(3):
        for cycles, order in _candidates(program, graph, core, registers, reserve, tries):
            try:
                return Solution(order, tuple(allocate(program, order, registers).items()), cycles)
            except MachineError as error:
                problem = problem or str(error)
    order = tuple(range(len(program.operations)))
    try:
        return Solution(order, tuple(allocate(program, order, registers).items()), _cost(program, core)(order))
    except MachineError as error:
        return Solution(problem=problem or str(error))


@lru_cache(maxsize=4096)
def _solution(pattern: Pattern, core: Core, registers: RegisterFile, attempts: int) -> Solution:
    """What the search finds for all blocks of a pattern; it is kept for later processes."""
    key = key_of(pattern, core, registers, attempts)
    solution = load(key)
    if solution is None or not (solution.problem or sorted(solution.order) == list(range(len(pattern.operations)))):
        solution = _solve(pattern.program, pattern.graph, core, registers, attempts)
        save(key, solution)
    return solution


@lru_cache(maxsize=4096)
def _cached(program: Program, core: Core, registers: RegisterFile, attempts: int) -> Code:
    legal = legalize(program)
    solution = _solution(Pattern.of(legal, dependences(legal, core)), core, registers, attempts)
    if solution.problem:
        raise MachineError(solution.problem)
    return Code(_reordered(legal, solution.order), dict(solution.registers), solution.cycles, core)


def compile_block(
    block: Block | Program,
    *,
    core: Core = CORTEX_M7,
    registers: RegisterFile = DEFAULT_REGISTERS,
    attempts: int = 0,
) -> Code:
    """Schedule a block and give every value a register; equal blocks are compiled once, also in later processes.

    Args:
        block: the block, or its frozen form.
        core: the pipeline to schedule for.
        registers: what may be allocated.
        attempts: schedules to try, a few for a rough estimate; by default as many as a tenth of a second allows.

    Raises:
        MachineError: the block does not fit in the registers.
    """
    program = block.freeze() if isinstance(block, Block) else block
    return _cached(program, core, registers, attempts)


def estimate(block: Block | Program, *, core: Core = CORTEX_M7) -> float:
    """Estimated cycles of a block, or of one iteration of a loop body."""
    return compile_block(block, core=core).cycles


__all__ = ["Code", "compile_block", "estimate", "pressure_message"]
