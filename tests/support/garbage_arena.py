# SPDX-License-Identifier: Apache-2.0
"""An arena of real bytes that knows whose they are, so that those of the dead can be spoiled."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.types import Stored, item_bytes
from mcucompiler.stream.plans import Plan

_DEAD = -1


class GarbageArena:
    """The arena of a plan, full of garbage.

    Args:
        plan: where everything lies.
        seed: of the garbage.
    """

    def __init__(self, plan: Plan, seed: int = 0) -> None:
        self.lowered = plan.lowered
        self.offsets = dict(plan.memory.offsets)
        self.rng = np.random.default_rng(seed)
        self.arena = self._garbage(plan.memory.arena_bytes)
        self.owner = np.full(plan.memory.arena_bytes, _DEAD, np.int64)
        self.owners: dict[object, int] = {}

    def _garbage(self, size: int) -> Array:
        return np.frombuffer(self.rng.bytes(size), np.uint8).copy()

    def spoil(self, start: int, size: int) -> None:
        """Garbage, whoever had it."""
        self.arena[start : start + size] = self._garbage(size)
        self.owner[start : start + size] = _DEAD

    def own(self, start: int, size: int, owner: object) -> None:
        """From now on bytes are somebody's."""
        self.owner[start : start + size] = self.owners.setdefault(owner, len(self.owners))

    def kill(self, start: int, size: int, owner: object) -> None:
        """Garbage in those bytes that are still somebody's."""
        mine = self.owner[start : start + size] == self.owners.get(owner)
        self.arena[start : start + size][mine] = self._garbage(size)[mine]
        self.owner[start : start + size][mine] = _DEAD

    def _bytes(self, stored: Stored) -> Array:
        """Addresses of a tensor's bytes, in memory order."""
        place, item = stored.place, item_bytes(stored.tensor)
        rows = np.arange(place.rows)[:, None] * place.stride * item
        within = rows + np.arange(place.row * item)[None, :]
        return np.asarray(self.offsets[place.buffer] + place.offset * item + within.reshape(-1))

    def read(self, name: str) -> Array:
        """A whole tensor, in ONNX order."""
        stored = self.lowered.stored[name]
        data = self.arena[self._bytes(stored)].view(stored.tensor.dtype)
        return stored.layout.from_memory(data, stored.tensor.shape)

    def write(self, name: str, value: Array) -> None:
        """A whole tensor, in ONNX order."""
        stored = self.lowered.stored[name]
        where = self._bytes(stored)
        self.arena[where] = np.frombuffer(stored.layout.to_memory(value).tobytes(), np.uint8)
        self.owner[where] = self.owners.setdefault(stored.place.buffer, len(self.owners))
