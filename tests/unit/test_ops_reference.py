# SPDX-License-Identifier: Apache-2.0
"""The executor of the graph, and corners of the references that ONNX Runtime has no twin for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import (
    Add,
    AveragePool,
    Cast,
    Clamp,
    Conv,
    Dequantize,
    Div,
    FlipSign,
    Lookup,
    MaxPool,
    Quantize,
    Reshape,
    Sub,
    Unary,
)
from mcucompiler.reference import execute
from tests.support.ops_onnxruntime import apply, assert_equal, plain, quantized

LINE = np.arange(-128, 128).astype(np.int8)


def _graph() -> Graph:
    """y = relu(x + x) and its table, over int8."""
    x = quantized("x", (2, 3), "int8", 0.5, 0)
    middle = quantized("m", (2, 3), "int8", 1.0, 0)
    table = Tensor(name="t", shape=(256,), dtype="int8", data=np.maximum(LINE, 0))
    y = quantized("y", (2, 3), "int8", 1.0, 0)
    return Graph(
        name="g",
        nodes=(
            Node(name="sum", op=Add(), inputs=("x", "x"), outputs=("m",)),
            Node(name="relu", op=Lookup(), inputs=("m", "t"), outputs=("y",)),
        ),
        tensors={t.name: t for t in (x, middle, table, y)},
        inputs=("x",),
        outputs=("y",),
    )


def test_execute_returns_the_outputs() -> None:
    x = np.array([[1, 2, 3], [-4, -5, -6]], dtype=np.int8)
    result = execute(_graph(), {"x": x})
    assert list(result) == ["y"]
    assert result["y"].tolist() == [[1, 2, 3], [0, 0, 0]]


def test_execute_keeps_all_activations() -> None:
    x = np.array([[1, 2, 3], [-4, -5, -6]], dtype=np.int8)
    result = execute(_graph(), {"x": x}, keep=True)
    assert list(result) == ["x", "m", "y"]
    assert result["m"].tolist() == x.tolist()


def test_execute_gives_constants_that_are_outputs() -> None:
    graph = _graph().replace(outputs=("t", "y"))
    assert_equal(execute(graph, {"x": np.zeros((2, 3), np.int8)})["t"], np.maximum(LINE, 0))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "not the graph's inputs"),
        ({"x": np.zeros((2, 3), np.int8), "z": np.zeros(1)}, "not the graph's inputs"),
        ({"x": np.zeros((2, 3), np.uint8)}, "wrong kind"),
        ({"x": np.zeros((3, 2), np.int8)}, "wrong kind"),
    ],
)
def test_execute_refuses_wrong_feeds(feeds: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        execute(_graph(), feeds)


def test_execute_names_the_node_at_fault() -> None:
    graph = _graph()
    broken = graph.replace(tensors={**graph.tensors, "m": graph.tensors["m"].replace(shape=(3, 2))})
    with pytest.raises(ModelError, match="node 'sum'") as caught:
        execute(broken, {"x": np.zeros((2, 3), np.int8)})
    assert caught.value.op_type == "Add"
    missing = graph.replace(tensors={**graph.tensors, "x": graph.tensors["x"].replace(quant=None)})
    with pytest.raises(ModelError, match=r"node 'sum'.*'x' is not quantized"):
        execute(missing, {"x": np.zeros((2, 3), np.int8)})


def test_sub_is_add_of_the_negative() -> None:
    a, b = (v.ravel() for v in np.meshgrid(LINE, LINE))
    ta, tb = quantized("a", a.shape, "int8", 0.25, 3), quantized("b", a.shape, "int8", 0.5, -7)
    y = quantized("y", a.shape, "int8", 0.5, 2)
    exact = np.rint(((a - 3.0) * 0.25 - (b + 7.0) * 0.5) / 0.5) + 2
    assert_equal(apply(Sub(), [ta, tb], y, [a, b]), np.clip(exact, -128, 127).astype(np.int8))


def test_div_rounds_the_real_quotient_once() -> None:
    a, b = (v.ravel() for v in np.meshgrid(LINE, LINE))
    ta, tb = quantized("a", a.shape, "int8", 0.25, 3), quantized("b", a.shape, "int8", 0.5, -7)
    y = quantized("y", a.shape, "int8", 0.125, 2)
    got = apply(Div(), [ta, tb], y, [a, b])
    usual = b != -7
    exact = np.rint((a[usual] - 3.0) * 4 / (b[usual] + 7.0)) + 2
    assert_equal(got[usual], np.clip(exact, -128, 127).astype(np.int8))
    by_zero = {int(n): int(q) for n, q in zip(a[~usual], got[~usual], strict=True)}
    assert (by_zero[4], by_zero[2], by_zero[3]) == (127, -128, -128)
    fa, fb = np.array([1, -1, 0], np.float32), np.zeros(3, np.float32)
    quotient = apply(Div(), [plain("a", fa), plain("b", fb)], plain("y", fa), [fa, fb])
    assert quotient[:2].tolist() == [np.inf, -np.inf]
    assert np.isnan(quotient[2])


@pytest.mark.parametrize("name", ["tanh", "hardswish", "gelu", "exp", "softplus", "elu"])
def test_unary_without_a_twin_rounds_the_real_result_once(name: str) -> None:
    x, y = quantized("x", (256,), "int8", 0.0625, 5), quantized("y", (256,), "int8", 0.03125, -4)
    op = Unary(function=name)
    real = op.real((LINE - 5.0) * 0.0625) / 0.03125
    expected = np.clip(np.rint(real) - 4, -128, 127).astype(np.int8)
    assert_equal(apply(op, [x], y, [LINE]), expected)


def test_clip_int_and_relu() -> None:
    x = quantized("x", (256,), "int8", 0.5, 7)
    clipped = apply(Unary(function="clip_int", params=(-3.0, 20.0)), [x], x.replace(name="y"), [LINE])
    assert_equal(clipped, np.clip(LINE, -3, 20))
    assert_equal(apply(Unary(function="relu"), [x], x.replace(name="y"), [LINE]), np.maximum(LINE, 7).astype(np.int8))
    bounded = apply(Unary(function="clip", params=(0.0, 6.0)), [x], x.replace(name="y"), [LINE])
    assert_equal(bounded, np.clip(LINE, 7, 19).astype(np.int8))


def test_unknown_function() -> None:
    with pytest.raises(ModelError, match="unknown function"):
        Unary(function="frobnicate").real(1.0)


def test_clamp_narrows_but_never_leaves_the_type() -> None:
    x = quantized("x", (1, 1, 256), "int8", 1.0, 0)
    w = np.ones((1, 1, 1), np.int8)
    values = [LINE.reshape(1, 1, 256), w, None]
    tensors = [x, quantized("w", w.shape, "int8", 1.0, 0), None]
    for clamp, lo, hi in (
        (Clamp(lo=-3, hi=9), -3, 9),
        (Clamp(lo=-300, hi=300), -128, 127),
        (Clamp(lo=200, hi=300), 127, 127),
    ):
        op = Conv(strides=(1,), pads=(0, 0), dilations=(1,), clamp=clamp)
        got = apply(op, tensors, x.replace(name="y"), values)
        assert_equal(got.ravel(), np.clip(LINE, lo, hi).astype(np.int8))


def test_padding_reads_the_zero_point() -> None:
    x = np.full((1, 1, 2), 11, np.int8)
    w = np.full((1, 1, 3), 2, np.int8)
    tensors = [quantized("x", x.shape, "int8", 1.0, 11), quantized("w", w.shape, "int8", 1.0, 0), None]
    op = Conv(strides=(1,), pads=(1, 1), dilations=(1,))
    assert not apply(op, tensors, quantized("y", (1, 1, 2), "int8", 1.0, 0), [x, w, None]).any()


def test_float_convolution_order_of_sums() -> None:
    """Kernel rows, columns, then channels, each term fused: the small term survives only in that order."""
    x = np.array([1e8, 1.0, -1e8, 1.0], np.float32).reshape(1, 2, 1, 2)
    w = np.ones((1, 2, 1, 2), np.float32)
    y = Tensor(name="y", shape=(1, 1, 1, 1), dtype="float32")
    op = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    # Column 0 of both channels cancels before column 1 is added.
    assert apply(op, [plain("x", x), plain("w", w), None], y, [x, w, None]).item() == 2.0


def test_pools_whose_windows_lie_in_the_padding() -> None:
    x = np.full((1, 1, 1), 5, np.int8)
    window: dict[str, Any] = {"kernel": (1,), "strides": (1,), "pads": (1, 1), "dilations": (1,)}
    tensor = quantized("x", x.shape, "int8", 0.5, 2)
    y = quantized("y", (1, 1, 3), "int8", 0.5, 2)
    assert apply(AveragePool(**window), [tensor], y, [x]).ravel().tolist() == [2, 5, 2]
    assert apply(MaxPool(**window), [tensor], y, [x]).ravel().tolist() == [-128, 5, -128]


def test_flip_sign_and_back() -> None:
    x = quantized("x", (256,), "int8", 0.5, -3)
    y = quantized("y", (256,), "uint8", 0.5, 125)
    flipped = apply(FlipSign(), [x], y, [LINE])
    assert_equal(flipped, (LINE.astype(np.int64) + 128).astype(np.uint8))
    assert_equal(apply(FlipSign(), [y], x, [flipped]), LINE)
    real = Tensor(name="r", shape=(256,), dtype="float32")
    assert_equal(apply(Dequantize(), [x], real, [LINE]), apply(Dequantize(), [y], real, [flipped]))


def test_lookup_by_channel() -> None:
    x = np.array([[0, 1], [2, 3]], np.uint8)
    table = np.stack([np.arange(256), np.arange(256)[::-1]]).astype(np.int32)
    tensors = [plain("x", x), plain("t", table, constant=True)]
    y = Tensor(name="y", shape=(2, 2), dtype="int32")
    assert apply(Lookup(axis=1), tensors, y, [x, table]).tolist() == [[0, 254], [2, 252]]
    assert apply(Lookup(axis=0), tensors, y, [x, table]).tolist() == [[0, 1], [253, 252]]


@pytest.mark.parametrize(
    ("value", "to", "expected"),
    [
        (np.array([300, -1], np.int32), "uint8", [44, 255]),
        (np.array([-7, 7], np.int8), "float32", [-7.0, 7.0]),
        (np.array([1.9, -1.9, 1e30, -1e30, np.nan], np.float32), "int8", [1, -1, 127, -128, 0]),
        (np.array([np.inf, -np.inf, 2.5], np.float32), "int64", [2**63 - 1, -(2**63), 2]),
        (np.array([0.0, 0.5], np.float32), "bool", [False, True]),
        (np.array([True, False]), "float32", [1.0, 0.0]),
    ],
)
def test_cast(value: np.ndarray, to: str, expected: list[Any]) -> None:
    y = Tensor(name="y", shape=value.shape, dtype=to)
    assert apply(Cast(to=to), [plain("x", value)], y, [value]).tolist() == expected


def test_quantize_saturates_and_maps_nan_to_the_least_value() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 3e38, 0.5, 1.5, -0.5], np.float32)
    y = quantized("y", x.shape, "int8", 1.0, 1)
    assert apply(Quantize(), [plain("x", x)], y, [x]).tolist() == [127, -128, -128, 127, 1, 3, 1]
    channels = quantized("y", (7,), "int8", [1.0] * 7, [1] * 7, axis=0)
    assert apply(Quantize(), [plain("x", x)], channels, [x]).tolist() == [127, -128, -128, 127, 1, 3, 1]


def test_reshape_keeps_onnx_order() -> None:
    x = np.arange(24, dtype=np.int8).reshape(2, 3, 4)
    y = Tensor(name="y", shape=(4, 6), dtype="int8")
    assert_equal(apply(Reshape(shape=(4, 6)), [plain("x", x)], y, [x]), x.reshape(4, 6))
