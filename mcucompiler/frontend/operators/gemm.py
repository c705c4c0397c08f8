# SPDX-License-Identifier: Apache-2.0
"""Gemm, MatMul, QGemm and QLinearMatMul: all brought to x [..., K] times the transpose of w [N, K]."""

from __future__ import annotations

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Table, output_dtype, scaled_quant
from mcucompiler.frontend.operators.conv import bias_quant
from mcucompiler.ir.graph import Array, QuantParams, Tensor
from mcucompiler.ops import Add, Dequantize, Gemm, Reshape, Transpose

_TWO_ACTIVATIONS = (
    "product of two activations {a!r} and {b!r}; supported: an activation times constant weights "
    "(so attention is out of reach)"
)


def _constant_weights(b: Builder, node: OnnxNode, left: int, right: int) -> Array:
    name = node.needs_input(right, "weights")
    value = b.value(name)
    if value is None:
        raise node.unsupported(_TWO_ACTIVATIONS.format(a=node.input(left), b=name))
    if b.value(node.needs_input(left, "activation")) is not None:
        raise node.unsupported("constant times activation; supported: activation times constant")
    return value


def _transposed(array: Array) -> Array:
    return np.ascontiguousarray(array.T)


def _rank_2_input(b: Builder, node: OnnxNode, x: Tensor) -> str:
    """Name of the activation [M, K], transposed where the node says so."""
    if len(x.shape) != 2:
        raise node.invalid("input is not a matrix", found=f"{x.name!r} {list(x.shape)}", supported="[M, K]")
    if not node.get("transA", 0):
        return x.name
    return b.emit(node, Transpose(perm=(1, 0)), [x.name], dtype=x.dtype, transparent=True)


def _check_rank_2(node: OnnxNode, weights: Array) -> None:
    if weights.ndim != 2:
        raise node.invalid("weights are not a matrix", found=str(list(weights.shape)), supported="[K, N]")


def gemm(b: Builder, node: OnnxNode) -> None:
    """Gemm in float32: ``alpha * A * B + beta * C``."""
    x = b.float_activation(node)
    weights = _constant_weights(b, node, 0, 1)
    _check_rank_2(node, weights)
    x_name = _rank_2_input(b, node, x)
    w_name = node.input(1)
    if not node.get("transB", 0):
        w_name = b.reshaped_constant(node, w_name, _transposed, "transposed")
        weights = weights.T
    w_name = b.scaled_constant(node, w_name, float(node.get("alpha", 1.0)))
    beta = float(node.get("beta", 1.0))
    c_name = node.input(2) if beta else ""
    rows = x.shape[1] if node.get("transA", 0) else x.shape[0]
    bias = _float_bias(b, node, c_name, beta, rows, weights.shape[0]) if c_name else ""
    later = c_name and not bias
    result = b.emit(node, Gemm(), [x_name, w_name, bias], dtype="float32", output="" if later else node.outputs[0])
    if later:
        if beta != 1.0:
            raise node.unsupported(f"beta {beta} with an operand C that is not one row; supported: beta 1")
        b.emit(node, Add(), [result, c_name], dtype="float32", output=node.outputs[0])


def _float_bias(b: Builder, node: OnnxNode, name: str, beta: float, rows: int, channels: int) -> str:
    """Name of C as a bias [channels], "" where it is not the same constant row for all rows."""
    value = b.value(name)
    if value is None or not _is_one_row(node, value, rows, channels):
        return ""
    name = b.scaled_constant(node, name, beta)
    if value.shape == (channels,):
        return name
    if value.size == channels:
        return b.reshaped_constant(node, name, lambda a: a.reshape(-1), "row")
    return b.derived_constant(name, np.broadcast_to(value.reshape(-1) * np.float32(beta), channels).copy()).name


def _is_one_row(node: OnnxNode, value: Array, rows: int, channels: int) -> bool:
    """Whether C broadcasts to the output from a single row."""
    shape = (1,) * (2 - value.ndim) + value.shape
    if len(shape) != 2 or shape[0] not in (1, rows) or shape[1] not in (1, channels):
        raise node.invalid(
            "the operand C does not fit",
            found=str(list(value.shape)),
            supported=f"broadcasting to [{rows}, {channels}]",
        )
    return shape[0] == 1


def matmul(b: Builder, node: OnnxNode) -> None:
    """MatMul by a constant, in float32."""
    x = b.float_activation(node)
    weights = _constant_weights(b, node, 0, 1)
    w_name = _matmul_weights(b, node, node.input(1), weights)
    _emit_matmul(b, node, x, w_name, weights, dtype="float32")


def _matmul_weights(b: Builder, node: OnnxNode, name: str, weights: Array) -> str:
    """Name of the weights as [N, K]."""
    if weights.ndim > 2 and weights.size != weights.shape[-1] * weights.shape[-2]:
        raise node.unsupported(f"a batch of weight matrices {list(weights.shape)}; supported: one matrix [K, N]")
    inner = weights.shape[-2] if weights.ndim > 1 else weights.shape[0]
    return b.reshaped_constant(node, name, lambda a: _transposed(a.reshape(inner, -1)), "transposed")


def _emit_matmul(
    b: Builder,
    node: OnnxNode,
    x: Tensor,
    w_name: str,
    weights: Array,
    *,
    dtype: str,
    quant: QuantParams | None = None,
    claims: dict[int, QuantParams] | None = None,
) -> None:
    """The product, and the reshape that MatMul's rules for vectors and for leading axes ask for."""
    op = Gemm()
    shape: tuple[int, ...] = (*x.shape[:-1], weights.shape[-1])
    if weights.ndim == 1:
        shape = x.shape[:-1]
    elif weights.ndim > len(x.shape):
        shape = (*(1,) * (weights.ndim - max(len(x.shape), 2)), *shape)
    direct = weights.ndim > 1 and weights.ndim <= max(len(x.shape), 2)
    output = node.outputs[0] if direct else ""
    result = b.emit(node, op, [x.name, w_name], dtype=dtype, output=output, quant=quant, claims=claims)
    if not direct:
        b.emit(node, Reshape(shape=shape), [result], dtype=dtype, output=node.outputs[0], transparent=True)


def qlinear_matmul(b: Builder, node: OnnxNode) -> None:
    """QLinearMatMul: a, its scale and zero point, b likewise, those of y."""
    x = b.activation(node, 0, EIGHT_BIT)
    weights = _constant_weights(b, node, 0, 3)
    if str(weights.dtype) not in EIGHT_BIT:
        raise node.unsupported(f"{weights.dtype} weights; supported: int8 and uint8")
    qx = b.quant_params(node, 1, 2, dtype=x.dtype, what="the input")
    columns = (weights.shape[-1],) if weights.ndim > 1 else (1,)
    qw = b.quant_params(node, 4, 5, dtype=str(weights.dtype), shape=columns, axis=0, what="the weights")
    dtype = output_dtype(b, node, 7, x.dtype)
    qy = b.quant_params(node, 6, 7, dtype=dtype, what="the output")
    w_name = _matmul_weights(b, node, node.input(3), weights)
    _emit_matmul(b, node, x, w_name, weights, dtype=dtype, quant=qy, claims={0: qx, 1: qw})


def qgemm(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QGemm: A, B with scales and zero points, C int32 in units of alpha*sa*sb, those of y."""
    x = b.activation(node, 0, EIGHT_BIT)
    weights = _constant_weights(b, node, 0, 3)
    _check_rank_2(node, weights)
    if str(weights.dtype) not in EIGHT_BIT:
        raise node.unsupported(f"{weights.dtype} weights; supported: int8 and uint8")
    alpha = float(node.get("alpha", 1.0))
    if not alpha > 0:
        raise node.unsupported(f"alpha {alpha}; supported: alpha > 0")
    w_name = node.input(3)
    if not node.get("transB", 0):
        w_name = b.reshaped_constant(node, w_name, _transposed, "transposed")
        weights = weights.T
    qx = b.quant_params(node, 1, 2, dtype=x.dtype, what="the input A")
    qw = b.quant_params(node, 4, 5, dtype=str(weights.dtype), shape=weights.shape, axis=0, what="the weights B")
    x_name = _rank_2_input(b, node, x)
    if alpha != 1.0:
        # ONNX Runtime's multiplier is f32(f32(f32(alpha * sa) * sb) / sy): alpha belongs to A's scale.
        scaled = scaled_quant(qx, alpha)
        op = Reshape(shape=b.tensors[x_name].shape)
        x_name = b.emit(node, op, [x_name], dtype=x.dtype, quant=scaled, claims={0: qx})
        qx = scaled
    rows = x.shape[1] if node.get("transA", 0) else x.shape[0]
    bias = _integer_bias(b, node, rows, weights.shape[0])
    claims = {0: qx, 1: qw, **({2: bias_quant(qx, qw)} if bias else {})}
    if node.input(7):
        dtype = output_dtype(b, node, 8, x.dtype)
        qy = b.quant_params(node, 7, 8, dtype=dtype, what="the output")
        b.emit(node, Gemm(), [x_name, w_name, bias], dtype=dtype, output=node.outputs[0], quant=qy, claims=claims)
    else:
        _float_result(b, node, [x_name, w_name, bias], claims)


def _float_result(b: Builder, node: OnnxNode, inputs: list[str], claims: dict[int, QuantParams]) -> None:
    """A QGemm without output scale gives real numbers: the float operator on dequantized operands."""
    floats = [
        b.emit(node, Dequantize(), [name], dtype="float32", claims={0: claims[index]}) if name else ""
        for index, name in enumerate(inputs)
    ]
    b.emit(node, Gemm(), floats, dtype="float32", output=node.outputs[0])


def _integer_bias(b: Builder, node: OnnxNode, rows: int, channels: int) -> str:
    name = node.input(6)
    if not name:
        return ""
    value = b.constant(node, 6, "operand C")
    if value.dtype != np.int32:
        raise node.invalid("the operand C is not int32", found=str(value.dtype))
    if not _is_one_row(node, value, rows, channels):
        raise node.unsupported(f"operand C {list(value.shape)} differs from row to row; supported: one row")
    if value.shape == (channels,):
        return name
    row = np.broadcast_to(value.reshape(-1), channels).copy()
    return b.derived_constant(f"{name}_row", row).name


CONVERTERS: Table = {
    ("", "Gemm"): gemm,
    ("", "MatMul"): matmul,
    ("", "QLinearMatMul"): qlinear_matmul,
    ("com.microsoft", "QGemm"): qgemm,
}
