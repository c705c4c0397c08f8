# SPDX-License-Identifier: Apache-2.0
"""The arena problem in words, with the rules between each two blocks that are live together.

Every block begins on a word, so placement loses nothing by counting in words; numbers are smaller
and pairs that never meet are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcucompiler.memory.types import ArenaProblem, PermittedOverlap
from mcucompiler.schedule.overlaps import WORD_BYTES


@dataclass(frozen=True, slots=True)
class Rule:
    """What holds between block ``first`` and block ``second``, both indices.

    Attributes:
        first: index of a block.
        second: index of a block that is live together with it.
        gap_below: where ``first`` starts lower: ``start(second) - start(first)`` is at least this.
        gap_above: where ``first`` starts higher: ``start(first) - start(second)`` is at least this.
        same: whether equal starts are permitted as well.
    """

    first: int
    second: int
    gap_below: int
    gap_above: int
    same: bool

    def flipped(self) -> Rule:
        """The same rule, said of the other block."""
        return Rule(self.second, self.first, self.gap_above, self.gap_below, self.same)

    def holds(self, first_start: int, second_start: int) -> bool:
        """Whether two starts obey the rule."""
        distance = second_start - first_start
        return distance >= self.gap_below or -distance >= self.gap_above or (self.same and distance == 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class WordProblem:
    """An arena problem in words; blocks by index.

    Attributes:
        sizes: of the blocks.
        aligns: of the blocks.
        firsts: first position at which each block is live.
        lasts: last position, inclusive.
        rules: one for each two blocks that are live together.
        rules_of: for each block, its rules with the block as ``first``.
    """

    sizes: tuple[int, ...]
    aligns: tuple[int, ...]
    firsts: tuple[int, ...]
    lasts: tuple[int, ...]
    rules: tuple[Rule, ...]
    rules_of: Mapping[int, tuple[Rule, ...]]

    def height(self, starts: Mapping[int, int]) -> int:
        """End of the highest block."""
        return max((start + self.sizes[index] for index, start in starts.items()), default=0)

    def obeys(self, starts: Mapping[int, int]) -> bool:
        """Whether a placement of all blocks keeps every rule."""
        return all(rule.holds(starts[rule.first], starts[rule.second]) for rule in self.rules)


def in_words(problem: ArenaProblem) -> WordProblem:
    """A problem in words."""
    blocks = problem.blocks
    sizes = tuple(-(-block.size_bytes // WORD_BYTES) for block in blocks)
    permitted = {(frozenset((o.upper, o.lower)), o.position): o for o in problem.overlaps}
    rules = []
    for i, block in enumerate(blocks):
        for j in range(i + 1, len(blocks)):
            meet, part = max(block.first, blocks[j].first), min(block.last, blocks[j].last)
            if meet <= part:
                # Leave to overlap is of use only to blocks that are live together at that one position.
                overlap = permitted.get((frozenset((block.name, blocks[j].name)), meet)) if meet == part else None
                rules.append(_rule(i, j, sizes, block.name, overlap))
    rules_of: dict[int, list[Rule]] = {index: [] for index in range(len(blocks))}
    for rule in rules:
        rules_of[rule.first].append(rule)
        rules_of[rule.second].append(rule.flipped())
    return WordProblem(
        sizes=sizes,
        aligns=tuple(max(1, block.align // WORD_BYTES) for block in blocks),
        firsts=tuple(block.first for block in blocks),
        lasts=tuple(block.last for block in blocks),
        rules=tuple(rules),
        rules_of=MappingProxyType({index: tuple(own) for index, own in rules_of.items()}),
    )


def _rule(i: int, j: int, sizes: tuple[int, ...], name: str, overlap: PermittedOverlap | None) -> Rule:
    if overlap is None or overlap.same:
        return Rule(i, j, sizes[i], sizes[j], overlap is not None)
    distance = -(-overlap.distance // WORD_BYTES)
    if overlap.lower == name:
        return Rule(i, j, min(distance, sizes[i]), sizes[j], False)
    return Rule(i, j, sizes[i], min(distance, sizes[j]), False)
