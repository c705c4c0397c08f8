# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products in integers: weights less zero points, folded biases, requantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.lower.types import Exactness, NodeContext, Stored
from mcucompiler.numerics.integer_form import RequantForm, accumulator_range, find_requant_form
from mcucompiler.numerics.requantize import conv_multiplier, requantize, wrap32
from mcucompiler.ops.base import Clamp

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

_UNIT_BITS = 16
"""Fraction bits that an output may have in a bias that is exact in float32."""
INT8_RANGE = INTEGER_RANGES["int8"]
FLOAT_FLAG = 0x80000000  # multipliers are positive


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedLayer:
    """The integer program of a layer with M output channels and K products in a sum.

    Attributes:
        weights: int64 [M, K], less their zero points, in ONNX order.
        bias: int64 [M] within int32: the bias less zero_point times the sum of the weights, modulo 2^32.
        form: how accumulators are requantized.
        zero_point: of the input; what padding reads.
    """

    weights: Int64Array
    bias: Int64Array
    form: RequantForm
    zero_point: int

    @property
    def record_bits(self) -> npt.NDArray[np.uint32]:
        """The multipliers of channels' records, [M]: integers where proved, else floats with ``FLOAT_FLAG``."""
        return np.where(self.form.proved, self.integer_bits, self.float_bits | np.uint32(FLOAT_FLAG))

    @property
    def integer_bits(self) -> npt.NDArray[np.uint32]:
        """The integer multipliers as words, [M]."""
        return self.form.multipliers.astype(np.int32).view(np.uint32)

    @property
    def float_bits(self) -> npt.NDArray[np.uint32]:
        """The bits of the float32 multipliers, [M]."""
        return self.form.float_multipliers.astype(np.float32).view(np.uint32)


def integer_refusal(context: NodeContext) -> str | None:
    """Why a convolution or matrix product is not one of int8 activations with constant weights; None if it is."""
    x, w, y = context.inputs[0], context.inputs[1], context.outputs[0].tensor
    bias = context.inputs[2] if len(context.inputs) > 2 else None
    if not isinstance(x, Stored) or not isinstance(w, Tensor) or isinstance(bias, Stored):
        return "the activation is constant, or weights or bias are not"
    for tensor in (x.tensor, y):
        if tensor.dtype != "int8" or tensor.quant is None or not tensor.quant.per_tensor:
            return f"{tensor.name!r} is {tensor.dtype}, not quantized int8"
    if w.quant is None or w.dtype not in ("int8", "uint8"):
        return f"the weights are {w.dtype}, not quantized int8 or uint8"
    if bias is not None and bias.dtype != "int32":
        return f"the bias is {bias.dtype}, not int32"
    if not bool(np.isfinite(_multipliers(x.tensor, w, y)).all()):
        return "the scales give an infinite requantization multiplier"
    return None


def weighted_layer(context: NodeContext, clamp: Clamp | None) -> WeightedLayer:
    """The integer program of a node that ``integer_refusal`` lets pass.

    Args:
        context: a node with inputs x, w [M, ...] and optional bias [M].
        clamp: the activation folded into it.
    """
    x, w, y = context.activation(0).tensor, context.constant(1), context.outputs[0].tensor
    if w is None or x.quant is None or y.quant is None:
        raise ValueError(f"{context.node.name!r} is not an integer layer with constant weights")
    weights = integer_weights(w)
    channels = len(weights)
    given = context.constant(2)
    bias = np.zeros(channels, np.int64) if given is None or given.data is None else given.data.astype(np.int64)
    output = (y.quant.z, *bounds(clamp))
    reach = (INT8_RANGE[0] - x.quant.z, INT8_RANGE[1] - x.quant.z)
    weights, bias, factor = _without_idle_weights(weights, bias, _multipliers(x, w, y), reach, output)
    least, greatest = accumulator_range(weights, bias, *reach)
    form = _requant_form(factor.tobytes(), *output, least.tobytes(), greatest.tobytes(), context.options.exact)
    folded = wrap32(bias - x.quant.z * weights.sum(axis=1)).astype(np.int64)
    return WeightedLayer(weights=weights, bias=folded, form=form, zero_point=x.quant.z)


def _without_idle_weights(
    weights: Int64Array, bias: Int64Array, factor: Float32Array, reach: tuple[int, int], output: tuple[int, int, int]
) -> tuple[Int64Array, Int64Array, Float32Array]:
    """The same outputs, with weights of 0 in channels whose output never changes, as those that training let die.

    Their biases and scales are often extreme. Here they become a power of two that is like the others' scales, and a
    bias that gives the output exactly, so that they do not restrict how the layer is computed.

    Args:
        weights: [M, K].
        bias: [M].
        factor: [M], from sum to output.
        reach: least and greatest input less zero point.
        output: zero point, least and greatest output.
    """
    first, last = (requantize(acc, factor, *output) for acc in accumulator_range(weights, bias, *reach))
    idle = first == last
    others = factor[~idle & (factor > 0)]
    exponent = int(np.floor(np.log2(others.min()))) if others.size else -_UNIT_BITS // 2
    bits = min(max(-exponent, 0), _UNIT_BITS)
    return (
        np.where(idle[:, None], 0, weights),
        np.where(idle, (first.astype(np.int64) - output[0]) << bits, bias),
        np.where(idle, np.float32(2.0**-bits), factor),
    )


@lru_cache(maxsize=1024)
def _requant_form(
    multipliers: bytes, zero_point: int, lo: int, hi: int, least: bytes, greatest: bytes, exact: str
) -> RequantForm:
    """``find_requant_form`` on the bytes of arrays: bands of a layer have one form, however many rows they make."""
    lows, highs = (np.frombuffer(values, np.int64) for values in (least, greatest))
    return find_requant_form(np.frombuffer(multipliers, np.float32), zero_point, lo, hi, lows, highs, exact=exact)


def later(layer: WeightedLayer, make: Callable[[WeightedLayer], Array]) -> Callable[[], Array]:
    """What packs the constants of a layer when they are asked for; until then it holds the weights in 16 bits."""
    weights = layer.weights.astype(np.int16)
    rest = replace(layer, weights=np.empty((0, 0), np.int64))
    return lambda: make(replace(rest, weights=weights.astype(np.int64)))


def integer_weights(w: Tensor | None) -> Int64Array:
    """Quantized constant weights [M, ...] less their zero points, as [M, K] in ONNX order."""
    if w is None or w.data is None or w.quant is None:
        raise ValueError("the weights are no quantized constant")
    channels = w.shape[0]
    zeros = np.broadcast_to(np.array(w.quant.zero_point, np.int64), (channels,))
    return np.asarray(w.data.reshape(channels, -1).astype(np.int64) - zeros[:, None])


def bounds(clamp: Clamp | None) -> tuple[int, int]:
    """Least and greatest int8 output under a folded activation."""
    lo, hi = INT8_RANGE
    return (lo, hi) if clamp is None else (max(lo, min(hi, clamp.lo)), min(hi, max(lo, clamp.hi)))


def exactness(proved: int, channels: int) -> Exactness:
    """Counts of channels with integer and with float tail."""
    return Exactness(proved=proved, float_tail=channels - proved)


def _multipliers(x: Tensor, w: Tensor, y: Tensor) -> npt.NDArray[np.float32]:
    if x.quant is None or w.quant is None or y.quant is None:
        raise ValueError("tensors are not quantized")
    scales = np.broadcast_to(np.array(w.quant.scale, np.float32), (w.shape[0],))
    return np.asarray(conv_multiplier(x.quant.s, scales, y.quant.s), np.float32)
