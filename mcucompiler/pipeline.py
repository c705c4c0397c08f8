# SPDX-License-Identifier: Apache-2.0
"""The chain from a model to its C files, with timing and dump hooks; nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mcucompiler.frontend import import_model
from mcucompiler.ir.dump import dump_text
from mcucompiler.ir.graph import Graph
from mcucompiler.lower import lower_graph
from mcucompiler.lower.types import Lowered, LoweringOptions
from mcucompiler.memory import plan_memory
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.memory.verify import verify_memory
from mcucompiler.ops import Concat
from mcucompiler.passes import run_passes
from mcucompiler.schedule import make_schedule, schedule_in_order
from mcucompiler.schedule.types import Schedule
from mcucompiler.schedule.verify import verify_schedule


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What wants to watch the chain.

    Attributes:
        stage: called with the name of each stage before it runs.
        done: called with the name of each stage and its seconds after it.
        dump: called with a file name and the text of an intermediate value.
    """

    stage: Callable[[str], None] = field(default=lambda name: None)
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
    """

    imported: Graph
    graph: Graph
    lowered: Lowered
    schedule: Schedule
    plan: MemoryPlan


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


def plan_graph(imported: Graph, graph: Graph, options: LoweringOptions, *, hooks: Hooks | None = None) -> Planned:
    """Kernels, order and memory for a rewritten graph; each plan has passed its verifier."""
    hooks = hooks or Hooks()
    best = _plan(imported, graph, options, hooks)
    _dump(hooks, "90-lowered.txt", best.lowered.graph)
    if any(isinstance(node.op, Concat) for node in graph.nodes):
        # Slices of a concat save copies but live longer than operands of their own.
        best = min(best, _plan(imported, graph, options, hooks, share_concats=False), key=_arena_bytes)
    return best


def _plan(
    imported: Graph, graph: Graph, options: LoweringOptions, hooks: Hooks, *, share_concats: bool = True
) -> Planned:
    """The better of the searched order and the graph's own, which is layer by layer."""
    with _stage(hooks, "kernels"):
        lowered = lower_graph(graph, options, share_concats=share_concats)
    with _stage(hooks, "schedule"):
        schedules = [make_schedule(lowered)]
        in_order = schedule_in_order(lowered, range(len(lowered.steps)))
        if in_order.order != schedules[0].order:
            schedules.append(in_order)
        for schedule in schedules:
            verify_schedule(schedule)
    plans = []
    with _stage(hooks, "memory"):
        for schedule in schedules:
            plan = plan_memory(schedule)
            verify_memory(schedule, plan)
            plans.append(Planned(imported=imported, graph=graph, lowered=lowered, schedule=schedule, plan=plan))
    return min(plans, key=_arena_bytes)


def _arena_bytes(planned: Planned) -> int:
    return planned.plan.arena_bytes


@contextmanager
def _stage(hooks: Hooks, name: str) -> Iterator[None]:
    hooks.stage(name)
    start = time.perf_counter()
    yield
    hooks.done(name, time.perf_counter() - start)


def _dump(hooks: Hooks, name: str, graph: Graph) -> None:
    if hooks.dump is not None:
        hooks.dump(name, dump_text(graph))
