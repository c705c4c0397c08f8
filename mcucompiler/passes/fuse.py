# SPDX-License-Identifier: Apache-2.0
"""Turns Dequantize, float operator, Quantize into the quantised operator."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import (
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Div,
    Gemm,
    Mul,
    Quantize,
    ReduceMean,
    Resize,
    Softmax,
    Sub,
    Unary,
)
from mcucompiler.passes.bias import accumulator_scales, channels, integer_bias, takes_bias
from mcucompiler.passes.edit import Edit, merged_sources

#: Operators that have an integer program; the others commute with Quantize and need none.
_FUSIBLE = (Add, AveragePool, Concat, Conv, ConvTranspose, Div, Gemm, Mul, ReduceMean, Resize, Softmax, Sub, Unary)
_DTYPES = ("int8", "uint8")


def fuse_quantized(graph: Graph) -> Graph:
    """Gives float operators between Dequantize and Quantize their integer program, that of the QOperator twin.

    Every activation must come from a Dequantize of an 8-bit tensor, weights and constant operands from one of an
    8-bit constant, and all readers of the result must be Quantize; where these differ, each gets its own operator.
    A bias becomes int32 (see ``bias.integer_bias``). What does not meet this, or what the operator's own ``check``
    refuses on integers, stays float32.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, _FUSIBLE) and edit.out(node).dtype == "float32":
            _fuse(edit, node)
    return edit.finish()


def _fuse(edit: Edit, node: Node) -> None:
    value = node.outputs[0]
    readers = edit.users(value)
    if value in edit.outputs or not readers or not all(isinstance(reader.op, Quantize) for reader in readers):
        return
    inputs = _integer_inputs(edit, node)
    if inputs is None:
        return
    results = [edit.out(reader) for reader in readers]
    if any(result.dtype not in _DTYPES or node.op.check(inputs, (result,)) for result in results):
        return
    names = []
    for tensor in inputs:
        if tensor is None:
            names.append("")
        elif tensor.name:
            names.append(tensor.name)
        else:
            names.append(edit.add_tensor(tensor, f"{node.name}@bias").name)
    producers = [edit.producer(name) for name in node.inputs if name]
    for reader in readers:
        sources = merged_sources(*producers, node, reader)
        edit.remove(reader)
        if edit.users(value):
            edit.add_node(node.name, node.op, names, reader.outputs[0], sources)
        else:
            edit.change(node, inputs=names, output=reader.outputs[0], sources=sources)


def _integer_inputs(edit: Edit, node: Node) -> list[Tensor | None] | None:
    """The integer tensors behind all inputs, a new bias without a name; None where there is none for one of them."""
    weighted = takes_bias(node.op)
    operands = node.inputs[:2] if weighted else node.inputs
    tensors: list[Tensor | None] = []
    for index, name in enumerate(operands):
        tensor = _behind_dequantize(edit, name)
        if tensor is None or tensor.dtype not in _DTYPES or tensor.quant is None:
            return None
        is_weights = weighted and index == 1
        if (is_weights and not tensor.is_constant) or not (is_weights or tensor.quant.per_tensor):
            return None
        tensors.append(tensor)
    if not weighted:
        return tensors
    x, weights = tensors[0], tensors[1]
    if x is None or weights is None or not _per_output_channel(node, weights):
        return None
    if len(node.inputs) < 3 or not node.inputs[2]:
        return tensors
    bias = _bias(edit, node, x, weights)
    return None if bias is None else [x, weights, bias]


def _behind_dequantize(edit: Edit, name: str) -> Tensor | None:
    producer = edit.producer(name) if name else None
    return edit.tensor(producer.inputs[0]) if producer is not None and isinstance(producer.op, Dequantize) else None


def _per_output_channel(node: Node, weights: Tensor) -> bool:
    """Whether weights have one scale, or one for each index of the axis of output channels."""
    quant = weights.quant
    if quant is None or quant.axis is None or quant.per_tensor:
        return quant is not None
    return quant.axis == (1 if isinstance(node.op, ConvTranspose) else 0)


def _bias(edit: Edit, node: Node, x: Tensor, weights: Tensor) -> Tensor | None:
    bias = _behind_dequantize(edit, node.inputs[2]) or edit.tensor(node.inputs[2])
    values = integer_bias(bias, accumulator_scales(node.op, x, weights))
    if values is None:
        return None
    return Tensor(name="", shape=(channels(node.op, weights),), dtype="int32", data=values)
