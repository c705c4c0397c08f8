# SPDX-License-Identifier: Apache-2.0
"""Where the elements of activations lie: axes with strides, their refinement, loop nests.

An ``Axis`` list describes a tensor in ONNX order by extents and memory strides. Two descriptions of
the same elements are refined to common axes, so that a copy, a transposition, a slice or a
broadcast become the same thing: a nest of loops with one stride per operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.layout import row_major
from mcucompiler.lower.types import Stored, dense_place

CTYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "bool": "uint8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "float32": "float",
}


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its extent, and its stride in memory in elements."""

    extent: int
    stride: int


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of a nest: its extent and each operand's stride in elements."""

    extent: int
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Activations of equal order as rows of contiguous elements.

    Attributes:
        count: rows.
        length: elements in a row.
        strides: for each activation, elements from the start of a row to that of the next.
    """

    count: int
    length: int
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements of each activation."""
        return self.count * self.length


def rows_of(*stored: Stored) -> Rows:
    """The common rows of activations with equal memory shape: one where all are dense."""
    size = stored[0].tensor.size
    if all(s.place.dense for s in stored):
        return Rows(1, size, (size,) * len(stored))
    length = max(1, stored[0].memory_shape[-1])
    return Rows(size // length, length, tuple(s.pixel_stride for s in stored))


def as_stored(tensor: Tensor) -> Stored:
    """A tensor as if it were an activation, dense and in ONNX order."""
    return Stored(tensor=tensor, layout=row_major(tensor.shape), place=dense_place(tensor.name, tensor))


def memory_strides(stored: Stored) -> tuple[int, ...]:
    """The stride in elements of each axis in memory, outermost first."""
    shape = stored.memory_shape
    strides = [1] * len(shape)
    if len(shape) >= 2:
        strides[-2] = stored.pixel_stride
    for axis in range(len(shape) - 3, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


def view_axes(stored: Stored) -> tuple[Axis, ...]:
    """The axes of the layout's view, in ONNX order."""
    strides = memory_strides(stored)
    by_view = {axis: strides[position] for position, axis in enumerate(stored.layout.perm)}
    return tuple(Axis(extent, by_view[axis]) for axis, extent in enumerate(stored.layout.view))


def onnx_strides(stored: Stored) -> tuple[int, ...] | None:
    """The memory stride of each axis of the tensor, or None where its layout has no such strides."""
    groups = grouped_axes(stored)
    if groups is None:
        return None
    strides = []
    for group in groups:
        merged = _merge_axes(group)
        if len(merged) > 1:
            return None
        strides.append(merged[0].stride if merged else 0)
    return tuple(strides)


def _merge_axes(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    merged: list[Axis] = []
    for axis in axes:
        if axis.extent == 1:
            continue
        if merged and merged[-1].stride == axis.stride * axis.extent:
            merged[-1] = Axis(merged[-1].extent * axis.extent, axis.stride)
        else:
            merged.append(axis)
    return tuple(merged)


def grouped_axes(stored: Stored) -> tuple[tuple[Axis, ...], ...] | None:
    """For each axis of the tensor, the view axes it consists of; None where they do not nest."""
    shape = stored.tensor.shape
    split = refine([Axis(extent, 0) for extent in shape], view_axes(stored))
    if split is None:
        return None
    pieces = list(split)
    groups: list[tuple[Axis, ...]] = []
    for extent in shape:
        group: list[Axis] = []
        while prod(axis.extent for axis in group) < extent:
            group.append(Axis(pieces[0].extent, pieces[0].strides[1]))
            pieces.pop(0)
        groups.append(tuple(group))
    return tuple(groups)


def refine(first: Sequence[Axis], second: Sequence[Axis]) -> tuple[Loop, ...] | None:
    """Common axes of two descriptions of the same elements in the same order.

    Returns:
        Loops with the strides of both, outermost first, without axes of extent 1; None where one's
        axes do not divide the other's, as in (6, 4) and (4, 6).
    """
    left = [axis for axis in first if axis.extent != 1]
    right = [axis for axis in second if axis.extent != 1]
    loops: list[Loop] = []
    while left and right:
        a, b = left.pop(), right.pop()
        extent = min(a.extent, b.extent)
        if a.extent % extent or b.extent % extent:
            return None
        loops.append(Loop(extent, (a.stride, b.stride)))
        for axes, axis in ((left, a), (right, b)):
            if axis.extent != extent:
                axes.append(Axis(axis.extent // extent, axis.stride * extent))
    return tuple(reversed(loops)) if not left and not right else None


def nest(loops: Sequence[Loop], order_by: int) -> tuple[Loop, ...]:
    """Loops sorted so that operand ``order_by`` is walked in memory order, neighbours merged.

    Loops of extent 1 vanish.
    """
    return merged(sorted(loops, key=lambda loop: -abs(loop.strides[order_by])))


def merged(loops: Sequence[Loop]) -> tuple[Loop, ...]:
    """The loops in their order, neighbors merged where every operand's outer one continues where the inner one ends."""
    result: list[Loop] = []
    for loop in loops:
        if loop.extent == 1:
            continue
        if result and all(o == i * loop.extent for o, i in zip(result[-1].strides, loop.strides, strict=True)):
            result[-1] = Loop(result[-1].extent * loop.extent, loop.strides)
        else:
            result.append(loop)
    return tuple(result)


def with_inner(loops: Sequence[Loop], operands: int) -> tuple[Loop, ...]:
    """The loops, or a single one of extent 1 where there is none."""
    return tuple(loops) if loops else (Loop(1, (1,) * operands),)


def widened(stored: Stored, rank: int) -> tuple[int, ...] | None:
    """Strides for a tensor broadcast to ``rank`` axes: 0 for axes it lacks or has once."""
    strides = onnx_strides(stored)
    if strides is None:
        return None
    shape = stored.tensor.shape
    own = tuple(0 if extent == 1 else stride for extent, stride in zip(shape, strides, strict=True))
    return (0,) * (rank - len(own)) + own


def copy_nest(source: Stored, target: Stored, perm: Sequence[int] | None = None) -> tuple[Loop, ...] | None:
    """The loops that copy ``source`` to ``target``, element by element in ONNX order.

    Args:
        source: operand 0.
        target: operand 1, whose memory order the loops follow.
        perm: the source's axes in the target's order; None for a reshape.

    Returns:
        Merged loops, or None where the two layouts have no common axes.
    """
    if perm is None:
        axes: Sequence[Axis] = view_axes(source)
    else:
        groups = grouped_axes(source)
        if groups is None:
            return None
        axes = [axis for index in perm for axis in groups[index]]
    loops = refine(axes, view_axes(target))
    return None if loops is None else nest(loops, order_by=1)
