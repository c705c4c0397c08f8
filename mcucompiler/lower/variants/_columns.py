# SPDX-License-Identifier: Apache-2.0
"""How the bytes under a window become columns of pairs.

The window's bytes lie in lines: runs of bytes that follow one another in memory, a kernel row each. Where the window
is inside the input, lines are read where they lie; otherwise, and where kernel rows are no runs, the bytes are first
gathered in a staging buffer. Whole words of all lines come first, then what is left of them, so that lines of any
length are read by words and nothing beyond them is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.lower.variants._weighted import Int64Array
from mcucompiler.lower.variants._window import Window

_WORD = 4
_MOST_LEFT = 32  # bytes behind the whole words of all lines, each with a load of its own
_MOST_WORDS = 12  # words of a window in code without loops
_UNROLLED = 4  # words in the body of a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of a window, as templates/kernels/conv.c.j2 reads them.

    Attributes:
        count: of lines.
        size: bytes of each.
        direct: whether they are read where they lie as long as the window is inside the input.
        staged: whether some windows are gathered first.
        last: the last row and column of the input at which a window inside it begins.
    """

    count: int
    size: int
    direct: bool
    staged: bool
    last: tuple[int, int]

    @property
    def words(self) -> int:
        """Whole words of a line."""
        return self.size // _WORD

    @property
    def inputs(self) -> int:
        """Bytes of the window."""
        return self.count * self.size

    @property
    def staging_bytes(self) -> int:
        """Of the buffer for a window."""
        return -(-self.inputs // _WORD) * _WORD if self.staged else 0

    @property
    def looped(self) -> bool:
        """Whether there are too many words for code without loops."""
        return self.count * self.words > _MOST_WORDS

    @property
    def unrolled(self) -> int:
        """Words in the body of the loop over a line; they divide it evenly."""
        return next(n for n in range(_UNROLLED, 0, -1) if self.words % n == 0)

    @property
    def fours(self) -> tuple[tuple[tuple[int, int] | None, ...], ...]:
        """Line and offset of the bytes behind the whole words, in fours; None where there is none."""
        left = [(line, offset) for line in range(self.count) for offset in range(self.words * _WORD, self.size)]
        filled = [*left, *(None for _ in range(-len(left) % _WORD))]
        return tuple(tuple(filled[i : i + _WORD]) for i in range(0, len(filled), _WORD))

    def order(self) -> Int64Array:
        """The window's bytes, which are numbered line by line, in the order of the columns."""
        numbers = np.arange(self.inputs, dtype=np.int64).reshape(self.count, self.size)
        whole = self.words * _WORD
        return np.concatenate([numbers[:, :whole].reshape(-1), numbers[:, whole:].reshape(-1)])

    def instructions(self) -> int:
        """Estimate for a window that is read where it lies."""
        loops = self.count * (6 + 3 * self.words // self.unrolled) if self.looped else 0
        return 22 + loops + self.count * self.words * 5 + len(self.fours) * 8


def lines_of(window: Window) -> Lines:
    """The lines under a convolution's window."""
    rows, columns = window.kernel
    size = columns * window.group_in
    # The last position at which the window lies inside the input.
    last = (
        window.ifmap[0] - (rows - 1) * window.dilation[0] - 1,
        window.ifmap[1] - (columns - 1) * window.dilation[1] - 1,
    )
    run = columns == 1 or (window.dilation[1] == 1 and window.in_stride == window.group_in)
    sparse_pointers = window.row_pointers and window.dilation[0] > 1
    direct = run and not sparse_pointers and min(last) >= 0 and rows * (size % _WORD) <= _MOST_LEFT
    staged = not direct or window.padded(0) or window.padded(1)
    if not direct:
        rows, size = 1, rows * size
    return Lines(count=rows, size=size, direct=direct, staged=staged, last=last)
