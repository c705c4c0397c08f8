# SPDX-License-Identifier: Apache-2.0
"""How many bytes are live: the quantity that the order of steps decides.

Sets of steps are bit sets in Python integers. What is live after a set of steps has run depends on
the set alone, not on the order within it; that is what makes the search over sets exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcucompiler.lower.types import Lowered
from mcucompiler.schedule.dependencies import buffers_of
from mcucompiler.schedule.overlaps import BufferOverlap, best_matching, step_overlaps, whole_words


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferLife:
    """A buffer as far as liveness goes.

    Attributes:
        size_bytes: in whole words.
        users: bit set of the steps that read or write it.
        is_input: whether it is live before the first step.
        is_output: whether it is live after the last step.
    """

    size_bytes: int
    users: int
    is_input: bool
    is_output: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiveModel:
    """What each step does to the live bytes.

    Attributes:
        buffers: by name.
        touched: for each step, the buffers that it reads or writes.
        scratch: for each step, bytes of scratch in whole words.
        overlaps: for each step, which outputs may lie over which inputs.
    """

    buffers: Mapping[str, BufferLife]
    touched: tuple[tuple[str, ...], ...]
    scratch: tuple[int, ...]
    overlaps: tuple[tuple[BufferOverlap, ...], ...]

    @property
    def before_bytes(self) -> int:
        """Bytes of all graph inputs: live before the first step."""
        return sum(buffer.size_bytes for buffer in self.buffers.values() if buffer.is_input)

    @property
    def after_bytes(self) -> int:
        """Bytes of all graph outputs: live after the last step."""
        return sum(buffer.size_bytes for buffer in self.buffers.values() if buffer.is_output)

    def initial_bytes(self) -> int:
        """Live bytes when the first step begins: the inputs, without those that nobody reads."""
        unused = sum(b.size_bytes for b in self.buffers.values() if b.is_input and not b.users and not b.is_output)
        return self.before_bytes - unused

    def run(self, done: int, live: int, step: int) -> tuple[int, int]:
        """Bytes live while a step runs, and bytes live after it.

        Args:
            done: bit set of the steps that have run.
            live: bytes live after them.
            step: the step that runs next.
        """
        after = done | 1 << step
        born = died = 0
        for name in self.touched[step]:
            buffer = self.buffers[name]
            if not buffer.users & done and not buffer.is_input:
                born += buffer.size_bytes
            if buffer.users & after == buffer.users and not buffer.is_output:
                died += buffer.size_bytes
        saved = sum(overlap.saved_bytes for overlap in self.chosen_overlaps(done, step))
        return live + born + self.scratch[step] - saved, live + born - died

    def chosen_overlaps(self, done: int, step: int) -> tuple[BufferOverlap, ...]:
        """The overlaps that a step uses when it runs after the steps of ``done``.

        Of equal savings the input that was made first is taken: a residual sum then stays where the
        block's input was, and does not wander through the arena.
        """
        if not self.overlaps[step]:
            return ()
        after = done | 1 << step
        usable = [o for o in self.overlaps[step] if self._ends(o.into, after) and self._begins(o.buffer, done)]
        if len(usable) > 1:
            usable.sort(key=lambda overlap: (-overlap.saved_bytes, self._birth(overlap.into)))
        return best_matching(usable)

    def _ends(self, name: str, after: int) -> bool:
        buffer = self.buffers[name]
        return buffer.users & after == buffer.users and not buffer.is_output

    def _begins(self, name: str, done: int) -> bool:
        buffer = self.buffers[name]
        return not buffer.users & done and not buffer.is_input

    def _birth(self, name: str) -> tuple[bool, int]:
        """Sorts inputs of the graph first, then by the first user in graph order."""
        buffer = self.buffers[name]
        return not buffer.is_input, buffer.users & -buffer.users

    def least_bytes(self, step: int) -> int:
        """What a step needs in any order: its buffers and scratch, with every overlap that it might use."""
        saved = sum(overlap.saved_bytes for overlap in best_matching(self.overlaps[step]))
        return sum(self.buffers[name].size_bytes for name in self.touched[step]) + self.scratch[step] - saved

    def peak(self, order: Iterable[int]) -> int:
        """The most bytes that are live at once when the steps run in this order."""
        done, live = 0, self.initial_bytes()
        peak = max(self.before_bytes, self.after_bytes)
        for step in order:
            needed, live = self.run(done, live, step)
            done |= 1 << step
            peak = max(peak, needed)
        return peak


def live_model(lowered: Lowered) -> LiveModel:
    """The liveness of a lowered graph."""
    inputs = {lowered.stored[name].place.buffer for name in lowered.inputs}
    outputs = {lowered.stored[name].place.buffer for name in lowered.graph.outputs}
    touched = tuple(buffers_of(lowered, step) for step in lowered.steps)
    users = dict.fromkeys(lowered.buffers, 0)
    for index, names in enumerate(touched):
        for name in names:
            users[name] |= 1 << index
    buffers = {
        name: BufferLife(
            size_bytes=whole_words(spec.size_bytes),
            users=users[name],
            is_input=name in inputs,
            is_output=name in outputs,
        )
        for name, spec in lowered.buffers.items()
    }
    return LiveModel(
        buffers=MappingProxyType(buffers),
        touched=touched,
        scratch=tuple(whole_words(step.call.scratch_bytes) for step in lowered.steps),
        overlaps=tuple(step_overlaps(lowered, step) for step in lowered.steps),
    )
