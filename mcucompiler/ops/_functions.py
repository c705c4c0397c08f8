# SPDX-License-Identifier: Apache-2.0
"""The functions of one element: their parameters, their meaning in real arithmetic and in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from mcucompiler.ops import _elementary

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

_ERF = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of one element.

    Attributes:
        real: in float64: (x, *params) to y.
        defaults: the parameters of ONNX, in its order, with their default values.
        single: in float32: (x, *params) to y, where that is not the float64 result rounded once.
        onnxruntime: whether on quantized tensors the float32 function is meant, between a DequantizeLinear and a
            QuantizeLinear in float32: ONNX Runtime has an integer twin that does just that (LeakyRelu, Sigmoid), or
            the function itself does not round.
    """

    real: Callable[..., Float64Array]
    defaults: tuple[float, ...] = ()
    single: Callable[..., Float32Array] | None = None
    onnxruntime: bool = False


def _sigmoid(x: Float64Array) -> Float64Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def _softplus(x: Float64Array) -> Float64Array:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


def _gelu(x: Float64Array, approximate: float) -> Float64Array:
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    return np.asarray(0.5 * x * (1 + _ERF(x / math.sqrt(2))))


def _clip(x: npt.NDArray[Any], lo: float, hi: float) -> npt.NDArray[Any]:
    return np.asarray(np.minimum(np.maximum(x, x.dtype.type(lo)), x.dtype.type(hi)))


def _hard_sigmoid32(x: Float32Array, alpha: float, beta: float) -> Float32Array:
    real = np.float32(alpha) * x + np.float32(beta)
    return np.asarray(np.maximum(np.float32(0), np.minimum(np.float32(1), real)), dtype=np.float32)


def _hard_swish32(x: Float32Array) -> Float32Array:
    return np.asarray(x * _hard_sigmoid32(x, float(np.float32(1 / 6)), 0.5), dtype=np.float32)


def _leaky32(x: Float32Array, alpha: float) -> Float32Array:
    return np.asarray(np.where(x >= 0, x, np.float32(alpha) * x), dtype=np.float32)


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "abs": Function(real=np.abs),
        "ceil": Function(real=np.ceil),
        "celu": Function(
            real=lambda x, a: np.maximum(x, 0) + np.minimum(a * np.expm1(np.minimum(x, 0) / a), 0), defaults=(1.0,)
        ),
        "clip": Function(real=_clip, defaults=(-math.inf, math.inf), single=_clip, onnxruntime=True),
        "cos": Function(real=np.cos),
        "elu": Function(real=lambda x, a: np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))), defaults=(1.0,)),
        "erf": Function(real=lambda x: _ERF(x)),
        "exp": Function(real=np.exp),
        "floor": Function(real=np.floor),
        "gelu": Function(real=_gelu, defaults=(0.0,)),
        "hardsigmoid": Function(
            real=lambda x, a, b: np.clip(a * x + b, 0, 1),
            defaults=(float(np.float32(0.2)), 0.5),
            single=_hard_sigmoid32,
        ),
        "hardswish": Function(real=lambda x: x * np.clip(x / 6 + 0.5, 0, 1), single=_hard_swish32),
        "identity": Function(real=lambda x: x, single=lambda x: x, onnxruntime=True),
        "leakyrelu": Function(
            real=lambda x, a: np.where(x >= 0, x, a * x),
            defaults=(float(np.float32(0.01)),),
            single=_leaky32,
            onnxruntime=True,
        ),
        "log": Function(real=np.log),
        "mish": Function(real=lambda x: x * np.tanh(_softplus(x))),
        "neg": Function(real=np.negative),
        "reciprocal": Function(real=lambda x: 1 / x),
        "relu": Function(
            real=lambda x: np.maximum(x, 0), single=lambda x: np.maximum(x, np.float32(0)), onnxruntime=True
        ),
        "round": Function(real=np.rint),
        "selu": Function(
            real=lambda x, a, g: g * np.where(x > 0, x, a * np.expm1(np.minimum(x, 0))),
            defaults=(float(np.float32(1.67326319217681884765625)), float(np.float32(1.05070102214813232421875))),
        ),
        "sigmoid": Function(real=_sigmoid, single=_elementary.logistic, onnxruntime=True),
        "sign": Function(real=np.sign),
        "sin": Function(real=np.sin),
        "softplus": Function(real=_softplus),
        "softsign": Function(real=lambda x: x / (1 + np.abs(x))),
        "sqrt": Function(real=np.sqrt),
        "swish": Function(real=lambda x, a: x * _sigmoid(a * x), defaults=(1.0,)),
        "tanh": Function(real=np.tanh, single=_elementary.tanh),
        "thresholdedrelu": Function(real=lambda x, a: np.where(x > a, x, 0.0), defaults=(1.0,)),
    }
)
