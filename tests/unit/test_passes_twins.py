# SPDX-License-Identifier: Apache-2.0
"""Random networks in QOperator and QDQ form become the same integer program, which is the QOperator graph's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.ir.graph import INTEGER_RANGES, QuantParams
from mcucompiler.ops import (
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Gemm,
    MaxPool,
    Mul,
    Operator,
    Pad,
    ReduceMean,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Sub,
    Transpose,
    Unary,
)
from mcucompiler.passes import float_nodes, run_passes
from mcucompiler.reference import execute
from tests.support.graphs import channel_quant, onnx_values, quant, random_feeds
from tests.support.twins import TwinMaker, Value


class Chooser:
    """Random choices for one network, all from one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtypes = [("int8",), ("uint8",), ("int8", "uint8")][self.rng.integers(3)]

    def dtype(self) -> str:
        return str(self.rng.choice(self.dtypes))

    def quant(self, dtype: str, scale: float = 0.05) -> QuantParams:
        lo, hi = INTEGER_RANGES[dtype]
        return quant(scale * self.rng.uniform(0.5, 2), int(self.rng.integers(lo // 2, hi // 2)))

    def weights(self, make: TwinMaker, shape: tuple[int, ...], axis: int = 0) -> Value:
        data = self.rng.integers(-128, 128, shape).astype(np.int8)
        if self.rng.integers(2):
            return make.constant(data, channel_quant(list(self.rng.uniform(0.001, 0.02, shape[axis])), axis))
        if self.rng.integers(2):
            return make.constant((data.astype(np.int16) + 128).astype(np.uint8), quant(0.01, 120))
        return make.constant(data, quant(0.01, int(self.rng.integers(-3, 4))))

    def bias(self, channels: int) -> np.ndarray | None:
        return self.rng.integers(-3000, 3000, channels).astype(np.int32) if self.rng.integers(4) else None

    def clip(self) -> tuple[float, float] | None:
        return [None, (0.0, np.inf), (0.0, 6.0), (-0.5, 0.7)][self.rng.integers(4)]


def conv(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    channels = make.tensor(x).shape[1]
    kernel = int(choose.rng.choice([1, 3]))
    depthwise = bool(choose.rng.integers(2))
    pads = tuple(int(p) for p in choose.rng.integers(0, 2, 4)) if kernel == 3 else (0, 0, 0, 0)
    groups, out = (channels, channels) if depthwise else (1, int(choose.rng.integers(1, 6)))
    op = Conv(strides=(1, 1), pads=pads, dilations=(1, 1), groups=groups)
    w = choose.weights(make, (out, channels // groups, kernel, kernel))
    dtype = choose.dtype()
    return make.add(op, x, w, q=choose.quant(dtype), dtype=dtype, bias=choose.bias(out), clip=choose.clip())


def conv_transpose(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    channels, out = make.tensor(x).shape[1], int(choose.rng.integers(1, 5))
    op = ConvTranspose(strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), output_padding=(0, 0))
    w, dtype = choose.weights(make, (channels, out, 3, 3), axis=1), choose.dtype()
    return make.add(op, x, w, q=choose.quant(dtype), dtype=dtype, bias=choose.bias(out), clip=choose.clip())


def pointwise(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    names = ("relu", "leakyrelu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "exp")
    dtype = choose.dtype()
    return make.add(Unary(function=str(choose.rng.choice(names))), x, q=choose.quant(dtype), dtype=dtype)


def binary(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    op: Operator = [Add(), Sub(), Mul()][choose.rng.integers(3)]
    shape = make.tensor(x).shape
    shapes = [shape, (shape[1], *(1 for _ in shape[2:])), (1,), ()]
    data = choose.rng.integers(-128, 128, shapes[choose.rng.integers(4)]).astype(np.int8)
    other = make.constant(data, choose.quant("int8"))
    pair = (x, other) if choose.rng.integers(2) else (other, x)
    dtype = choose.dtype()
    return make.add(op, *pair, q=choose.quant(dtype), dtype=dtype, clip=choose.clip())


def residual(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    branch = pointwise(make, choose, x)
    if choose.rng.integers(2):
        branch = depthwise_like(make, choose, branch)
    dtype = choose.dtype()
    op: Operator = [Add(), Mul()][choose.rng.integers(2)]
    return make.add(op, x, branch, q=choose.quant(dtype), dtype=dtype, clip=choose.clip())


def depthwise_like(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    channels = make.tensor(x).shape[1]
    op = Conv(strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), groups=channels)
    dtype = choose.dtype()
    return make.add(op, x, choose.weights(make, (channels, 1, 3, 3)), q=choose.quant(dtype), dtype=dtype)


def concat(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    dtype = choose.dtype()
    return make.add(Concat(axis=1), x, conv_like(make, choose, x), x, q=choose.quant(dtype), dtype=dtype)


def conv_like(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    channels, dtype = make.tensor(x).shape[1], choose.dtype()
    op = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    return make.add(op, x, choose.weights(make, (2, channels, 1, 1)), q=choose.quant(dtype), dtype=dtype)


def max_pool(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    return make.move(MaxPool(kernel=(2, 2), strides=(1, 1), pads=(0, 0, 1, 1), dilations=(1, 1)), x)


def average_pool(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    op = AveragePool(
        kernel=(2, 2),
        strides=(1, 1),
        pads=(0, 0, 1, 1),
        dilations=(1, 1),
        count_include_pad=bool(choose.rng.integers(2)),
    )
    dtype = choose.dtype()
    return make.add(op, x, q=choose.quant(dtype), dtype=dtype)


def pad_then_conv(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    tensor = make.tensor(x)
    assert tensor.quant is not None
    pads = (0, 0, 1, 0, 0, 0, 0, 2)
    integer = make.qop.add(Pad(pads=pads, value=tensor.quant.z), x.qop, dtype=tensor.dtype, q=tensor.quant)
    real = make.qdq.add(Pad(pads=pads), make.qdq.dequantize(x.qdq))
    padded = Value(integer, make.qdq.quantize(real, tensor.quant, tensor.dtype))
    return conv(make, choose, padded)


def resize(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    n, c, h, w = make.tensor(x).shape
    mode = str(choose.rng.choice(["nearest", "linear"]))
    op = Resize(sizes=(n, c, h + 2, w), scales=(1.0, 1.0, (h + 2) / h, 1.0), mode=mode, coordinates="half_pixel")
    return make.move(op, x)


def slice_channels(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    shape = make.tensor(x).shape
    return make.move(Slice(starts=(0, 0, 1, 0), stops=shape, steps=(1, 1, 1, 2)), x)


def transposed(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    there = make.move(Transpose(perm=(0, 2, 3, 1)), x)
    return make.move(Transpose(perm=(0, 3, 1, 2)), pointwise(make, choose, there))


def requantized(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    dtype = choose.dtype()
    return make.requantize(x, choose.quant(dtype), dtype)


BLOCKS: dict[str, Callable[[TwinMaker, Chooser, Value], Value]] = {
    block.__name__: block
    for block in (
        conv,
        conv_transpose,
        pointwise,
        binary,
        residual,
        concat,
        max_pool,
        average_pool,
        pad_then_conv,
        resize,
        slice_channels,
        transposed,
        requantized,
    )
}


def head(make: TwinMaker, choose: Chooser, x: Value) -> Value:
    """A classifier's end: mean, flatten, fully connected, softmax."""
    dtype = choose.dtype()
    mean = make.add(ReduceMean(axes=(2, 3)), x, q=choose.quant(dtype), dtype=dtype)
    flat = make.move(Reshape(shape=(1, make.tensor(mean).size)), mean)
    w = choose.weights(make, (5, make.tensor(flat).size))
    logits = make.add(Gemm(), flat, w, q=choose.quant(dtype), dtype=dtype, bias=choose.bias(5))
    out = choose.dtype()
    return make.add(Softmax(axis=1), logits, q=quant(1 / 256, INTEGER_RANGES[out][0]), dtype=out)


def check_twins(make: TwinMaker, *outputs: Value) -> None:
    qop, qdq = make.graphs(*outputs)
    feeds = random_feeds(qop, 7)
    expected = list(execute(qop, feeds).values())
    program = run_passes(qop)
    assert not float_nodes(program)
    for value, wanted in zip(onnx_values(program, feeds).values(), expected, strict=True):
        np.testing.assert_array_equal(value, wanted, strict=True)
    twin = run_passes(qdq)
    assert not float_nodes(twin)
    assert list(twin.float_boundary) == [*qdq.inputs, *qdq.outputs]
    (name,) = twin.inputs
    for value, wanted in zip(execute(twin, {name: feeds["x"]}).values(), expected, strict=True):
        np.testing.assert_array_equal(value, wanted, strict=True)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("seed", range(6))
def test_block(name: str, seed: int) -> None:
    choose = Chooser(seed)
    dtype = choose.dtype()
    make = TwinMaker((1, 3, 5, 4), choose.quant(dtype), dtype)
    check_twins(make, BLOCKS[name](make, choose, make.x))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    names=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=6),
    classify=st.booleans(),
)
def test_network(seed: int, names: list[str], classify: bool) -> None:
    choose = Chooser(seed)
    dtype = choose.dtype()
    make = TwinMaker((1, 3, 5, 4), choose.quant(dtype), dtype)
    x = make.x
    for name in names:
        if min(make.tensor(x).shape[2:]) >= 4:
            x = BLOCKS[name](make, choose, x)
    check_twins(make, head(make, choose, x) if classify else x)
