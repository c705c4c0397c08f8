# SPDX-License-Identifier: Apache-2.0
"""Sums, products and what is made of them."""

from __future__ import annotations

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Converter, Table, output_dtype
from mcucompiler.ops import Add, Div, Mul, Operator, Sub


def _float(op: Operator) -> Converter:
    def convert(b: Builder, node: OnnxNode) -> None:
        left, right = b.float_activation(node, 0), b.float_activation(node, 1)
        b.emit(node, op, [left.name, right.name], dtype="float32", output=node.outputs[0])

    return convert


def _qlinear(op: Operator) -> Converter:
    """The converter of a com.microsoft twin: A, its scale and zero point, B likewise, those of C."""

    def convert(b: Builder, node: OnnxNode) -> None:
        left, right = b.activation(node, 0, EIGHT_BIT), b.activation(node, 3, EIGHT_BIT)
        if left.dtype != right.dtype:
            raise node.invalid("operands differ in type", found=f"{left.dtype} and {right.dtype}")
        qa = b.quant_params(node, 1, 2, dtype=left.dtype, what="operand A")
        qb = b.quant_params(node, 4, 5, dtype=right.dtype, what="operand B")
        dtype = output_dtype(b, node, 7, left.dtype)
        qy = b.quant_params(node, 6, 7, dtype=dtype, what="the output")
        b.emit(
            node,
            op,
            [left.name, right.name],
            dtype=dtype,
            output=node.outputs[0],
            quant=qy,
            claims={0: qa, 1: qb},
        )

    return convert


def total(b: Builder, node: OnnxNode) -> None:
    """Sum of any number of operands, from left to right."""
    names = [b.float_activation(node, index).name for index in range(len(node.inputs))]
    if len(names) == 1:
        b.alias(node, names[0], node.outputs[0])
        return
    partial = names[0]
    for index, name in enumerate(names[1:], start=2):
        output = node.outputs[0] if index == len(names) else ""
        partial = b.emit(node, Add(), [partial, name], dtype="float32", output=output)


def batch_normalization(b: Builder, node: OnnxNode) -> None:
    """BatchNormalization with the stored statistics: a product and a sum with constants per channel."""
    if node.get("training_mode", 0) or any(node.outputs[1:]):
        raise node.unsupported(
            "training outputs (mean, variance) are asked for; supported: inference, so export the model in eval mode"
        )
    x = b.float_activation(node)
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (
        b.constant(node, index, what).astype(np.float64) for index, what in enumerate(names, start=1)
    )
    channels = x.shape[1] if len(x.shape) > 1 else 1
    if any(v.shape != (channels,) for v in (scale, bias, mean, variance)):
        raise node.invalid("statistics do not fit the input", found=str(list(x.shape)), supported=f"[{channels}] each")
    factor = scale / np.sqrt(variance + float(node.get("epsilon", 1e-5)))
    shape = (channels, *(1,) * (len(x.shape) - 2))
    output = node.outputs[0]
    factors = b.derived_constant(f"{output}_factor", factor.astype(np.float32).reshape(shape))
    offsets = b.derived_constant(f"{output}_offset", (bias - mean * factor).astype(np.float32).reshape(shape))
    scaled = b.emit(node, Mul(), [x.name, factors.name], dtype="float32")
    b.emit(node, Add(), [scaled, offsets.name], dtype="float32", output=output)


CONVERTERS: Table = {
    ("", "Add"): _float(Add()),
    ("", "BatchNormalization"): batch_normalization,
    ("", "Div"): _float(Div()),
    ("", "Mul"): _float(Mul()),
    ("", "Sub"): _float(Sub()),
    ("", "Sum"): total,
    ("com.microsoft", "QLinearAdd"): _qlinear(Add()),
    ("com.microsoft", "QLinearMul"): _qlinear(Mul()),
}
