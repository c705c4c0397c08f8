# SPDX-License-Identifier: Apache-2.0
"""What is live between the steps of a program whose order is fixed."""

from __future__ import annotations

import numpy as np

from mcucompiler.lower.types import Lowered, LoweredStep
from mcucompiler.schedule.dependencies import buffers_of
from mcucompiler.schedule.overlaps import best_matching, step_overlaps, whole_words


class Lives:
    """Between which steps of the fixed order each buffer holds something.

    Args:
        lowered: the program.
        fed: tensor whose rows the caller pushes.
    """

    def __init__(self, lowered: Lowered, fed: str | None) -> None:
        self.lowered = lowered
        self.first: dict[str, int] = {}
        self.last: dict[str, int] = {}
        for name in lowered.graph.inputs:
            self._touch(lowered.stored[name].place.buffer, -1)
        for index, step in enumerate(lowered.steps):
            for buffer in buffers_of(lowered, step):
                self._touch(buffer, index)
        for name in lowered.graph.outputs:
            self._touch(lowered.stored[name].place.buffer, len(lowered.steps))
        if fed is not None:
            buffer = lowered.stored[fed].place.buffer
            del self.first[buffer], self.last[buffer]
        self.sizes = {name: whole_words(lowered.buffers[name].size_bytes) for name in self.first}
        self._table = np.array([(self.first[name], self.last[name], self.sizes[name]) for name in self.sizes], np.int64)

    def _touch(self, buffer: str, index: int) -> None:
        self.first[buffer] = min(index, self.first.get(buffer, index))
        self.last[buffer] = max(index, self.last.get(buffer, index))

    def bytes(self, step: LoweredStep, first: int, stop: int) -> int:
        """What is live while a step takes the place of those from ``first`` to before ``stop``."""
        seen = set(buffers_of(self.lowered, step)) & set(self.first)
        live = seen | {b for b in self.first if self.first[b] < first and self.last[b] >= stop}
        usable = [
            overlap
            for overlap in step_overlaps(self.lowered, step)
            if first <= self.last.get(overlap.into, -1) < stop and first <= self.first[overlap.buffer]
        ]
        saved = sum(overlap.saved_bytes for overlap in best_matching(usable))
        return sum(self.sizes[name] for name in live) + whole_words(step.call.scratch_bytes) - saved

    def least_bytes(self, first: int, stop: int, *, apart: bool = False) -> int:
        """What any step in the place of those from ``first`` to before ``stop`` needs, rings apart.

        Every buffer that lives on, and of those that are consumed and made at least the larger sum; both where they
        must lie ``apart``.
        """
        born, dies, sizes = self._table.reshape(-1, 3).T
        early, late = born < first, dies >= stop
        through = int(sizes[early & late].sum())
        before = int(sizes[early & ~late & (dies >= first)].sum())
        after = int(sizes[late & ~early & (born < stop)].sum())
        return through + (before + after if apart else max(before, after))
