# SPDX-License-Identifier: Apache-2.0
"""Elementwise operators of two tensors with broadcasting: loops, operands, and the kernel they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, QuantParams, Tensor
from mcucompiler.lower.types import (
    Argument,
    InputArg,
    Kernel,
    KernelCall,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    Stored,
    kernel,
)
from mcucompiler.lower.variants._pairs import PairForm, takes_words, words_call
from mcucompiler.lower.variants.calls import MATH, cycles, extent_label, label, output_bounds, weights, writes
from mcucompiler.lower.variants.geometry import (
    CTYPES,
    Loop,
    memory_strides,
    nest,
    onnx_strides,
    with_inner,
)
from mcucompiler.lower.variants.lookup import table_call
from mcucompiler.ops.add import Add, Sub
from mcucompiler.ops.mul import Div, Mul

_FLOAT_LOOPS = {"add_float": "binary_float", "mul_float": "binary_float", "float": "binary_float32"}


def quants(context: NodeContext) -> tuple[QuantParams, QuantParams, QuantParams] | None:
    """The quantization of a, b and the result, None unless all have one, per tensor."""
    tensors = (*context.tensors[:2], context.outputs[0].tensor)
    found = [tensor.quant for tensor in tensors if tensor is not None and tensor.quant is not None]
    return (found[0], found[1], found[2]) if len(found) == 3 and all(q.per_tensor for q in found) else None


def quants_of(context: NodeContext) -> tuple[QuantParams, QuantParams, QuantParams]:
    """The same where there is one; for ``lower()``."""
    found = quants(context)
    if found is None:
        raise ValueError("not quantized per tensor")
    return found


def all_of(context: NodeContext, dtype: str) -> bool:
    """Whether operands and result have this element type."""
    tensors: list[Tensor | None] = [*context.tensors[:2], context.outputs[0].tensor]
    return all(tensor is not None and tensor.dtype == dtype for tensor in tensors)


def binary_reason(context: NodeContext) -> str | None:
    """Why the loops cannot be laid out, None when they can."""
    for value in (*context.inputs, *context.outputs):
        tensor = value.tensor if isinstance(value, Stored) else value
        if tensor is None or tensor.dtype not in CTYPES:
            return "an operand is missing or has no C type"
    if not any(isinstance(value, Stored) for value in context.inputs):
        return "both operands are constant"
    return "the operands' memory orders do not follow their axes" if _loops(context) is None else None


def output_clamp(context: NodeContext) -> tuple[int, int]:
    """Least and greatest result: those of its type, narrowed by the activation folded into the operator."""
    op = context.node.op
    clamp = op.clamp if isinstance(op, Add | Sub | Mul | Div) else None
    return output_bounds(context.outputs[0].tensor.dtype, clamp)


def quantized_reason(context: NodeContext) -> str | None:
    """Why the definition between quantized tensors cannot be computed, None when it can."""
    return "not quantized per tensor" if quants(context) is None else binary_reason(context)


def integer_reason(context: NodeContext, find: Callable[[NodeContext], PairForm | None]) -> str | None:
    """Why a proved integer form, which ``find`` looks for, cannot be used; None when it can."""
    if not all_of(context, "int8") or quants(context) is None:
        return "not int8 throughout"
    if context.options.exact == "float":
        return "float requantization was asked for"
    if find(context) is None:
        return "no integer form is exact on all pairs"
    return binary_reason(context)


@dataclass(frozen=True, slots=True)
class ScalarTable:
    """The variant for a constant operand of one element: a table of the 256 results."""

    name: str

    def reject(self, context: NodeContext) -> str | None:
        """Quantized 8-bit operands, one a single constant element."""
        if quants(context) is None:
            return "not quantized"
        return "no operand is a single constant" if constant_operand(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """A lookup."""
        return scalar_call(context, constant_operand(context) or 0, self.name)


def constant_operand(context: NodeContext) -> int | None:
    """Index of a constant operand of one element, None when there is none."""
    for index in (0, 1):
        constant = context.constant(index)
        if constant is not None and constant.size == 1:
            return index
    return None


def scalar_call(context: NodeContext, index: int, name: str) -> KernelCall:
    """A quantized operator with a constant of one element, as a table of its 256 results."""
    op, target = context.node.op, context.outputs[0]
    source = context.activation(1 - index)
    values = np.arange(256, dtype=np.uint8).view(np.int8 if source.tensor.dtype == "int8" else np.uint8)
    values = np.sort(values)
    probe = source.tensor.replace(name="probe", shape=(256,), data=None)
    scalar = context.constant(index)
    if scalar is None or scalar.data is None:
        raise ValueError("no constant")
    scalar = scalar.replace(shape=(1,), data=scalar.data.reshape(1))
    tensors, arrays = [probe, scalar], [values, scalar.data]
    if index == 0:
        tensors.reverse()
        arrays.reverse()
    table = op.reference(tensors, (target.tensor.replace(name="result", shape=(256,)),), arrays)[0]
    return table_call(
        source, target, table, index=1 - index, variant=name, reason="a constant operand: all results in a table"
    )


def binary_call(context: NodeContext, pair: PairForm, name: str, symbol: str) -> KernelCall:
    """The call of the kernel for two operands.

    Args:
        context: what ``binary_reason`` lets pass.
        pair: how elements are combined.
        name: the variant's name.
        symbol: the operator's sign, for the function's comment.
    """
    target = context.outputs[0]
    loops = with_inner(_loops(context) or (), 3)
    inner = loops[-1]
    a, b = (_operand_tensor(context, index) for index in (0, 1))
    operands = (_argument(context, 0), _argument(context, 1), OutputArg(index=0))
    if takes_words(pair, a, b, inner):
        words = words_call(loops, pair, a, b, target, symbol, small=context.options.optimize == "size")
        return KernelCall(
            kernel=words.kernel,
            arguments=(*operands, *words.scalars),
            variant=name,
            reason="four elements a word",
            overlaps=_overlaps(context, loops),
            stack_bytes=words.stack_bytes,
            instructions=words.instructions,
            cycles=words.cycles,
            exactness=pair.exactness,
        )
    instructions = round(target.tensor.size * (pair.instructions + 3))
    instructions += target.tensor.size // inner.extent * 12 + 20
    return KernelCall(
        kernel=_kernel(loops, pair, (a, b, target), f"{name.split('_')[0]}", symbol),
        arguments=operands,
        variant=name,
        reason="float32 elements" if pair.kind == "float" else f"{pair.kind.replace('_', ' ')} form",
        overlaps=_overlaps(context, loops),
        stack_bytes=112,
        instructions=instructions,
        cycles=cycles(instructions, _FLOAT_LOOPS.get(pair.kind, "")),
        exactness=pair.exactness,
        float_arithmetic=pair.kind == "float",
    )


def _kernel(
    loops: tuple[Loop, ...],
    pair: PairForm,
    operands: tuple[Tensor, Tensor, Stored],
    stem: str,
    symbol: str,
) -> Kernel:
    a, b, target = operands
    return kernel(
        "binary",
        label(stem, target),
        (
            Param(ctype=f"const {CTYPES[a.dtype]} *", name="input_a"),
            Param(ctype=f"const {CTYPES[b.dtype]} *", name="input_b"),
            writes(target.tensor),
        ),
        includes=MATH,
        about=f"{extent_label(target.memory_shape)}: y = a {symbol} b; the output may be a dense operand of its size.",
        form=pair,
        outer=loops[:-1],
        inner=loops[-1],
        atype=CTYPES[a.dtype],
        btype=CTYPES[b.dtype],
        ctype=CTYPES[target.tensor.dtype],
    )


def _operand_tensor(context: NodeContext, index: int) -> Tensor:
    value = context.inputs[index]
    if value is None:
        raise ValueError("an operand is missing")
    return value.tensor if isinstance(value, Stored) else value


def _argument(context: NodeContext, index: int) -> Argument:
    if isinstance(context.inputs[index], Stored):
        return InputArg(index=index)
    tensor = _operand_tensor(context, index)
    return weights(
        f"operand_{'ab'[index]}", CTYPES[tensor.dtype], _in_memory_order(tensor, context.outputs[0]), "in memory order"
    )


def _in_memory_order(tensor: Tensor, target: Stored) -> Array:
    """A constant's elements in the order in which the output's loops meet them."""
    if tensor.data is None:
        raise ValueError(f"{tensor.name} is no constant")
    if tensor.shape == target.tensor.shape:
        return target.layout.to_memory(tensor.data)
    rank = len(target.tensor.shape)
    full = tensor.data.reshape((1,) * (rank - len(tensor.shape)) + tensor.shape)
    return np.ascontiguousarray(full.transpose(target.layout.perm) if _plain(target) else full)


def _plain(stored: Stored) -> bool:
    return stored.layout.view == stored.tensor.shape


def _strides(value: Stored | Tensor, target: Stored) -> tuple[int, ...] | None:
    """An operand's stride along each axis of the output; 0 where it is broadcast."""
    rank = len(target.tensor.shape)
    if isinstance(value, Stored):
        own = onnx_strides(value)
        shape = value.tensor.shape
        if own is None:
            return None
    else:
        shape = value.shape
        order = target.layout.perm if _plain(target) else tuple(range(rank))
        full = (1,) * (rank - len(shape)) + shape
        by_axis, size = [0] * rank, 1
        for axis in reversed(order):
            by_axis[axis] = size
            size *= full[axis]
        own = tuple(by_axis[rank - len(shape) :])
    widened = tuple(0 if extent == 1 else stride for extent, stride in zip(shape, own, strict=True))
    return (0,) * (rank - len(widened)) + widened


def _loops(context: NodeContext) -> tuple[Loop, ...] | None:
    """Loops over the output in memory order, with the strides of a, b and the output."""
    target = context.outputs[0]
    flat = _flat_loops(context)
    if flat is not None:
        return flat
    own = onnx_strides(target)
    operands = [None if value is None else _strides(value, target) for value in context.inputs[:2]]
    if own is None or operands[0] is None or operands[1] is None:
        return None
    loops = [
        Loop(extent, strides)
        for extent, strides in zip(target.tensor.shape, zip(operands[0], operands[1], own, strict=True), strict=True)
    ]
    return nest(loops, order_by=2)


def _flat_loops(context: NodeContext) -> tuple[Loop, ...] | None:
    """Memory loops where all operands have the output's shape and order, whatever that is."""
    target = context.outputs[0]
    strides = []
    for value in (*context.inputs[:2], target):
        if isinstance(value, Stored):
            if value.tensor.shape != target.tensor.shape or value.layout != target.layout:
                return None
            strides.append(memory_strides(value))
        elif value is not None and value.shape == target.tensor.shape:
            strides.append(memory_strides(_dense(target)))
        else:
            return None
    loops = [Loop(extent, tuple(each)) for extent, *each in zip(target.memory_shape, *strides, strict=True)]
    return nest(loops, order_by=2)


def _dense(stored: Stored) -> Stored:
    size = stored.tensor.size
    place = type(stored.place)(buffer=stored.place.buffer, offset=0, rows=1, row=size, stride=size)
    return Stored(tensor=stored.tensor, layout=stored.layout, place=place)


def _overlaps(context: NodeContext, loops: tuple[Loop, ...]) -> tuple[Overlap, ...]:
    """The output may start where a dense operand of its size and order starts."""
    target = context.outputs[0]
    if not target.place.dense:
        return ()
    return tuple(
        Overlap(input=index, output=0)
        for index, value in enumerate(context.inputs[:2])
        if isinstance(value, Stored)
        and value.place.dense
        and all(loop.strides[index] == loop.strides[2] for loop in loops)
        and ITEM_BYTES[value.tensor.dtype] == ITEM_BYTES[target.tensor.dtype]
    )
