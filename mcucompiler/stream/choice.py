# SPDX-License-Identifier: Apache-2.0
"""The plan that was taken and those it was preferred to, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import LoweredStep
from mcucompiler.memory.bound import live_bytes
from mcucompiler.stream.plans import MOST_SLOWDOWN, Plan
from mcucompiler.stream.two_pass import AGAIN
from mcucompiler.stream.types import StreamCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Consecutive layers of a plan that run alike; layers are counted in the order of the plan.

    Attributes:
        first: the first layer.
        stop: one past the last layer.
        rows: most rows of a run where the layers run as a stream; 0 where they run one by one.
        expanded: layers that are made anew for each window of the layer that follows.
        repeated: layers that an earlier part has already computed.
        pushed: whether the caller pushes the rows of the image.
        columns: column bands that the layers run in, one after the other.
        strips: runs in which layers make a row; 1 for whole rows.
        halo: multiply-accumulates that these repeat, as a share of the layers' own.
        turned: whether the rows are columns: the layers run along the width.
    """

    first: int
    stop: int
    rows: int = 0
    expanded: tuple[int, ...] = ()
    repeated: tuple[int, ...] = ()
    pushed: bool = False
    columns: int = 1
    strips: int = 1
    halo: float = 0.0
    turned: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """A plan, and what it was chosen over.

    Attributes:
        plan: what is taken.
        layered: the plan that runs layer by layer: the fastest that fits, or the smallest.
        fastest_cycles: estimated cycles of the fastest plan.
        faster: the next faster plan, which needs more memory; None where there is none.
        limit_bytes: most bytes of arena and stack of the plan; None for no limit.
        reserved_bytes: RAM that the program needs beside the plan, for rows that are pushed; counted in what is said.
        optimize: "ram" where the least memory was asked for.
    """

    plan: Plan
    layered: Plan
    fastest_cycles: int
    faster: Plan | None = None
    limit_bytes: int | None = None
    reserved_bytes: int = 0
    optimize: str = "speed"

    @property
    def fits(self) -> bool:
        """Whether the plan stays within the limit."""
        return self.limit_bytes is None or self.plan.ram_bytes <= self.limit_bytes

    @property
    def slowdown(self) -> float:
        """Estimated time as a multiple of that of the fastest plan."""
        return self.plan.cycles / max(self.fastest_cycles, 1)

    @property
    def reason(self) -> str:
        """Why this plan and no faster one."""
        if self.plan is self.layered:
            if not self.fits:
                return f"no plan needs less than {self.ram(self.plan):,} bytes of arena and stack"
            within = "" if self.limit is None else f", within the limit of {self.limit:,}"
            return f"layer by layer needs {self.ram(self.plan):,} bytes of arena and stack{within}"
        layered = f"layer by layer needs {self.ram(self.layered):,} bytes of arena and stack"
        faster = f"the next faster plan {self.ram(self.faster):,}" if self.faster else "no plan is faster"
        return f"{layered}, {faster}, this one {self.ram(self.plan):,}; {self._wanted}"

    @property
    def limit(self) -> int | None:
        """The limit of the whole program."""
        return None if self.limit_bytes is None else self.limit_bytes + self.reserved_bytes

    def ram(self, plan: Plan) -> int:
        """Arena and stack of the program that is made of a plan."""
        return plan.ram_bytes + self.reserved_bytes

    @property
    def _wanted(self) -> str:
        if self.optimize == "ram" and self.slowdown <= MOST_SLOWDOWN:
            return f"the least memory within {100 * (MOST_SLOWDOWN - 1):.0f} % more time was asked for"
        if self.limit_bytes is None or self.layered.ram_bytes <= self.limit_bytes:
            return "its input arrives by rows"
        return f"the limit is {self.limit:,}" + ("" if self.fits else ", which no plan reaches")

    def layered_bytes(self, step: LoweredStep) -> int:
        """The most bytes that are live layer by layer while one of the layers of a step runs; 0 where none is there."""
        names = {node.name.removesuffix(AGAIN) for node in step.nodes}
        steps, problem = self.layered.lowered.steps, self.layered.memory.problem
        return max(
            (
                live_bytes(problem, position)
                for position, index in enumerate(self.layered.schedule.order)
                if any(node.name in names for node in steps[index].nodes)
            ),
            default=0,
        )


def parts_of(plan: Plan) -> tuple[Part, ...]:
    """What a plan does with its layers, in order."""
    parts: list[Part] = []
    first = 0
    for index in plan.schedule.order:
        step = plan.lowered.steps[index]
        part = _part(step, first)
        first = part.stop
        if parts and not parts[-1].rows and not part.rows:
            before = parts.pop()
            part = Part(first=before.first, stop=part.stop, repeated=before.repeated + part.repeated)
        parts.append(part)
    return tuple(parts)


def _part(step: LoweredStep, first: int) -> Part:
    names = [node.name for node in step.nodes]
    repeated = tuple(first + number for number, name in enumerate(names) if name.endswith(AGAIN))
    stop, call = first + len(names), step.call
    if not isinstance(call, StreamCall):
        return Part(first=first, stop=stop, repeated=repeated)
    return Part(
        first=first,
        stop=stop,
        rows=max(band.rows for band in call.bands),
        expanded=tuple(
            first + names.index(band.expansion.node.name) for band in call.bands if band.expansion is not None
        ),
        repeated=repeated,
        pushed=call.fed is not None,
        columns=len(call.parts),
        strips=max(band.units for band in call.bands),
        halo=call.recomputed_macs / max(step.macs, 1) if len(call.parts) > 1 else 0.0,
        turned=call.turned is not None,
    )


def describe_parts(parts: tuple[Part, ...]) -> str:
    """What a plan does, for people: "layers 0-5 by rows, 6-9 by 2 rows; 3 expanded anew"."""
    streams = [part for part in parts if part.rows]
    if not streams:
        return "layer by layer"
    one = streams[0].stop - streams[0].first == 1
    texts = [("layer " if one else "layers ") + ", ".join(map(_describe, streams))]
    expanded = [layer for part in parts for layer in part.expanded]
    repeated = [layer for part in parts for layer in part.repeated]
    if expanded:
        texts.append(f"{', '.join(map(str, expanded))} expanded anew")
    if repeated:
        texts.append(f"{', '.join(map(str, repeated))} computed again")
    return "; ".join(texts)


def _describe(part: Part) -> str:
    layers = f"{part.first}-{part.stop - 1}" if part.stop - part.first > 1 else str(part.first)
    pushed = "pushed " if part.pushed else ""
    if part.columns > 1:
        return f"{layers} by rows in {part.columns} column bands with halo (+{100 * part.halo:.1f} % MACs)"
    rows = "columns" if part.turned else "rows"
    if part.strips > 1:
        return f"{layers} by {pushed}{rows} in strips of 1/{part.strips} row"
    return f"{layers} by {pushed}{rows}" if part.rows == 1 else f"{layers} by {part.rows} {pushed}{rows}"
