# SPDX-License-Identifier: Apache-2.0
"""Exact placement with OR-Tools CP-SAT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcucompiler.memory.words import WordProblem

_WALL_FACTOR = 6.0
"""Wall-clock seconds for each deterministic second: reached only where the machine is stuck."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactPlacement:
    """What the solver found.

    Attributes:
        starts: of each block, in words.
        bound: no placement is lower, in words.
    """

    starts: Mapping[int, int]
    bound: int


def exact_placement(problem: WordProblem, hint: Mapping[int, int], bound: int, time_limit_s: float) -> ExactPlacement:
    """The lowest placement, or the best that is found within the limit.

    The solver runs in one thread, with a fixed seed and a limit on its deterministic time.

    Args:
        problem: the blocks.
        hint: a placement that keeps all rules, to be improved on.
        bound: a lower bound on the height, in words.
        time_limit_s: limit in deterministic seconds.
    """
    from ortools.sat.python import cp_model  # takes longer to load than most networks need in all

    height = problem.height(hint)
    model = cp_model.CpModel()
    top = model.new_int_var(bound, height, "height")
    starts: list[Any] = []
    for index, (size, align) in enumerate(zip(problem.sizes, problem.aligns, strict=True)):
        units = model.new_int_var(0, (height - size) // align, f"start{index}")
        model.add_hint(units, hint[index] // align)
        starts.append(units if align == 1 else units * align)
        model.add(starts[index] + size <= top)
    _separate(model, problem, starts)
    _cliques(model, problem, starts)
    model.minimize(top)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = time_limit_s
    solver.parameters.max_time_in_seconds = _WALL_FACTOR * time_limit_s
    status = solver.solve(model)
    proved = max(bound, round(solver.best_objective_bound))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return ExactPlacement(starts=dict(hint), bound=min(proved, height))
    found = {index: int(solver.value(start)) for index, start in enumerate(starts)}
    return ExactPlacement(starts=found, bound=min(proved, problem.height(found)))


def _separate(model: Any, problem: WordProblem, starts: list[Any]) -> None:
    """One below the other, or the other below the one, or at the same start where that is permitted."""
    for rule in problem.rules:
        first, second = starts[rule.first], starts[rule.second]
        below, above = model.new_bool_var(""), model.new_bool_var("")
        ways = [below, above]
        model.add(first + rule.gap_below <= second).only_enforce_if(below)
        model.add(second + rule.gap_above <= first).only_enforce_if(above)
        if rule.same:
            level = model.new_bool_var("")
            model.add(first == second).only_enforce_if(level)
            ways.append(level)
        model.add_bool_or(ways)


def _cliques(model: Any, problem: WordProblem, starts: list[Any]) -> None:
    """For each moment, that the blocks without leave to overlap lie apart: implied, but helps the search."""
    free = {
        index
        for rule in problem.rules
        if rule.same or rule.gap_below < problem.sizes[rule.first] or rule.gap_above < problem.sizes[rule.second]
        for index in (rule.first, rule.second)
    }
    intervals = {
        index: model.new_fixed_size_interval_var(start, problem.sizes[index], "")
        for index, start in enumerate(starts)
        if index not in free
    }
    for position in sorted(set(problem.firsts)):
        live = [
            interval
            for index, interval in intervals.items()
            if problem.firsts[index] <= position <= problem.lasts[index]
        ]
        if len(live) > 2:
            model.add_no_overlap(live)
