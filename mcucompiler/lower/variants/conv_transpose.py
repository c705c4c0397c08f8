# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: each output gathers the inputs whose taps reach it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcucompiler.ir.graph import Array, QuantParams, Tensor
from mcucompiler.lower.types import (
    Argument,
    ConstantArg,
    Exactness,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    Variant,
    kernel,
)
from mcucompiler.lower.variants._transposed import TransposedShape, constant_of, refusal, shape_of
from mcucompiler.lower.variants.calls import (
    constant,
    cycles,
    extent_label,
    label,
    output_bounds,
    reads,
    weights,
    writes,
)
from mcucompiler.lower.variants.conv_transpose_product import ConvTransposeProduct
from mcucompiler.numerics.integer_form import RequantForm, accumulator_range, find_requant_form
from mcucompiler.numerics.requantize import conv_multiplier
from mcucompiler.ops.conv_transpose import ConvTranspose
from mcucompiler.words import counted

STRIDED_INPUT = True
STRIDED_OUTPUT = True
_FLOATS = 4  # output channels at a time
_HEADERS = ("mc_math.h", "mc_requantize.h", "mc_simd.h")


def _by_tap(values: Array, shape: TransposedShape) -> Array:
    """Weights [C, M/groups, *K] as [KH, KW, groups, M/groups, C/groups]."""
    full = values.reshape(shape.groups, shape.channels_in, shape.channels_out, *shape.kernel)
    return np.ascontiguousarray(full.transpose(3, 4, 0, 2, 1))


def _taps_arguments(shape: TransposedShape) -> tuple[list[Param], list[Argument]]:
    params: list[Param] = []
    arguments: list[Argument] = []
    for axis, word in ((0, "row"), (1, "column")):
        begins, taps = shape.taps(axis)
        params += [
            Param(ctype="const uint16_t *", name=f"{word}_begins"),
            Param(ctype="const uint16_t *", name=f"{word}_taps"),
        ]
        arguments += [
            constant(f"{word}_begins", "uint16_t", np.array(begins), f"first tap of each output {word}"),
            constant(f"{word}_taps", "uint16_t", np.array(taps or [(0, 0)]), f"input {word}, kernel {word}"),
        ]
    return params, arguments


def _literals(context: NodeContext, shape: TransposedShape) -> dict[str, Any]:
    source, target = context.activation(0), context.outputs[0]
    channels = shape.groups * shape.channels_out
    return {
        "batch": shape.batch,
        "groups": shape.groups,
        "height": shape.out[0],
        "width": shape.out[1],
        "channels_in": shape.channels_in,
        "channels_out": shape.channels_out,
        "kernel": extent_label(shape.kernel),
        "from_row": shape.size[1] * source.pixel_stride,
        "from_stride": source.pixel_stride,
        "from_image": shape.size[0] * shape.size[1] * source.pixel_stride,
        "to_stride": target.pixel_stride,
        "tap_row": shape.kernel[1] * channels * shape.channels_in,
        "tap_column": channels * shape.channels_in,
        "correction_row": shape.kernel[1] * channels,
        "correction_column": channels,
        "size": extent_label(shape.size),
    }


@dataclass(frozen=True, slots=True)
class ConvTransposeInt8:
    """int8 activations: four input channels of two output channels at a time; 32-bit sums, proved or float tail."""

    name: str = "conv_transpose"

    def reject(self, context: NodeContext) -> str | None:
        """int8 activations, constant 8-bit weights."""
        source, target, w = context.activation(0).tensor, context.outputs[0].tensor, constant_of(context, 1)
        if source.dtype != "int8" or target.dtype != "int8" or source.quant is None or target.quant is None:
            return "not int8 activations"
        if w is None or w.quant is None or w.dtype not in ("int8", "uint8"):
            return "the weights are not quantized to 8 bits"
        return refusal(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """Packs the weights by tap and finds the requantization."""
        source, target = context.activation(0), context.outputs[0]
        shape, packed, bias, form = shape_of(context), *_packed(context)
        qx = source.tensor.quant
        zero = qx.z if qx is not None else 0
        wide = bool(packed.min(initial=0) < -128 or packed.max(initial=0) > 127)
        wtype = "int16_t" if wide else "int8_t"
        tap_params, tap_arguments = _taps_arguments(shape)
        params = [reads(source.tensor), Param(ctype=f"const {wtype} *", name="weights")]
        arguments: list[Argument] = [InputArg(index=0), weights("weights", wtype, packed, "kernel row, column, M, C")]
        tail_params, tail_arguments = _tail_arguments(form, bias, packed, zero)
        proved = int(form.proved.sum())
        channels = shape.groups * shape.channels_out
        taps = len(shape.taps(0)[1]) * len(shape.taps(1)[1]) * shape.batch
        macs = taps * shape.channels_in * channels
        instructions = round(macs * (1.95 if shape.channels_in >= 4 and not wide else 6)) + taps * channels * 14
        instructions += target.tensor.size * 30
        return KernelCall(
            kernel=kernel(
                self.name,
                label(f"conv_transpose_{extent_label(shape.kernel)}", target),
                (*params, *tail_params, *tap_params, writes(target.tensor)),
                includes=_HEADERS,
                wtype=wtype,
                wide=wide,
                correct=zero != 0,
                shift=form.shift,
                addend=form.addend,
                zero=form.zero_point,
                lo=form.lo,
                hi=form.hi,
                tail="integer" if form.all_proved else ("mixed" if proved else "float"),
                **_literals(context, shape),
            ),
            arguments=(*arguments, *tail_arguments, *tap_arguments, OutputArg(index=0)),
            variant=self.name,
            reason="gathers taps; two output channels at a time",
            stack_bytes=192,
            instructions=instructions,
            cycles=cycles(instructions),
            exactness=Exactness(proved=proved, float_tail=channels - proved),
        )


def _packed(context: NodeContext) -> tuple[Array, Array, RequantForm]:
    """Weights by tap less their zero points, bias [M], and the requantization of the M channels."""
    op, shape = context.node.op, shape_of(context)
    w, bias = constant_of(context, 1), constant_of(context, 2)
    source, target = context.activation(0).tensor, context.outputs[0].tensor
    if not isinstance(op, ConvTranspose) or w is None or w.data is None or w.quant is None:
        raise ValueError("rejected")
    qx, qy = _needed(source), _needed(target)
    zeros = np.array(w.quant.zero_point, dtype=np.int64)
    centered = w.data.astype(np.int64) - (zeros if zeros.size == 1 else zeros.reshape(1, -1, *(1,) * (w.data.ndim - 2)))
    packed = _by_tap(centered, shape)
    channels = shape.groups * shape.channels_out
    sums = np.zeros(channels, np.int64) if bias is None or bias.data is None else bias.data.astype(np.int64).reshape(-1)
    by_channel = packed.transpose(2, 3, 0, 1, 4).reshape(channels, -1)
    factor = np.broadcast_to(conv_multiplier(qx.s, np.array(w.quant.scale, np.float32), qy.s), (channels,))
    lo, hi = output_bounds("int8", op.clamp)
    least, greatest = accumulator_range(by_channel, sums, -128 - qx.z, 127 - qx.z)
    form = find_requant_form(factor, qy.z, lo, hi, least, greatest, exact=context.options.exact)
    return packed, sums, form


def _needed(tensor: Tensor) -> QuantParams:
    if tensor.quant is None:
        raise ValueError(f"{tensor.name} is not quantized")
    return tensor.quant


def _tail_arguments(form: RequantForm, bias: Array, packed: Array, zero: int) -> tuple[list[Param], list[Argument]]:
    """Bias, corrections for the input's zero point, and multipliers."""
    entries: list[tuple[str, str, ConstantArg]] = [("const int32_t *", "bias", weights("bias", "int32_t", bias))]
    if zero:
        sums = -zero * packed.sum(axis=-1)
        note = "- zero point * sum of the weights; kernel row, column, M"
        entries.append(("const int32_t *", "corrections", weights("corrections", "int32_t", sums, note)))
    if form.proved.any():
        note = "scale * 2^(32 + shift); 0 where the float tail is used"
        entries.append(("const int32_t *", "multipliers", weights("multipliers", "int32_t", form.multipliers, note)))
    if not form.all_proved:
        entries.append(("const float *", "scales", weights("scales", "float", form.float_multipliers)))
    return [Param(ctype=ctype, name=name) for ctype, name, _ in entries], [argument for _, _, argument in entries]


@dataclass(frozen=True, slots=True)
class ConvTransposeFloat:
    """float32: fused multiply-adds in the order of the definition."""

    name: str = "conv_transpose_float32"

    def reject(self, context: NodeContext) -> str | None:
        """float32 activations and weights."""
        w = constant_of(context, 1)
        tensors = (context.activation(0).tensor, context.outputs[0].tensor, w)
        if any(tensor is None or tensor.dtype != "float32" for tensor in tensors):
            return "not float32 throughout"
        return refusal(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """Packs the weights by tap."""
        source, target = context.activation(0), context.outputs[0]
        shape = shape_of(context)
        w, bias = constant_of(context, 1), constant_of(context, 2)
        if w is None or w.data is None:
            raise ValueError("the weights are not constant")
        channels = shape.groups * shape.channels_out
        values = np.zeros(channels, np.float32) if bias is None or bias.data is None else bias.data
        tap_params, tap_arguments = _taps_arguments(shape)
        instructions = _float_instructions(shape)
        return KernelCall(
            kernel=kernel(
                self.name,
                label(f"conv_transpose_float32_{extent_label(shape.kernel)}", target),
                (
                    reads(source.tensor),
                    Param(ctype="const float *", name="weights"),
                    Param(ctype="const float *", name="bias"),
                    *tap_params,
                    writes(target.tensor),
                ),
                includes=("mc_math.h",),
                together=min(_FLOATS, shape.channels_out),
                **_literals(context, shape),
            ),
            arguments=(
                InputArg(index=0),
                weights("weights", "float", _by_tap(w.data, shape), "kernel row, column, M, C"),
                weights("bias", "float", values),
                *tap_arguments,
                OutputArg(index=0),
            ),
            variant=self.name,
            reason=f"float32 elements, {counted(min(_FLOATS, shape.channels_out), 'output channel')} at a time",
            stack_bytes=176,
            instructions=instructions,
            cycles=cycles(instructions),
            float_arithmetic=True,
        )


def _float_instructions(shape: TransposedShape) -> int:
    """An estimate: up to ``_FLOATS`` output channels share the loads of the inputs and the walk over the taps."""
    whole, rest = divmod(shape.channels_out, _FLOATS)
    blocks = shape.groups * (whole + (rest > 0))
    products = shape.groups * shape.channels_in * ((4 + 2 * _FLOATS) * whole + (4 + 2 * rest if rest else 0))
    taps = shape.batch * len(shape.taps(0)[1]) * len(shape.taps(1)[1])
    return taps * (products + 14 * blocks) + shape.batch * shape.out[0] * shape.out[1] * 18 * blocks


VARIANTS: tuple[Variant, ...] = (ConvTransposeProduct(), ConvTransposeInt8(), ConvTransposeFloat())
