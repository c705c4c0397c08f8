# SPDX-License-Identifier: Apache-2.0
"""The chain from a model to its C files, with timing and dump hooks; nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

from mcucompiler.emit.code_size import kernel_bytes
from mcucompiler.frontend import import_model
from mcucompiler.ir.dump import dump_text
from mcucompiler.ir.graph import Graph
from mcucompiler.lower import lower_graph
from mcucompiler.lower.types import Lowered, LoweringOptions
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.ops import Concat
from mcucompiler.passes import run_passes
from mcucompiler.schedule.types import Schedule
from mcucompiler.stream.choice import Choice
from mcucompiler.stream.plans import MOST_SLOWDOWN, Frontier, Plan, plan_in_order, plan_lowered
from mcucompiler.stream.two_pass import in_two_passes

_AS_FAST = 1.01  # estimates do not tell which of two plans is faster by less
_STACK_ROOM = 1024  # more than streams have of stack: an arena smaller by so much surely fits


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What wants to watch the chain.

    Attributes:
        stage: called with the name of each stage before it runs.
        progress: called with the name of a long stage, what is done and what there is.
        done: called with the name of each stage and its seconds after it.
        dump: called with a file name and the text of an intermediate value.
    """

    stage: Callable[[str], None] = field(default=lambda name: None)
    progress: Callable[[str, int, int], None] = field(default=lambda name, done, total: None)
    done: Callable[[str, float], None] = field(default=lambda name, seconds: None)
    dump: Callable[[str, str], None] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A network that is ready to be printed.

    Attributes:
        imported: the graph as the importer gave it.
        graph: after the passes; what the reference executes.
        lowered: kernel calls.
        schedule: their order.
        plan: the arena.
        choice: the plan with those that it was chosen over.
    """

    imported: Graph
    graph: Graph
    lowered: Lowered
    schedule: Schedule
    plan: MemoryPlan
    choice: Choice


def import_and_rewrite(
    model: str | Path | bytes,
    *,
    batch: int = 1,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    io: str = "int8",
    hooks: Hooks | None = None,
) -> tuple[Graph, Graph]:
    """The imported graph, and the graph after all passes."""
    hooks = hooks or Hooks()
    with _stage(hooks, "import"):
        imported = import_model(model, batch=batch, shapes=shapes or {})
    _dump(hooks, "00-import.txt", imported)
    count = 0

    def on_pass(name: str, graph: Graph) -> None:
        nonlocal count
        count += 1
        _dump(hooks, f"{count:02d}-{name}.txt", graph)

    with _stage(hooks, "passes"):
        graph = run_passes(imported, io=io, on_pass=on_pass)
    return imported, graph


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a plan is to achieve.

    Attributes:
        ram_bytes: most bytes of arena and stack of the plan; None for no limit.
        reserved_bytes: RAM that the program needs beside the plan; only told of.
        optimize: "ram" for the least memory within a quarter more time, otherwise the fastest plan that fits.
        rows: whether the caller pushes the rows of the only input.
    """

    ram_bytes: int | None = None
    reserved_bytes: int = 0
    optimize: str = "speed"
    rows: bool = False


def plan_graph(
    imported: Graph, graph: Graph, options: LoweringOptions, goal: Goal | None = None, *, hooks: Hooks | None = None
) -> Planned:
    """Kernels, order and memory for a rewritten graph; each plan has passed its verifier.

    Layers run as streams only where memory asks for it. Where no plan reaches the goal's limit, the
    smallest one is given, and it is for the caller to refuse it.
    """
    hooks, goal = hooks or Hooks(), goal or Goal()
    layered = plan_layers(graph, options, hooks)
    best = best_layered(layered, goal)
    _dump(hooks, "90-lowered.txt", best.lowered.graph)
    if needs_frontier(best, goal):
        choice = _choose_on_frontier(graph, layered, best, goal, hooks)
    else:
        choice = choose_layered(best, layered, goal)
    plan = choice.plan
    return Planned(
        imported=imported,
        graph=graph,
        lowered=plan.lowered,
        schedule=plan.schedule,
        plan=plan.memory,
        choice=choice,
    )


def _choose_on_frontier(graph: Graph, layered: tuple[Plan, ...], best: Plan, goal: Goal, hooks: Hooks) -> Choice:
    """What the goal asks for; with a limit, plans far below it are looked for only where it cannot be met otherwise."""
    enough = 0
    if goal.ram_bytes is not None and goal.optimize != "ram":
        enough = max(goal.ram_bytes - _STACK_ROOM, 0)
    frontier = find_frontier(graph, layered, goal, hooks, enough=enough)
    with _stage(hooks, "memory"):
        choice = choose(best, frontier, goal)
    if enough and goal.ram_bytes is not None and choice.plan.ram_bytes > goal.ram_bytes:
        with _stage(hooks, "streams"):
            frontier.complete(partial(hooks.progress, "streams"))
        with _stage(hooks, "memory"):
            choice = choose(best, frontier, goal)
    return choice


def best_layered(layered: Sequence[Plan], goal: Goal) -> Plan:
    """The plan layer by layer for a goal: the fastest that fits; the smallest where none does, or to save memory.

    Among plans whose times are as good as equal the smallest one is taken.
    """
    fitting = [plan for plan in layered if goal.ram_bytes is None or plan.ram_bytes <= goal.ram_bytes]
    if goal.optimize != "ram" and fitting:
        most = min(plan.cycles for plan in fitting) * _AS_FAST
        layered = [plan for plan in fitting if plan.cycles <= most]
    return min(layered, key=lambda plan: (plan.memory.arena_bytes, plan.cycles))


def needs_frontier(layered: Plan, goal: Goal) -> bool:
    """Whether layer by layer is not what the goal asks for."""
    fits = goal.ram_bytes is None or layered.ram_bytes <= goal.ram_bytes
    return goal.rows or goal.optimize == "ram" or not fits


def plan_layers(graph: Graph, options: LoweringOptions, hooks: Hooks) -> tuple[Plan, ...]:
    """The network layer by layer: with operands of concats as slices of the results, and without."""
    concats = any(isinstance(node.op, Concat) for node in graph.nodes)
    plans = []
    for share in (True, False) if concats else (True,):
        with _stage(hooks, "kernels"):
            told = _counting(hooks, "kernels", len(graph.nodes))
            lowered = lower_graph(graph, options, share_concats=share, code_bytes=kernel_bytes, progress=told)
        with _stage(hooks, "memory"):
            plans.append(plan_lowered(lowered))
    return tuple(plans)


def find_frontier(graph: Graph, layered: tuple[Plan, ...], goal: Goal, hooks: Hooks, *, enough: int = 0) -> Frontier:
    """The plans among which the goal chooses; see ``Frontier`` for ``enough``."""
    again = in_two_passes(graph)
    if again is not None:
        # In any other order the repeated layers would not follow one another.
        with _stage(hooks, "kernels"):
            told = _counting(hooks, "kernels", len(again.nodes))
            lowered = lower_graph(again, layered[0].lowered.options, share_concats=False, progress=told)
            layered = (*layered, plan_in_order(lowered))
    with _stage(hooks, "streams"):
        return Frontier(layered, graph.inputs[0] if goal.rows else None, partial(hooks.progress, "streams"), enough)


def choose_layered(best: Plan, layered: Sequence[Plan], goal: Goal) -> Choice:
    """The best of the plans layer by layer, where it is what the goal asks for."""
    return Choice(
        plan=best,
        layered=best,
        fastest_cycles=min(plan.cycles for plan in layered),
        limit_bytes=goal.ram_bytes,
        reserved_bytes=goal.reserved_bytes,
    )


def choose(layered: Plan, frontier: Frontier, goal: Goal) -> Choice:
    """The plan of the frontier that the goal asks for; the smallest where none fits.

    Args:
        layered: the best plan layer by layer; taken where the frontier is empty.
        frontier: the plans.
        goal: what is asked for.
    """
    fastest, chosen = frontier.fastest(None), None
    if goal.optimize == "ram":
        chosen = frontier.smallest(fastest.cycles * MOST_SLOWDOWN if fastest else None)
    if chosen is None or (goal.ram_bytes is not None and chosen.ram_bytes > goal.ram_bytes):
        chosen = frontier.fastest(goal.ram_bytes) or frontier.smallest() or layered
    return Choice(
        plan=chosen,
        layered=layered,
        fastest_cycles=fastest.cycles if fastest else layered.cycles,
        faster=frontier.faster(chosen),
        limit_bytes=goal.ram_bytes,
        reserved_bytes=goal.reserved_bytes,
        optimize=goal.optimize,
    )


@contextmanager
def _stage(hooks: Hooks, name: str) -> Iterator[None]:
    hooks.stage(name)
    start = time.perf_counter()
    yield
    hooks.done(name, time.perf_counter() - start)


def _counting(hooks: Hooks, stage: str, total: int) -> Callable[[str], None]:
    """Reports progress at each call, with whatever is about to be done."""
    done = count()
    return lambda name: hooks.progress(stage, min(next(done), total), total)


def _dump(hooks: Hooks, name: str, graph: Graph) -> None:
    if hooks.dump is not None:
        hooks.dump(name, dump_text(graph))
