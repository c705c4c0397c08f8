# SPDX-License-Identifier: Apache-2.0
"""In how little memory a program gets from one cut to another."""

from __future__ import annotations

_INFINITE = 1 << 62


class Covers:
    """The least memory in which the edges known so far lead from one cut to another."""

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int], int] = {}
        self._known: dict[tuple[int, int], int] = {}

    def again(self) -> Covers:
        """The same edges, with nothing asked yet."""
        other = Covers()
        other._edges = dict(self._edges)
        return other

    def add(self, first: int, stop: int, needed: int) -> None:
        """Takes an edge; what leads over it must not have been asked for before."""
        key = first, stop
        self._edges[key] = min(needed, self._edges.get(key, _INFINITE))
        self._known.pop(key, None)

    def least(self, index: int) -> int:
        """Least memory of an edge over a layer."""
        return min(
            (needed for (first, stop), needed in self._edges.items() if first <= index < stop), default=_INFINITE
        )

    def bytes(self, first: int, stop: int) -> int:
        """Least memory from ``first`` to ``stop``, provided that all shorter edges between them are known."""
        key = first, stop
        if key not in self._known:
            least = self._edges.get(key, _INFINITE)
            for cut in range(first + 1, stop):
                least = min(least, max(self.bytes(first, cut), self.bytes(cut, stop)))
            self._known[key] = least
        return self._known[key]
