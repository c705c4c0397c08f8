# SPDX-License-Identifier: Apache-2.0
"""What must come before what: legalized operations and their dependence graph.

``legalize`` makes every requirement on registers satisfiable by inserting copies, ``dependence_edges`` then
gives for each operation its predecessors with the cycles that must lie between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mcucompiler.machine.core import Core
from mcucompiler.machine.program import Live, Operation, Program

Edge = tuple[int, int, int]
"""(other operation, latency, prudent latency)"""


@dataclass(frozen=True, slots=True)
class Dependences:
    """Predecessors and successors of each operation of a program."""

    before: tuple[tuple[Edge, ...], ...]
    after: tuple[tuple[Edge, ...], ...]


def _uses(operations: list[Operation]) -> dict[int, list[int]]:
    """The operations that read each value, in order."""
    uses: dict[int, list[int]] = defaultdict(list)
    for index, operation in enumerate(operations):
        for value in dict.fromkeys(operation.operands):
            uses[value].append(index)
    return uses


class _Legalizer:
    """Inserts the copies that tied operands and live-outs need."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.classes = list(program.classes)
        self.operations: list[Operation] = []
        self.outs = list(program.live_outs)

    def copy(self, value: int) -> int:
        kind = self.classes[value]
        self.classes.append(kind)
        result = len(self.classes) - 1
        self.operations.append(Operation("mov" if kind == "r" else "vmov.ss", (result,), (value,)))
        return result

    def tied_operands(self) -> None:
        """A tied operand is overwritten: copy it where it is still needed afterwards."""
        source = list(self.program.operations)
        uses = _uses(source)
        leaving = {live.value for live in self.outs}
        for index, operation in enumerate(source):
            operands = list(operation.operands)
            for _, position in operation.code.tied:
                value = operands[position]
                shared = operation.operands.count(value) > 1
                if shared or value in leaving or uses[value][-1] > index:
                    operands[position] = self.copy(value)
            self.operations.append(replace(operation, operands=tuple(operands)))

    def live_outs(self) -> None:
        """Each live-out needs a value of its own, and a carried one a register that is free by then."""
        uses = _uses(self.operations)
        defined = {value: index for index, operation in enumerate(self.operations) for value in operation.results}
        entering = {live.name: live.value for live in self.program.live_ins}
        owners = {live.value: live.name for live in self.program.live_ins}
        taken: set[int] = set()
        for position, live in enumerate(self.outs):
            foreign = live.value in owners and owners[live.value] != live.name
            start = entering.get(live.name, live.value)
            late = start != live.value and any(use > defined.get(live.value, -1) for use in uses.get(start, ()))
            if live.value in taken or foreign or late:
                self.outs[position] = Live(self.copy(live.value), live.name, live.register)
            taken.add(self.outs[position].value)


def legalize(program: Program) -> Program:
    """A program of the same meaning in which no register requirement contradicts another.

    Copies are added where a tied operand is needed after it is overwritten, where two live-outs are one
    value, and where a loop-carried register would be overwritten before its last use.
    """
    work = _Legalizer(program)
    work.tied_operands()
    work.live_outs()
    return replace(
        program, classes="".join(work.classes), operations=tuple(work.operations), live_outs=tuple(work.outs)
    )


def _latencies(core: Core, producer: Operation, consumer: Operation, operand: int) -> tuple[int, int]:
    """Cycles from the producer of an operand to its consumer: lowest and highest published figure."""
    kind, timing = producer.code.kind, core.timings[producer.code.kind]
    early = timing.forwards if consumer.code.accumulator == operand and consumer.code.kind is kind else 0
    return timing.latency - early, timing.prudent - early


class _EdgeBuilder:
    def __init__(self, program: Program, core: Core) -> None:
        self.program, self.core = program, core
        self.edges: list[dict[int, tuple[int, int]]] = [{} for _ in program.operations]
        self.producer = {
            value: index for index, operation in enumerate(program.operations) for value in operation.results
        }
        self.uses = _uses(list(program.operations))

    def add(self, first: int, second: int, latency: int, prudent: int) -> None:
        if first == second:
            return
        known = self.edges[second].get(first, (0, 0))
        self.edges[second][first] = (max(known[0], latency), max(known[1], prudent))

    def data(self) -> None:
        operations = self.program.operations
        for index, operation in enumerate(operations):
            for position, value in enumerate(operation.operands):
                source = self.producer.get(value)
                if source is not None:
                    self.add(source, index, *_latencies(self.core, operations[source], operation, position))

    def overwritten(self) -> None:
        """Whoever reads a register that a tied result or a carried value overwrites comes first."""
        for index, operation in enumerate(self.program.operations):
            for _, position in operation.code.tied:
                for use in self.uses[operation.operands[position]]:
                    self.add(use, index, 0, 0)
        for start, end in self.program.carried:
            definition = self.producer.get(end)
            if start != end and definition is not None:
                for use in self.uses[start]:
                    self.add(use, definition, 0, 0)

    def memory(self) -> None:
        accesses = [index for index, operation in enumerate(self.program.operations) if operation.code.access]
        extents = {index: self._extent(self.program.operations[index]) for index in accesses}
        for store in filter(self._stores, accesses):
            for other in accesses:
                seen = other <= store and self._stores(other)
                if seen or not self._conflict(store, other, extents):
                    continue
                wait = 1 if store < other and not self._stores(other) else 0
                self.add(min(store, other), max(store, other), wait, wait)

    def _stores(self, index: int) -> bool:
        access = self.program.operations[index].code.access
        return access is not None and access.store

    def _conflict(self, first: int, second: int, extents: Mapping[int, tuple[int, int, int] | None]) -> bool:
        a, b = self.program.operations[first], self.program.operations[second]
        if a.alias != b.alias:
            return False
        a_range, b_range = extents[first], extents[second]
        if a_range is None or b_range is None or a_range[0] != b_range[0]:
            return True
        return a_range[1] < b_range[2] and b_range[1] < a_range[2]

    def _extent(self, operation: Operation) -> tuple[int, int, int] | None:
        """(base value, first byte, byte behind) of an access; None where an index decides."""
        access = operation.code.access
        if access is None or operation.code.indexed:
            return None
        base, offset = operation.operands[0], operation.immediates[-1]
        while (source := self.producer.get(base)) is not None:
            definition = self.program.operations[source]
            if definition.opcode not in ("add#", "sub#", "mov"):
                break
            base = definition.operands[0]
            step = definition.immediates[0] if definition.immediates else 0
            offset += -step if definition.opcode == "sub#" else step
        return base, offset, offset + access.size_bytes * access.words


def dependences(program: Program, core: Core) -> Dependences:
    """The dependence graph of a legalized program on a core; operations are numbered in program order."""
    builder = _EdgeBuilder(program, core)
    builder.data()
    builder.overwritten()
    builder.memory()
    after: list[list[Edge]] = [[] for _ in program.operations]
    for second, edges in enumerate(builder.edges):
        for first, (latency, prudent) in edges.items():
            after[first].append((second, latency, prudent))
    before = tuple(
        tuple((first, latency, prudent) for first, (latency, prudent) in edges.items()) for edges in builder.edges
    )
    return Dependences(before, tuple(tuple(edges) for edges in after))
