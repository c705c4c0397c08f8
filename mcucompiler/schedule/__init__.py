# SPDX-License-Identifier: Apache-2.0
"""Scheduling: in which order the steps run, how long buffers live, and which are laid over which."""

from __future__ import annotations

from collections.abc import Sequence

from mcucompiler.lower.types import Lowered
from mcucompiler.schedule.dependencies import buffers_of, dependence_graph
from mcucompiler.schedule.liveness import LiveModel, live_model
from mcucompiler.schedule.order import best_order
from mcucompiler.schedule.types import Alias, LiveInterval, Schedule

__all__ = ["make_schedule", "peak_bytes", "schedule_in_order"]


def make_schedule(lowered: Lowered) -> Schedule:
    """The order of least peak memory that the search finds; never above that of the graph's own order.

    Peak means the most bytes that are live at once, scratch included, outputs laid over dying
    inputs where the kernels permit it. Graph order is kept wherever no other order is better.
    """
    model = live_model(lowered)
    return _assemble(lowered, model, best_order(model, dependence_graph(lowered)))


def schedule_in_order(lowered: Lowered, order: Sequence[int]) -> Schedule:
    """The schedule that runs the steps, one by one, in a given topological order."""
    return _assemble(lowered, live_model(lowered), tuple(order))


def peak_bytes(schedule: Schedule) -> int:
    """The most bytes that are live at once, in whole words; what ``make_schedule`` minimises."""
    return live_model(schedule.lowered).peak(schedule.order)


def _assemble(lowered: Lowered, model: LiveModel, order: tuple[int, ...]) -> Schedule:
    return Schedule(
        lowered=lowered,
        order=order,
        intervals=_intervals(lowered, order),
        aliases=_aliases(model, order),
    )


def _intervals(lowered: Lowered, order: tuple[int, ...]) -> tuple[LiveInterval, ...]:
    """Of every buffer that the program touches, in the order of ``lowered.buffers``."""
    positions: dict[str, list[int]] = {name: [] for name in lowered.buffers}
    for name in lowered.inputs:
        positions[lowered.stored[name].place.buffer].append(-1)
    for position, step in enumerate(order):
        for buffer in buffers_of(lowered, lowered.steps[step]):
            positions[buffer].append(position)
    for name in lowered.graph.outputs:
        positions[lowered.stored[name].place.buffer].append(len(order))
    return tuple(
        LiveInterval(buffer=name, first=min(touched), last=max(touched))
        for name, touched in positions.items()
        if touched
    )


def _aliases(model: LiveModel, order: tuple[int, ...]) -> tuple[Alias, ...]:
    aliases, done = [], 0
    for step in order:
        for overlap in model.chosen_overlaps(done, step):
            aliases.append(
                Alias(
                    step=step,
                    into=overlap.into,
                    buffer=overlap.buffer,
                    same=overlap.same,
                    distance=overlap.distance,
                )
            )
        done |= 1 << step
    return tuple(aliases)
