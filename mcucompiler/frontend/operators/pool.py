# SPDX-License-Identifier: Apache-2.0
"""Pools and means."""

from __future__ import annotations

import math

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import (
    EIGHT_BIT,
    Table,
    axes_of,
    channels_first,
    emit_image,
    output_dtype,
    stated_axes,
    works_on_channels_last,
)
from mcucompiler.frontend.operators.windows import read_window, spatial_dims
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.ops import AveragePool, MaxPool, ReduceMean, Reshape, Transpose


def average_pool(b: Builder, node: OnnxNode) -> None:
    """AveragePool in float32."""
    x = b.float_activation(node)
    b.emit(node, _average_op(node, spatial_dims(node, x)), [x.name], dtype="float32", output=node.outputs[0])


def _average_op(node: OnnxNode, spatial: tuple[int, ...]) -> AveragePool:
    window = read_window(node, spatial)
    return AveragePool(
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        count_include_pad=bool(node.get("count_include_pad", 0)),
        ceil_mode=bool(node.get("ceil_mode", 0)),
    )


def max_pool(b: Builder, node: OnnxNode) -> None:
    """MaxPool, of real numbers or of integers; com.microsoft NhwcMaxPool, of integers as [N, *S, C]."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("its second output (indices) is asked for; supported: the maxima only")
    last = works_on_channels_last(node)
    x = channels_first(b, node, b.activation(node), last=last)
    window = read_window(node, spatial_dims(node, x))
    op = MaxPool(
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        ceil_mode=bool(node.get("ceil_mode", 0)),
    )
    emit_image(b, node, op, [x.name], last=last, dtype=x.dtype, transparent=True)


def global_max_pool(b: Builder, node: OnnxNode) -> None:
    """GlobalMaxPool: one window over everything."""
    x = b.activation(node)
    spatial = spatial_dims(node, x)
    ones, zeros = (1,) * len(spatial), (0,) * (2 * len(spatial))
    op = MaxPool(kernel=spatial, strides=ones, pads=zeros, dilations=ones)
    b.emit(node, op, [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)


def global_average_pool(b: Builder, node: OnnxNode) -> None:
    """GlobalAveragePool: the mean over the spatial axes."""
    x = b.float_activation(node)
    if len(x.shape) < 3:
        raise node.invalid("input has no spatial axes", found=str(list(x.shape)), supported="[N, C, *S]")
    op = ReduceMean(axes=tuple(range(2, len(x.shape))))
    b.emit(node, op, [x.name], dtype="float32", output=node.outputs[0])


def reduce_mean(b: Builder, node: OnnxNode) -> None:
    """ReduceMean in float32, axes as attribute or as input."""
    x = b.float_activation(node)
    axes = _reduced_axes(b, node, x)
    if not axes:
        b.alias(node, x.name, node.outputs[0])
        return
    op = ReduceMean(axes=axes, keepdims=bool(node.get("keepdims", 1)))
    b.emit(node, op, [x.name], dtype="float32", output=node.outputs[0])


def _reduced_axes(b: Builder, node: OnnxNode, x: Tensor) -> tuple[int, ...]:
    """The axes of a reduction, from attribute or input; all where none are given, () where that means none."""
    axes = stated_axes(b, node)
    if not axes:
        return () if node.get("noop_with_empty_axes", 0) else tuple(range(len(x.shape)))
    return axes_of(node, axes, len(x.shape))


def reduce_max(b: Builder, node: OnnxNode) -> None:
    """ReduceMax, of real numbers or of integers: MaxPool with one window, the other axes moved to the front."""
    x = b.activation(node)
    axes = _reduced_axes(b, node, x)
    if not axes:
        b.alias(node, x.name, node.outputs[0])
        return
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    name = x.name
    if axes[0] < 2:
        name = b.emit(node, Transpose(perm=(*kept, *axes)), [name], dtype=x.dtype, transparent=True)
        columns = math.prod(x.shape[axis] for axis in kept)
        name = b.emit(node, Reshape(shape=(1, columns, x.size // columns)), [name], dtype=x.dtype, transparent=True)
        window: tuple[int, ...] = (x.size // columns,)
    else:
        window = tuple(x.shape[axis] if axis in axes else 1 for axis in range(2, len(x.shape)))
    ones = (1,) * len(window)
    op = MaxPool(kernel=window, strides=ones, pads=(0,) * (2 * len(window)), dilations=ones)
    name = b.emit(node, op, [name], dtype=x.dtype, transparent=True)
    if node.get("keepdims", 1):
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    else:
        shape = tuple(x.shape[axis] for axis in kept)
    b.emit(node, Reshape(shape=shape), [name], dtype=x.dtype, output=node.outputs[0], transparent=True)


# ---------------------------------------------------------------------- QLinear twins


def _operands(b: Builder, node: OnnxNode) -> tuple[Tensor, QuantParams, QuantParams, str]:
    """Input, its parameters, the output's and the output's type: X, scale, zero point, those of Y."""
    x = b.activation(node, 0, EIGHT_BIT)
    qx = b.quant_params(node, 1, 2, dtype=x.dtype, what="the input")
    dtype = output_dtype(b, node, 4, x.dtype)
    return x, qx, b.quant_params(node, 3, 4, dtype=dtype, what="the output"), dtype


def qlinear_average_pool(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QLinearAveragePool."""
    x, qx, qy, dtype = _operands(b, node)
    last = works_on_channels_last(node)
    x = channels_first(b, node, x, last=last)
    op = _average_op(node, spatial_dims(node, x))
    emit_image(b, node, op, [x.name], last=last, dtype=dtype, quant=qy, claims={0: qx})


def qlinear_global_average_pool(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QLinearGlobalAveragePool."""
    x, qx, qy, dtype = _operands(b, node)
    last = works_on_channels_last(node)
    x = channels_first(b, node, x, last=last)
    if len(x.shape) < 3:
        raise node.invalid("input has no spatial axes", found=str(list(x.shape)), supported="[N, C, *S]")
    op = ReduceMean(axes=tuple(range(2, len(x.shape))))
    emit_image(b, node, op, [x.name], last=last, dtype=dtype, quant=qy, claims={0: qx})


CONVERTERS: Table = {
    ("", "AveragePool"): average_pool,
    ("", "GlobalAveragePool"): global_average_pool,
    ("", "GlobalMaxPool"): global_max_pool,
    ("", "MaxPool"): max_pool,
    ("", "ReduceMax"): reduce_max,
    ("", "ReduceMean"): reduce_mean,
    ("com.microsoft", "NhwcMaxPool"): max_pool,
    ("com.microsoft", "QLinearAveragePool"): qlinear_average_pool,
    ("com.microsoft", "QLinearGlobalAveragePool"): qlinear_global_average_pool,
}
