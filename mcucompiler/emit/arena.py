# SPDX-License-Identifier: Apache-2.0
"""The arena map: a name for every buffer and scratch."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import Stored, item_bytes
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.types import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaRow:
    """A line of the arena map."""

    symbol: str
    offset: int
    size_bytes: int
    first: int
    last: int
    holds: str

    @property
    def interval(self) -> str:
        """The steps between which it is live."""
        return f"[{self.first}, {self.last}]"


class Symbols:
    """Names of buffers and scratch in the arena map."""

    def __init__(self, schedule: Schedule, plan: MemoryPlan) -> None:
        holds: dict[str, list[str]] = {}
        for tensor, stored in schedule.lowered.stored.items():
            holds.setdefault(stored.place.buffer, []).append(tensor)
        blocks = {block.name: block for block in plan.problem.blocks}
        offsets = dict(plan.offsets)
        self.names: dict[str, str] = {}
        rows = []
        for name, offset in offsets.items():
            block = blocks[name]
            scratch = name.startswith("scratch@")
            symbol = f"SCRATCH_{name.removeprefix('scratch@')}" if scratch else f"BUFFER_{len(self.names)}"
            self.names[name] = symbol
            rows.append(
                ArenaRow(
                    symbol=symbol,
                    offset=offset,
                    size_bytes=block.size_bytes,
                    first=block.first,
                    last=block.last,
                    holds="scratch" if scratch else ", ".join(map(repr, holds.get(name, [name]))),
                )
            )
        self.rows = tuple(sorted(rows, key=lambda row: (row.offset, row.first, row.symbol)))

    def place(self, stored: Stored) -> str:
        """C expression of the byte offset of an activation."""
        offset = stored.place.offset * item_bytes(stored.tensor)
        symbol = self.names[stored.place.buffer]
        return f"{symbol} + {offset}" if offset else symbol

    def scratch(self, position: int) -> str:
        """C expression of the byte offset of a step's scratch."""
        return self.names[f"scratch@{position}"]
