# SPDX-License-Identifier: Apache-2.0
"""Concatenation by copies, through a table where an operand's scale differs from the result's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.lower.types import (
    Argument,
    ConstantArg,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    Stored,
    Variant,
)
from mcucompiler.lower.variants.calls import constant, cycles, label, reads, weights, writes
from mcucompiler.lower.variants.geometry import CTYPES, Axis, as_stored, grouped_axes, nest, refine, view_axes
from mcucompiler.lower.variants.moves import Piece, copy_kernel, piece
from mcucompiler.ops.concat import Concat
from mcucompiler.words import counted

STRIDED_INPUT = True
STRIDED_OUTPUT = True
_BYTE = ("int8", "uint8")


@dataclass(frozen=True, slots=True)
class ConcatCopy:
    """One copy for each operand; constants are read from flash."""

    name: str = "concat"

    def reject(self, context: NodeContext) -> str | None:
        """Operands of the result's type, or 8-bit ones that a table can requantize."""
        target = context.outputs[0]
        if target.tensor.dtype not in CTYPES:
            return f"elements of type {target.tensor.dtype} have no C type here"
        if any(part is None for part in _pieces(context)):
            return "the memory orders of an operand and the result have no common axes"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """A piece and its arguments for each operand."""
        target = context.outputs[0]
        params: list[Param] = []
        arguments: list[Argument] = []
        for index, value in enumerate(context.inputs):
            if value is None:
                continue
            tensor = value.tensor if isinstance(value, Stored) else value
            params.append(reads(tensor, f"input{index}"))
            arguments.append(InputArg(index=index) if isinstance(value, Stored) else _operand(tensor, index))
            table = _table(context, index)
            if table is not None:
                params.append(Param(ctype=f"const {CTYPES[target.tensor.dtype]} *", name=f"table{index}"))
                arguments.append(constant(f"table{index}", CTYPES[target.tensor.dtype], table, "by value's bits"))
        pieces = tuple(part for part in _pieces(context) if part is not None)
        instructions = 20 + sum(part.instructions for part in pieces)
        return KernelCall(
            kernel=copy_kernel(
                label("concat", target),
                f"Concatenates {counted(len(pieces), 'tensor')} to {'x'.join(map(str, target.memory_shape))} "
                "in memory order.",
                (*params, writes(target.tensor)),
                pieces,
            ),
            arguments=(*arguments, OutputArg(index=0)),
            variant=self.name,
            stack_bytes=128,
            instructions=instructions,
            cycles=cycles(instructions),
        )


def _operand(tensor: Tensor, index: int) -> ConstantArg:
    return weights(f"operand{index}", CTYPES[tensor.dtype], _data(tensor), "in ONNX order")


def _data(tensor: Tensor) -> Array:
    if tensor.data is None:
        raise ValueError(f"{tensor.name} is no constant")
    return tensor.data


def _table(context: NodeContext, index: int) -> Array | None:
    """What each value of an operand becomes, indexed by its bits; None where it stays as it is."""
    value = context.inputs[index]
    target = context.outputs[0].tensor
    tensor = value.tensor if isinstance(value, Stored) else value
    if tensor is None or tensor.dtype not in _BYTE or (tensor.quant == target.quant and tensor.dtype == target.dtype):
        return None
    probe = tensor.replace(name="probe", shape=(256,), data=None)
    bits = np.arange(256, dtype=np.uint8).view(tensor.dtype)
    result = Concat(axis=0).reference((probe,), (target.replace(name="result", shape=(256,)),), (bits,))
    return result[0]


def _pieces(context: NodeContext) -> tuple[Piece | None, ...]:
    op = context.node.op
    target = context.outputs[0]
    groups = grouped_axes(target)
    if groups is None or not isinstance(op, Concat):
        return (None,)
    own = [axis for axis in groups[op.axis] if axis.extent != 1]
    if len(own) > 1:
        return (None,)
    stride = own[0].stride if own else 0
    pieces: list[Piece | None] = []
    start = 0
    for index, value in enumerate(context.inputs):
        if value is None:
            continue
        source = value if isinstance(value, Stored) else as_stored(value)
        extent = source.tensor.shape[op.axis]
        axes = [axis for number, group in enumerate(groups) if number != op.axis for axis in group]
        position = sum(len(group) for group in groups[: op.axis])
        axes.insert(position, Axis(extent, stride))
        loops = refine(view_axes(source), axes)
        pieces.append(
            None
            if loops is None
            else piece(
                nest(loops, order_by=1),
                target.tensor.dtype,
                source=f"input{index}",
                target="output",
                target_offset=start * stride,
                table=f"table{index}" if _table(context, index) is not None else "",
            )
        )
        start += extent
    return tuple(pieces)


VARIANTS: tuple[Variant, ...] = (ConcatCopy(),)
