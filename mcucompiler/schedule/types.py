# SPDX-License-Identifier: Apache-2.0
"""A schedule: the order in which steps run, and which buffers are shared."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import Lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """An output buffer laid over an input buffer of the same step.

    Attributes:
        step: index into ``Lowered.steps``.
        into: buffer of the input, which dies at this step.
        buffer: buffer of the output, which is born at it.
        same: both start at the same address; otherwise
            ``start(buffer) + distance <= start(into)``.
        distance: bytes.
    """

    step: int
    into: str
    buffer: str
    same: bool = True
    distance: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveInterval:
    """The time in which a buffer holds something: positions in the schedule's order.

    Attributes:
        buffer: its name.
        first: position of the first step that writes it; -1 for graph inputs.
        last: position of the last step that reads or writes it; the number of steps for graph
            outputs. Inclusive.
    """

    buffer: str
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Schedule:
    """When everything happens.

    Attributes:
        lowered: what is scheduled.
        order: indices of the steps in the order in which they run; each step of ``lowered`` once.
        intervals: of every buffer of ``lowered``.
        aliases: which buffers are laid over which.
    """

    lowered: Lowered
    order: tuple[int, ...]
    intervals: tuple[LiveInterval, ...]
    aliases: tuple[Alias, ...] = ()
