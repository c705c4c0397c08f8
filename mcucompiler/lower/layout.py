# SPDX-License-Identifier: Apache-2.0
"""In which order a tensor's elements lie in memory."""

from __future__ import annotations

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


@lru_cache(maxsize=256)
def _order(view: tuple[int, ...], perm: tuple[int, ...]) -> Array:
    size = int(np.prod(view, dtype=np.int64))
    order = np.arange(size).reshape(view).transpose(perm).reshape(-1)
    order.setflags(write=False)
    return order


def row_major(shape: tuple[int, ...]) -> Layout:
    """ONNX order."""
    return Layout(view=shape, perm=tuple(range(len(shape))))


def channels_last(shape: tuple[int, ...]) -> Layout:
    """N, spatial axes, C for a tensor [N, C, spatial...]; row-major below rank 3."""
    rank = len(shape)
    if rank < 3:
        return row_major(shape)
    return Layout(view=shape, perm=(0, *range(2, rank), 1))
