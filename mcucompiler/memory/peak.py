# SPDX-License-Identifier: Apache-2.0
"""Where the memory goes: the step at the peak, what is live there, and the map of the arena."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.memory.bound import live_bytes
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.types import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBuffer:
    """A block that is live at the peak.

    Attributes:
        name: of the buffer, or "scratch@N".
        tensors: ONNX names of the activations that share it; () for scratch.
        size_bytes: its size.
        over: name of the input buffer that it is laid over at this step, "" for none.
    """

    name: str
    tensors: tuple[str, ...]
    size_bytes: int
    over: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The step at which most bytes are live.

    Attributes:
        position: in the order of the schedule.
        step: index into ``Lowered.steps``; -1 for a program without steps.
        kind: operator of the step.
        sources: names of the ONNX nodes that it stands for.
        live_bytes: bytes live while it runs, what is shared counted once.
        buffers: what is live, the largest first.
    """

    position: int
    step: int
    kind: str
    sources: tuple[str, ...]
    live_bytes: int
    buffers: tuple[LiveBuffer, ...]


def peak(schedule: Schedule, plan: MemoryPlan) -> Peak:
    """The step at the peak of a plan, with its live buffers."""
    lowered, position = schedule.lowered, plan.peak_position
    tensors: dict[str, list[str]] = {}
    for name, stored in lowered.stored.items():
        tensors.setdefault(stored.place.buffer, []).append(name)
    offsets = dict(plan.offsets)
    live = {block.name: block for block in plan.problem.blocks if block.first <= position <= block.last}
    over = {}
    for overlap in plan.problem.overlaps:
        if overlap.position == position and overlap.upper in live and overlap.lower in live:
            upper, lower = offsets[overlap.upper], offsets[overlap.lower]
            if lower < upper + live[overlap.upper].size_bytes and upper < lower + live[overlap.lower].size_bytes:
                over[overlap.lower] = overlap.upper
    step = schedule.order[position] if schedule.order else -1
    at = lowered.steps[step] if schedule.order else None
    return Peak(
        position=position,
        step=step,
        kind=at.kind if at else "",
        sources=(at.sources or (at.node.name,)) if at else (),
        live_bytes=live_bytes(plan.problem, position),
        buffers=tuple(
            LiveBuffer(
                name=block.name,
                tensors=tuple(tensors.get(block.name, ())),
                size_bytes=block.size_bytes,
                over=over.get(block.name, ""),
            )
            for block in sorted(live.values(), key=lambda block: (-block.size_bytes, block.name))
        ),
    )


def describe_peak(schedule: Schedule, plan: MemoryPlan) -> str:
    """One line for people: the step at the peak and the bytes that are live there."""
    top = peak(schedule, plan)
    holds = [_describe(buffer) for buffer in top.buffers]
    where = f"step {top.position} ({top.kind} {', '.join(map(repr, top.sources))})" if top.kind else "the whole time"
    return f"{where}, {top.live_bytes:,} bytes live: {', '.join(holds) or 'nothing'}"


def _describe(buffer: LiveBuffer) -> str:
    if not buffer.tensors:
        return f"{buffer.size_bytes:,} scratch"
    more = f" and {len(buffer.tensors) - 1} more" if len(buffer.tensors) > 1 else ""
    over = f", laid over {buffer.over!r}" if buffer.over else ""
    return f"{buffer.size_bytes:,} {buffer.tensors[0]!r}{more}{over}"
