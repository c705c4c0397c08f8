# SPDX-License-Identifier: Apache-2.0
"""When to stop making groups of layers longer."""

from __future__ import annotations

_MOST_MISSES = 4
_SPANNING = 0.25  # of a miss, for a stream that may have to go on to a reader far behind
_INFINITE = 1 << 62


class Patience:
    """Streams from a layer on that were no better than shorter ones; after a few, most longer ones are not tried.

    A longer one that promises less than all that were tried is tried all the same: it may end where images are small.

    Args:
        layers: of the program.
    """

    def __init__(self, layers: int) -> None:
        self._misses = [0.0] * layers
        self._promised = [_INFINITE] * layers

    def ends(self, first: int, least: int) -> bool:
        """Whether a group from ``first`` on, which needs at least so many bytes, is not worth trying."""
        return self._misses[first] >= _MOST_MISSES and least >= self._promised[first]

    def missed(self, first: int, least: int, *, spans: bool = False) -> None:
        """A group from ``first`` on is tried that may be in vain; ``spans``: it makes what is read behind it."""
        self._misses[first] += _SPANNING if spans else 1
        self._promised[first] = min(self._promised[first], least)

    def gained(self, first: int) -> None:
        """A group from ``first`` on was better."""
        self._misses[first] = 0
