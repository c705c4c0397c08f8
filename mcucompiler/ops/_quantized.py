# SPDX-License-Identifier: Apache-2.0
"""What the integer programs of several operators share: quantization of tensors, bounds, accumulators, checks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import INTEGER_RANGES, Array, QuantParams, Tensor
from mcucompiler.numerics.requantize import conv_multiplier, quantize, requantize, wrap32
from mcucompiler.ops.base import Clamp, MaybeTensors

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

ACTIVATION_TYPES = ("int8", "uint8")


def quantization(tensor: Tensor) -> QuantParams:
    """The quantization of a tensor.

    Raises:
        ModelError: where it has none.
    """
    if tensor.quant is None:
        raise ModelError(f"tensor {tensor.name!r} is not quantized")
    return tensor.quant


def value(values: Sequence[Array | None], index: int, what: str) -> Array:
    """The value of an input that must be there.

    Raises:
        ModelError: where it is absent.
    """
    array = values[index] if index < len(values) else None
    if array is None:
        raise ModelError(f"the value of input {index} ({what}) is missing")
    return array


def optional(values: Sequence[Array | None], index: int) -> Array | None:
    """The value of an optional input, None where absent."""
    return values[index] if index < len(values) else None


def bounds(output: Tensor, clamp: Clamp | None) -> tuple[int, int]:
    """Least and greatest value of a quantized output: those of its type, narrowed by a folded activation."""
    lo, hi = INTEGER_RANGES[output.dtype]
    if clamp is None:
        return lo, hi
    return min(max(lo, clamp.lo), hi), max(min(hi, clamp.hi), lo)


def _along(numbers: Sequence[float] | Sequence[int], quant: QuantParams, rank: int, dtype: npt.DTypeLike) -> Array:
    array = np.array(numbers, dtype=dtype)
    if quant.per_tensor or quant.axis is None:
        return array.reshape(())
    shape = [1] * rank
    shape[quant.axis] = -1
    return array.reshape(shape)


def scales_of(tensor: Tensor) -> Float32Array:
    """The scales of a quantized tensor, shaped to be broadcast against it."""
    quant = quantization(tensor)
    return _along(quant.scale, quant, len(tensor.shape), np.float32)


def zero_points_of(tensor: Tensor) -> Int64Array:
    """The zero points of a quantized tensor, shaped to be broadcast against it."""
    quant = quantization(tensor)
    return _along(quant.zero_point, quant, len(tensor.shape), np.int64)


def centered(array: Array, tensor: Tensor) -> Int64Array:
    """``q - zero_point``: the real value in units of the scale."""
    return np.asarray(array.astype(np.int64) - zero_points_of(tensor))


def dequantized(array: Array, tensor: Tensor) -> Float32Array:
    """DequantizeLinear: ``f32(f32(q - zero_point) * scale)``."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(centered(array, tensor).astype(np.float32) * scales_of(tensor), dtype=np.float32)


def requantized(array: Array, source: Tensor, target: Tensor) -> Array:
    """A quantized array in the units of another tensor: DequantizeLinear, then QuantizeLinear, in float32."""
    same = (source.quant, source.dtype) == (target.quant, target.dtype)
    if same:
        return array
    quant = quantization(target)
    lo, hi = INTEGER_RANGES[target.dtype]
    return quantize(dequantized(array, source), quant.s, quant.z, lo, hi).astype(target.dtype)


def finish_accumulator(
    acc: Array, inputs: MaybeTensors, output: Tensor, clamp: Clamp | None, bias: Array | None, *, channel_axis: int
) -> Array:
    """From exact sums to the output of a convolution or matrix product.

    Adds the bias, wraps to int32 and requantizes with ``M = f32(f32(sx * sw) / sy)``.

    Args:
        acc: exact integer sums of (x - zx)(w - zw), as int64 or as float64 below 2^53.
        inputs: the operator's inputs: x, w, ...
        output: the output tensor.
        clamp: the folded activation.
        bias: int32 values, one for each output channel, or None.
        channel_axis: axis of the output channels in ``acc``.
    """
    x, w = inputs[0], inputs[1]
    if x is None or w is None:
        raise ModelError("an operand is missing")
    shape = [1] * acc.ndim
    shape[channel_axis] = -1
    total = acc.astype(np.int64)
    if bias is not None:
        total = total + bias.astype(np.int64).reshape(shape)
    multiplier = conv_multiplier(quantization(x).s, np.array(quantization(w).scale, np.float32), quantization(output).s)
    lo, hi = bounds(output, clamp)
    return requantize(wrap32(total), multiplier.reshape(shape), quantization(output).z, lo, hi).astype(output.dtype)


def check_activations(inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Causes against tensors that must be all float32 or all quantized 8-bit integers per tensor.

    Args:
        inputs: the inputs to look at; constants count as activations here.
        outputs: the outputs.
    """
    tensors = [tensor for tensor in (*inputs, *outputs) if tensor is not None]
    quantized = [tensor for tensor in tensors if tensor.is_quantized]
    if not quantized:
        return tuple(
            f"tensor {tensor.name!r} is {tensor.dtype}; float32 or quantized int8 or uint8 is supported"
            for tensor in tensors
            if tensor.dtype != "float32"
        )
    causes = [
        f"tensor {tensor.name!r} ({tensor.dtype}) is not quantized but {quantized[0].name!r} is"
        for tensor in tensors
        if not tensor.is_quantized
    ]
    for tensor in quantized:
        if tensor.dtype not in ACTIVATION_TYPES:
            causes.append(f"quantized tensor {tensor.name!r} is {tensor.dtype}; int8 or uint8 is supported")
        if not quantization(tensor).per_tensor:
            causes.append(f"activation {tensor.name!r} is quantized per channel; per tensor is supported")
    return tuple(causes)


def check_same_quantization(inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Causes against outputs that do not have the type and quantization of the first input."""
    x = inputs[0]
    if x is None:
        return ("the input is missing",)
    return tuple(
        f"output {y.name!r} ({y.dtype}) has another type or quantization than input {x.name!r} ({x.dtype}); "
        "a requantization has to stand between them"
        for y in outputs
        if (y.dtype, y.quant) != (x.dtype, x.quant)
    )


def check_clamp(clamp: Clamp | None, outputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Causes against a folded activation: it is for quantized outputs, and its bounds must be in order."""
    if clamp is None:
        return ()
    causes = [f"a clamp on the float32 output {y.name!r}" for y in outputs if not y.is_quantized]
    if clamp.lo > clamp.hi:
        causes.append(f"the clamp's bounds are out of order: {clamp.lo}, {clamp.hi}")
    return tuple(causes)


def check_weighted(
    inputs: MaybeTensors, outputs: Sequence[Tensor], clamp: Clamp | None, channel_axis: int
) -> tuple[str, ...]:
    """Causes against the tensors of a convolution or matrix product: x, w and an optional bias.

    Args:
        inputs: x, w, bias.
        outputs: the output.
        clamp: the folded activation.
        channel_axis: axis of the weights along which per-channel scales may run.
    """
    x, w = inputs[0], inputs[1]
    if x is None or w is None:
        return ("an operand is missing",)
    causes = [*check_activations([x], outputs), *check_clamp(clamp, outputs)]
    bias = inputs[2] if len(inputs) > 2 else None
    if x.is_quantized != w.is_quantized:
        causes.append(f"x is {x.dtype} and the weights are {w.dtype}: both or neither must be quantized")
    if not x.is_quantized:
        causes += [
            f"{t.name!r} is {t.dtype} beside float32 activations" for t in (w, bias) if t and t.dtype != "float32"
        ]
        return tuple(causes)
    if w.dtype not in ACTIVATION_TYPES:
        causes.append(f"the weights are {w.dtype}; int8 or uint8 is supported")
    if w.quant is not None and not w.quant.per_tensor and w.quant.axis != channel_axis:
        causes.append(f"the weights are quantized along axis {w.quant.axis}; axis {channel_axis} is supported")
    if bias is not None and bias.dtype != "int32":
        causes.append(f"the bias is {bias.dtype}; int32 in units of the product of input and weight scale is supported")
    return tuple(causes)


def saturate_real(real: npt.NDArray[np.float64], zero_point: int, lo: int, hi: int) -> Int64Array:
    """``clamp(rint(real) + zero_point, lo, hi)`` of float64 values; a NaN gives ``lo``."""
    with np.errstate(invalid="ignore"):
        clamped = np.where(real > lo - zero_point, np.minimum(real, hi - zero_point), lo - zero_point)
    return np.asarray(np.rint(clamped).astype(np.int64) + zero_point)


def check_like_input(inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
    """Causes against an operator that only moves or selects elements: the output must be of the input's kind."""
    x = inputs[0]
    if x is not None and x.quant is not None and not x.quant.per_tensor and not x.is_constant:
        return (f"activation {x.name!r} is quantized per channel; per tensor is supported",)
    return check_same_quantization(inputs, outputs)
