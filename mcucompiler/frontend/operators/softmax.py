# SPDX-License-Identifier: Apache-2.0
"""Softmax, of the old kind over all axes from one on and of the new kind along one axis."""

from __future__ import annotations

import math

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Table, axis_of, output_dtype
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.ops import Reshape, Softmax


def _emit(
    b: Builder,
    node: OnnxNode,
    x: Tensor,
    axis: int,
    opset: int,
    *,
    dtype: str,
    quant: QuantParams | None = None,
    claims: dict[int, QuantParams] | None = None,
) -> None:
    """Softmax along an axis; before opset 13, over that axis and all after it as one."""
    rank = len(x.shape)
    axis = axis_of(node, axis, rank)
    several = [a for a in range(axis, rank) if x.shape[a] > 1]
    if opset >= 13 or len(several) <= 1:
        only = axis if opset >= 13 or not several else several[0]
        b.emit(node, Softmax(axis=only), [x.name], dtype=dtype, output=node.outputs[0], quant=quant, claims=claims)
        return
    matrix = (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    flat = b.emit(node, Reshape(shape=matrix), [x.name], dtype=x.dtype, transparent=True)
    result = b.emit(node, Softmax(axis=1), [flat], dtype=dtype, quant=quant, claims=claims)
    b.emit(node, Reshape(shape=x.shape), [result], dtype=dtype, output=node.outputs[0], transparent=True)


def softmax(b: Builder, node: OnnxNode) -> None:
    """Softmax in float32."""
    x = b.float_activation(node)
    default = -1 if node.opset >= 13 else 1
    _emit(b, node, x, int(node.get("axis", default)), node.opset, dtype="float32")


def qlinear_softmax(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QLinearSoftmax; the attribute `opset` says which kind is meant."""
    x = b.activation(node, 0, EIGHT_BIT)
    qx = b.quant_params(node, 1, 2, dtype=x.dtype, what="the input")
    dtype = output_dtype(b, node, 4, x.dtype)
    qy = b.quant_params(node, 3, 4, dtype=dtype, what="the output")
    axis, opset = int(node.get("axis", -1)), int(node.get("opset", 13))
    _emit(b, node, x, axis, opset, dtype=dtype, quant=qy, claims={0: qx})


CONVERTERS: Table = {
    ("", "Softmax"): softmax,
    ("com.microsoft", "QLinearSoftmax"): qlinear_softmax,
}
