# SPDX-License-Identifier: Apache-2.0
"""Makes the addition of a constant behind a convolution or matrix product its bias."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.ops import Add, Dequantize, Gemm, Quantize
from mcucompiler.passes.bias import channels, takes_bias
from mcucompiler.passes.edit import Edit, merged_sources


def add_to_bias(graph: Graph) -> Graph:
    """``conv(x, w, b) + c`` becomes ``conv(x, w, b + c)``, with c constant along all axes but the channels'.

    Only where nothing else reads the intermediate value and it is float: exporters write MatMul + Add so. Between
    Quantize and Dequantize the addition is one of its own, with its own rounding, and stays. Likewise only between
    dequantised operands and Quantize, where the integer program follows: float32 arithmetic keeps its roundings. The
    sum of two biases is taken in float64 and rounded to float32 once.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, Add) and node.op.clamp is None and edit.out(node).dtype == "float32":
            for index in (0, 1):
                if _merge(edit, node, index):
                    break
    return edit.finish()


def _merge(edit: Edit, node: Node, index: int) -> bool:
    product = edit.producer(node.inputs[index])
    if product is None or not takes_bias(product.op) or edit.sole_user(product.outputs[0]) is not node:
        return False
    if edit.out(product).shape != edit.out(node).shape or not _becomes_integer(edit, product, node):
        return False
    weights = edit.tensor(product.inputs[1])
    count = channels(product.op, weights)
    summand = _vector(edit, node.inputs[1 - index])
    if summand is None or not _along_channels(summand[1], edit.out(product), isinstance(product.op, Gemm), count):
        return False
    total = np.broadcast_to(summand[0].reshape(-1), (count,))
    sources: tuple[Node | None, ...] = (product, edit.producer(node.inputs[1 - index]), node)
    if len(product.inputs) > 2 and product.inputs[2]:
        bias = _vector(edit, product.inputs[2])
        if bias is None or bias[0].size != count:
            return False
        total = total + bias[0].reshape(-1)
        sources = (product, edit.producer(product.inputs[2]), *sources[1:])
    constant = Tensor(name="", shape=(count,), dtype="float32", data=total.astype(np.float32))
    constant = edit.add_tensor(constant, f"{product.name}@bias")
    output = node.outputs[0]
    edit.remove(node)
    edit.change(product, inputs=(*product.inputs[:2], constant.name), output=output, sources=merged_sources(*sources))
    return True


def _becomes_integer(edit: Edit, product: Node, node: Node) -> bool:
    """Whether both stand between Dequantize and Quantize."""
    readers = edit.users(node.outputs[0])
    operands = [edit.producer(name) for name in product.inputs[:2]]
    return (
        node.outputs[0] not in edit.outputs
        and all(isinstance(reader.op, Quantize) for reader in readers)
        and all(operand is not None and isinstance(operand.op, Dequantize) for operand in operands)
    )


def _vector(edit: Edit, name: str) -> tuple[Array, tuple[int, ...]] | None:
    """The real values in float64 and the shape of a float constant, dequantised or not."""
    producer = edit.producer(name)
    source = edit.tensor(name if producer is None else producer.inputs[0])
    if source.data is None or (producer is not None and not isinstance(producer.op, Dequantize)):
        return None
    if producer is None:
        return (source.data.astype(np.float64), source.shape) if source.dtype == "float32" else None
    (value,) = producer.op.reference((source,), (edit.tensor(name),), (source.data,))
    return value.astype(np.float64), source.shape


def _along_channels(shape: tuple[int, ...], result: Tensor, last: bool, count: int) -> bool:
    """Whether a constant of ``shape`` varies along the channels of ``result`` only."""
    axis = len(result.shape) - 1 if last else 1
    padded = (1,) * (len(result.shape) - len(shape)) + shape
    return all(dim == 1 or (a == axis and dim == count) for a, dim in enumerate(padded))
