# SPDX-License-Identifier: Apache-2.0
"""Makes a constant factor behind a convolution or matrix product part of its weights' scales."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Graph, Node, QuantParams, Tensor
from mcucompiler.ops import Add, ConvTranspose, Dequantize, Div, Mul, Operator
from mcucompiler.passes.bias import becomes_integer, channel_constant, real_constant, takes_bias
from mcucompiler.passes.edit import Edit, merged_sources


def scale_weights(graph: Graph) -> Graph:
    """``conv(x, w, b) * f`` becomes ``conv(x, f * w, f * b)``, with f constant along all axes but the channels'.

    Networks trained for quantisation often have a BatchNormalization between a convolution and the next Quantize, which
    is such a factor and a summand. Quantised weights keep their integers and get other scales, one for each channel;
    those of a channel with a negative factor change their sign. That is done only between dequantised operands and
    Quantize, where the integer program follows, as in ``add_to_bias``, and only where all integers have a negative.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, Mul | Div) and node.op.clamp is None and edit.out(node).dtype == "float32":
            for index in (0, 1) if isinstance(node.op, Mul) else (0,):
                if _merge(edit, node, index):
                    break
    return edit.finish()


def _merge(edit: Edit, node: Node, index: int) -> bool:
    product = edit.producer(node.inputs[index])
    if product is None or not takes_bias(product.op) or edit.sole_user(product.outputs[0]) is not node:
        return False
    dequantize = edit.producer(product.inputs[1])
    if edit.out(product).shape != edit.out(node).shape or dequantize is None:
        return False
    if not becomes_integer(edit, product, _last(edit, node)):
        return False
    stored = edit.tensor(dequantize.inputs[0])
    factors = channel_constant(edit, node.inputs[1 - index], product)
    if factors is None or (isinstance(product.op, ConvTranspose) and product.op.groups > 1):
        return False
    if isinstance(node.op, Div):
        with np.errstate(divide="ignore"):
            factors = 1.0 / factors
    scaled = _scaled(stored, factors, _output_axis(product.op))
    bias = _scaled_bias(edit, product, factors)
    if scaled is None or bias is None:
        return False
    constant = edit.add_tensor(scaled, f"{stored.name}@scaled")
    real = edit.add_tensor(edit.tensor(product.inputs[1]), f"{product.inputs[1]}@scaled")
    edit.add_node(f"{dequantize.name}@scaled", Dequantize(), (constant.name,), real.name, dequantize.sources)
    sources = merged_sources(product, edit.producer(node.inputs[1 - index]), node)
    output = node.outputs[0]
    edit.remove(node)
    edit.change(product, inputs=(product.inputs[0], real.name, *bias), output=output, sources=sources)
    return True


def _last(edit: Edit, node: Node) -> Node:
    """The addition of a constant that follows a factor, which becomes the bias then; without one the factor itself."""
    following = edit.sole_user(node.outputs[0])
    if following is None or not isinstance(following.op, Add):
        return node
    return following if any(real_constant(edit, name) is not None for name in following.inputs) else node


def _output_axis(op: Operator) -> int:
    """The axis of the weights along which the output channels lie."""
    return 1 if isinstance(op, ConvTranspose) else 0


def _scaled(stored: Tensor, factors: Array, axis: int) -> Tensor | None:
    """Quantised weights times a factor for each output channel; None where they cannot hold the result."""
    quant = stored.quant
    if stored.data is None or quant is None or quant.axis not in (None, axis):
        return None
    with np.errstate(all="ignore"):
        scales = (np.asarray(quant.scale, np.float64) * np.abs(factors)).astype(np.float32)
    if not np.all(np.isfinite(scales)) or np.any(scales == 0):
        return None
    along = tuple(-1 if a == axis else 1 for a in range(len(stored.shape)))
    zeros = np.broadcast_to(np.asarray(quant.zero_point, np.int64), factors.shape)
    data = stored.data.astype(np.int64)
    data = np.where(factors.reshape(along) < 0, 2 * zeros.reshape(along) - data, data)
    least, most = INTEGER_RANGES[stored.dtype]
    if data.min() < least or data.max() > most:
        return None
    params = QuantParams(
        scale=tuple(float(scale) for scale in scales), zero_point=tuple(int(zero) for zero in zeros), axis=axis
    )
    return stored.replace(data=data.astype(stored.dtype), quant=params)


def _scaled_bias(edit: Edit, product: Node, factors: Array) -> tuple[str, ...] | None:
    """Name of the bias times the factors as a float constant, () where there is none; None where it is no constant."""
    if len(product.inputs) < 3 or not product.inputs[2]:
        return ()
    bias = real_constant(edit, product.inputs[2])
    if bias is None or bias.size != factors.size:
        return None
    data = (bias.reshape(-1) * factors).astype(np.float32)
    tensor = Tensor(name="", shape=data.shape, dtype="float32", data=data)
    return (edit.add_tensor(tensor, f"{product.name}@bias").name,)
