# SPDX-License-Identifier: Apache-2.0
"""What streams along the width need at least, told from shapes alone: kernels are only made for those that may pay."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mcucompiler.stream.bands import BandMaker
from mcucompiler.stream.compose import Composer, GroupChoice
from mcucompiler.stream.images import IMAGE_RANK, ROW_AXIS, row_bytes
from mcucompiler.stream.lives import Lives
from mcucompiler.stream.turned import RING


class Widths:
    """Groups of layers along the width.

    Args:
        composer: of the program.
        lives: of the program.
    """

    def __init__(self, composer: Composer, lives: Lives) -> None:
        self.steps, self.lives, self.graph = composer.lowered.steps, lives, composer.turned.graph
        self.maker: BandMaker = composer.maker_of(turned=True)
        self._windows = [self._window(index) for index in range(len(self.steps))]

    def promises(self, takes: Collection[int], fed: str | None) -> Iterator[tuple[int, GroupChoice]]:
        """The groups that may run along the width, and what they need at least.

        Args:
            takes: layers that read the tensor whose rows are pushed.
            fed: that tensor; of an image only streams along the height take rows.
        """
        for first in range(len(self.steps)):
            for stop in range(first + 1, self.reach(first) + 1):
                inside = any(first <= index < stop for index in takes)
                if not inside and stop - first > 1:
                    yield self.least(first, stop), GroupChoice(first=first, stop=stop, turned=True)
                elif fed and inside and first == 0 and max(takes) < stop and self._series(fed):
                    yield self.least(first, stop), GroupChoice(first=first, stop=stop, fed=fed, turned=True)

    def _series(self, tensor: str) -> bool:
        """Whether a tensor is a series [1, C, T]."""
        return len(self.lives.lowered.graph.tensors[tensor].shape) < IMAGE_RANK

    def reach(self, first: int) -> int:
        """One past the last step that may be in a stream along the width that begins at ``first``."""
        stop = first
        while stop < len(self.steps) and self.maker.height(stop):
            stop += 1
        return stop

    def least(self, first: int, stop: int) -> int:
        """Bytes that a stream along the width needs at least, kernels' scratch apart.

        Where it takes the columns of an image from the program's own order, its outputs cannot cover that image.
        """
        made = {name for index in range(first, stop) for name in self.steps[index].writes}
        rings: dict[str, int] = {}
        for index in range(first, stop):
            for name, size in self._needs(index, first).items():
                if name in made or self._in_pieces(name):
                    rings[name] = max(size, rings.get(name, 0))
        apart = any(map(self._in_pieces, self.steps[first].reads.values()))
        return self.lives.least_bytes(first, stop, apart=apart) + sum(rings.values())

    def _needs(self, index: int, first: int) -> dict[str, int]:
        """Bytes of the rows that a layer reads; where they may be made anew for each window, of what they come from."""
        if index == first or not self.maker.expandable(index - 1):
            return self._windows[index]
        (wide,) = self.steps[index - 1].writes
        narrow = self.steps[index - 1].reads[0]
        size = self._windows[index].get(wide, 0)
        rows = size // row_bytes(self.graph.tensors[wide])
        return {narrow: min(size, rows * row_bytes(self.graph.tensors[narrow]))}

    def _in_pieces(self, tensor: str) -> bool:
        """Whether the columns of an image do not lie one behind the other."""
        return tensor + RING in self.graph.tensors

    def _window(self, index: int) -> dict[str, int]:
        """Bytes of the rows that a layer reads of each input and cannot write over."""
        step = self.maker.lowered.steps[index]
        found: dict[str, int] = {}
        if not self.maker.height(index):
            return found
        node = step.node
        (target,) = self.graph.outs(node)
        middle = target.shape[ROW_AXIS] // 2 if len(target.shape) > ROW_AXIS else 0
        for number, name in step.reads.items():
            field = node.op.input_range(
                self.graph.ins(node), self.graph.outs(node), number, ROW_AXIS, middle, middle + 1
            )
            if field is not None:
                found[name] = max(field[1] - field[0] - 1, 0) * row_bytes(self.graph.tensors[name])
        return found
