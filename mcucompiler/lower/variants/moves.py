# SPDX-License-Identifier: Apache-2.0
"""Copies of elements along loop nests: what Reshape, Transpose, Slice, Concat and Pad have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcucompiler.ir.graph import ITEM_BYTES
from mcucompiler.lower.types import Kernel, Param, kernel
from mcucompiler.lower.variants.geometry import CTYPES, Loop, with_inner

_SHORT_RUN_BYTES = 8  # a call of memcpy costs more than this many single moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One copy, as templates/macros/copy.j2 prints it.

    Attributes:
        outer: extents of the loops around the innermost one.
        from_strides: strides in the source, per outer loop.
        to_strides: strides in the target, per outer loop.
        length: extent of the innermost loop.
        from_step: stride of the innermost loop in the source.
        to_step: stride of the innermost loop in the target.
        ctype: type of the target's elements.
        bytes: bytes of the innermost loop's elements.
        run: whether the innermost loop is a memcpy.
        table: C expression of a 256-byte table to send elements through; "" for none.
        source: C expression of the source's first element.
        to: C expression of the target's first element.
    """

    outer: tuple[int, ...]
    from_strides: tuple[int, ...]
    to_strides: tuple[int, ...]
    length: int
    from_step: int
    to_step: int
    ctype: str
    bytes: int
    run: bool
    table: str
    source: str
    to: str

    @property
    def elements(self) -> int:
        """Elements copied."""
        count = self.length
        for extent in self.outer:
            count *= extent
        return count

    @property
    def instructions(self) -> int:
        """An estimate of the instructions it takes."""
        rows = self.elements // max(self.length, 1)
        if self.run:
            return rows * (30 + self.bytes // 3)
        return rows * 8 + self.elements * (4 if self.table else 3)


def piece(
    loops: Sequence[Loop],
    dtype: str,
    *,
    source: str,
    target: str,
    source_offset: int = 0,
    target_offset: int = 0,
    table: str = "",
) -> Piece:
    """A copy along loops whose strides are (source, target).

    Args:
        loops: outermost first.
        dtype: of the elements; a table needs 8-bit ones.
        source: name of the pointer to read from.
        target: name of the pointer to write to.
        source_offset: elements to add to ``source``.
        target_offset: elements to add to ``target``.
        table: name of the table, "" for a plain copy.
    """
    *outer, inner = with_inner(loops, 2)
    size = inner.extent * ITEM_BYTES[dtype]
    run = not table and inner.strides == (1, 1) and size > _SHORT_RUN_BYTES
    return Piece(
        outer=tuple(loop.extent for loop in outer),
        from_strides=tuple(loop.strides[0] for loop in outer),
        to_strides=tuple(loop.strides[1] for loop in outer),
        length=inner.extent,
        from_step=inner.strides[0],
        to_step=inner.strides[1],
        ctype=CTYPES[dtype],
        bytes=size,
        run=run,
        table=table,
        source=f"{source} + {source_offset}" if source_offset else source,
        to=f"{target} + {target_offset}" if target_offset else target,
    )


def copy_kernel(label: str, about: str, params: tuple[Param, ...], pieces: Sequence[Piece]) -> Kernel:
    """The kernel of templates/kernels/copy.c.j2."""
    return kernel("copy", label, params, includes=("mc_math.h",), about=about, pieces=tuple(pieces))
