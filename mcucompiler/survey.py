# SPDX-License-Identifier: Apache-2.0
"""The plans that a network may run by, and the one that ``compile_model`` takes; nothing is emitted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mcucompiler.api import CompileOptions, board_of, goal_of, lowering_of
from mcucompiler.board_types import Board
from mcucompiler.emit.rows import PUSH_STACK_BYTES, STATE_BYTES, check_row_graph
from mcucompiler.ir.graph import Graph
from mcucompiler.pipeline import (
    Hooks,
    best_layered,
    choose,
    choose_layered,
    find_frontier,
    import_and_rewrite,
    needs_frontier,
    plan_layers,
)
from mcucompiler.stream.choice import Choice
from mcucompiler.stream.plans import Frontier, Plan, stack_bound
from mcucompiler.stream.types import StreamCall


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """What there is to choose from.

    Attributes:
        graph: the network after the passes.
        board: the target.
        choice: what is taken.
        plans: the fastest first; each needs less memory than the ones before it.
        by_rows: whether the caller pushes the rows of the image.
    """

    graph: Graph
    board: Board
    choice: Choice
    plans: tuple[Plan, ...]
    by_rows: bool = False

    @property
    def clock_hz(self) -> int:
        """Of the board; 0 for an emulator, whose clock says nothing."""
        return 0 if self.board.clock is None else self.board.clock_hz

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network, each counted once."""
        return sum(step.macs for step in self.choice.layered.lowered.steps)

    @property
    def fastest_cycles(self) -> int:
        """Estimated cycles of the fastest plan."""
        return self.plans[0].cycles

    def done_macs(self, plan: Plan) -> int:
        """Multiply-accumulates that a plan does, with those that it repeats."""
        steps = plan.lowered.steps
        return sum(s.macs + (s.call.recomputed_macs if isinstance(s.call, StreamCall) else 0) for s in steps)

    def arena_bytes(self, plan: Plan) -> int:
        """Of the program that is made of a plan."""
        return plan.memory.arena_bytes + (STATE_BYTES if self.by_rows else 0)

    def lower_bound_bytes(self, plan: Plan) -> int:
        """No arena for the layers and streams of a plan is smaller."""
        return plan.memory.lower_bound_bytes + (STATE_BYTES if self.by_rows else 0)

    def stack_bytes(self, plan: Plan) -> int:
        """Of the program that is made of a plan."""
        return stack_bound(plan.schedule) + (PUSH_STACK_BYTES if self.by_rows else 0)

    def milliseconds(self, plan: Plan) -> float | None:
        """Estimated time of an inference at the board's clock, without waits for flash; None where it has none."""
        return 1000 * plan.cycles / self.clock_hz if self.clock_hz else None


def survey_plans(
    model: str | Path | bytes, options: CompileOptions, *, whole: bool, hooks: Hooks | None = None
) -> Survey:
    """The plans of a network.

    Args:
        model: path of an ONNX file, or its bytes.
        options: as for ``compile_model``; nothing is refused for its size.
        whole: the whole frontier; otherwise the chosen plan with its neighbours: layer by layer, the next
            faster one and the smallest.
        hooks: told of progress.

    Raises:
        ModelError: the model cannot be read, is invalid or has unsupported parts.
        BoardError: unknown board or faulty board file.
        UsageError: an impossible option.
        VerificationError: a plan of the compiler's own was refused: a defect.
    """
    hooks = hooks or Hooks()
    board = board_of(options)
    goal, lowering = goal_of(options, board), lowering_of(options, board)
    _, graph = import_and_rewrite(model, batch=options.batch, shapes=options.shapes, io=options.io, hooks=hooks)
    if goal.rows:
        check_row_graph(graph)
    layered = plan_layers(graph, lowering, hooks)
    frontier = find_frontier(graph, layered, goal, hooks)
    best = best_layered(layered, goal)
    choice = choose(best, frontier, goal) if needs_frontier(best, goal) else choose_layered(best, layered, goal)
    plans = frontier.plans(partial(hooks.progress, "placing")) if whole else _neighbours(frontier, choice, hooks)
    return Survey(graph=graph, board=board, choice=choice, plans=_undominated((choice.plan, *plans)), by_rows=goal.rows)


def _neighbours(frontier: Frontier, choice: Choice, hooks: Hooks) -> tuple[Plan, ...]:
    hooks.stage("placing")
    found = (choice.layered, choice.faster, choice.plan, frontier.smallest())
    return tuple(plan for plan in found if plan is not None)


def _undominated(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """By time; without those that need no less memory than a faster one, or than one before it in the same time."""
    kept: list[Plan] = []
    for plan in sorted(plans, key=lambda plan: (plan.cycles, plan.ram_bytes)):
        if not kept or plan.ram_bytes < kept[-1].ram_bytes:
            kept.append(plan)
    return tuple(kept)
