# SPDX-License-Identifier: Apache-2.0
"""Placements by simple rules: quick, and nearly always as good as the lower bound.

Blocks are placed one after the other, each as low as those before it permit; what differs is the
order. If no order reaches the bound, the blocks that stick out on top are moved to the front of
the best order, again and again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mcucompiler.memory.words import WordProblem

_MOST_PLACEMENTS = 30_000  # blocks placed while an order is improved

Starts = dict[int, int]


def greedy_placement(problem: WordProblem, bound: int) -> Starts:
    """The lowest placement that the rules find: start of each block, in words.

    Args:
        problem: the blocks.
        bound: a height, in words, at which nothing better has to be looked for.
    """
    best: Starts | None = None
    best_order: tuple[int, ...] = ()
    for order in _orders(problem):
        for prefer_same in (True, False):
            starts = lay_out(problem, order, prefer_same=prefer_same)
            if best is None or problem.height(starts) < problem.height(best):
                best, best_order = starts, order
            if problem.height(best) <= bound:
                return best
    return _improved(problem, bound, best or {}, best_order)


def _orders(problem: WordProblem) -> Iterator[tuple[int, ...]]:
    sizes, firsts, lasts = problem.sizes, problem.firsts, problem.lasts
    keys: tuple[Callable[[int], tuple[int, ...]], ...] = (
        lambda i: (-sizes[i], firsts[i], i),
        lambda i: (-sizes[i] * (lasts[i] - firsts[i] + 1), firsts[i], i),
        lambda i: (firsts[i], -lasts[i], -sizes[i], i),
        lambda i: (-lasts[i], firsts[i], -sizes[i], i),
        lambda i: (firsts[i] - lasts[i], -sizes[i], i),
        lambda i: (-sizes[i] - sum(sizes[rule.second] for rule in problem.rules_of[i]), firsts[i], i),
    )
    for key in keys:
        yield tuple(sorted(range(len(sizes)), key=key))


def lay_out(problem: WordProblem, order: tuple[int, ...], *, prefer_same: bool) -> Starts:
    """Places blocks in an order, each as low as possible.

    Args:
        problem: the blocks.
        order: indices of all blocks.
        prefer_same: whether a block that may lie exactly over another one does so even where there
            is room further down.
    """
    starts: Starts = {}
    for index in order:
        starts[index] = _lowest(problem, index, starts, prefer_same)
    return starts


def _lowest(problem: WordProblem, index: int, starts: Mapping[int, int], prefer_same: bool) -> int:
    placed = [(starts[rule.second], rule) for rule in problem.rules_of[index] if rule.second in starts]
    align = problem.aligns[index]
    # A start s is forbidden where start(second) - gap_below < s < start(second) + gap_above.
    forbidden = sorted([(start - rule.gap_below, start + rule.gap_above) for start, rule in placed])
    lowest = 0
    for low, high in forbidden:
        if low < lowest < high:
            lowest = -(-high // align) * align
    over = [
        start
        for start, rule in placed
        if rule.same and start % align == 0 and all(other.holds(start, second) for second, other in placed)
    ]
    if over and (prefer_same or min(over) < lowest):
        return min(over)
    return lowest


def _improved(problem: WordProblem, bound: int, best: Starts, order: tuple[int, ...]) -> Starts:
    seen = {order}
    current, prefer_same = best, True
    for _ in range(_MOST_PLACEMENTS // max(1, len(order))):
        height = problem.height(current)
        top = [index for index in order if current[index] + problem.sizes[index] == height]
        order = (*top, *(index for index in order if index not in top))
        if order in seen:
            order = _swapped(problem, order, seen)
        if order in seen:
            break
        seen.add(order)
        prefer_same = not prefer_same
        current = lay_out(problem, order, prefer_same=prefer_same)
        if problem.height(current) < problem.height(best):
            best = current
        if problem.height(best) <= bound:
            break
    return best


def _swapped(problem: WordProblem, order: tuple[int, ...], seen: set[tuple[int, ...]]) -> tuple[int, ...]:
    """The first new order with two neighbours exchanged that are live together."""
    for place in range(len(order) - 1):
        first, second = order[place], order[place + 1]
        if any(rule.second == second for rule in problem.rules_of[first]):
            changed = (*order[:place], second, first, *order[place + 2 :])
            if changed not in seen:
                return changed
    return order
