# SPDX-License-Identifier: Apache-2.0
"""Register allocation on a schedule, without spills.

Values that must or should share a register (tied operands, accumulator chains, loop-carried values) are merged
into webs. A web's lifetime is a bit mask over the schedule's positions: operation i reads at 2i and writes at
2i + 1, so a result may take the register of an operand that dies there. Webs with fixed registers come first,
then those with holes (loop-carried), then the rest in order of their start, which is optimal for intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.operations import OPCODES
from mcucompiler.machine.program import Operation, Program


@dataclass(frozen=True, slots=True)
class RegisterFile:
    """The registers that may be allocated.

    Attributes:
        core: core registers, in order of preference for short-lived values (the first eight have short encodings).
        floats: single-precision registers.
    """

    core: tuple[str, ...] = (*(f"r{index}" for index in range(9)), "r10", "r11", "r12", "lr")
    floats: tuple[str, ...] = tuple(f"s{index}" for index in range(16))

    def of(self, kind: str) -> tuple[str, ...]:
        """The registers of a class."""
        return {"r": self.core, "s": self.floats, "f": ("flags",), "g": ("ge",)}[kind]

    @property
    def limits(self) -> dict[str, int]:
        """How many there are of each class."""
        return {kind: len(self.of(kind)) for kind in "rsfg"}


# Without R9, which some platforms reserve; with it, for kernels that need every register.
DEFAULT_REGISTERS = RegisterFile()
ALL_REGISTERS = RegisterFile(core=(*(f"r{index}" for index in range(13)), "lr"))


@dataclass(slots=True)
class _Web:
    kind: str
    mask: int
    start: int
    length: int
    fixed: str = ""
    narrow: int = 0


class _Allocation:
    """The webs of one schedule and their registers."""

    def __init__(self, program: Program, order: Sequence[int], registers: RegisterFile) -> None:
        self.program, self.registers = program, registers
        self.operations = [program.operations[index] for index in order]
        self.parent = list(range(len(program.classes)))
        self.born, self.dies = self._lifetimes()
        self.fixed = self._fixed()

    def _lifetimes(self) -> tuple[list[int], list[int]]:
        count, end = len(self.program.classes), 2 * len(self.operations) + 1
        born, dies = [-1] * count, [-1] * count
        for live in self.program.live_ins:
            born[live.value] = dies[live.value] = 0
        for position, operation in enumerate(self.operations):
            for value in operation.operands:
                dies[value] = 2 * position + 1
            for value in operation.results:
                born[value], dies[value] = 2 * position + 1, 2 * position + 2
        for live in self.program.live_outs:
            dies[live.value] = end
        return born, dies

    def _fixed(self) -> dict[int, str]:
        fixed: dict[int, str] = {}
        for live in (*self.program.live_ins, *self.program.live_outs):
            if live.register and fixed.setdefault(live.value, live.register) != live.register:
                raise MachineError(
                    f"block {self.program.name!r}: {live.name!r} must be in {live.register} and {fixed[live.value]}"
                )
        return fixed

    def find(self, value: int) -> int:
        while self.parent[value] != value:
            self.parent[value] = self.parent[self.parent[value]]
            value = self.parent[value]
        return value

    def mask_of(self, value: int) -> int:
        length = max(self.dies[value] - self.born[value], 0)
        return (1 << length) - 1 << self.born[value] if self.born[value] >= 0 else 0

    def merge(self, masks: dict[int, int], first: int, second: int) -> bool:
        """Put two values in one register if their lifetimes and fixed registers allow."""
        a, b = self.find(first), self.find(second)
        if a == b:
            return True
        one, other = self.fixed.get(a, ""), self.fixed.get(b, "")
        if masks[a] & masks[b] or (one and other and one != other):
            return False
        self.parent[b] = a
        masks[a] |= masks[b]
        if other:
            self.fixed[a] = other
        return True

    def webs(self) -> dict[int, _Web]:
        """Merge what must share a register, then what should, and collect."""
        program = self.program
        masks = {value: self.mask_of(value) for value in range(len(program.classes))}
        required = list(program.carried)
        for operation in self.operations:
            required += [(operation.results[r], operation.operands[u]) for r, u in operation.code.tied]
        for first, second in required:
            if not self.merge(masks, first, second):
                raise MachineError(
                    f"block {program.name!r}: v{first} and v{second} must share a register, but both are live"
                )
        for operation in self.operations:
            accumulator = operation.code.accumulator
            if accumulator is not None:
                self.merge(masks, operation.operands[accumulator], operation.results[0])
        return self._collect(masks)

    def _collect(self, masks: dict[int, int]) -> dict[int, _Web]:
        webs: dict[int, _Web] = {}
        for value, kind in enumerate(self.program.classes):
            root = self.find(value)
            if root not in webs and masks[root]:
                mask = masks[root]
                start = (mask & -mask).bit_length() - 1
                webs[root] = _Web(kind, mask, start, mask.bit_length() - start, self.fixed.get(root, ""))
        for operation in self.operations:
            if operation.code.access or operation.code.name in _NARROW:
                for value in (*operation.results, *operation.operands):
                    if self.find(value) in webs:
                        webs[self.find(value)].narrow += 1
        return webs


# Operations with a 16-bit encoding for low registers, besides loads and stores.
_NARROW = frozenset({"sxtb", "sxth", "uxtb", "uxth", "cmp#", "mov#"})


def _groups(allocation: _Allocation, webs: Mapping[int, _Web]) -> list[tuple[int, ...]]:
    """Webs that must be in consecutive registers, each group in order; other webs alone."""
    follows: dict[int, int] = {}
    for operation in allocation.operations:
        where = OPCODES[operation.opcode].consecutive
        if where:
            first, second = map(allocation.find, operation.results if where == "results" else operation.operands)
            if follows.setdefault(first, second) != second or list(follows.values()).count(second) > 1:
                raise MachineError(
                    f"block {allocation.program.name!r}: two operations want v{first} in different pairs of registers"
                )
    seconds = set(follows.values())
    groups: list[tuple[int, ...]] = []
    for root in webs:
        if root not in seconds:
            chain = [root]
            while chain[-1] in follows and follows[chain[-1]] not in chain:
                chain.append(follows[chain[-1]])
            groups.append(tuple(chain))
    return groups


class _Coloring:
    """Assigns registers to groups of webs."""

    def __init__(self, allocation: _Allocation, webs: dict[int, _Web]) -> None:
        self.allocation, self.webs = allocation, webs
        self.occupied: dict[str, int] = {}
        self.register: dict[int, str] = {}

    def run(self, strategy: int) -> tuple[int, ...] | None:
        """Color everything; returns the group that found no register, if any."""
        groups = _groups(self.allocation, self.webs)
        for group in sorted(groups, key=lambda group: self._urgency(group, strategy)):
            if not self._assign(group, strategy):
                return group
        return None

    def _urgency(self, group: tuple[int, ...], strategy: int) -> tuple[int, int, int]:
        web = self.webs[group[0]]
        whole = web.mask == (1 << web.length) - 1 << web.start
        rank = 0 if any(self.webs[root].fixed for root in group) else 1 if len(group) > 1 else 2 if not whole else 3
        return rank, (-web.length if strategy & 1 else web.start), group[0]

    def _assign(self, group: tuple[int, ...], strategy: int) -> bool:
        candidates = self._candidates(group, strategy)
        for names in candidates:
            if all(
                not self.occupied.get(name, 0) & self.webs[root].mask for name, root in zip(names, group, strict=True)
            ):
                for name, root in zip(names, group, strict=True):
                    self.register[root] = name
                    self.occupied[name] = self.occupied.get(name, 0) | self.webs[root].mask
                return True
        return False

    def _candidates(self, group: tuple[int, ...], strategy: int) -> list[tuple[str, ...]]:
        first = self.webs[group[0]]
        fixed = [(position, self.webs[root].fixed) for position, root in enumerate(group) if self.webs[root].fixed]
        names = self.allocation.registers.of(first.kind)
        if len(group) > 1:
            choices = [names[start : start + len(group)] for start in range(len(names) - len(group) + 1)]
            return [choice for choice in choices if all(choice[position] == name for position, name in fixed)]
        if fixed:
            return [(fixed[0][1],)]
        ordered = names if first.narrow else tuple(reversed(names))
        if strategy & 2:
            ordered = tuple(sorted(ordered, key=lambda name: -self._tightness(name, first)))
        return [(name,) for name in ordered]

    def _tightness(self, name: str, web: _Web) -> int:
        """How close before the web's start the register was last in use."""
        return (self.occupied.get(name, 0) & ((1 << web.start) - 1)).bit_length()


def allocate(program: Program, order: Sequence[int], registers: RegisterFile) -> dict[int, str]:
    """The register of each value of a scheduled program.

    Raises:
        MachineError: no assignment was found; the message names the point of highest pressure.
    """
    allocation = _Allocation(program, order, registers)
    webs = allocation.webs()
    failed: tuple[int, ...] = ()
    for strategy in range(4):
        coloring = _Coloring(allocation, webs)
        group = coloring.run(strategy)
        if group is None:
            return {
                value: coloring.register[allocation.find(value)]
                for value in range(len(program.classes))
                if allocation.find(value) in coloring.register
            }
        failed = failed or group
    raise MachineError(pressure_message(program, allocation.operations, registers, webs[failed[0]].kind))


def pressure_message(program: Program, operations: Sequence[Operation], registers: RegisterFile, kind: str) -> str:
    """Where a block needs most registers of a class, and for what."""
    known = registers.of(kind)
    outside = {live.value for live in program.live_ins if live.register and live.register not in known}
    last = {value: position for position, operation in enumerate(operations) for value in operation.operands}
    last |= {live.value: len(operations) for live in program.live_outs}
    last = {value: position for value, position in last.items() if value not in outside}
    live = {entry.value for entry in program.live_ins if program.classes[entry.value] == kind and entry.value in last}
    peak, where = set(live), 0
    for position, operation in enumerate(operations):
        live = {value for value in live if last[value] > position}
        live |= {v for v in operation.results if program.classes[v] == kind and v in last}
        if len(live) > len(peak):
            peak, where = set(live), position
    described = {"r": "core", "s": "float", "f": "flag", "g": "GE"}[kind]
    at = program.describe(operations[where]) if operations else "its start"
    named = ", ".join(sorted(program.names.get(value, f"v{value}") for value in peak))
    fixed = " and fixed or loop-carried registers leave no room" if len(peak) <= len(registers.of(kind)) else ""
    return (
        f"block {program.name!r} does not fit in the registers: {len(peak)} {described} registers are live behind "
        f"operation {where} ({at}), {len(registers.of(kind))} may be allocated{fixed}; live there: {named}. "
        "Use fewer accumulators, or load operands later"
    )
