# SPDX-License-Identifier: Apache-2.0
"""In which order a tensor's elements lie in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mcucompiler.ir.graph import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A memory order: the tensor seen as ``view``, its axes then permuted by ``perm``.

    ``view`` is the tensor's own shape, or, for a tensor that is a reshape of an image and lies
    where the image lies, the image's shape: a flattened [1, 48] stored as the NHWC bytes of
    [1, 3, 4, 4] has view (1, 3, 4, 4) and perm (0, 2, 3, 1).

    Attributes:
        view: a shape of as many elements, in ONNX order.
        perm: for each axis in memory, outermost first, its index in ``view``.
    """

    view: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Extents in memory order, outermost first."""
        return tuple(self.view[axis] for axis in self.perm)

    def to_memory(self, array: Array) -> Array:
        """An array in ONNX order, rearranged to memory order; shape ``memory_shape``."""
        return np.ascontiguousarray(array.reshape(self.view).transpose(self.perm))

    def from_memory(self, array: Array, shape: tuple[int, ...]) -> Array:
        """The inverse of ``to_memory``, for a tensor of ``shape``."""
        stored = array.reshape(self.memory_shape)
        return np.ascontiguousarray(stored.transpose(np.argsort(self.perm)).reshape(shape))

    def order(self) -> Array:
        """For each position in memory, the index of its element in the flat ONNX order."""
        return _order(self.view, self.perm)

    def equivalent(self, other: Layout) -> bool:
        """Whether both put the same elements at the same places."""
        return self == other or bool(np.array_equal(self.order(), other.order()))

    def permutation_of(self, shape: tuple[int, ...]) -> Layout | None:
        """The same order as a permutation of the axes of ``shape``; None where it is not one.

        An axis may be split, as a channel shuffle and a pixel shuffle do, or joined with its neighbors, as a
        flattening does. Where axes of extent 1 leave a choice, ONNX order and channels last come first.
        """
        if self.view == shape:
            return self
        for candidate in (row_major(shape), channels_last(shape)):
            if candidate.equivalent(self):
                return candidate
        joined = self._joined()
        pieces = _common_axes(joined.view, shape)
        if pieces is None:
            return None
        in_memory = [number for axis in joined.perm for number, (own, _) in enumerate(pieces) if own == axis]
        perm = [axis for axis, extent in enumerate(shape) if extent == 1]
        for before, number in zip([None, *in_memory], in_memory, strict=False):
            axis = pieces[number][1]
            if before is None or number != before + 1 or pieces[before][1] != axis:
                perm.append(axis)
        return Layout(view=shape, perm=tuple(perm)) if len(perm) == len(shape) == len(set(perm)) else None

    def _joined(self) -> Layout:
        """The same order on the fewest axes: neighbors that lie one behind the other are one, extents of 1 are none."""
        memory = [axis for axis in self.perm if self.view[axis] != 1]
        groups: list[list[int]] = []
        for axis in sorted(memory):
            place = memory.index(axis)
            if groups and place and memory[place - 1] == groups[-1][-1]:
                groups[-1].append(axis)
            else:
                groups.append([axis])
        group_of = {group[0]: number for number, group in enumerate(groups)}
        view = tuple(math.prod(self.view[axis] for axis in group) for group in groups)
        return Layout(view=view, perm=tuple(group_of[axis] for axis in memory if axis in group_of))


@lru_cache(maxsize=256)
def _order(view: tuple[int, ...], perm: tuple[int, ...]) -> Array:
    size = int(np.prod(view, dtype=np.int64))
    order = np.arange(size).reshape(view).transpose(perm).reshape(-1)
    order.setflags(write=False)
    return order


def _common_axes(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[tuple[int, int], ...] | None:
    """The coarsest axes of which those of two shapes consist: for each, its axis in either; without those of extent 1.

    None where the axes of one do not divide those of the other, as in (6, 4) and (4, 6).
    """
    pieces: list[tuple[int, int]] = []
    axes = [[[axis, extent] for axis, extent in enumerate(shape) if extent != 1] for shape in (first, second)]
    while all(axes):
        one, other = axes[0][0], axes[1][0]
        extent = min(one[1], other[1])
        # In ONNX order the outer part of the larger axis is split off.
        if one[1] % extent or other[1] % extent:
            return None
        pieces.append((one[0], other[0]))
        for remaining in axes:
            remaining[0][1] //= extent
            if remaining[0][1] == 1:
                remaining.pop(0)
    return tuple(pieces) if not any(axes) else None


def row_major(shape: tuple[int, ...]) -> Layout:
    """ONNX order."""
    return Layout(view=shape, perm=tuple(range(len(shape))))


def channels_last(shape: tuple[int, ...]) -> Layout:
    """N, spatial axes, C for a tensor [N, C, spatial...]; row-major below rank 3."""
    rank = len(shape)
    if rank < 3:
        return row_major(shape)
    return Layout(view=shape, perm=(0, *range(2, rank), 1))
