# SPDX-License-Identifier: Apache-2.0
"""Random cases for elementwise arithmetic and conversions."""

from __future__ import annotations

import math

import numpy as np

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.lower.layout import Layout
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.lower.variants.unary import FUNCTIONS
from mcucompiler.ops import Add, Cast, Dequantize, Div, Mul, Quantize, Sub, Unary
from mcucompiler.ops.base import Clamp, Operator
from tests.support.kernels import Case
from tests.support.random_cases import (
    FLOAT_OPTIONS,
    Rng,
    a_layout,
    gap,
    random_quant,
    tensor,
    unary_case,
    values,
)

TYPES = ("int8", "uint8", "int16", "int32", "float32")


def operand_shape(rng: Rng, shape: tuple[int, ...]) -> tuple[int, ...]:
    if rng.random() < 0.5:
        return shape
    cut = shape[int(rng.integers(0, len(shape) + 1)) :]
    return tuple(1 if rng.random() < 0.5 else extent for extent in cut)


def broadcast_layout(order: Layout, shape: tuple[int, ...]) -> Layout:
    lead = len(order.view) - len(shape)
    return Layout(view=shape, perm=tuple(p - lead for p in order.perm if p >= lead))


def operator(rng: Rng, dtype: str) -> Operator:
    clamp = None
    if dtype == "int8" and rng.random() < 0.3:
        clamp = Clamp(lo=int(rng.integers(-128, 0)), hi=int(rng.integers(0, 128)))
    kinds: list[Operator] = [Add(clamp=clamp), Sub(clamp=clamp), Mul(clamp=clamp), Div(clamp=clamp)]
    return kinds[int(rng.choice(4, p=[0.4, 0.15, 0.35, 0.1]))]


def a_pair(rng: Rng) -> Case:
    dtype = str(rng.choice(["int8", "int8", "int8", "uint8", "float32"]))
    shape = tuple(int(n) for n in rng.integers(1, 8, int(rng.integers(1, 5))))
    op, order = operator(rng, dtype), a_layout(rng, shape)
    operands = [tensor(n, operand_shape(rng, shape), dtype, random_quant(rng, dtype)) for n in "ab"]
    layouts = {n: broadcast_layout(order, t.shape) for n, t in enumerate(operands)}
    arrays: list[Array | None] = [values(rng, t) for t in operands]
    inputs: list[Tensor] = list(operands)
    if rng.random() < 0.3:
        index = int(rng.integers(0, 2))
        inputs[index], arrays[index] = operands[index].replace(data=arrays[index]), None
    result = tensor("y", op.output_shapes(operands)[0], dtype, random_quant(rng, dtype))
    out_layout = broadcast_layout(order, result.shape)
    strides = {n: gap(rng, t.shape, layouts[n]) for n, t in enumerate(inputs) if t.data is None}
    return Case(
        op=op,
        inputs=tuple(inputs),
        outputs=(result,),
        values=tuple(arrays),
        in_layouts=layouts,
        in_strides={n: s for n, s in strides.items() if s is not None},
        out_layout=out_layout,
        out_stride=gap(rng, result.shape, out_layout),
        options=FLOAT_OPTIONS if rng.random() < 0.2 else LoweringOptions(),
    )


def special(x: Array, rng: Rng) -> Array:
    """float32 values with the awkward ones among them."""
    awkward = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40, 0.5, -0.5, 1.5, 2.5, 8388607.5, 127.5])
    flat = np.where(rng.random(x.size) < 0.3, rng.choice(awkward, x.size), x.reshape(-1))
    return flat.reshape(x.shape).astype(np.float32)


def a_conversion(rng: Rng) -> Case:
    shape = tuple(int(n) for n in rng.integers(1, 8, int(rng.integers(1, 5))))
    layout, which = a_layout(rng, shape), int(rng.integers(0, 3))
    if which == 0:
        target = str(rng.choice(["int8", "uint8", "int16"]))
        q = random_quant(rng, target)
        x, y, op = tensor("x", shape, "float32"), tensor("y", shape, target, q), Quantize()
    elif which == 1:
        source = str(rng.choice(["int8", "uint8", "int16", "int32"]))
        x, y, op = tensor("x", shape, source, random_quant(rng, source)), tensor("y", shape, "float32"), Dequantize()
    else:
        source, target = str(rng.choice(TYPES)), str(rng.choice([*TYPES, "bool"]))
        x, y, op = tensor("x", shape, source), tensor("y", shape, target), Cast(to=target)
    value = values(rng, x)
    if x.dtype == "float32":
        value = special((value * rng.choice([1, 50, 1e6])).astype(np.float32), rng)
    return unary_case(rng, op, x, y, value=value, layout=layout, out_layout=layout)


def a_function(name: str, rng: Rng, params: tuple[float, ...] = (), dtype: str = "float32") -> Case:
    shape = (1, 3, 9, 7)
    x = tensor("x", shape, dtype, random_quant(rng, dtype))
    y = tensor("y", shape, dtype, random_quant(rng, dtype))
    value = special(values(rng, x), rng) if dtype == "float32" else values(rng, x)
    if (name, params, dtype) == ("gelu", (1.0,), "float32"):
        # Far below zero 1 + tanh cancels all but the last bits of a double, which belong to the library.
        value = np.maximum(np.nan_to_num(value), np.float32(-1.0))
    return unary_case(rng, Unary(function=name, params=params), x, y, value=value)


FUNCTION_CASES = [
    *((name, ()) for name in (*FUNCTIONS, "relu", "clip")),
    ("clip", (-1.0, 2.5)),
    ("clip", (-1.0,)),
    ("clip", (-math.inf, 2.0)),
    ("leakyrelu", (0.25,)),
    ("hardsigmoid", (float(np.float32(1 / 6)), 0.5)),
    ("elu", (0.5,)),
    ("gelu", (1.0,)),
]
