# SPDX-License-Identifier: Apache-2.0
"""Passes that clean up and move: structure of the result, and the same values before and after."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import (
    Add,
    Cast,
    Concat,
    Conv,
    Div,
    FlipSign,
    Gemm,
    MaxPool,
    Mul,
    Operator,
    Pad,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Sub,
    Transpose,
    Unary,
)
from mcucompiler.passes.add_to_bias import add_to_bias
from mcucompiler.passes.constants import fold_constants, fold_dequantized
from mcucompiler.passes.defer_movement import defer_movement
from mcucompiler.passes.hoist_quantize import hoist_quantize
from mcucompiler.passes.simplify import simplify
from mcucompiler.passes.sink_dequantize import sink_dequantize
from mcucompiler.passes.subexpressions import share_subexpressions
from tests.support.graphs import GraphMaker, assert_same, channel_quant, checked, kinds, quant

NOOPS: dict[str, Operator] = {
    "reshape": Reshape(shape=(1, 2, 3, 4)),
    "transpose": Transpose(perm=(0, 1, 2, 3)),
    "cast": Cast(to="float32"),
    "slice": Slice(starts=(0, 0, 0, 0), stops=(1, 2, 3, 4), steps=(1, 1, 1, 1)),
    "pad": Pad(pads=(0,) * 8),
    "concat": Concat(axis=1),
    "max_pool": MaxPool(kernel=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1)),
    "resize": Resize(sizes=(1, 2, 3, 4), scales=(1.0,) * 4, mode="linear", coordinates="half_pixel"),
    "identity": Unary(function="identity"),
}


@pytest.mark.parametrize("name", NOOPS)
def test_noop_goes_away(name: str) -> None:
    make = GraphMaker()
    x = make.add(Unary(function="relu"), make.input("x", (1, 2, 3, 4)))
    graph = make.graph(make.add(Softmax(axis=1), make.add(NOOPS[name], x)))
    assert kinds(checked(simplify, graph)) == ["Unary", "Softmax"]


def test_noop_at_output_hands_its_name_on() -> None:
    make = GraphMaker()
    x = make.add(Unary(function="relu"), make.input("x", (1, 4)))
    graph = make.graph(make.add(Reshape(shape=(1, 4)), x, name="scores"))
    after = checked(simplify, graph)
    assert kinds(after) == ["Unary"]
    assert after.outputs == ("scores",)


def test_noop_between_input_and_output_stays() -> None:
    make = GraphMaker()
    graph = make.graph(make.add(Reshape(shape=(1, 4)), make.input("x", (1, 4)), name="y"))
    assert kinds(checked(simplify, graph)) == ["Reshape"]


def test_noop_between_two_outputs_stays() -> None:
    make = GraphMaker()
    y = make.add(Unary(function="relu"), make.input("x", (1, 4)), name="y")
    graph = make.graph(y, make.add(Reshape(shape=(1, 4)), y, name="z"))
    assert kinds(checked(simplify, graph)) == ["Unary", "Reshape"]


def test_change_of_parameters_is_no_noop() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 4), "uint8", quant(0.5, 3))
    y = make.add(FlipSign(), x, dtype="int8", q=quant(0.5, -125))
    graph = make.graph(make.add(FlipSign(), y, dtype="uint8", q=quant(0.5, 3), name="y"), y)
    assert kinds(checked(simplify, graph)) == ["FlipSign", "FlipSign"]


def test_flip_signs_cancel() -> None:
    make = GraphMaker()
    pool = MaxPool(kernel=(2,), strides=(1,), pads=(0, 0), dilations=(1,))
    x = make.add(pool, make.input("x", (1, 2, 5), "int8", quant(1)), dtype="int8", q=quant(1))
    y = make.add(FlipSign(), x, dtype="uint8", q=quant(1, 128))
    z = make.add(FlipSign(), y, dtype="int8", q=quant(1))
    graph = make.graph(make.add(Reshape(shape=(1, 8)), z, dtype="int8", q=quant(1)))
    assert kinds(checked(simplify, graph)) == ["MaxPool", "Reshape"]


def test_reshapes_and_transposes_merge() -> None:
    make = GraphMaker()
    x = make.input("x", (2, 3, 4))
    y = make.add(Transpose(perm=(2, 1, 0)), make.add(Transpose(perm=(1, 2, 0)), x))
    z = make.add(Reshape(shape=(8, 3)), make.add(Reshape(shape=(24,)), y))
    after = checked(simplify, make.graph(z))
    assert [node.op for node in after.nodes] == [Transpose(perm=(0, 2, 1)), Reshape(shape=(8, 3))]
    assert after.nodes[0].sources == ("n0", "n1")


def test_inverse_transposes_cancel() -> None:
    make = GraphMaker()
    x = make.add(Unary(function="relu"), make.input("x", (1, 3, 4, 5)))
    y = make.add(Transpose(perm=(0, 3, 1, 2)), make.add(Transpose(perm=(0, 2, 3, 1)), x))
    assert kinds(checked(simplify, make.graph(make.add(Softmax(axis=1), y)))) == ["Unary", "Softmax"]


def test_transpose_of_ones_is_a_reshape() -> None:
    make = GraphMaker()
    y = make.add(Transpose(perm=(0, 2, 3, 1)), make.input("x", (1, 1, 4, 5)))
    graph = make.graph(make.add(Reshape(shape=(20,)), y))
    assert kinds(checked(simplify, graph)) == ["Reshape"]


def test_dead_nodes_go_away() -> None:
    make = GraphMaker()
    x = make.input("x", (4,))
    y = make.add(Unary(function="relu"), x)
    make.add(Add(), y, make.constant(np.ones(4, np.float32)))
    after = checked(simplify, make.graph(y))
    assert kinds(after) == ["Unary"]
    assert set(after.tensors) == {x, y}


def test_equal_nodes_are_shared() -> None:
    make = GraphMaker()
    x = make.input("x", (4,), "int8", quant(0.5))
    one, two = make.dequantize(x), make.dequantize(x)
    total = make.add(Add(), make.add(Unary(function="relu"), one), make.add(Unary(function="relu"), two))
    after = checked(share_subexpressions, make.graph(total))
    assert kinds(after) == ["Dequantize", "Unary", "Add"]
    assert after.nodes[0].sources == ("n0", "n1")


def test_nodes_of_other_parameters_are_not_shared() -> None:
    make = GraphMaker()
    x = make.input("x", (4,))
    one, two = make.quantize(x, quant(0.5)), make.quantize(x, quant(0.25))
    assert kinds(checked(share_subexpressions, make.graph(one, two))) == ["Quantize", "Quantize"]


def test_shared_node_keeps_the_name_of_an_output() -> None:
    make = GraphMaker()
    x = make.input("x", (4,))
    one = make.add(Unary(function="relu"), x)
    two = make.add(Unary(function="relu"), x, name="y")
    three = make.add(Unary(function="relu"), x, name="z")
    after = checked(share_subexpressions, make.graph(make.add(Softmax(axis=0), one), two, three))
    assert kinds(after) == ["Unary", "Unary", "Softmax"]  # y and z are two outputs and stay two


def test_constants_are_folded_but_not_dequantised() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3))
    real = make.add(Reshape(shape=(1, 3)), make.constant(np.array([1.4, -2.6, 3.5], np.float32)))
    integer = make.dequantize(make.quantize(real, quant(0.5)))
    graph = make.graph(make.add(Add(), x, integer))
    after = checked(fold_constants, graph)
    assert kinds(after) == ["Dequantize", "Add"]
    np.testing.assert_array_equal(after.tensors[after.nodes[0].inputs[0]].data, np.array([[3, -5, 7]], np.int8))
    last = checked(fold_dequantized, after)
    assert kinds(last) == ["Add"]


def test_constant_output_stays_computed() -> None:
    make = GraphMaker()
    make.input("x", (1,))
    graph = make.graph(make.add(Unary(function="relu"), make.constant(np.ones(3, np.float32))))
    assert kinds(checked(fold_dequantized, graph)) == ["Unary"]


CONV = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))


def product(shape: tuple[int, ...] = (2, 3)) -> tuple[GraphMaker, str]:
    """A float matrix product of dequantised operands, all of whose values float32 holds exactly."""
    make = GraphMaker()
    x = make.dequantize(make.input("x", shape, "int8", quant(0.5)))
    w = make.weights(np.arange(12, dtype=np.int8).reshape(4, 3), quant(0.25))
    return make, make.add(Gemm(), x, w)


@pytest.mark.parametrize("dequantised", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_addition_becomes_bias(dequantised: bool, first: bool) -> None:
    make, y = product()
    data = np.array([[1, -2, 3, 4]])
    c = make.weights(data.astype(np.int8), quant(0.5)) if dequantised else make.constant(data.astype(np.float32))
    graph = make.graph(make.quantize(make.add(Add(), *((c, y) if first else (y, c))), quant(3)))
    after = checked(add_to_bias, graph)
    assert "Add" not in kinds(after)
    gemm = next(node for node in after.nodes if node.op == Gemm())
    np.testing.assert_array_equal(
        after.tensors[gemm.inputs[2]].data, data[0].astype(np.float32) * (0.5 if dequantised else 1)
    )


def test_addition_joins_bias() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2, 4, 4), "int8", quant(0.5)))
    w = make.weights(np.ones((3, 2, 1, 1), np.int8), quant(1))
    bias = make.weights(np.array([1, 2, 3], np.int32), channel_quant([0.5, 0.25, 2]))
    y = make.add(CONV, x, w, bias)
    total = make.add(Add(), y, make.constant(np.array([1, 2, 3], np.float32).reshape(3, 1, 1)))
    after = checked(add_to_bias, make.graph(make.quantize(total, quant(1))))
    conv = next(node for node in after.nodes if node.op == CONV)
    np.testing.assert_array_equal(after.tensors[conv.inputs[2]].data, np.array([1.5, 2.5, 9], np.float32))


@pytest.mark.parametrize("shape", [(4, 1), (1, 1, 4), (4, 4)])
def test_addition_along_other_axes_stays(shape: tuple[int, ...]) -> None:
    make, y = product((4, 3))
    graph = make.graph(make.quantize(make.add(Add(), y, make.constant(np.ones(shape, np.float32))), quant(1)))
    assert "Add" in kinds(checked(add_to_bias, graph))


def test_addition_to_a_value_with_other_readers_stays() -> None:
    make, y = product()
    total = make.quantize(make.add(Add(), y, make.constant(np.ones(4, np.float32))), quant(1))
    assert "Add" in kinds(checked(add_to_bias, make.graph(total, y)))


def test_addition_in_float_stays() -> None:
    make, y = product()
    graph = make.graph(make.add(Add(), y, make.constant(np.ones(4, np.float32))))
    assert "Add" in kinds(checked(add_to_bias, graph))


def test_quantised_addition_stays() -> None:
    make, y = product()
    z = make.dequantize(make.quantize(y, quant(0.5)))
    graph = make.graph(make.quantize(make.add(Add(), z, make.constant(np.ones(4, np.float32))), quant(1)))
    assert "Add" in kinds(checked(add_to_bias, graph))


def test_movement_is_deferred_past_normalisation() -> None:
    make = GraphMaker()
    x = make.input("image", (1, 4, 5, 3), "uint8")
    real = make.add(Cast(to="float32"), x)
    centred = make.add(Sub(), real, make.constant(np.array([120, 110, 100], np.float32)))
    moved = make.add(Transpose(perm=(0, 3, 1, 2)), centred)
    scaled = make.add(Div(), moved, make.constant(np.array([50, 60, 70], np.float32).reshape(3, 1, 1)))
    graph = make.graph(make.quantize(make.add(Unary(function="relu"), scaled), quant(0.02)))
    after = checked(defer_movement, graph)
    assert kinds(after) == ["Cast", "Sub", "Div", "Unary", "Transpose", "Quantize"]


@pytest.mark.parametrize("scalar", [True, False])
def test_reshape_is_deferred_past_scalars_only(scalar: bool) -> None:
    make = GraphMaker()
    y = make.add(Reshape(shape=(4, 3)), make.input("x", (12,)))
    constant = make.constant(np.full((1,) if scalar else (3,), 2, np.float32))
    graph = make.graph(make.add(Sub(), constant, y))
    assert kinds(checked(defer_movement, graph)) == (["Sub", "Reshape"] if scalar else ["Reshape", "Sub"])


MOVEMENTS: dict[str, Operator] = {
    "reshape": Reshape(shape=(2, 12)),
    "transpose": Transpose(perm=(0, 2, 3, 1)),
    "slice": Slice(starts=(0, 0, 2, 0), stops=(1, 2, 3, 4), steps=(1, 1, 1, 2)),
    "max_pool": MaxPool(kernel=(2, 2), strides=(1, 1), pads=(1, 0, 0, 1), dilations=(1, 1)),
    "pad": Pad(pads=(0, 0, 1, 0, 0, 0, 0, 2)),
    "pad a value": Pad(pads=(0, 0, 1, 0, 0, 0, 0, 2), value=2.0),
    "reflect": Pad(pads=(0, 0, 1, 0, 0, 0, 0, 2), mode="reflect"),
    "resize": Resize(
        sizes=(1, 2, 6, 4), scales=(1, 1, 2, 1), mode="nearest", coordinates="asymmetric", nearest="floor"
    ),
}


@pytest.mark.parametrize("name", MOVEMENTS)
def test_dequantize_sinks(name: str) -> None:
    make = GraphMaker()
    x = make.input("x", (1, 2, 3, 4), "int8", quant(0.5, -7))
    graph = make.graph(make.add(MOVEMENTS[name], make.dequantize(x)))
    after = checked(sink_dequantize, graph)
    assert kinds(after) == [MOVEMENTS[name].kind, "Dequantize"]
    assert after.outs(after.nodes[0])[0].quant == quant(0.5, -7)


@pytest.mark.parametrize("name", MOVEMENTS)
def test_quantize_rises(name: str) -> None:
    make = GraphMaker()
    x = make.input("x", (1, 2, 3, 4))
    graph = make.graph(make.quantize(make.add(MOVEMENTS[name], x), quant(0.03, -7)))
    after = checked(hoist_quantize, graph)
    assert kinds(after) == ["Quantize", MOVEMENTS[name].kind]


def test_dequantize_of_weights_sinks_with_its_axis() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 2, 4, 4))
    w = make.weights(np.arange(6, dtype=np.int8).reshape(2, 3), channel_quant([0.5, 1, 2], axis=1))
    w = make.add(Reshape(shape=(3, 2, 1, 1)), make.add(Transpose(perm=(1, 0)), w))
    graph = fold_constants(sink_dequantize(make.graph(make.add(CONV, x, w))))
    assert kinds(graph) == ["Dequantize", "Conv"]
    assert graph.tensors[graph.nodes[0].inputs[0]].quant == channel_quant([0.5, 1, 2], axis=0)
    assert_same(make.graph(graph.outputs[0]), graph)


def test_dequantize_stays_where_the_pad_cannot_be_held() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 4), "int8", quant(0.5))
    graph = make.graph(make.quantize(make.add(Pad(pads=(0, 1, 0, 0), value=0.3), make.dequantize(x)), quant(0.1)))
    assert kinds(checked(sink_dequantize, graph)) == ["Dequantize", "Pad", "Quantize"]
    after = checked(hoist_quantize, graph)  # but the value in the output's units is exact
    assert kinds(after) == ["Dequantize", "Quantize", "Pad"]
    assert after.nodes[-1].op == Pad(pads=(0, 1, 0, 0), value=3.0)


def concat(scales: tuple[float, float]) -> Graph:
    make = GraphMaker()
    x, y = (make.input(name, (1, 4), "int8", quant(s)) for name, s in zip("xy", scales, strict=True))
    joined = make.add(Concat(axis=1), make.dequantize(x), make.dequantize(y))
    return make.graph(make.quantize(joined, quant(0.25)))


def test_dequantize_sinks_behind_concat_of_equal_parameters_only() -> None:
    assert kinds(checked(sink_dequantize, concat((0.5, 0.5)))) == ["Concat", "Dequantize", "Quantize"]
    graph = concat((0.5, 0.25))
    assert kinds(checked(sink_dequantize, graph)) == ["Dequantize", "Dequantize", "Concat", "Quantize"]
    assert kinds(checked(hoist_quantize, graph)) == ["Dequantize", "Dequantize", "Concat", "Quantize"]


def test_quantize_rises_above_concat_of_computed_values() -> None:
    make = GraphMaker()
    x, y = make.input("x", (1, 4), "int8", quant(0.5)), make.input("y", (1, 4))
    joined = make.add(Concat(axis=1), make.dequantize(x), y)
    after = checked(hoist_quantize, make.graph(make.quantize(joined, quant(0.25))))
    assert sorted(kinds(after)) == ["Concat", "Dequantize", "Quantize", "Quantize"]


@pytest.mark.parametrize("op", [Unary(function="relu"), Unary(function="clip", params=(-0.3, 0.7))])
def test_quantize_rises_above_bounds(op: Unary) -> None:
    make = GraphMaker()
    x = make.input("x", (5, 50))
    graph = make.graph(make.quantize(make.add(op, x), quant(0.01, -100)))
    after = checked(hoist_quantize, graph)
    assert kinds(after) == ["Quantize", "Unary"]
    lo, hi = (-100.0, 127.0) if op.function == "relu" else (-128.0, -30.0)
    assert after.nodes[1].op == Unary(function="clip_int", params=(lo, hi))


def test_quantize_with_other_readers_beside_stays() -> None:
    make = GraphMaker()
    y = make.add(Unary(function="relu"), make.input("x", (8,)))
    graph = make.graph(make.quantize(y, quant(0.1)), make.add(Softmax(axis=0), y))
    assert "Unary" in kinds(graph)
    assert kinds(checked(hoist_quantize, graph))[:1] == ["Unary"]


def test_every_quantize_rises_above_bounds_of_one_value() -> None:
    make = GraphMaker()
    y = make.add(Unary(function="relu"), make.input("x", (8,)))
    graph = make.graph(make.quantize(y, quant(0.1)), make.quantize(y, quant(0.2)))
    assert sorted(kinds(checked(hoist_quantize, graph))) == ["Quantize", "Quantize", "Unary", "Unary"]


def test_bounds_sink_in_front_of_what_is_not_elementwise() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 2, 6), "int8", quant(0.5, 10))
    real = make.add(Unary(function="relu"), make.dequantize(x))
    pool = MaxPool(kernel=(2,), strides=(2,), pads=(0, 0), dilations=(1,))
    after = checked(sink_dequantize, make.graph(make.add(pool, real)))
    assert kinds(after) == ["Unary", "MaxPool", "Dequantize"]
    make = GraphMaker()
    x = make.input("x", (6,), "int8", quant(0.5, 10))
    real = make.dequantize(x)
    graph = make.graph(make.add(Mul(), real, make.add(Unary(function="relu"), real)))
    assert kinds(checked(sink_dequantize, graph)) == ["Dequantize", "Unary", "Mul"]


def test_cast_of_an_image_sinks() -> None:
    make = GraphMaker()
    x = make.input("image", (1, 4, 5, 3), "uint8")
    graph = make.graph(make.add(Transpose(perm=(0, 3, 1, 2)), make.add(Cast(to="float32"), x)))
    assert kinds(checked(sink_dequantize, graph)) == ["Transpose", "Cast"]
