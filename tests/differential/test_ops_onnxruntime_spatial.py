# SPDX-License-Identifier: Apache-2.0
"""Pools, means, Resize and operators that move elements against ONNX Runtime: no mismatch of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.ir.graph import Tensor
from mcucompiler.ops import AveragePool, MaxPool, Pad, ReduceMean, Resize, Slice, Transpose
from tests.support.ops_onnxruntime import (
    BYTES,
    CONFIG,
    MICROSOFT,
    apply,
    assert_equal,
    integers,
    plain,
    qparams,
    quantized,
    run_node,
    scales,
    seeds,
    zero_points,
)


@st.composite
def pools(draw: Any, *, dilated: bool) -> dict[str, Any]:
    """Shape and window of a pool; pads smaller than the window, as ONNX Runtime wants them."""
    rank = draw(st.sampled_from([1, 2, 2]))
    result: dict[str, list[int]] = {n: [] for n in ("spatial", "kernel", "strides", "dilations", "begins", "ends")}
    for _ in range(rank):
        k = draw(st.integers(1, 5))
        d = draw(st.sampled_from([1, 1, 2])) if dilated else 1
        begin, end = draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))
        span = d * (k - 1) + 1
        result["spatial"].append(draw(st.integers(max(1, span - begin - end), span + 8)))
        for name, number in (
            ("kernel", k),
            ("dilations", d),
            ("begins", begin),
            ("ends", end),
            ("strides", draw(st.integers(1, 4))),
        ):
            result[name].append(number)
    return {
        "shape": (draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 3])), *result["spatial"]),
        "kernel": tuple(result["kernel"]),
        "strides": tuple(result["strides"]),
        "dilations": tuple(result["dilations"]),
        "pads": (*result["begins"], *result["ends"]),
        "ceil_mode": draw(st.booleans()),
    }


def _attributes(g: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernel_shape": g["kernel"],
        "strides": g["strides"],
        "pads": g["pads"],
        "ceil_mode": int(g["ceil_mode"]),
    }


@settings(max_examples=250, deadline=None, derandomize=True)
@given(pools(dilated=False), BYTES, st.data(), seeds, st.booleans(), st.booleans())
def test_average_pool(g: Any, dtype: str, data: Any, seed: int, count_include_pad: bool, whole: bool) -> None:
    if whole:
        g = {**g, "kernel": g["shape"][2:], "pads": (0,) * len(g["pads"])}
    rng = np.random.default_rng(seed)
    values = integers(rng, dtype, g["shape"])
    x = quantized("x", g["shape"], dtype, data.draw(scales()), data.draw(zero_points(dtype)))
    assert x.quant is not None
    op = AveragePool(
        kernel=g["kernel"],
        strides=g["strides"],
        pads=g["pads"],
        dilations=g["dilations"],
        ceil_mode=g["ceil_mode"],
        count_include_pad=count_include_pad,
    )
    same_scale = data.draw(st.booleans())
    y_scale = x.quant.scale[0] if same_scale else x.quant.scale[0] * data.draw(st.floats(0.2, 3))
    y = quantized("y", op.output_shapes([x])[0], dtype, y_scale, data.draw(zero_points(dtype)))
    expected = run_node(
        "QLinearAveragePool",
        [values, *qparams(x), *qparams(y)],
        dtype,
        domain=MICROSOFT,
        count_include_pad=int(count_include_pad),
        **_attributes(g),
    )
    assert_equal(apply(op, [x], y, [values]), expected)


@CONFIG
@given(pools(dilated=False), seeds, st.booleans())
def test_average_pool_float(g: Any, seed: int, count_include_pad: bool) -> None:
    """Windows that hang over the padded input are not compared: ONNX counts their elements in ways of its own."""
    g = {**g, "ceil_mode": False}
    x = np.random.default_rng(seed).normal(size=g["shape"]).astype(np.float32)
    op = AveragePool(
        kernel=g["kernel"],
        strides=g["strides"],
        pads=g["pads"],
        dilations=g["dilations"],
        count_include_pad=count_include_pad,
    )
    y = Tensor(name="y", shape=op.output_shapes([plain("x", x)])[0], dtype="float32")
    expected = run_node("AveragePool", [x], "float32", count_include_pad=int(count_include_pad), **_attributes(g))
    np.testing.assert_allclose(apply(op, [plain("x", x)], y, [x]), expected, rtol=0, atol=2e-6)


@CONFIG
@given(pools(dilated=True), st.sampled_from(["int8", "uint8", "float32"]), seeds)
def test_max_pool(g: Any, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    op = MaxPool(
        kernel=g["kernel"], strides=g["strides"], pads=g["pads"], dilations=g["dilations"], ceil_mode=g["ceil_mode"]
    )
    if dtype == "float32":
        values = rng.normal(size=g["shape"]).astype(np.float32)
        x = plain("x", values)
        y = Tensor(name="y", shape=op.output_shapes([x])[0], dtype="float32")
    else:
        values = integers(rng, dtype, g["shape"])
        x = quantized("x", g["shape"], dtype, 0.1, 3)
        y = quantized("y", op.output_shapes([x])[0], dtype, 0.1, 3)
    expected = run_node("MaxPool", [values], dtype, dilations=g["dilations"], **_attributes(g))
    assert_equal(apply(op, [x], y, [values]), expected)


@CONFIG
@given(BYTES, st.data(), seeds, st.sampled_from([(1, 1), (2, 3), (7, 7), (8, 8), (5, 64), (48, 48)]), st.booleans())
def test_global_average_pool(dtype: str, data: Any, seed: int, spatial: Any, last: bool) -> None:
    rng = np.random.default_rng(seed)
    values = integers(rng, dtype, (2, 3, *spatial))
    x = quantized("x", values.shape, dtype, data.draw(scales()), data.draw(zero_points(dtype)))
    assert x.quant is not None
    y_scale = x.quant.scale[0] * data.draw(st.floats(0.05, 3))
    y = quantized("y", (2, 3, 1, 1), dtype, y_scale, data.draw(zero_points(dtype)))
    feed = np.ascontiguousarray(values.transpose(0, 2, 3, 1)) if last else values
    expected = run_node(
        "QLinearGlobalAveragePool",
        [feed, *qparams(x), *qparams(y)],
        dtype,
        domain=MICROSOFT,
        channels_last=int(last),
    )
    assert_equal(apply(ReduceMean(axes=(2, 3)), [x], y, [values]), expected.reshape(2, 3, 1, 1))


@pytest.mark.parametrize("axes", [(0,), (1,), (3,), (1, 2), (0, 3), (0, 1, 2, 3), ()])
@pytest.mark.parametrize("keepdims", [True, False])
def test_reduce_mean_float(axes: tuple[int, ...], keepdims: bool) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 5, 6)).astype(np.float32)
    op = ReduceMean(axes=axes, keepdims=keepdims)
    y = Tensor(name="y", shape=op.output_shapes([plain("x", x)])[0], dtype="float32")
    expected = (
        run_node("ReduceMean", [x], "float32", axes=axes, keepdims=int(keepdims), opset_version=13) if axes else x
    )
    np.testing.assert_allclose(apply(op, [plain("x", x)], y, [x]), expected, rtol=0, atol=1e-6)


@st.composite
def resizes(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None, tuple[float, ...] | None, str]:
    """Input shape, sizes or scales, and a coordinate transformation mode; one or two spatial axes."""
    rank = draw(st.sampled_from([1, 2, 2]))
    spatial = [draw(st.integers(1, 9)) for _ in range(rank)]
    shape = (draw(st.sampled_from([1, 2])), draw(st.sampled_from([1, 3])), *spatial)
    coordinates = draw(
        st.sampled_from(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"])
    )
    if draw(st.booleans()):
        return shape, (*shape[:2], *(draw(st.integers(1, 20)) for _ in range(rank))), None, coordinates
    factors = [draw(st.sampled_from([0.5, 0.6, 1.0, 1.5, 2.0, 3.0, 2.6])) for _ in range(rank)]
    factors = [f if int(np.float32(f) * d) >= 1 else 2.0 for f, d in zip(factors, spatial, strict=True)]
    return shape, None, (1.0, 1.0, *factors), coordinates


def _resize(case: Any, mode: str, nearest: str = "round_prefer_floor", truncate: bool = False) -> Resize:
    shape, sizes, factors, coordinates = case
    if sizes is None:
        factors = tuple(float(np.float32(f)) for f in factors)
        sizes = tuple(int(np.float32(f) * np.float32(d)) for f, d in zip(factors, shape, strict=True))
    else:
        factors = tuple(float(np.float32(s) / np.float32(d)) for s, d in zip(sizes, shape, strict=True))
    return Resize(sizes=sizes, scales=factors, mode=mode, coordinates=coordinates, nearest=nearest, truncate=truncate)


def _run_resize(case: Any, values: np.ndarray, mode: str, **attributes: Any) -> np.ndarray:
    _, sizes, factors, coordinates = case
    inputs = [
        values,
        None,
        None if factors is None else np.array(factors, np.float32),
        None if sizes is None else np.array(sizes, np.int64),
    ]
    return run_node(
        "Resize",
        inputs,
        values.dtype.name,
        opset_version=19,
        mode=mode,
        coordinate_transformation_mode=coordinates,
        **attributes,
    )


@settings(max_examples=250, deadline=None, derandomize=True)
@given(resizes(), BYTES, seeds)
def test_resize_linear_integer_truncates(case: Any, dtype: str, seed: int) -> None:
    values = integers(np.random.default_rng(seed), dtype, case[0])
    op = _resize(case, "linear", truncate=True)
    x, y = quantized("x", case[0], dtype, 0.1, 5), quantized("y", op.sizes, dtype, 0.1, 5)
    assert_equal(apply(op, [x], y, [values]), _run_resize(case, values, "linear"))


@CONFIG
@given(resizes(), seeds)
def test_resize_linear_float(case: Any, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=case[0]).astype(np.float32)
    op = _resize(case, "linear")
    y = Tensor(name="y", shape=op.sizes, dtype="float32")
    assert_equal(apply(op, [plain("x", values)], y, [values]), _run_resize(case, values, "linear"))


@CONFIG
@given(resizes(), BYTES, st.data(), seeds)
def test_resize_linear_rounds_the_real_result(case: Any, dtype: str, data: Any, seed: int) -> None:
    """Integer results without truncation are those of the real elements, rounded half to even."""
    values = integers(np.random.default_rng(seed), dtype, case[0])
    op = _resize(case, "linear")
    x = quantized("x", case[0], dtype, 1.0, data.draw(zero_points(dtype)))
    y = x.replace(name="y", shape=op.sizes)
    real = _run_resize(case, values.astype(np.float32) - np.float32(x.quant.z), "linear")
    expected = run_node("QuantizeLinear", [real, *qparams(y)], dtype)
    assert_equal(apply(op, [x], y, [values]), expected)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    resizes(),
    st.sampled_from(["int8", "uint8", "float32"]),
    seeds,
    st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
)
def test_resize_nearest(case: Any, dtype: str, seed: int, nearest: str) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=case[0]).astype(np.float32) if dtype == "float32" else integers(rng, dtype, case[0])
    op = _resize(case, "nearest", nearest)
    x = plain("x", values)
    y = Tensor(name="y", shape=op.sizes, dtype=dtype)
    assert_equal(apply(op, [x], y, [values]), _run_resize(case, values, "nearest", nearest_mode=nearest))


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize(
    ("dim", "size", "coordinates"),
    [
        (20, 6, "half_pixel"),
        (30, 1, "half_pixel"),
        (30, 47, "half_pixel"),
        (7, 2, "asymmetric"),
        (28, 38, "half_pixel_symmetric"),
        (28, 39, "pytorch_half_pixel"),
    ],
)
def test_resize_nearest_near_halves(dim: int, size: int, coordinates: str, nearest: str) -> None:
    """Positions that are halves but for the rounding of the scale."""
    case = ((1, 1, 1, dim), (1, 1, 1, size), None, coordinates)
    values = np.arange(dim, dtype=np.int8).reshape(case[0])
    op = _resize(case, "nearest", nearest)
    got = apply(op, [plain("x", values)], Tensor(name="y", shape=op.sizes, dtype="int8"), [values])
    assert_equal(got, _run_resize(case, values, "nearest", nearest_mode=nearest))


@CONFIG
@given(resizes(), seeds)
def test_resize_nearest_before_opset_11(case: Any, seed: int) -> None:
    shape, _, factors, _ = case
    case = (shape, None, factors or (1.0, 1.0, 2.0, 1.5)[: len(shape)], "asymmetric")
    values = integers(np.random.default_rng(seed), "int8", shape)
    op = _resize(case, "nearest", "simple")
    expected = run_node("Resize", [values, np.array(case[2], np.float32)], "int8", opset_version=10, mode="nearest")
    y = Tensor(name="y", shape=op.sizes, dtype="int8")
    assert_equal(apply(op, [plain("x", values)], y, [values]), expected)


@CONFIG
@given(st.sampled_from(["constant", "edge", "reflect"]), st.data(), seeds)
def test_pad(mode: str, data: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = integers(rng, "int8", (2, 3, 4, 5))
    limits = [1, 2, 3, 4] if mode == "reflect" else [2, 2, 5, 5]
    pads = tuple(data.draw(st.integers(0, limit)) for limit in (*limits, *limits))
    number = data.draw(st.integers(-128, 127))
    op = Pad(pads=pads, mode=mode, value=float(number))
    x = quantized("x", values.shape, "int8", 0.1, -3)
    y = x.replace(name="y", shape=op.output_shapes([x])[0])
    inputs = [values, np.array(pads, np.int64), np.array(number, np.int8) if mode == "constant" else None]
    assert_equal(apply(op, [x], y, [values]), run_node("Pad", inputs, "int8", mode=mode))


@CONFIG
@given(st.data(), seeds)
def test_slice(data: Any, seed: int) -> None:
    shape = (2, 5, 7, 9)
    values = integers(np.random.default_rng(seed), "uint8", shape)
    starts, stops, steps = [], [], []
    for dim in shape:
        first, last = sorted(data.draw(st.lists(st.integers(0, dim - 1), min_size=2, max_size=2)))
        step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
        starts.append(first if step > 0 else last)
        stops.append(last + 1 if step > 0 else first - 1)
        steps.append(step)
    op = Slice(starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))
    x = plain("x", values)
    y = x.replace(name="y", shape=op.output_shapes([x])[0])
    ends = [stop if stop >= 0 else -(2**31) for stop in stops]
    inputs = [values, *(np.array(part, np.int64) for part in (starts, ends, range(4), steps))]
    assert_equal(apply(op, [x], y, [values]), run_node("Slice", inputs, "uint8"))


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (3, 1, 2, 0), (0, 1, 2, 3)])
def test_transpose(perm: tuple[int, ...]) -> None:
    values = integers(np.random.default_rng(0), "int8", (2, 3, 4, 5))
    op = Transpose(perm=perm)
    x = plain("x", values)
    y = x.replace(name="y", shape=op.output_shapes([x])[0])
    assert_equal(apply(op, [x], y, [values]), run_node("Transpose", [values], "int8", perm=perm))
