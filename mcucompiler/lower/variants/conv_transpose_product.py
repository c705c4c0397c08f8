# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution whose windows do not overlap: one product of each input pixel with all taps.

Where the stride is the kernel and nothing is cut off, an input pixel makes kh x kw output pixels that no other one
reaches. That is a 1x1 convolution to kh * kw * M outputs; the stream of weights says where in the output they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.types import KernelCall, NodeContext, Overlap
from mcucompiler.lower.variants._pointwise import PointwiseShape, Scatter, pointwise_call
from mcucompiler.lower.variants._transposed import TransposedShape, constant_of, refusal, shape_of
from mcucompiler.lower.variants._weighted import Int64Array, integer_refusal, weighted_layer
from mcucompiler.ops.conv_transpose import ConvTranspose

_FARTHEST = 65535  # places of outputs are halfwords


@dataclass(frozen=True, slots=True)
class ConvTransposeProduct:
    """int8 activations, stride = kernel: blocks of products as in a 1x1 convolution, for each row of the input."""

    name: str = "conv_transpose_product"

    def reject(self, context: NodeContext) -> str | None:
        """int8 activations and constant weights in one group; every output has exactly one tap."""
        reason = refusal(context)
        if reason is not None:
            return reason
        shape = shape_of(context)
        if shape.groups > 1:
            return "there are groups"
        if not _disjoint(shape):
            return "some outputs have more or less than one tap"
        if int(_places(context, shape).max()) > _FARTHEST:
            return "the rows of the output that a row of the input makes are too long for 16-bit places"
        return integer_refusal(_as_product(context, shape))

    def lower(self, context: NodeContext) -> KernelCall:
        """A line of pixels for each row of the input; a single one where that makes a single row of the output."""
        shape = shape_of(context)
        op = context.node.op
        source, target = context.activation(0), context.outputs[0]
        layer = weighted_layer(_as_product(context, shape), op.clamp if isinstance(op, ConvTranspose) else None)
        height, width = shape.size
        rows = PointwiseShape(
            rows=width,
            in_stride=source.pixel_stride,
            out_stride=shape.kernel[1] * target.pixel_stride,
            lines=shape.batch * height,
            in_line=width * source.pixel_stride,
            out_line=shape.kernel[0] * shape.out[1] * target.pixel_stride,
        )
        if shape.kernel[0] == 1:
            rows = replace(rows, rows=width * rows.lines, lines=1)
        kernel = "x".join(map(str, shape.kernel))
        return pointwise_call(
            layer,
            rows,
            label=f"conv_transpose{kernel}",
            about=f"Transposed {kernel} convolution of stride {kernel}, {{}} at a time.",
            variant=self.name,
            optimize=context.options.optimize,
            overlaps=_overlaps(context, shape),
            scatter=Scatter(index=_places(context, shape), channels=shape.channels_out),
        )


def _disjoint(shape: TransposedShape) -> bool:
    """Whether output o has the tap o modulo the kernel of input o / kernel, and no other one."""
    return all(
        shape.out[axis] == shape.size[axis] * shape.kernel[axis]
        and shape.strides[axis] == shape.kernel[axis]
        and shape.pads[axis] == 0
        and (shape.dilations[axis] == 1 or shape.kernel[axis] == 1)
        for axis in (0, 1)
    )


def _places(context: NodeContext, shape: TransposedShape) -> Int64Array:
    """Where the outputs (ky, kx, m) of an input pixel lie, in elements from the first one; [KH * KW * M]."""
    stride = context.outputs[0].pixel_stride
    ky, kx, m = np.indices((*shape.kernel, shape.channels_out), dtype=np.int64)
    return np.asarray(((ky * shape.out[1] + kx) * stride + m).reshape(-1))


def _as_product(context: NodeContext, shape: TransposedShape) -> NodeContext:
    """The node with weights [KH * KW * M, C], and scales and bias for each of these outputs."""
    w, bias = constant_of(context, 1), constant_of(context, 2)
    if w is None or w.data is None:
        raise ValueError(f"{context.node.name!r} has no constant weights")
    taps = shape.kernel[0] * shape.kernel[1]
    by_tap = w.data.reshape(shape.channels_in, shape.channels_out, taps).transpose(2, 1, 0)
    data = np.ascontiguousarray(by_tap).reshape(-1, shape.channels_in)
    quant = w.quant
    if quant is not None and not quant.per_tensor:
        quant = replace(quant, scale=quant.scale * taps, zero_point=quant.zero_point * taps, axis=0)
    repeated = None if bias is None else _repeated(bias, taps)
    return replace(context, inputs=(context.inputs[0], w.replace(shape=data.shape, data=data, quant=quant), repeated))


def _repeated(bias: Tensor, taps: int) -> Tensor:
    data = np.tile(np.asarray(bias.data).reshape(-1), taps)
    return bias.replace(shape=data.shape, data=data)


def _overlaps(context: NodeContext, shape: TransposedShape) -> tuple[Overlap, ...]:
    """The output may follow the input from below, where every pixel is read before its bytes are written."""
    source, target = context.activation(0), context.outputs[0]
    if not (source.place.dense and target.place.dense):
        return ()
    height, width = shape.batch * shape.size[0], shape.size[1]
    line, pixel = np.divmod(np.arange(height * width - 1, dtype=np.int64), width)
    row = shape.out[1] * shape.channels_out
    last_row = (line + 1) * shape.kernel[0] - 1
    written = last_row * row + (pixel + 1) * shape.kernel[1] * shape.channels_out
    still_read = (line * width + pixel + 1) * shape.channels_in
    distance = max(0, int((written - still_read).max(initial=0)))
    return (Overlap(input=0, output=0, same=False, distance=distance),) if distance < target.tensor.size else ()
