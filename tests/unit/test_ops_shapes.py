# SPDX-License-Identifier: Apache-2.0
"""Shape rules, illegal combinations, MAC counts and the registry of operators."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Tensor
from mcucompiler.ops import (
    OPERATORS,
    Add,
    AveragePool,
    Cast,
    Clamp,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Div,
    FlipSign,
    Gemm,
    Lookup,
    MaxPool,
    Mul,
    Operator,
    Pad,
    Quantize,
    ReduceMean,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Sub,
    Transpose,
    Unary,
)
from tests.support.ops_onnxruntime import quantized


def _f(*shape: int, dtype: str = "float32") -> Tensor:
    return Tensor(name="t", shape=shape, dtype=dtype)


def _q(*shape: int, dtype: str = "int8", zero_point: int = 0) -> Tensor:
    return quantized("q", shape, dtype, 0.5, zero_point)


def _per_channel(*shape: int, axis: int = 0) -> Tensor:
    return quantized("w", shape, "int8", [0.5] * shape[axis], 0, axis=axis)


def _conv(**changes: Any) -> Conv:
    return Conv(**{"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), **changes})


def _transposed(**changes: Any) -> ConvTranspose:
    defaults = {"strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "output_padding": (0, 0)}
    return ConvTranspose(**{**defaults, **changes})


POOL = {"kernel": (3, 3), "strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
RESIZE = {"sizes": (1, 2, 4, 4), "scales": (1.0, 1.0, 2.0, 2.0), "mode": "nearest", "coordinates": "asymmetric"}

SHAPES: list[tuple[Operator, list[Tensor | None], tuple[int, ...]]] = [
    (_conv(strides=(2, 1), pads=(0, 1, 1, 1)), [_f(1, 3, 9, 8), _f(4, 3, 3, 3), None], (1, 4, 4, 8)),
    (_conv(dilations=(2, 3), groups=3), [_f(2, 3, 9, 8), _f(6, 1, 3, 2)], (2, 6, 5, 5)),
    (Conv(strides=(3,), pads=(1, 0), dilations=(1,)), [_f(1, 2, 10), _f(5, 2, 4), _f(5)], (1, 5, 3)),
    (_transposed(output_padding=(1, 0)), [_f(1, 4, 5, 6), _f(4, 3, 3, 3), None], (1, 3, 12, 13)),
    (_transposed(pads=(1, 1, 1, 1), groups=2), [_f(1, 4, 5, 6), _f(4, 3, 2, 2)], (1, 6, 8, 10)),
    (Gemm(), [_f(2, 5, 7), _f(3, 7), _f(3)], (2, 5, 3)),
    (Gemm(), [_f(7), _f(3, 7)], (3,)),
    (Add(), [_f(2, 1, 4), _f(3, 1)], (2, 3, 4)),
    (Sub(), [_f(), _f(3, 1)], (3, 1)),
    (Mul(), [_f(1, 3, 1, 1), _f(2, 3, 4, 5)], (2, 3, 4, 5)),
    (Div(), [_f(2), _f(2)], (2,)),
    (AveragePool(**POOL), [_f(1, 2, 8, 9)], (1, 2, 3, 4)),
    (AveragePool(**POOL, ceil_mode=True), [_f(1, 2, 8, 9)], (1, 2, 4, 4)),
    # The third window of a row would start in the padding.
    (MaxPool(kernel=(2,), strides=(3,), pads=(0, 1), dilations=(1,), ceil_mode=True), [_f(1, 1, 6)], (1, 1, 2)),
    (MaxPool(kernel=(3,), strides=(1,), pads=(1, 1), dilations=(2,)), [_f(1, 1, 6)], (1, 1, 4)),
    (ReduceMean(axes=(1, 3)), [_f(2, 3, 4, 5)], (2, 1, 4, 1)),
    (ReduceMean(axes=(1, 3), keepdims=False), [_f(2, 3, 4, 5)], (2, 4)),
    (Concat(axis=1), [_f(2, 3, 4), _f(2, 1, 4), _f(2, 2, 4)], (2, 6, 4)),
    (Pad(pads=(0, 1, 2, 3)), [_f(4, 5)], (6, 9)),
    (Reshape(shape=(6, 4)), [_f(2, 3, 4)], (6, 4)),
    (Reshape(shape=()), [_f(1)], ()),
    (Resize(**RESIZE), [_f(1, 2, 2, 2)], (1, 2, 4, 4)),
    (Slice(starts=(0, 4), stops=(3, -1), steps=(2, -2)), [_f(3, 6)], (2, 3)),
    (Softmax(axis=1), [_f(2, 3)], (2, 3)),
    (Transpose(perm=(2, 0, 1)), [_f(2, 3, 4)], (4, 2, 3)),
    (Unary(function="relu"), [_f(2, 3)], (2, 3)),
    (Lookup(), [_q(2, 3), _f(256, dtype="int8")], (2, 3)),
    (Lookup(axis=1), [_q(2, 3), _f(3, 256, dtype="int8")], (2, 3)),
    (Cast(to="int8"), [_f(2)], (2,)),
    (FlipSign(), [_q(2)], (2,)),
    (Quantize(), [_f(2)], (2,)),
    (Dequantize(), [_q(2)], (2,)),
]


@pytest.mark.parametrize(("op", "inputs", "expected"), SHAPES, ids=[case[0].kind for case in SHAPES])
def test_output_shape(op: Operator, inputs: list[Tensor | None], expected: tuple[int, ...]) -> None:
    assert op.output_shapes(inputs) == (expected,)


def test_every_operator_is_covered_here() -> None:
    assert {type(op) for op, _, _ in SHAPES} == set(OPERATORS)


def test_operators_are_frozen_documented_and_keyword_only() -> None:
    for operator in OPERATORS:
        assert dataclasses.is_dataclass(operator)
        assert operator.__dataclass_params__.frozen
        assert operator.__doc__
        assert all(f.kw_only for f in dataclasses.fields(operator))


WRONG_SHAPES: list[tuple[Operator, list[Tensor | None], str]] = [
    (_conv(), [_f(1, 3, 9, 8)], "input 1 (weights) is missing"),
    (_conv(), [_f(3, 9), _f(4, 3)], "unsupported rank"),
    (_conv(), [_f(1, 3, 4, 4, 4), _f(4, 3, 1, 1, 1)], "unsupported rank"),
    (_conv(), [_f(1, 3, 9, 8), _f(4, 2, 3, 3)], "channels and groups"),
    (_conv(groups=2), [_f(1, 4, 9, 8), _f(5, 2, 3, 3)], "channels and groups"),
    (_conv(strides=(1,)), [_f(1, 3, 9, 8), _f(4, 3, 3, 3)], "strides has the wrong length"),
    (_conv(pads=(-1, 0, 0, 0)), [_f(1, 3, 9, 8), _f(4, 3, 3, 3)], "pads is out of range"),
    (_conv(strides=(0, 1)), [_f(1, 3, 9, 8), _f(4, 3, 3, 3)], "strides is out of range"),
    (_conv(), [_f(1, 3, 2, 8), _f(4, 3, 3, 3)], "larger than its padded input"),
    (_conv(), [_f(1, 3, 9, 8), _f(4, 3, 3, 3), _f(3)], "bias has the wrong shape"),
    (_transposed(pads=(5, 5, 5, 5)), [_f(1, 4, 2, 2), _f(4, 3, 3, 3)], "removes the whole output"),
    (_transposed(), [_f(1, 4, 2, 2), _f(3, 3, 3, 3)], "channels and groups"),
    (_transposed(), [_f(1, 4), _f(4, 3)], "unsupported rank"),
    (Gemm(), [_f(2, 6), _f(3, 7)], "shapes do not go together"),
    (Gemm(), [_f(), _f(3, 7)], "shapes do not go together"),
    (Add(), [_f(2, 3), _f(4, 3)], "cannot be broadcast"),
    (AveragePool(**{**POOL, "kernel": (3,)}), [_f(1, 2, 8, 9)], "kernel has the wrong length"),
    (MaxPool(**POOL), [_f(1, 2, 2, 9)], "larger than its padded input"),
    (ReduceMean(axes=(4,)), [_f(2, 3, 4, 5)], "out of range"),
    (Concat(axis=1), [_f(2, 3), _f(3, 3)], "differ in more than axis 1"),
    (Concat(axis=1), [], "no inputs"),
    (Concat(axis=2), [_f(2, 3)], "axis is out of range"),
    (Pad(pads=(1, 1)), [_f(4, 5)], "pads has the wrong length"),
    (Pad(pads=(4, 0), mode="reflect"), [_f(4)], "beyond the input"),
    (Reshape(shape=(5, 4)), [_f(2, 3, 4)], "different numbers of elements"),
    (Reshape(shape=(-2, -3)), [_f(6)], "different numbers of elements"),
    (Resize(**{**RESIZE, "sizes": (1, 2, 4)}), [_f(1, 2, 2, 2)], "one positive entry for each axis"),
    (Resize(**{**RESIZE, "sizes": (1, 4, 4, 4)}), [_f(1, 2, 2, 2)], "unsupported axes"),
    (Slice(starts=(0,), stops=(3,), steps=(1,)), [_f(3, 6)], "one entry for each axis"),
    (Slice(starts=(2,), stops=(2,), steps=(1,)), [_f(3)], "empty or leaves its axis"),
    (Slice(starts=(0,), stops=(4,), steps=(1,)), [_f(3)], "empty or leaves its axis"),
    (Softmax(axis=2), [_f(2, 3)], "axis is out of range"),
    (Transpose(perm=(0, 0)), [_f(2, 3)], "perm is not an order"),
    (Lookup(), [_q(2, 3), _f(255, dtype="int8")], "table has the wrong shape"),
    (Lookup(axis=1), [_q(2, 3), _f(2, 256, dtype="int8")], "table has the wrong shape"),
]


@pytest.mark.parametrize(("op", "inputs", "message"), WRONG_SHAPES, ids=[f"{c[0].kind}-{c[2]}" for c in WRONG_SHAPES])
def test_wrong_shapes_are_refused(op: Operator, inputs: list[Tensor | None], message: str) -> None:
    with pytest.raises(ModelError, match=message.replace("(", r"\(").replace(")", r"\)")):
        op.output_shapes(inputs)


def _w(*shape: int, dtype: str = "int8") -> Tensor:
    return quantized("w", shape, dtype, 0.5, 0, data=np.zeros(shape, dtype=dtype))


X, Y = _q(1, 2, 4, 4), _q(1, 3, 4, 4)
TABLE = Tensor(name="table", shape=(256,), dtype="int8", data=np.zeros(256, np.int8))

ILLEGAL: list[tuple[Operator, list[Tensor | None], Tensor, str]] = [
    (_conv(), [X, _f(3, 2, 1, 1), None], Y, "both or neither must be quantized"),
    (_conv(), [_f(1, 2, 4, 4), _w(3, 2, 1, 1), None], _f(1, 3, 4, 4), "both or neither"),
    (_conv(), [X, _w(3, 2, 1, 1), None], _f(1, 3, 4, 4), "is not quantized but"),
    (_conv(), [X, _w(3, 2, 1, 1), _f(3)], Y, "the bias is float32"),
    (_conv(), [_f(1, 2, 4, 4), _f(3, 2, 1, 1), _f(3, dtype="int32")], _f(1, 3, 4, 4), "beside float32 activations"),
    (_conv(), [X, _w(3, 2, 1, 1, dtype="int16"), None], Y, "the weights are int16"),
    (_conv(), [X, _per_channel(3, 2, 1, 1, axis=1), None], Y, "quantized along axis 1"),
    (_conv(), [_per_channel(1, 2, 4, 4, axis=1), _w(3, 2, 1, 1), None], Y, "quantized per channel"),
    (_conv(), [_q(1, 2, 4, 4, dtype="int16"), _w(3, 2, 1, 1), None], Y, "is int16; int8 or uint8"),
    (_conv(clamp=Clamp(lo=3, hi=2)), [X, _w(3, 2, 1, 1), None], Y, "out of order"),
    (_conv(clamp=Clamp(lo=0, hi=2)), [_f(1, 2, 4, 4), _f(3, 2, 1, 1)], _f(1, 3, 4, 4), "clamp on the float32 output"),
    (
        _transposed(groups=2),
        [X, _per_channel(2, 2, 2, 2, axis=1)],
        _q(1, 4, 8, 8),
        "2 groups are quantized per channel",
    ),
    (Gemm(), [_q(1, 4), _q(3, 4)], _q(1, 3), "is not constant"),
    (Add(), [X, _f(1, 2, 4, 4)], X, "is not quantized but"),
    (Add(), [_f(2, dtype="int32"), _f(2, dtype="int32")], _f(2, dtype="int32"), "int32; float32 or quantized"),
    (Sub(), [X, X], _f(1, 2, 4, 4), "is not quantized but"),
    (Mul(clamp=Clamp(lo=0, hi=1)), [_f(2), _f(2)], _f(2), "clamp on the float32 output"),
    (Div(), [X, _q(1, dtype="int32")], X, "int32; int8 or uint8"),
    (AveragePool(**POOL), [_q(1, 2, 4, 4)], _f(1, 2, 1, 1), "is not quantized but"),
    (MaxPool(**POOL), [X], _q(1, 2, 1, 1, zero_point=1), "another type or quantization"),
    (ReduceMean(axes=(3, 2)), [X], _q(1, 2, 1, 1), "not ascending"),
    (Concat(axis=1), [X, _f(1, 2, 4, 4)], _q(1, 4, 4, 4), "is not quantized but"),
    (Pad(pads=(0,) * 8, mode="wrap"), [X], X, "mode 'wrap'"),
    (Pad(pads=(0,) * 8, value=200.0), [X], X, "200.0 does not fit int8"),
    (Pad(pads=(0,) * 8, value=0.5), [X], X, "0.5 does not fit int8"),
    (Reshape(shape=(32,)), [X], _q(32, dtype="uint8"), "the output is uint8 and the input int8"),
    (Transpose(perm=(0, 1, 2, 3)), [_per_channel(1, 2, 4, 4, axis=1)], X, "quantized per channel"),
    (Slice(starts=(0,), stops=(1,), steps=(1,)), [_q(1)], _q(1, dtype="uint8"), "another type or quantization"),
    (Resize(**{**RESIZE, "mode": "cubic"}), [X], X, "mode 'cubic'"),
    (Resize(**{**RESIZE, "coordinates": "tf_crop_and_resize"}), [X], X, "'tf_crop_and_resize'"),
    (Resize(**{**RESIZE, "nearest": "best"}), [X], X, "nearest mode 'best'"),
    (Resize(**{**RESIZE, "mode": "linear"}), [_q(1, 2, 2, 2, 2)], _q(1, 2, 2, 2, 2), "rank 5"),
    (Resize(**{**RESIZE, "mode": "linear"}), [_f(1, 2, 2, 2, dtype="int32")], _f(1, 2, 4, 4, dtype="int32"), "int32"),
    (Softmax(axis=1), [X], _f(1, 2, 4, 4), "is not quantized but"),
    (Unary(function="frobnicate"), [X], X, "unknown function 'frobnicate'"),
    (Unary(function="relu", params=(1.0,)), [X], X, "0 parameters, not 1"),
    (Unary(function="clip", params=(float("nan"),)), [X], X, "NaN"),
    (Unary(function="clip_int", params=(3.0, 2.0)), [X], X, "not two ascending values"),
    (Unary(function="clip_int", params=(0.0, 200.0)), [X], X, "not two ascending values"),
    (Unary(function="clip_int", params=(0.0, 2.0)), [_f(1)], _f(1), "clip_int of float32"),
    (Lookup(), [_f(1), TABLE], _q(1), "is float32; int8 or uint8"),
    (Lookup(), [_q(1), TABLE], _f(1), "a table of int8 for an output of float32"),
    (Lookup(), [_q(1), TABLE.replace(data=None)], _q(1), "not constant"),
    (Quantize(), [_q(1)], _q(1), "float32 is supported"),
    (Quantize(), [_f(1)], _f(1), "the output 't' is float32"),
    (Dequantize(), [_f(1)], _f(1), "not a quantized integer"),
    (Dequantize(), [_per_channel(2)], _f(2), "quantized per channel"),
    (Dequantize(), [_q(1)], _q(1), "the output 'q' is int8"),
    (FlipSign(), [_q(1)], _q(1), "int8 to int8"),
    (FlipSign(), [_q(1)], _q(1, dtype="uint8"), "different real values"),
    (FlipSign(), [_q(1)], _f(1, dtype="uint8"), "only one"),
    (Cast(to="int4"), [_f(1)], _f(1, dtype="int8"), "unknown type 'int4'"),
    (Cast(to="int8"), [_f(1)], _f(1, dtype="uint8"), "the output is uint8, not int8"),
]


@pytest.mark.parametrize(("op", "inputs", "output", "message"), ILLEGAL, ids=[f"{c[0].kind}-{c[3]}" for c in ILLEGAL])
def test_illegal_combinations_are_named(
    op: Operator, inputs: list[Tensor | None], output: Tensor, message: str
) -> None:
    causes = op.check(inputs, [output])
    assert any(message in cause for cause in causes), causes


def test_macs_include_border_taps() -> None:
    x, w = _f(1, 6, 5, 5), _f(8, 3, 3, 3)
    op = _conv(pads=(1, 1, 1, 1), groups=2)
    assert op.macs([x, w], [_f(*op.output_shapes([x, w])[0])]) == 8 * 25 * 3 * 9
    x, w = _f(1, 4, 5, 6), _f(4, 3, 2, 2)
    transposed = _transposed()
    assert transposed.macs([x, w], [_f(*transposed.output_shapes([x, w])[0])]) == 4 * 30 * 3 * 4
    assert Gemm().macs([_f(2, 7), _f(3, 7)], [_f(2, 3)]) == 42
    assert Add().macs([_f(2), _f(2)], [_f(2)]) == 0
