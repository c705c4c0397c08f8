# SPDX-License-Identifier: Apache-2.0
"""Copies whose source index along an axis comes from a table: nearest resizing, padding by edge or reflection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array
from mcucompiler.lower.types import InputArg, KernelCall, OutputArg, Overlap, Param, Stored, kernel
from mcucompiler.lower.variants.calls import MATH, constant, cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES, memory_strides

_RUN_BYTES = 24  # below this a loop is cheaper than memcpy


@dataclass(frozen=True, slots=True, kw_only=True)
class GatherLoop:
    """One loop: its extent, the output's stride, the input's, and the table's name ("" for the identity)."""

    extent: int
    to_stride: int
    from_stride: int
    table: str


def gather_call(
    source: Stored, target: Stored, maps: Mapping[int, Array], *, variant: str, about: str, reason: str
) -> KernelCall:
    """A copy in which output index o along an axis reads input index ``maps[axis][o]``.

    Args:
        source: input 0; its layout is the target's, axis for axis.
        target: output 0.
        maps: by ONNX axis; axes that are not in it keep their index.
        variant: the variant's name.
        about: what the function does, for its comment.
        reason: for the report.
    """
    tables = {target.layout.perm.index(axis): table for axis, table in maps.items() if not _identity(table)}
    run_start = max(_first_contiguous(source, target), *(position + 1 for position in tables), 0)
    names = {position: f"index{position}" for position in sorted(tables)}
    run = int(np.prod(target.memory_shape[run_start:], dtype=np.int64))
    item = ITEM_BYTES[target.tensor.dtype]
    pixels = target.tensor.size // run
    instructions = pixels * (14 + (run * item // 4 + 14 if run * item >= _RUN_BYTES else 3 * run)) + 20
    return KernelCall(
        kernel=kernel(
            "gather",
            label(variant, target),
            (
                reads(source.tensor),
                *(Param(ctype="const uint16_t *", name=name) for name in names.values()),
                writes(target.tensor),
            ),
            includes=MATH,
            about=about,
            loops=_loops(source, target, names, run_start),
            run=run,
            run_bytes=run * item,
            by_memcpy=run * item >= _RUN_BYTES,
            ctype=CTYPES[target.tensor.dtype],
        ),
        arguments=(
            InputArg(index=0),
            *(
                constant(name, "uint16_t", tables[position], f"input index along memory axis {position}")
                for position, name in names.items()
            ),
            OutputArg(index=0),
        ),
        variant=variant,
        reason=reason,
        overlaps=_overlaps(source, target, maps, run),
        stack_bytes=144,
        instructions=instructions,
        cycles=cycles(instructions),
    )


def _loops(source: Stored, target: Stored, tables: Mapping[int, str], stop: int) -> tuple[GatherLoop, ...]:
    """Loops over the memory axes before ``stop``; ``tables`` are the names of theirs, by memory axis."""
    strides = zip(target.memory_shape, memory_strides(target), memory_strides(source), strict=True)
    return tuple(
        GatherLoop(extent=extent, to_stride=to_stride, from_stride=from_stride, table=tables.get(position, ""))
        for position, (extent, to_stride, from_stride) in enumerate(strides)
        if position < stop and (extent != 1 or position in tables)
    )


def _identity(table: Array) -> bool:
    return bool(np.array_equal(table, np.arange(table.size)))


def _first_contiguous(source: Stored, target: Stored) -> int:
    """The first memory axis from which on both tensors are contiguous and of equal extents."""
    rank = len(target.memory_shape)
    first = rank
    size = 1
    from_strides, to_strides = memory_strides(source), memory_strides(target)
    while first > 0 and from_strides[first - 1] == size == to_strides[first - 1]:
        if source.memory_shape[first - 1] != target.memory_shape[first - 1]:
            break
        first -= 1
        size *= target.memory_shape[first]
    return first


def _overlaps(source: Stored, target: Stored, maps: Mapping[int, Array], run: int) -> tuple[Overlap, ...]:
    """A shrinking copy may run over its own input: a run is written below everything that is still to be read."""
    if not (source.place.dense and target.place.dense):
        return ()
    offsets = np.zeros((), dtype=np.int64)
    for axis, stride in zip(target.layout.perm, memory_strides(source), strict=True):
        index = np.asarray(maps.get(axis, np.arange(target.layout.view[axis])), dtype=np.int64)
        offsets = offsets[..., None] + index * stride
    starts = offsets.reshape(-1, run)[:, 0]
    still_read = np.minimum.accumulate(starts[::-1])[::-1]
    distance = max(0, int((np.arange(1, starts.size + 1) * run - still_read).max()))
    if distance >= source.tensor.size:
        return ()
    return (Overlap(input=0, output=0, same=False, distance=distance * ITEM_BYTES[target.tensor.dtype]),)
