# SPDX-License-Identifier: Apache-2.0
"""The arena problem, (bytes x time) rectangles with permitted overlaps, and its solution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A rectangle to be placed.

    Attributes:
        name: buffer's name, or "scratch@N" for the scratch of the step at position N.
        size_bytes: its height.
        align: its address is a multiple of this.
        first: first position in the order at which it is live.
        last: last position, inclusive.
    """

    name: str
    size_bytes: int
    align: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PermittedOverlap:
    """Leave for two blocks to share bytes although both are live at ``position``.

    ``same``: if they share bytes at all, ``start(upper) == start(lower)``; otherwise
    ``start(lower) + distance <= start(upper)``, where ``upper`` is read while ``lower`` is written.
    """

    upper: str
    lower: str
    position: int
    same: bool
    distance: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaProblem:
    """What has to be placed: blocks, and which pairs may overlap."""

    blocks: tuple[Block, ...]
    overlaps: tuple[PermittedOverlap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Offsets of all blocks in the arena.

    Attributes:
        problem: what was placed.
        offsets: pairs of block name and byte offset, in the problem's order.
        arena_bytes: end of the highest block, rounded up to the arena's alignment of elements (4).
        lower_bound_bytes: no placement of this problem is smaller.
        optimal: whether ``arena_bytes`` is proved minimal.
        peak_position: position in the order at which most bytes are live.
    """

    problem: ArenaProblem
    offsets: tuple[tuple[str, int], ...]
    arena_bytes: int
    lower_bound_bytes: int
    optimal: bool
    peak_position: int

    def offset(self, name: str) -> int:
        """Byte offset of a block."""
        return dict(self.offsets)[name]
