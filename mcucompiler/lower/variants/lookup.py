# SPDX-License-Identifier: Apache-2.0
"""Tables of 256 entries: unary functions, chains of them, and requantizations of 8-bit tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, Tensor
from mcucompiler.lower.types import (
    Argument,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    ScalarArg,
    Stored,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, constant, cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES, Rows, rows_of
from mcucompiler.machine.blocks.elementwise import table_function
from mcucompiler.machine.value import WORD
from mcucompiler.ops.lookup import Lookup

STRIDED_INPUT = True
STRIDED_OUTPUT = True
_LEAST_WORDS = 2
_AROUND_SPAN = 8
"""Instructions of a call besides those of the function of words."""


def bits_order(table: Array, dtype: str) -> Array:
    """A table by value (-128 first for int8), reordered so that the element's bits are the index."""
    entries = table.reshape(-1, 256)
    return entries if dtype == "uint8" else np.concatenate([entries[:, 128:], entries[:, :128]], axis=1)


def table_call(
    source: Stored,
    target: Stored,
    table: Array,
    *,
    axis: int | None = None,
    index: int = 0,
    variant: str = "lookup",
    reason: str = "",
) -> KernelCall:
    """The call that sends ``source`` through a table into ``target``.

    Args:
        source: 8-bit activation.
        target: activation of the same shape and memory order.
        table: entries by value, [256] or one row for each index of ``axis``; of the target's dtype.
        axis: ONNX axis whose index chooses the row; None for a single table.
        index: which input of the node ``source`` is.
        variant: name for the report.
        reason: for the report.
    """
    rows = rows_of(source, target)
    inner, period = _axis_blocks(source, axis)
    item = ITEM_BYTES[target.tensor.dtype]
    size = rows.size
    ctype = CTYPES[target.tensor.dtype]
    params = (reads(source.tensor), Param(ctype=f"const {ctype} *", name="table"), writes(target.tensor))
    arguments: tuple[Argument, ...] = (
        InputArg(index=index),
        constant("table", ctype, bits_order(table, source.tensor.dtype), "indexed by the element's bits"),
        OutputArg(index=0),
    )
    overlaps = _overlaps(index, rows.count == 1, rows.strides[0] == rows.strides[1], item, size)
    if axis is None and item == 1 and rows.length >= _LEAST_WORDS * WORD:
        return _words_call(source, rows, params, arguments, variant=variant, reason=reason, overlaps=overlaps)
    instructions = round(size * 4.5) + rows.count * 8 + 20
    return KernelCall(
        kernel=kernel(
            "lookup",
            label("lookup", source) + ("_each" if axis is not None else ""),
            params,
            includes=MATH,
            rows=rows.count,
            length=rows.length,
            from_stride=rows.strides[0],
            to_stride=rows.strides[1],
            ctype=ctype,
            period=period,
            inner=inner,
            outer=size // (inner * period),
        ),
        arguments=arguments,
        variant=variant,
        reason=reason,
        overlaps=overlaps,
        stack_bytes=80,
        instructions=instructions,
        cycles=cycles(instructions),
    )


def _words_call(
    source: Stored,
    rows: Rows,
    params: tuple[Param, ...],
    arguments: tuple[Argument, ...],
    *,
    variant: str,
    reason: str,
    overlaps: tuple[Overlap, ...],
) -> KernelCall:
    """Bytes to bytes by words; tensors in one piece share the function and pass their size."""
    words, left = divmod(rows.length, WORD)
    unroll = 2 if words % 2 == 0 else 1
    function = table_function(unroll)
    whole = rows.count == 1
    around = function.around + _AROUND_SPAN + 4 * left
    rounds = words // unroll
    return KernelCall(
        kernel=kernel(
            "lookup_words",
            "lookup" if whole else label("lookup", source),
            (*params, Param(ctype="uint32_t ", name="count")) if whole else params,
            includes=MATH,
            rows=rows.count,
            count=0 if whole else words * WORD,
            left=left,
            from_stride=rows.strides[0],
            to_stride=rows.strides[1],
            lines=function.lines,
        ),
        arguments=(*arguments, ScalarArg(ctype="uint32_t", value=words * WORD)) if whole else arguments,
        variant=variant,
        reason=reason,
        overlaps=overlaps,
        stack_bytes=function.stack_bytes + 48,
        instructions=rows.count * (rounds * function.instructions + around),
        cycles=round(rows.count * (rounds * function.cycles + around)),
    )


def _overlaps(index: int, dense: bool, alike: bool, item: int, size: int) -> tuple[Overlap, ...]:
    """Elements are read before their place is written; pixels apart must be apart alike on both sides."""
    if dense:
        return (Overlap(input=index, output=0, same=item == 1, distance=(item - 1) * size),)
    return (Overlap(input=index, output=0),) if alike and item == 1 else ()


def _axis_blocks(stored: Stored, axis: int | None) -> tuple[int, int]:
    """Elements that share a row of the tables, and the number of rows."""
    if axis is None:
        return 1, 1
    position = stored.layout.perm.index(axis)
    inner = 1
    for extent in stored.memory_shape[position + 1 :]:
        inner *= extent
    return inner, stored.memory_shape[position]


@dataclass(frozen=True, slots=True)
class LookupTable:
    """One load for each element; by words where the elements lie side by side."""

    name: str = "lookup"

    def reject(self, context: NodeContext) -> str | None:
        """A constant table; per-channel ones where the axis is visible in memory."""
        op = context.node.op
        source = context.activation(0)
        table = context.constant(1)
        if not isinstance(op, Lookup) or table is None or table.data is None:
            return "the table is not constant"
        if table.dtype not in CTYPES:
            return f"a table of {table.dtype}"
        if op.axis is None:
            return None
        if source.layout.view != source.tensor.shape:
            return "the axis of the tables is not an axis in memory"
        inner, _ = _axis_blocks(source, op.axis)
        strided = not (source.place.dense and context.outputs[0].place.dense)
        return "pixels apart, and the axis of the tables is not innermost" if strided and inner != 1 else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op = context.node.op
        table: Tensor | None = context.constant(1)
        if not isinstance(op, Lookup) or table is None or table.data is None:
            raise ValueError("rejected")
        return table_call(
            context.activation(0), context.outputs[0], table.data, axis=op.axis, reason="one load for each element"
        )


VARIANTS: tuple[Variant, ...] = (LookupTable(),)
