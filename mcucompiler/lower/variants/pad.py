# SPDX-License-Identifier: Apache-2.0
"""Padding: a constant by filling first and copying the inside over it; edge and reflection by index tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array
from mcucompiler.lower.types import (
    Argument,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    ScalarArg,
    Stored,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, cycles, label, reads, writes
from mcucompiler.lower.variants.gather import gather_call
from mcucompiler.lower.variants.geometry import CTYPES, Loop, nest, onnx_strides, rows_of
from mcucompiler.lower.variants.moves import piece
from mcucompiler.ops.pad import Pad

STRIDED_INPUT = True
STRIDED_OUTPUT = True


def _op(context: NodeContext) -> Pad:
    op = context.node.op
    if not isinstance(op, Pad):
        raise TypeError(f"{op.kind} is no Pad")
    return op


def _strides(context: NodeContext) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    own, result = onnx_strides(context.activation(0)), onnx_strides(context.outputs[0])
    return None if own is None or result is None else (own, result)


@dataclass(frozen=True, slots=True)
class PadConstant:
    """Fills the output, then copies the input into it."""

    name: str = "pad_constant"

    def reject(self, context: NodeContext) -> str | None:
        """Constant mode."""
        if _op(context).mode != "constant":
            return "not padded by a constant"
        if context.outputs[0].tensor.dtype not in CTYPES:
            return f"elements of type {context.outputs[0].tensor.dtype}"
        return "the memory order does not follow the axes" if _strides(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call; the value is an argument."""
        op, source, target = _op(context), context.activation(0), context.outputs[0]
        strides = _strides(context)
        if strides is None:
            raise ValueError("the memory order does not follow the axes")
        begins = op.pads[: len(source.tensor.shape)]
        loops = [
            Loop(extent, pair) for extent, pair in zip(source.tensor.shape, zip(*strides, strict=True), strict=True)
        ]
        offset = sum(begin * stride for begin, stride in zip(begins, strides[1], strict=True))
        part = piece(
            nest(loops, order_by=1), source.tensor.dtype, source="input", target="output", target_offset=offset
        )
        rows = rows_of(target)
        ctype = CTYPES[target.tensor.dtype]
        value: Argument = ScalarArg(ctype=ctype, value=_value(target, op.value))
        instructions = part.instructions + target.tensor.size // 2 + 40
        return KernelCall(
            kernel=kernel(
                self.name,
                label("pad", target),
                (reads(source.tensor), Param(ctype=ctype, name="value"), writes(target.tensor)),
                includes=MATH,
                piece=part,
                rows=rows.count,
                length=rows.length,
                stride=rows.strides[0],
                bytes_each=target.tensor.dtype in ("int8", "uint8", "bool"),
                ctype=ctype,
            ),
            arguments=(InputArg(index=0), value, OutputArg(index=0)),
            variant=self.name,
            reason="fills, then copies",
            stack_bytes=112,
            instructions=instructions,
            cycles=cycles(instructions),
        )


def _value(target: Stored, value: float) -> int | float:
    return float(np.float32(value)) if target.tensor.dtype == "float32" else int(value)


@dataclass(frozen=True, slots=True)
class PadIndexed:
    """Edge and reflection: a table of input indices for each padded axis."""

    name: str = "pad_indexed"

    def reject(self, context: NodeContext) -> str | None:
        """Edge or reflect mode, equal memory orders."""
        source, target = context.activation(0), context.outputs[0]
        if _op(context).mode == "constant":
            return "padded by a constant"
        for stored in (source, target):
            if stored.layout.view != stored.tensor.shape:
                return "the memory order does not follow the axes"
        if source.layout.perm != target.layout.perm or target.tensor.dtype not in CTYPES:
            return "input and output differ in memory order, or the type has no C type"
        return "an axis of more than 65,536 elements" if max(source.tensor.shape) > 65536 else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op, source = _op(context), context.activation(0)
        rank = len(source.tensor.shape)
        maps: dict[int, Array] = {
            axis: op.sources(source.tensor.shape[axis], axis)
            for axis in range(rank)
            if op.pads[axis] or op.pads[axis + rank]
        }
        return gather_call(
            source,
            context.outputs[0],
            maps,
            variant="pad",
            about=f"Pads {'x'.join(map(str, source.memory_shape))} in memory order ({op.mode}).",
            reason="indices from tables",
        )


VARIANTS: tuple[Variant, ...] = (PadConstant(), PadIndexed())
