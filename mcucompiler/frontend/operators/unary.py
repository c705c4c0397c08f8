# SPDX-License-Identifier: Apache-2.0
"""Functions of one element, and their QLinear twins."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Converter, Table, output_dtype
from mcucompiler.ir.graph import INTEGER_RANGES, Tensor
from mcucompiler.ops import Add, Mul, Unary

#: Functions with their attributes and these attributes' defaults, in the order of `Unary.params`.
FUNCTIONS: Mapping[str, tuple[tuple[str, float], ...]] = {
    "Abs": (),
    "Ceil": (),
    "Celu": (("alpha", 1.0),),
    "Cos": (),
    "Elu": (("alpha", 1.0),),
    "Erf": (),
    "Exp": (),
    "Floor": (),
    "HardSigmoid": (("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": (),
    "LeakyRelu": (("alpha", 0.01),),
    "Log": (),
    "Mish": (),
    "Neg": (),
    "Reciprocal": (),
    "Round": (),
    "Sign": (),
    "Selu": (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "Sigmoid": (),
    "Sin": (),
    "Softplus": (),
    "Softsign": (),
    "Sqrt": (),
    "Swish": (("alpha", 1.0),),
    "Tanh": (),
    "ThresholdedRelu": (("alpha", 1.0),),
}


def _emit(b: Builder, node: OnnxNode, x: Tensor, function: str, params: tuple[float, ...] = ()) -> None:
    op = Unary(function=function, params=params)
    b.emit(node, op, [x.name], dtype=x.dtype, output=node.outputs[0], transparent=function == "clip_int")


def _float_function(b: Builder, node: OnnxNode) -> None:
    x = b.float_activation(node)
    _emit(b, node, x, node.op_type.lower(), _numbers(node, FUNCTIONS[node.op_type]))


def _numbers(node: OnnxNode, attributes: tuple[tuple[str, float], ...]) -> tuple[float, ...]:
    """Attributes, or their defaults, as the float32 numbers that ONNX has."""
    return tuple(float(np.float32(node.get(name, default))) for name, default in attributes)


def gelu(b: Builder, node: OnnxNode) -> None:
    """Gelu, exact or by tanh."""
    approximate = node.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise node.invalid("unknown approximation", found=repr(approximate), supported="none, tanh")
    _emit(b, node, b.float_activation(node), "gelu", (float(approximate == "tanh"),))


def quick_gelu(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QuickGelu: ``x * sigmoid(alpha * x)``."""
    _emit(b, node, b.float_activation(node), "swish", _numbers(node, (("alpha", 1.702),)))


def relu(b: Builder, node: OnnxNode) -> None:
    """Relu; of integers it is a bound at the integer zero, whatever the zero point."""
    clip_to(b, node, b.activation(node), 0.0, np.inf)


def clip(b: Builder, node: OnnxNode) -> None:
    """Clip, its bounds being inputs since opset 11; an absent bound does not bound."""
    lo = b.scalar(node, 1, "lower bound", -np.inf)
    hi = b.scalar(node, 2, "upper bound", np.inf)
    clip_to(b, node, b.activation(node), lo, hi)


def clip_to(b: Builder, node: OnnxNode, x: Tensor, lo: float, hi: float) -> None:
    """Bound an activation, in its own units where it holds integers."""
    if x.dtype != "float32":
        least, most = INTEGER_RANGES[x.dtype]
        _emit(b, node, x, "clip_int", (float(max(lo, least)), float(min(hi, most))))
    elif lo == 0.0 and hi == np.inf:
        _emit(b, node, x, "relu")
    else:
        _emit(b, node, x, "clip", (lo, hi))


def min_max(b: Builder, node: OnnxNode) -> None:
    """Min or Max of an activation and numbers: a one-sided Clip."""
    names = [name for name in node.inputs if name]
    values = [b.value(name) for name in names]
    numbers = [float(v.reshape(())) for v in values if v is not None and v.size == 1]
    activations = [index for index, v in enumerate(values) if v is None]
    if len(activations) != 1 or len(numbers) != len(names) - 1:
        raise node.unsupported("of several activations or of lists; supported: one activation and constant numbers")
    x = b.activation(node, activations[0])
    if node.op_type == "Max":
        clip_to(b, node, x, max(numbers, default=-np.inf), np.inf)
    else:
        clip_to(b, node, x, -np.inf, min(numbers, default=np.inf))


def power(b: Builder, node: OnnxNode) -> None:
    """Pow with a constant exponent: a product, a root or a reciprocal."""
    exponent = b.value(node.needs_input(1, "exponent"))
    if exponent is None or exponent.size != 1 or b.value(node.needs_input(0, "base")) is not None:
        raise node.unsupported("an exponent that is not one constant number; supported: -1, 0.5, 1, 2, 3")
    x, number, output = b.float_activation(node), float(exponent.reshape(())), node.outputs[0]
    if number in (0.5, -1.0):
        _emit(b, node, x, "sqrt" if number == 0.5 else "reciprocal")
    elif number == 1.0:
        b.alias(node, x.name, output)
    elif number == 2.0:
        b.emit(node, Mul(), [x.name, x.name], dtype="float32", output=output)
    elif number == 3.0:
        square = b.emit(node, Mul(), [x.name, x.name], dtype="float32")
        b.emit(node, Mul(), [square, x.name], dtype="float32", output=output)
    else:
        raise node.unsupported(f"exponent {number}; supported: -1, 0.5, 1, 2, 3")


def prelu(b: Builder, node: OnnxNode) -> None:
    """PRelu with one constant slope is LeakyRelu; else ``max(x, 0) + slope * min(x, 0)``, which is exact."""
    x = b.float_activation(node)
    slope = b.constant(node, 1, "slope")
    if slope.size == 1:
        _emit(b, node, x, "leakyrelu", (float(slope.reshape(())),))
        return
    above = b.emit(node, Unary(function="relu"), [x.name], dtype="float32")
    below = b.emit(node, Unary(function="clip", params=(-np.inf, 0.0)), [x.name], dtype="float32")
    sloped = b.emit(node, Mul(), [below, node.input(1)], dtype="float32")
    b.emit(node, Add(), [above, sloped], dtype="float32", output=node.outputs[0])


def _qlinear(function: str, *attributes: tuple[str, float]) -> Converter:
    """The converter of a com.microsoft twin: X, its scale and zero point, those of Y."""

    def convert(b: Builder, node: OnnxNode) -> None:
        x = b.activation(node, 0, EIGHT_BIT)
        qx = b.quant_params(node, 1, 2, dtype=x.dtype, what="the input")
        dtype = output_dtype(b, node, 4, x.dtype)
        qy = b.quant_params(node, 3, 4, dtype=dtype, what="the output")
        op = Unary(function=function, params=_numbers(node, attributes))
        b.emit(node, op, [x.name], dtype=dtype, output=node.outputs[0], quant=qy, claims={0: qx})

    return convert


CONVERTERS: Table = {
    **{("", name): _float_function for name in FUNCTIONS},
    ("", "Clip"): clip,
    ("", "Gelu"): gelu,
    ("", "Max"): min_max,
    ("", "Min"): min_max,
    ("", "Pow"): power,
    ("", "PRelu"): prelu,
    ("", "Relu"): relu,
    ("com.microsoft", "Gelu"): gelu,
    ("com.microsoft", "QuickGelu"): quick_gelu,
    ("com.microsoft", "QLinearLeakyRelu"): _qlinear("leakyrelu", ("alpha", 0.01)),
    ("com.microsoft", "QLinearSigmoid"): _qlinear("sigmoid"),
}
