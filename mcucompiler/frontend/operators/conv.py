# SPDX-License-Identifier: Apache-2.0
"""Conv, ConvTranspose and QLinearConv."""

from __future__ import annotations

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import (
    EIGHT_BIT,
    Table,
    channels_first,
    emit_image,
    output_dtype,
    works_on_channels_last,
)
from mcucompiler.frontend.operators.windows import explicit_pads, read_window, spatial_dims
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.ops import Conv, ConvTranspose


def _weights(b: Builder, node: OnnxNode, index: int) -> Tensor:
    """The weights, which must be a constant or a dequantized constant."""
    name = node.needs_input(index, "weights")
    if b.value(name) is None:
        raise node.unsupported(
            f"its weights {name!r} are not constant; supported: an initializer, or DequantizeLinear of one"
        )
    return b.materialize(node, name)


def _bias(b: Builder, node: OnnxNode, index: int) -> str:
    """Name of the constant bias, "" where there is none."""
    name = node.input(index)
    if not name:
        return ""
    if b.value(name) is None:
        raise node.unsupported(f"its bias {name!r} is not constant; supported: an initializer or none")
    return name


def _kernel(node: OnnxNode, x: Tensor, w: Tensor) -> tuple[int, ...]:
    """The weights' spatial sizes."""
    if len(w.shape) != len(x.shape):
        raise node.invalid("input and weights differ in rank", found=f"input {list(x.shape)}, weights {list(w.shape)}")
    return w.shape[2:]


def _conv_op(node: OnnxNode, x: Tensor, w: Tensor) -> Conv:
    window = read_window(node, spatial_dims(node, x), _kernel(node, x, w))
    groups = int(node.get("group", 1))
    return Conv(strides=window.strides, pads=window.pads, dilations=window.dilations, groups=groups)


def conv(b: Builder, node: OnnxNode) -> None:
    """Conv in float32; the quantised form is made of it by fusion."""
    x, w = b.float_activation(node), _weights(b, node, 1)
    op = _conv_op(node, x, w)
    bias = _bias(b, node, 2)
    b.emit(node, op, [x.name, w.name, bias], dtype="float32", output=node.outputs[0])


def qlinear_conv(b: Builder, node: OnnxNode) -> None:
    """QLinearConv: x, its scale and zero point, w likewise, those of y, bias in units of sx * sw."""
    last = works_on_channels_last(node)
    x, w = channels_first(b, node, b.activation(node, 0, EIGHT_BIT), last=last), _weights(b, node, 3)
    if w.dtype not in EIGHT_BIT:
        raise node.unsupported(f"{w.dtype} weights; supported: int8 and uint8")
    op = _conv_op(node, x, w)
    qx = b.quant_params(node, 1, 2, dtype=x.dtype, shape=x.shape, what="the input")
    qw = b.quant_params(node, 4, 5, dtype=w.dtype, shape=w.shape, axis=0, what="the weights")
    dtype = output_dtype(b, node, 7, x.dtype)
    qy = b.quant_params(node, 6, 7, dtype=dtype, what="the output")
    claims = {0: qx, 1: qw}
    bias = _bias(b, node, 8)
    if bias:
        if b.materialize(node, bias).dtype != "int32":
            raise node.invalid("the bias is not int32", found=b.materialize(node, bias).dtype)
        claims[2] = bias_quant(qx, qw)
    emit_image(b, node, op, [x.name, w.name, bias], last=last, dtype=dtype, quant=qy, claims=claims)


def bias_quant(qx: QuantParams, qw: QuantParams) -> QuantParams:
    """The parameters of an int32 bias: ``f32(sx * sw)``, zero point 0, along its only axis."""
    scales = tuple(float(s) for s in qx.s * np.asarray(qw.scale, np.float32))
    return QuantParams(scale=scales, zero_point=(0,) * len(scales), axis=None if qw.per_tensor else 0)


def conv_transpose(b: Builder, node: OnnxNode) -> None:
    """ConvTranspose in float32, `output_shape` and `auto_pad` resolved to pads."""
    x, w = b.float_activation(node), _weights(b, node, 1)
    op = _transposed_op(node, spatial_dims(node, x), _kernel(node, x, w))
    bias = _bias(b, node, 2)
    b.emit(node, op, [x.name, w.name, bias], dtype="float32", output=node.outputs[0])


def _transposed_op(node: OnnxNode, spatial: tuple[int, ...], kernel: tuple[int, ...]) -> ConvTranspose:
    rank = len(spatial)
    stated = node.ints("kernel_shape", kernel)
    strides, dilations = node.ints("strides", (1,) * rank), node.ints("dilations", (1,) * rank)
    extra = node.ints("output_padding", (0,) * rank)
    for name, values, least in (("strides", strides, 1), ("dilations", dilations, 1), ("output_padding", extra, 0)):
        if len(values) != rank or any(v < least for v in values):
            raise node.invalid(f"attribute {name} does not fit the input", found=str(list(values)))
    if stated != kernel:
        raise node.invalid("the attribute kernel_shape contradicts the weights", found=str(list(stated)))
    full = [
        stride * (size - 1) + more + (taps - 1) * dilation + 1
        for size, taps, stride, dilation, more in zip(spatial, kernel, strides, dilations, extra, strict=True)
    ]
    pads = _transposed_pads(node, full, spatial, strides)
    return ConvTranspose(
        strides=strides,
        pads=pads,
        dilations=dilations,
        output_padding=extra,
        groups=int(node.get("group", 1)),
    )


def _transposed_pads(
    node: OnnxNode, full: list[int], spatial: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """What to cut off the full result, as the ONNX specification splits it."""
    mode = node.get("auto_pad", "NOTSET")
    wanted = node.ints("output_shape", ())
    rank = len(spatial)
    if not wanted and mode == "NOTSET":
        return explicit_pads(node, rank)
    if not wanted and mode == "VALID":
        return (0,) * (2 * rank)
    if not wanted:
        wanted = tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
    totals = [have - want for have, want in zip(full, wanted[-rank:], strict=True)]
    if any(total < 0 for total in totals):
        raise node.unsupported(f"output_shape {list(wanted)} is larger than the full result {full}")
    begins = [total // 2 if mode == "SAME_UPPER" else total - total // 2 for total in totals]
    return (*begins, *(total - begin for total, begin in zip(totals, begins, strict=True)))


CONVERTERS: Table = {
    ("", "Conv"): conv,
    ("", "ConvTranspose"): conv_transpose,
    ("", "QLinearConv"): qlinear_conv,
    ("com.microsoft", "QLinearConv"): qlinear_conv,
}
