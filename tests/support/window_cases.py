# SPDX-License-Identifier: Apache-2.0
"""Random cases for pools, means, softmax, linear resizing and transposed convolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.lower.layout import Layout
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops import AveragePool, ConvTranspose, MaxPool, ReduceMean, Resize, Softmax
from mcucompiler.ops.base import Clamp
from mcucompiler.ops.resize import COORDINATES
from tests.support.kernels import Case
from tests.support.random_cases import (
    FLOAT_OPTIONS,
    Rng,
    a_layout,
    constant,
    quant,
    random_quant,
    tensor,
    unary_case,
)

KINDS = ("int8", "int8", "uint8", "float32")


def a_kind(rng: Rng) -> str:
    return str(rng.choice(KINDS))


def window(rng: Rng, spatial: tuple[int, ...]) -> dict[str, Any]:
    rank = len(spatial)
    kernel = tuple(int(rng.integers(1, 5)) for _ in range(rank))
    if rng.random() < 0.15:
        return {
            "kernel": spatial,
            "strides": (1,) * rank,
            "pads": (0,) * (2 * rank),
            "dilations": (1,) * rank,
            "ceil_mode": False,
        }
    return {
        "kernel": kernel,
        "strides": tuple(int(rng.integers(1, 4)) for _ in range(rank)),
        "pads": tuple(int(rng.integers(0, 3)) for _ in range(2 * rank)),
        "dilations": tuple(int(rng.choice([1, 1, 2, 3])) for _ in range(rank)),
        "ceil_mode": bool(rng.random() < 0.3),
    }


def a_clamp(rng: Rng, dtype: str) -> Clamp | None:
    if dtype != "int8" or rng.random() < 0.6:
        return None
    return Clamp(lo=int(rng.integers(-128, 0)), hi=int(rng.integers(0, 128)))


def options(rng: Rng) -> LoweringOptions:
    return FLOAT_OPTIONS if rng.random() < 0.2 else LoweringOptions()


def image(rng: Rng, least: int = 1) -> tuple[int, ...]:
    spatial = tuple(int(n) for n in rng.integers(least, 11, int(rng.integers(1, 3))))
    return (int(rng.integers(1, 3)), int(rng.integers(1, 11)), *spatial)


def a_pool(rng: Rng) -> Case:
    while True:
        shape, dtype = image(rng), a_kind(rng)
        x = tensor("x", shape, dtype, random_quant(rng, dtype))
        attributes = window(rng, shape[2:])
        same = rng.random() < 0.4
        if rng.random() < 0.4:
            op: MaxPool | AveragePool = MaxPool(**attributes)
            same = True
        else:
            op = AveragePool(count_include_pad=bool(rng.random() < 0.5), clamp=a_clamp(rng, dtype), **attributes)
        try:
            result = op.output_shapes((x,))[0]
        except ModelError:
            continue  # the window does not fit this image: take another
        y = tensor("y", result, dtype, x.quant if same else random_quant(rng, dtype))
        return unary_case(rng, op, x, y, options=options(rng))


def a_pool_of_rows(rng: Rng) -> Case:
    """A pool whose input is given by pointers to its rows; no padding above and below."""
    while True:
        shape, dtype = (1, int(rng.integers(1, 11)), *(int(n) for n in rng.integers(1, 11, 2))), a_kind(rng)
        attributes = window(rng, shape[2:])
        _, left, _, right = attributes["pads"]
        attributes |= {"pads": (0, left, 0, right), "ceil_mode": False}
        x = tensor("x", shape, dtype, random_quant(rng, dtype))
        op: MaxPool | AveragePool = AveragePool(count_include_pad=True, **attributes)
        if rng.random() < 0.5:
            op = MaxPool(**attributes)
        try:
            result = op.output_shapes((x,))[0]
        except ModelError:
            continue  # the window does not fit this image: take another
        if isinstance(op, AveragePool) and op.is_global(shape[2:]):
            continue
        y = tensor("y", result, dtype, x.quant if isinstance(op, MaxPool) else random_quant(rng, dtype))
        return replace(unary_case(rng, op, x, y, options=options(rng)), row_pointers=True)


def a_mean(rng: Rng) -> Case:
    shape, dtype = tuple(int(n) for n in rng.integers(1, 9, int(rng.integers(1, 5)))), a_kind(rng)
    axes = tuple(sorted({int(a) for a in rng.integers(0, len(shape), 3)}))
    op = ReduceMean(axes=axes, keepdims=bool(rng.random() < 0.5), clamp=a_clamp(rng, dtype))
    x = tensor("x", shape, dtype, random_quant(rng, dtype))
    y = tensor("y", op.output_shapes((x,))[0], dtype, random_quant(rng, dtype))
    layout = a_layout(rng, shape)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    perm = layout.perm if op.keepdims else tuple(kept.index(axis) for axis in layout.perm if axis in kept)
    out_layout = Layout(view=y.shape, perm=perm)
    return unary_case(rng, op, x, y, layout=layout, out_layout=out_layout, options=options(rng))


def a_softmax(rng: Rng) -> Case:
    shape, dtype = tuple(int(n) for n in rng.integers(1, 12, int(rng.integers(1, 4)))), a_kind(rng)
    axis = int(rng.integers(0, len(shape)))
    layout = Layout(view=shape, perm=(*(a for a in range(len(shape)) if a != axis), axis))
    x = tensor("x", shape, dtype, random_quant(rng, dtype))
    scale = float(rng.choice([1 / 256, 1 / 128, 0.0079]))
    y = tensor("y", shape, dtype, None if dtype == "float32" else quant(scale, int(x.quant.z if x.quant else 0)))
    return unary_case(rng, Softmax(axis=axis), x, y, layout=layout, out_layout=layout)


def a_resize(rng: Rng) -> Case:
    shape, dtype = image(rng), a_kind(rng)
    if rng.random() < 0.4:
        sizes = (*shape[:2], *(2 * n for n in shape[2:]))
    else:
        sizes = (*shape[:2], *(int(n) for n in rng.integers(1, 16, len(shape) - 2)))
    op = Resize(
        sizes=sizes,
        scales=tuple(float(np.float32(new / old)) for new, old in zip(sizes, shape, strict=True)),
        mode="linear",
        coordinates=str(rng.choice(COORDINATES)),
        truncate=dtype != "float32" and bool(rng.random() < 0.5),
    )
    q = random_quant(rng, dtype)
    return unary_case(rng, op, tensor("x", shape, dtype, q), tensor("y", sizes, dtype, q))


def weights(rng: Rng, shape: tuple[int, ...], groups: int, dtype: str) -> Tensor:
    if dtype == "float32":
        return constant(rng, tensor("w", shape, dtype))
    count = shape[1] if groups == 1 and rng.random() < 0.5 else 1
    zero = int(rng.choice([0, 0, 7, -128]))
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.0005, 0.02, count))
    params = QuantParams(scale=scales, zero_point=(zero,) * count, axis=1 if count > 1 else None)
    return constant(rng, tensor("w", shape, "int8", params))


def a_conv_transpose(rng: Rng) -> Case:
    while True:
        shape, dtype = image(rng), str(rng.choice(["int8", "int8", "float32"]))
        rank = len(shape) - 2
        groups = int(rng.choice([1, 1, 2, 3, shape[1]]))
        per_group = int(rng.integers(1, 6))
        shape = (shape[0], -(-shape[1] // groups) * groups, *shape[2:])
        w = weights(rng, (shape[1], per_group, *(int(k) for k in rng.integers(1, 5, rank))), groups, dtype)
        op = ConvTranspose(
            strides=tuple(int(s) for s in rng.integers(1, 4, rank)),
            pads=tuple(int(p) for p in rng.integers(0, 3, 2 * rank)),
            dilations=tuple(int(d) for d in rng.choice([1, 1, 2], rank)),
            output_padding=tuple(int(p) for p in rng.integers(0, 2, rank)),
            groups=groups,
            clamp=a_clamp(rng, dtype),
        )
        bias = None
        if rng.random() < 0.7:
            kind = "float32" if dtype == "float32" else "int32"
            bias = Tensor(
                name="b", shape=(per_group * groups,), dtype=kind, data=rng.integers(-9999, 9999, per_group * groups)
            )
            bias = bias.replace(data=rng.integers(-9999, 9999, per_group * groups).astype(kind))
        x = tensor("x", shape, dtype, random_quant(rng, dtype))
        try:
            result = op.output_shapes((x, w, bias))[0]
        except ModelError:
            continue  # the padding removes the whole output: take another
        y = tensor("y", result, dtype, random_quant(rng, dtype))
        return unary_case(rng, op, x, y, constants=(w, bias), options=options(rng))


def a_disjoint_conv_transpose(rng: Rng) -> Case:
    """Stride = kernel, nothing cut off: every output has one tap."""
    rank, batch = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    shape = (batch, int(rng.integers(1, 11)), *(int(n) for n in rng.integers(1, 11, rank)))
    kernel = tuple(int(k) for k in rng.integers(2, 5, rank)) if rng.random() < 0.8 else (1, 3)[-rank:]
    channels = int(rng.integers(1, 9))
    w = weights(rng, (shape[1], channels, *kernel), 1, "int8")
    op = ConvTranspose(
        strides=kernel,
        pads=(0,) * (2 * rank),
        dilations=(1,) * rank,
        output_padding=(0,) * rank,
        clamp=a_clamp(rng, "int8"),
    )
    bias = None
    if rng.random() < 0.7:
        bias = Tensor(
            name="b", shape=(channels,), dtype="int32", data=rng.integers(-9999, 9999, channels).astype(np.int32)
        )
    x = tensor("x", shape, "int8", random_quant(rng, "int8"))
    y = tensor("y", op.output_shapes((x, w, bias))[0], "int8", random_quant(rng, "int8"))
    strided = bool(rng.random() < 0.5)
    chosen = options(rng) if rng.random() < 0.7 else LoweringOptions(optimize=str(rng.choice(["ram", "size"])))
    case = unary_case(rng, op, x, y, constants=(w, bias), strided=strided, options=chosen)
    return replace(case, variant="conv_transpose_product")
