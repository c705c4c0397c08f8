# SPDX-License-Identifier: Apache-2.0
"""From a schedule to the rectangles that have to be placed."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.memory.types import ArenaProblem, Block, PermittedOverlap
from mcucompiler.schedule.overlaps import WORD_BYTES
from mcucompiler.schedule.types import Schedule


def arena_problem(schedule: Schedule) -> ArenaProblem:
    """Blocks of all buffers and of the scratch of each step; the schedule's aliases as permitted overlaps.

    Every block begins on a word, whatever it asks for.
    """
    positions = {step: position for position, step in enumerate(schedule.order)}
    return ArenaProblem(
        blocks=(*_buffers(schedule), *_scratch(schedule)),
        overlaps=tuple(
            PermittedOverlap(
                upper=alias.into,
                lower=alias.buffer,
                position=positions[alias.step],
                same=alias.same,
                distance=alias.distance,
            )
            for alias in schedule.aliases
        ),
    )


def _buffers(schedule: Schedule) -> Iterator[Block]:
    for interval in schedule.intervals:
        spec = schedule.lowered.buffers[interval.buffer]
        yield Block(
            name=spec.name,
            size_bytes=spec.size_bytes,
            align=max(spec.align, WORD_BYTES),
            first=interval.first,
            last=interval.last,
        )


def _scratch(schedule: Schedule) -> Iterator[Block]:
    for position, step in enumerate(schedule.order):
        call = schedule.lowered.steps[step].call
        if call.scratch_bytes:
            yield Block(
                name=f"scratch@{position}",
                size_bytes=call.scratch_bytes,
                align=max(call.scratch_align, WORD_BYTES),
                first=position,
                last=position,
            )
