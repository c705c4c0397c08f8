# SPDX-License-Identifier: Apache-2.0
"""Constant factors behind convolutions become part of the weights' scales; factors of two, so that all stays exact."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.ops import Add, Conv, Div, Gemm, Mul, Operator, Softmax
from mcucompiler.passes.add_to_bias import add_to_bias
from mcucompiler.passes.scale_weights import scale_weights
from tests.support.graphs import GraphMaker, channel_quant, checked, kinds, quant

CONV = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))


@pytest.mark.parametrize("op", [Mul(), Div()])
@pytest.mark.parametrize("per_channel", [False, True])
def test_factor_becomes_scales(op: Operator, per_channel: bool) -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2, 4, 4), "int8", quant(0.5)))
    data = np.arange(-3, 3, dtype=np.int8).reshape(3, 2, 1, 1)
    w = make.weights(data, channel_quant([0.5, 1, 0.25]) if per_channel else quant(0.5, 1))
    y = make.add(CONV, x, w, make.constant(np.array([1, 2, 3], np.float32)))
    y = make.add(op, y, make.constant(np.array([2, -0.5, -4], np.float32).reshape(3, 1, 1)))
    total = make.add(Add(), y, make.constant(np.array([1, 2, 3], np.float32).reshape(3, 1, 1)))
    after = checked(scale_weights, make.graph(make.quantize(total, quant(1))))
    assert {"Mul", "Div"}.isdisjoint(kinds(after))
    assert kinds(checked(add_to_bias, after)) == ["Dequantize", "Dequantize", "Conv", "Quantize"]
    conv = next(node for node in after.nodes if node.op == CONV)
    weights = after.tensors[after.producer[conv.inputs[1]].inputs[0]]
    assert weights.quant is not None
    factors = np.array([2, 0.5, 4]) if op == Mul() else np.array([0.5, 2, 0.25])
    np.testing.assert_array_equal(weights.quant.scale, factors * ([0.5, 1, 0.25] if per_channel else 0.5))
    zero = 0 if per_channel else 1
    assert weights.data is not None
    np.testing.assert_array_equal(
        weights.data.reshape(3, 2), [[-3, -2], [2 * zero + 1, 2 * zero], [2 * zero - 1, 2 * zero - 2]]
    )


@pytest.mark.parametrize(
    ("least", "factor"),
    [(-128, [1, -1, 1]), (-3, [1, 0, 1]), (-3, [1, np.inf, 1]), (-3, [[1, 2, 3, 4]])],
    ids=["no negative", "zero", "infinite", "other axis"],
)
def test_factor_that_weights_cannot_hold_stays(least: int, factor: list[float]) -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2, 4, 4), "int8", quant(0.5)))
    y = make.add(CONV, x, make.weights(np.full((3, 2, 1, 1), least, np.int8), quant(0.5)))
    factors = np.array(factor, np.float32)
    y = make.add(Mul(), y, make.constant(factors.reshape(3, 1, 1) if factors.ndim == 1 else factors))
    with np.errstate(all="ignore"):
        assert "Mul" in kinds(checked(scale_weights, make.graph(make.quantize(y, quant(1)))))


@pytest.mark.parametrize("read_twice", [False, True])
def test_factor_in_front_of_float_arithmetic_stays(read_twice: bool) -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (2, 3), "int8", quant(0.5)))
    y = make.add(Gemm(), x, make.weights(np.arange(12, dtype=np.int8).reshape(4, 3), quant(0.25)))
    y = make.add(Mul(), y, make.constant(np.full(4, 2, np.float32)))
    outputs = [make.quantize(y, quant(1)), y] if read_twice else [make.add(Softmax(axis=1), y)]
    assert "Mul" in kinds(checked(scale_weights, make.graph(*outputs)))
