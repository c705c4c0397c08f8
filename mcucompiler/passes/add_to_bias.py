# SPDX-License-Identifier: Apache-2.0
"""Makes the addition of a constant behind a convolution or matrix product its bias."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import Add
from mcucompiler.passes.bias import becomes_integer, channel_constant, real_constant, takes_bias
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
    if edit.out(product).shape != edit.out(node).shape or not becomes_integer(edit, product, node):
        return False
    total = channel_constant(edit, node.inputs[1 - index], product)
    if total is None:
        return False
    sources: tuple[Node | None, ...] = (product, edit.producer(node.inputs[1 - index]), node)
    if len(product.inputs) > 2 and product.inputs[2]:
        bias = real_constant(edit, product.inputs[2])
        if bias is None or bias.size != total.size:
            return False
        total = total + bias.reshape(-1)
        sources = (product, edit.producer(product.inputs[2]), *sources[1:])
    constant = Tensor(name="", shape=total.shape, dtype="float32", data=total.astype(np.float32))
    constant = edit.add_tensor(constant, f"{product.name}@bias")
    output = node.outputs[0]
    edit.remove(node)
    edit.change(product, inputs=(*product.inputs[:2], constant.name), output=output, sources=merged_sources(*sources))
    return True
