# SPDX-License-Identifier: Apache-2.0
"""Constants behind a convolution or matrix product; its bias as int32 in units of its accumulator."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Node, Tensor
from mcucompiler.ops import Conv, ConvTranspose, Dequantize, Gemm, Operator, Quantize
from mcucompiler.passes.edit import Edit

#: Scales of the same product computed in other orders of float32 operations agree at least this well.
_SAME_SCALE = 1e-5


def takes_bias(op: Operator) -> bool:
    """Whether input 1 of the operator is its weights and input 2 an optional bias, one for each output channel."""
    return isinstance(op, Conv | ConvTranspose | Gemm)


def channels(op: Operator, weights: Tensor) -> int:
    """Number of output channels."""
    return weights.shape[1] * op.groups if isinstance(op, ConvTranspose) else weights.shape[0]


def becomes_integer(edit: Edit, product: Node, last: Node) -> bool:
    """Whether a convolution or matrix product, and what follows up to ``last``, stand between Dequantize and Quantize.

    There the integer program follows, in which constants behind the product may be part of it; elsewhere float32
    arithmetic keeps its roundings.
    """
    operands = [edit.producer(name) for name in product.inputs[:2]]
    return (
        last.outputs[0] not in edit.outputs
        and all(isinstance(reader.op, Quantize) for reader in edit.users(last.outputs[0]))
        and all(operand is not None and isinstance(operand.op, Dequantize) for operand in operands)
    )


def real_constant(edit: Edit, name: str) -> Array | None:
    """The real values of a float constant in float64, dequantised or not; None where there is no such constant."""
    producer = edit.producer(name)
    source = edit.tensor(name if producer is None else producer.inputs[0])
    if source.data is None or (producer is not None and not isinstance(producer.op, Dequantize)):
        return None
    if producer is None:
        return source.data.astype(np.float64) if source.dtype == "float32" else None
    (value,) = producer.op.reference((source,), (edit.tensor(name),), (source.data,))
    return value.astype(np.float64)


def channel_constant(edit: Edit, name: str, product: Node) -> Array | None:
    """A constant operand behind a product as one value for each of its output channels, in float64.

    None where it is no constant, or varies along other axes than the channels'.
    """
    value = real_constant(edit, name)
    if value is None:
        return None
    rank, count = len(edit.out(product).shape), channels(product.op, edit.tensor(product.inputs[1]))
    axis = rank - 1 if isinstance(product.op, Gemm) else 1
    padded = (1,) * (rank - value.ndim) + value.shape
    if any(dim != 1 and (a != axis or dim != count) for a, dim in enumerate(padded)):
        return None
    return np.broadcast_to(value.reshape(-1), (count,))


def accumulator_scales(op: Operator, x: Tensor, weights: Tensor) -> Array:
    """``f32(sx * sw)`` for each output channel: what one unit of the accumulator stands for; float32 [M]."""
    if x.quant is None or weights.quant is None:
        raise ValueError(f"{x.name!r} or {weights.name!r} is not quantised")
    scales = np.asarray(weights.quant.scale, dtype=np.float32)
    if isinstance(op, ConvTranspose) and len(scales) > 1:
        scales = np.tile(scales, op.groups)
    with np.errstate(under="ignore", over="ignore"):
        product = np.float32(x.quant.s) * scales
    return np.broadcast_to(product, (channels(op, weights),))


def quantize_bias(real: Array, scales: Array) -> Array | None:
    """``clip(rint(bias / f32(sx * sw)), int32)``, the quotient in float64, as onnxruntime.quantization quantises it.

    Args:
        real: float bias [M].
        scales: float32 scales of the accumulator [M].

    Returns:
        int32 [M]; None where a scale is zero or infinite, or the bias is not finite.
    """
    if not np.all(np.isfinite(real)) or not np.all(np.isfinite(scales)) or np.any(scales == 0):
        return None
    lo, hi = INTEGER_RANGES["int32"]
    return np.asarray(np.clip(np.rint(real.astype(np.float64) / scales.astype(np.float64)), lo, hi)).astype(np.int32)


def integer_bias(bias: Tensor, scales: Array) -> Array | None:
    """The int32 bias that a quantised or float constant stands for.

    A dequantised int32 constant whose scale is the accumulator's up to float rounding is taken as it is: that is the
    bias of the QOperator twin. Any other constant is brought to the accumulator's scale by its real value.

    Args:
        bias: a constant of M elements; with ``quant`` where it was read through Dequantize.
        scales: float32 scales of the accumulator [M].

    Returns:
        int32 [M], None where the bias is no constant or cannot be brought to that scale.
    """
    if bias.data is None or bias.size != len(scales):
        return None
    values = bias.data.reshape(-1)
    if bias.quant is None:
        if bias.dtype == "int32":
            return values
        return quantize_bias(values, scales) if bias.dtype == "float32" else None
    own = np.broadcast_to(np.asarray(bias.quant.scale, dtype=np.float64), (len(scales),))
    zero = np.broadcast_to(np.asarray(bias.quant.zero_point, dtype=np.int64), (len(scales),))
    with np.errstate(divide="ignore", invalid="ignore"):
        agree = np.abs(own / scales.astype(np.float64) - 1) <= _SAME_SCALE
    if bias.dtype == "int32" and not np.any(zero) and np.all(agree):
        return values
    return quantize_bias((values.astype(np.float64) - zero) * own, scales)
