# SPDX-License-Identifier: Apache-2.0
"""Scales and zero points as ONNX nodes state them, checked."""

from __future__ import annotations

import numpy as np

from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.ir.graph import INTEGER_RANGES, Array, QuantParams
from mcucompiler.words import counted

#: Types that QuantizeLinear may produce or DequantizeLinear may read of an activation or of weights.
EIGHT_BIT = ("int8", "uint8")


def make_quant_params(
    node: OnnxNode,
    scale: Array,
    zero_point: Array | None,
    *,
    dtype: str,
    shape: tuple[int, ...],
    axis: int | None,
    what: str,
) -> QuantParams:
    """Quantisation parameters of a tensor, from the constants that a node gives for it.

    Args:
        node: the ONNX node that states them.
        scale: float32; one value of any shape, or one for each index of ``axis``.
        zero_point: as many integers (or one for all); None for 0.
        dtype: of the quantised tensor.
        shape: of the quantised tensor.
        axis: along which several scales count; may be negative; None where only one is allowed.
        what: how to call the tensor in messages.

    Raises:
        ModelError: for values that are no scales or no zero points of such a tensor.
        UnsupportedOperatorError: for scales that are not float32 or lie in blocks.
    """
    if scale.dtype != np.float32:
        raise node.unsupported(f"the scale of {what} is {scale.dtype}; supported: float32")
    scales = _checked_scales(node, scale, what)
    points = _checked_zero_points(node, zero_point, len(scales), dtype, what)
    if len(scales) == 1:
        return QuantParams(scale=scales, zero_point=points)
    if scale.squeeze().ndim > 1:
        raise node.unsupported(
            f"{what} is quantized in blocks (scales {_dims(scale)}); supported: per tensor or per axis"
        )
    axis = _channel_axis(node, len(scales), shape, axis, what)
    return QuantParams(scale=scales, zero_point=points, axis=axis)


def _channel_axis(node: OnnxNode, count: int, shape: tuple[int, ...], axis: int | None, what: str) -> int:
    """The axis along which several scales count, made non-negative."""
    if axis is None:
        raise node.unsupported(f"{counted(count, 'scale')} for {what}; supported: one scale for the whole tensor")
    if not -len(shape) <= axis < len(shape):
        raise node.invalid(
            f"quantization axis out of range for {what}",
            found=f"axis {axis} of a tensor of rank {len(shape)}",
            hint="correct the attribute `axis`; ONNX Runtime refuses such a file too",
        )
    axis %= len(shape)
    if shape[axis] != count:
        raise node.invalid(
            f"the number of scales of {what} does not fit its shape",
            found=f"{counted(count, 'scale')} for axis {axis} of size {shape[axis]}",
        )
    return axis


def _dims(array: Array) -> str:
    return "x".join(map(str, array.shape)) or "scalar"


def _checked_scales(node: OnnxNode, scale: Array, what: str) -> tuple[float, ...]:
    values = scale.reshape(-1)
    if not values.size:
        raise node.invalid(f"no scale for {what}")
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if bad.size:
        index = int(bad[0])
        place = f" (channel {index} of {values.size})" if values.size > 1 else ""
        raise node.invalid(
            f"the scale of {what} is not a positive finite number",
            found=f"{float(values[index])}{place}",
            supported="finite scales above zero",
            hint="quantize the model again; a tensor that is constant in calibration can cause this",
        )
    return tuple(float(v) for v in values)


def _checked_zero_points(
    node: OnnxNode, zero_point: Array | None, count: int, dtype: str, what: str
) -> tuple[int, ...]:
    if zero_point is None:
        return (0,) * count
    lo, hi = (0, 0) if dtype == "int32" else INTEGER_RANGES[dtype]
    if zero_point.dtype.kind not in "iu":
        raise node.invalid(f"the zero point of {what} is not an integer", found=str(zero_point.dtype), supported=dtype)
    points = tuple(int(v) for v in zero_point.reshape(-1))
    outside = [p for p in points if not lo <= p <= hi]
    if outside:
        raise node.invalid(
            f"the zero point of {what} is out of range", found=str(outside[0]), supported=f"{lo} to {hi} for {dtype}"
        )
    if str(zero_point.dtype) != dtype:
        raise node.invalid(
            f"the zero point of {what} has another type than the tensor", found=str(zero_point.dtype), supported=dtype
        )
    if len(points) == 1:
        return points * count
    if len(points) != count:
        raise node.invalid(
            f"scales and zero points of {what} differ in number",
            found=f"{counted(count, 'scale')}, {counted(len(points), 'zero point')}",
        )
    return points


def quantize_constant(values: Array, quant: QuantParams, dtype: str) -> Array:
    """QuantizeLinear of constants: ``clamp(rint(f32(x / scale)) + zero_point)``."""
    scale, zero_point = _along_axis(quant, values.ndim)
    lo, hi = INTEGER_RANGES[dtype]
    with np.errstate(over="ignore"):  # an infinite quotient saturates like any large one
        steps = np.rint(np.asarray(values, np.float32) / scale).astype(np.float64)
    return np.asarray(np.clip(steps + zero_point, lo, hi).astype(dtype))


def dequantize_constant(values: Array, quant: QuantParams) -> Array:
    """DequantizeLinear of constants: ``f32(f32(q - zero_point) * scale)``."""
    scale, zero_point = _along_axis(quant, values.ndim)
    return np.asarray((values.astype(np.int64) - zero_point).astype(np.float32) * scale)


def _along_axis(quant: QuantParams, rank: int) -> tuple[Array, Array]:
    scale = np.asarray(quant.scale, np.float32)
    zero_point = np.asarray(quant.zero_point, np.int64)
    if quant.per_tensor:
        return scale.reshape(()), zero_point.reshape(())
    shape = [1] * rank
    shape[quant.axis if quant.axis is not None else 0] = -1
    return scale.reshape(shape), zero_point.reshape(shape)
