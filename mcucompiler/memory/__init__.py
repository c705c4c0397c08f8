# SPDX-License-Identifier: Apache-2.0
"""Memory: the arena problem, its exact placement, the lower bound, and an independent verifier."""

from __future__ import annotations

from mcucompiler.memory.bound import live_bytes, lower_bound
from mcucompiler.memory.place import place
from mcucompiler.memory.problem import arena_problem
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.types import Schedule

__all__ = ["plan_memory"]


def plan_memory(schedule: Schedule, *, time_limit_s: float = 10.0) -> MemoryPlan:
    """Offsets of all buffers and scratch in the smallest arena that is found.

    Args:
        schedule: order, intervals and aliases.
        time_limit_s: effort for the exact search, in seconds of a usual machine. It is counted in
            deterministic units, so that every machine finds the same plan; a wall-clock limit of
            several times as much only guards against a stuck machine.
    """
    problem = arena_problem(schedule)
    placement = place(problem, time_limit_s=time_limit_s)
    steps = range(len(schedule.order))
    return MemoryPlan(
        problem=problem,
        offsets=tuple((block.name, placement.offsets[block.name]) for block in problem.blocks),
        arena_bytes=placement.height_bytes,
        lower_bound_bytes=max(lower_bound(problem), placement.bound_bytes),
        optimal=placement.optimal,
        peak_position=max(steps, key=lambda position: live_bytes(problem, position), default=0),
    )
