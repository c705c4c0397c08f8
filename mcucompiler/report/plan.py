# SPDX-License-Identifier: Apache-2.0
"""``plan``: the plans that a network may run by, as a table, a plot and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import RenderableType

from mcucompiler.emit.code_size import kernel_bytes
from mcucompiler.emit.program import kernels_of
from mcucompiler.report.text import facts, kib, table
from mcucompiler.stream.choice import Part, describe_parts, parts_of
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.reads import flash_bytes_read
from mcucompiler.survey import Survey

_PLOT_WIDTH, _PLOT_HEIGHT = 64, 12
_COLUMNS = (
    "",
    ">arena + stack",
    ">arena",
    ">stack",
    ">est. ms",
    ">x fastest",
    ">recomputed",
    ">flash read",
    ">code",
    "what it does",
)


def survey_json(survey: Survey) -> dict[str, Any]:
    """All facts of the plans, for ``--json``."""
    choice, plans = survey.choice, survey.plans
    return {
        "board": survey.board.name,
        "clock_hz": survey.clock_hz or None,
        "model_sha256": survey.graph.digest,
        "input_mode": "rows" if survey.by_rows else "resident",
        "limit_bytes": choice.limit,
        "fits": choice.fits,
        "macs": survey.macs,
        "chosen": plans.index(choice.plan) if choice.plan in plans else None,
        "reason": choice.reason,
        "layer_by_layer": plan_json(survey, choice.layered),
        "plans": [plan_json(survey, plan) for plan in plans],
    }


def plan_json(survey: Survey, plan: Plan) -> dict[str, Any]:
    """The facts of one plan."""
    steps, parts = plan.lowered.steps, parts_of(plan)
    cache = survey.board.caches.data_bytes
    recomputed = survey.done_macs(plan) - survey.macs
    return {
        "ram_bytes": survey.arena_bytes(plan) + survey.stack_bytes(plan),
        "arena_bytes": survey.arena_bytes(plan),
        "stack_bytes": survey.stack_bytes(plan),
        "lower_bound_bytes": survey.lower_bound_bytes(plan),
        "optimal": plan.memory.optimal,
        "estimated_cycles": plan.cycles,
        "estimated_ms": survey.milliseconds(plan),
        "times_fastest": round(plan.cycles / max(survey.fastest_cycles, 1), 4),
        "recomputed_macs": recomputed,
        "recomputed_percent": round(100 * recomputed / max(survey.macs, 1), 2),
        "flash_bytes_read": sum(flash_bytes_read(step.call, cache) for step in steps),
        "estimated_code_bytes": sum(map(kernel_bytes, {call.kernel: None for s in steps for _, call in kernels_of(s)})),
        "summary": describe_parts(parts),
        "parts": [_part_json(part) for part in parts],
    }


def survey_report(survey: Survey, *, plot: bool) -> Iterator[RenderableType]:
    """The plans as text.

    Args:
        survey: the plans.
        plot: whether to draw them as well.
    """
    rows = [plan_json(survey, plan) for plan in survey.plans]
    marks = [_mark(survey, plan) for plan in survey.plans]
    clock = f" at {survey.clock_hz / 1e6:g} MHz" if survey.clock_hz else ""
    title = f"Plans for {survey.board.name}{clock}, the fastest first"
    yield table(title, _columns(survey), [_row(mark, row) for mark, row in zip(marks, rows, strict=True)])
    if plot and len(rows) > 1:
        points = [(row["ram_bytes"], row["estimated_ms"] or row["estimated_cycles"]) for row in rows]
        yield draw(points, marks, "ms" if survey.clock_hz else "cycles")
    yield facts(_choice_lines(survey))
    yield (
        "Layers are counted in the order of the plan; what is not named runs layer by layer. Times are estimates\n"
        "without waits for flash; code is an estimate of the kernels'; recomputed is a share of the network's MACs."
    )


def _choice_lines(survey: Survey) -> list[tuple[str, str]]:
    choice = survey.choice
    taken = f"`compile` takes the plan marked *: {choice.reason}"
    lines = [("*", taken if choice.fits else f"`compile` fails: {choice.reason}")]
    row = plan_json(survey, choice.plan)
    bound = f"{kib(row['arena_bytes'])}, lower bound {row['lower_bound_bytes']:,}"
    lines.append(("", f"arena {bound}" + (", proved optimal" if row["optimal"] else "")))
    return lines


def _columns(survey: Survey) -> tuple[str, ...]:
    return _COLUMNS if survey.clock_hz else tuple(c.replace("est. ms", "est. cycles") for c in _COLUMNS)


def _mark(survey: Survey, plan: Plan) -> str:
    return "*" if plan is survey.choice.plan else ""


def _row(mark: str, row: dict[str, Any]) -> tuple[str, ...]:
    time = row["estimated_ms"]
    return (
        mark,
        f"{row['ram_bytes']:,}",
        f"{row['arena_bytes']:,}",
        f"{row['stack_bytes']:,}",
        f"{row['estimated_cycles']:,}" if time is None else f"{time:,.3f}",
        f"{row['times_fastest']:.3f}",
        f"{row['recomputed_percent']:.1f} %",
        f"{row['flash_bytes_read']:,}",
        f"{row['estimated_code_bytes']:,}",
        row["summary"],
    )


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "first": part.first,
        "stop": part.stop,
        "mode": "stream" if part.rows else "layers",
        "rows": part.rows,
        "columns": part.columns,
        "strips": part.strips,
        "expanded": list(part.expanded),
        "repeated": list(part.repeated),
        "pushed": part.pushed,
    }


def draw(points: Sequence[tuple[int, float]], marks: Sequence[str], unit: str) -> str:
    """Time against bytes in plain characters; the chosen plan is a star.

    Args:
        points: bytes of RAM and time.
        marks: "*" for the chosen plan.
        unit: of the time.
    """
    slowest, fastest = max(time for _, time in points), min(time for _, time in points)
    widest, height = max(size for size, _ in points), max(slowest - fastest, slowest * 1e-9)
    cells = [[" "] * (_PLOT_WIDTH + 1) for _ in range(_PLOT_HEIGHT + 1)]
    for (size, time), mark in sorted(zip(points, marks, strict=True), key=lambda entry: entry[1]):
        row = round((slowest - time) / height * _PLOT_HEIGHT)
        cells[row][round(size / widest * _PLOT_WIDTH)] = mark or "o"
    labels = {0: f"{slowest:,.3f} {unit}", _PLOT_HEIGHT: f"{fastest:,.3f} {unit}"}
    margin = max(map(len, labels.values()))
    lines = [f"{labels.get(row, ''):>{margin}} |{''.join(line).rstrip()}" for row, line in enumerate(cells)]
    axis = f"{'':>{margin}} +{'-' * (_PLOT_WIDTH + 1)}"
    ends = f"{widest:,} bytes of arena and stack"
    return "\n".join([*lines, axis, f"{'':>{margin}}  0{ends:>{_PLOT_WIDTH}}"])
