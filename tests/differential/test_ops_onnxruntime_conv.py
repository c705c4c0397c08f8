# SPDX-License-Identifier: Apache-2.0
"""Convolutions and matrix products against ONNX Runtime's QLinearConv, QLinearMatMul and QGemm: no mismatch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.ir.graph import Tensor
from mcucompiler.ops import Conv, ConvTranspose, Gemm
from tests.support.ops_onnxruntime import (
    apply,
    assert_equal,
    integers,
    plain,
    quantized,
    run_node,
    scales,
    seeds,
    zero_points,
)

TYPES = st.sampled_from([("int8", "int8"), ("uint8", "int8"), ("uint8", "uint8")])


@st.composite
def geometries(draw: Any) -> dict[str, Any]:
    """Spatial shape, kernel, strides, pads, dilations and channels of a convolution with at least one window."""
    rank = draw(st.sampled_from([1, 2, 2, 2]))
    kernel, strides, dilations, begins, ends, spatial = [], [], [], [], [], []
    for _ in range(rank):
        k, d = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 2, 3]))
        begin, end = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        span = d * (k - 1) + 1
        spatial.append(draw(st.integers(max(1, span - begin - end), span + 9)))
        kernel.append(k)
        dilations.append(d)
        begins.append(begin)
        ends.append(end)
        strides.append(draw(st.integers(1, 3)))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    return {
        "spatial": tuple(spatial),
        "kernel": tuple(kernel),
        "strides": tuple(strides),
        "pads": (*begins, *ends),
        "dilations": tuple(dilations),
        "groups": groups,
        "group_in": draw(st.sampled_from([1, 2, 5])),
        "group_out": draw(st.sampled_from([1, 2, 3])),
        "batch": draw(st.sampled_from([1, 1, 2])),
    }


def _weights(draw: Any, rng: np.random.Generator, dtype: str, shape: tuple[int, ...], channels: int) -> Tensor:
    per_channel = draw(st.booleans())
    base = draw(scales(-4, -1))
    scale = base * (10.0 ** rng.uniform(-1, 1, channels)) if per_channel else base
    zero_point = 0 if per_channel else draw(st.one_of(st.just(0 if dtype == "int8" else 128), zero_points(dtype)))
    data = integers(rng, dtype, shape)
    return quantized("w", shape, dtype, scale, zero_point, axis=0 if per_channel else None, data=data)


def _bias(draw: Any, rng: np.random.Generator, channels: int) -> np.ndarray | None:
    kind = draw(st.sampled_from(["none", "small", "wraps"]))
    if kind == "none":
        return None
    if kind == "small":
        return rng.integers(-(2**15), 2**15, channels).astype(np.int32)
    return rng.choice(np.array([-(2**31), 2**31 - 1, -(2**31) + 500, 0]), channels).astype(np.int32)


def _output_scale(draw: Any, sx: float, w: Tensor, taps: int) -> float:
    """Such that the outputs spread over their range, or not at all."""
    assert w.quant is not None
    spread = sx * float(np.median(w.quant.scale)) * 75 * 75 * np.sqrt(taps) / 60
    return float(np.float32(spread * draw(st.sampled_from([0.05, 0.5, 1.0, 2.0, 1e3]))))


@st.composite
def conv_cases(draw: Any) -> tuple[Conv, list[Tensor | None], Tensor, list[Any], dict[str, Any]]:
    g, (xt, wt) = draw(geometries()), draw(TYPES)
    rng = np.random.default_rng(draw(seeds))
    channels, filters = g["groups"] * g["group_in"], g["groups"] * g["group_out"]
    op = Conv(strides=g["strides"], pads=g["pads"], dilations=g["dilations"], groups=g["groups"])
    x = quantized("x", (g["batch"], channels, *g["spatial"]), xt, draw(scales(-3, 0)), draw(zero_points(xt)))
    w = _weights(draw, rng, wt, (filters, g["group_in"], *g["kernel"]), filters)
    bias = _bias(draw, rng, filters)
    b = None if bias is None else plain("b", bias, constant=True)
    (shape,) = op.output_shapes([x, w, b])
    assert x.quant is not None
    sy = _output_scale(draw, x.quant.scale[0], w, int(np.prod(w.shape[1:])))
    y = quantized("y", shape, xt, sy, draw(zero_points(xt)))
    return op, [x, w, b], y, [integers(rng, xt, x.shape), w.data, bias], g


def _quant_arrays(t: Tensor) -> tuple[np.ndarray, np.ndarray]:
    assert t.quant is not None
    scale, zero = np.array(t.quant.scale, np.float32), np.array(t.quant.zero_point, t.dtype)
    return (scale[0], zero[0]) if t.quant.per_tensor else (scale, zero)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(conv_cases())
def test_conv_equals_qlinearconv(case: Any) -> None:
    op, tensors, y, values, g = case
    expected = run_node(
        "QLinearConv",
        [values[0], *_quant_arrays(tensors[0]), values[1], *_quant_arrays(tensors[1]), *_quant_arrays(y), values[2]],
        y.dtype,
        kernel_shape=g["kernel"],
        strides=g["strides"],
        pads=g["pads"],
        dilations=g["dilations"],
        group=g["groups"],
    )
    assert_equal(apply(op, tensors, y, values), expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(conv_cases())
def test_conv_float_is_near_the_real_result(case: Any) -> None:
    op, tensors, y, _, g = case
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=t.shape).astype(np.float32) for t in tensors[:2])
    b = rng.normal(size=y.shape[1]).astype(np.float32)
    got = apply(
        op, [plain("x", x), plain("w", w), plain("b", b)], Tensor(name="y", shape=y.shape, dtype="float32"), [x, w, b]
    )
    attributes = {"kernel_shape": g["kernel"], "strides": g["strides"], "pads": g["pads"], "group": g["groups"]}
    expected = run_node("Conv", [x, w, b], "float32", dilations=g["dilations"], **attributes)
    # Each of the n terms is rounded once, at a magnitude below 30 or so.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2**-20 * np.prod(w.shape[1:]))


@st.composite
def gemm_cases(draw: Any) -> tuple[list[Tensor | None], Tensor, list[Any]]:
    xt, wt = draw(TYPES)
    rng = np.random.default_rng(draw(seeds))
    rows, depth, columns = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 16, 37, 300])), draw(st.integers(1, 20))
    x = quantized("x", (rows, depth), xt, draw(scales(-3, 0)), draw(zero_points(xt)))
    w = _weights(draw, rng, wt, (columns, depth), columns)
    bias = _bias(draw, rng, columns)
    b = None if bias is None else plain("b", bias, constant=True)
    assert x.quant is not None
    sy = _output_scale(draw, x.quant.scale[0], w, depth)
    y = quantized("y", (rows, columns), xt, sy, draw(zero_points(xt)))
    return [x, w, b], y, [integers(rng, xt, x.shape), w.data, bias]


@settings(max_examples=120, deadline=None, derandomize=True)
@given(gemm_cases())
def test_gemm_equals_qgemm(case: Any) -> None:
    (x, w, b), y, values = case
    expected = run_node(
        "QGemm",
        [values[0], *_quant_arrays(x), values[1], *_quant_arrays(w), values[2], *_quant_arrays(y)],
        y.dtype,
        domain="com.microsoft",
        transB=1,
    )
    assert_equal(apply(Gemm(), [x, w, b], y, values), expected)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(gemm_cases())
def test_gemm_equals_qlinearmatmul(case: Any) -> None:
    (x, w, _), y, values = case
    expected = run_node(
        "QLinearMatMul",
        [values[0], *_quant_arrays(x), values[1].T, *_quant_arrays(w), *_quant_arrays(y)],
        y.dtype,
    )
    assert_equal(apply(Gemm(), [x, w, None], y, [values[0], values[1], None]), expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(geometries(), seeds)
def test_conv_transpose_sums_are_exact(g: dict[str, Any], seed: int) -> None:
    """Small integers in float32 are exact, so ONNX Runtime's float kernel gives the exact accumulators."""
    rng = np.random.default_rng(seed)
    channels = g["groups"] * g["group_in"]
    x = rng.integers(-128, 127, (g["batch"], channels, *g["spatial"]), endpoint=True).astype(np.int8)
    w = rng.integers(-127, 127, (channels, g["group_out"], *g["kernel"]), endpoint=True).astype(np.int8)
    extra = tuple(min(1, s - 1) for s in g["strides"])
    pads = tuple(
        min(p, d * (k - 1) // 2) for p, d, k in zip(g["pads"], g["dilations"] * 2, g["kernel"] * 2, strict=True)
    )
    op = ConvTranspose(
        strides=g["strides"], pads=pads, dilations=g["dilations"], output_padding=extra, groups=g["groups"]
    )
    attributes = {
        "strides": g["strides"],
        "pads": pads,
        "dilations": g["dilations"],
        "output_padding": extra,
        "group": g["groups"],
        "kernel_shape": g["kernel"],
    }
    sums = run_node(
        "ConvTranspose", [x.astype(np.float32), w.astype(np.float32)], "float32", feeds=(0, 1), **attributes
    )
    tx = quantized("x", x.shape, "int8", 0.5, 0)
    tw = quantized("w", w.shape, "int8", 0.25, 0, data=w)
    (shape,) = op.output_shapes([tx, tw, None])
    y = quantized("y", shape, "int8", 0.125 * 16, 3)
    expected = np.clip(np.rint(sums / 16) + 3, -128, 127).astype(np.int8)
    assert_equal(apply(op, [tx, tw, None], y, [x, w, None]), expected)
    fx, fw = x.astype(np.float32), w.astype(np.float32)
    fy = Tensor(name="y", shape=shape, dtype="float32")
    assert_equal(apply(op, [plain("x", fx), plain("w", fw), None], fy, [fx, fw, None]), sums)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_conv_wraps_like_onnxruntime(dtype: str) -> None:
    """A bias of INT32_MIN, as files with dead channels have it, moves the sum to the other end of int32."""
    x = np.array([[[[5]]]], dtype=dtype)
    w = np.array([[[[-3]]]], dtype=np.int8)
    bias = np.array([-(2**31)], dtype=np.int32)
    tx, tw = quantized("x", x.shape, dtype, 1.0, 0), quantized("w", w.shape, "int8", 2.0**-24, 0, data=w)
    y = quantized("y", x.shape, dtype, 1.0, 0)
    op = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    expected = run_node(
        "QLinearConv",
        [x, *_quant_arrays(tx), w, *_quant_arrays(tw), *_quant_arrays(y), bias],
        dtype,
        kernel_shape=(1, 1),
    )
    got = apply(op, [tx, tw, plain("b", bias, constant=True)], y, [x, w, bias])
    assert got.item() > 0
    assert_equal(got, expected)
