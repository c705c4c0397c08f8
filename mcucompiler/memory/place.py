# SPDX-License-Identifier: Apache-2.0
"""Placement: the quick rules first, the exact search only where they leave a gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcucompiler.memory.bound import lower_bound
from mcucompiler.memory.exact import exact_placement
from mcucompiler.memory.greedy import greedy_placement, lay_out
from mcucompiler.memory.types import ArenaProblem
from mcucompiler.memory.words import WordProblem, in_words
from mcucompiler.schedule.overlaps import WORD_BYTES


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where every block lies.

    Attributes:
        offsets: byte offset of each block, by name.
        height_bytes: end of the highest block, rounded up to a whole word.
        bound_bytes: no placement is lower.
        optimal: whether the height is proved minimal.
    """

    offsets: Mapping[str, int]
    height_bytes: int
    bound_bytes: int
    optimal: bool


def place(problem: ArenaProblem, *, time_limit_s: float = 10.0) -> Placement:
    """Places the blocks of a problem as low as possible; the same on every machine.

    Args:
        problem: blocks, each aligned to words, and permitted overlaps.
        time_limit_s: limit of the exact search in deterministic seconds; 0 leaves it out.
    """
    words = in_words(problem)
    bound = lower_bound(problem) // WORD_BYTES
    starts = greedy_placement(words, bound)
    if words.height(starts) > bound and time_limit_s > 0:
        exact = exact_placement(words, starts, bound, time_limit_s)
        starts, bound = _lowered(words, exact.starts), exact.bound
    height = words.height(starts)
    return Placement(
        offsets={block.name: starts[index] * WORD_BYTES for index, block in enumerate(problem.blocks)},
        height_bytes=height * WORD_BYTES,
        bound_bytes=bound * WORD_BYTES,
        optimal=height == bound,
    )


def _lowered(problem: WordProblem, starts: Mapping[int, int]) -> dict[int, int]:
    """Every block as low as it goes without changing which lies above which; the solver has no such wish."""
    order = tuple(sorted(starts, key=lambda index: (starts[index], index)))
    lowered = lay_out(problem, order, prefer_same=True)
    return lowered if problem.height(lowered) <= problem.height(starts) else dict(starts)
