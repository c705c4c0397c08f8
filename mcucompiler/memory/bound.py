# SPDX-License-Identifier: Apache-2.0
"""What no placement can go below: the bytes that are live at once."""

from __future__ import annotations

from mcucompiler.memory.types import ArenaProblem
from mcucompiler.schedule.overlaps import union_bytes, whole_words


def live_bytes(problem: ArenaProblem, position: int) -> int:
    """Bytes live at a position, in whole words, a permitted overlap counted with its least extent.

    Blocks begin on words, so each takes whole words from those above it; and only one pair of an
    input and an output overlap, so these extents add up.
    """
    sizes = {b.name: whole_words(b.size_bytes) for b in problem.blocks if b.first <= position <= b.last}
    total = sum(sizes.values())
    for overlap in problem.overlaps:
        if overlap.position == position:
            upper, lower = sizes[overlap.upper], sizes[overlap.lower]
            total -= upper + lower - union_bytes(upper, lower, same=overlap.same, distance=overlap.distance)
    return total


def lower_bound(problem: ArenaProblem) -> int:
    """The most bytes live at any position."""
    return max((live_bytes(problem, position) for position in {block.first for block in problem.blocks}), default=0)
