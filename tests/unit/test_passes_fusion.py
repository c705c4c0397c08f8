# SPDX-License-Identifier: Apache-2.0
"""Passes that make float operators integer ones, or tables."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.ir.graph import Graph, QuantParams
from mcucompiler.ops import (
    Add,
    Cast,
    Conv,
    ConvTranspose,
    Dequantize,
    Div,
    Gemm,
    Lookup,
    MaxPool,
    Mul,
    Operator,
    Quantize,
    Resize,
    Softmax,
    Sub,
    Transpose,
    Unary,
)
from mcucompiler.passes import float_nodes, run_passes
from mcucompiler.passes.bias import accumulator_scales, quantize_bias
from mcucompiler.passes.boundary import leave_quantization_to_caller
from mcucompiler.passes.fold_islands import fold_islands
from mcucompiler.passes.fuse import fuse_quantized
from mcucompiler.reference import execute
from tests.support.graphs import GraphMaker, channel_quant, checked, kinds, onnx_values, quant, random_feeds

CONV = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))


# ---------------------------------------------------------------------- boundary


def test_quantisation_is_left_to_the_caller() -> None:
    make = GraphMaker()
    x = make.quantize(make.input("image", (1, 2, 4), "float32"), quant(0.5, 3), name="image_q")
    pool = MaxPool(kernel=(2,), strides=(2,), pads=(0, 0), dilations=(1,))
    y = make.add(pool, x, dtype="int8", q=quant(0.5, 3), name="pooled")
    graph = make.graph(make.dequantize(y, name="scores"))
    after = checked(leave_quantization_to_caller, graph)
    assert kinds(after) == ["MaxPool"]
    assert (after.inputs, after.outputs) == (("image_q",), ("pooled",))
    assert dict(after.float_boundary) == {"image": "image_q", "scores": "pooled"}
    kept = run_passes(graph, io="float")
    assert kinds(kept) == ["Quantize", "MaxPool", "Dequantize"]
    assert (kept.inputs, kept.outputs, dict(kept.float_boundary)) == (("image",), ("scores",), {})


def test_float_input_with_other_readers_stays() -> None:
    make = GraphMaker()
    x = make.input("x", (4,))
    after = checked(leave_quantization_to_caller, make.graph(make.quantize(x, quant(0.5)), make.quantize(x, quant(1))))
    assert after.inputs == ("x",)
    make = GraphMaker()
    x = make.input("x", (4,))
    graph = make.graph(make.quantize(x, quant(0.5)), make.add(Softmax(axis=0), x))
    assert checked(leave_quantization_to_caller, graph).inputs == ("x",)


def test_float_output_with_readers_or_twice_stays() -> None:
    make = GraphMaker()
    x = make.input("x", (4,), "int8", quant(0.5))
    y = make.dequantize(make.add(Unary(function="relu"), x, dtype="int8", q=quant(0.5)), name="y")
    graph = make.graph(y, make.add(Softmax(axis=0), y))
    assert checked(leave_quantization_to_caller, graph).outputs[0] == "y"
    make = GraphMaker()
    x = make.input("x", (4,), "int8", quant(0.5))
    assert kinds(checked(leave_quantization_to_caller, make.graph(make.dequantize(x)))) == ["Dequantize"]


def test_io_must_be_known() -> None:
    make = GraphMaker()
    with pytest.raises(ValueError, match="io is 'float16'"):
        run_passes(make.graph(make.dequantize(make.input("x", (4,), "int8", quant(0.5)))), io="float16")


# ---------------------------------------------------------------------- fusion


def conv_graph(bias: str, *, scale: float = 0.125) -> Graph:
    """Dequantize -> Conv -> Quantize with one kind of bias, worth [100, -50, 25] units of the accumulator."""
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2, 4, 4), "int8", quant(0.5, 5)))
    w = make.weights(np.arange(-3, 3, dtype=np.int8).reshape(3, 2, 1, 1), channel_quant([0.25, 0.5, 1]))
    units = np.array([100, -50, 25])
    scales = [0.125, 0.25, 0.5]
    if bias == "float":
        inputs = [make.constant((units * np.array(scales) + 0.03).astype(np.float32))]
    elif bias == "int32":
        inputs = [make.weights(units.astype(np.int32), channel_quant(scales))]
    elif bias == "almost the same scale":
        near = [float(np.nextafter(np.float32(s), np.float32(1))) for s in scales]
        inputs = [make.weights(units.astype(np.int32), channel_quant(near))]
    elif bias == "other scale":
        inputs = [make.weights((units * np.array([2, 4, 8])).astype(np.int32), quant(0.0625))]
    elif bias == "int8":
        inputs = [make.weights((units * np.array([0.25, 0.5, 1])).astype(np.int8), quant(0.5))]
    else:
        inputs = []
    return make.graph(make.quantize(make.add(CONV, x, w, *inputs), quant(scale), name="y"))


@pytest.mark.parametrize("bias", ["float", "int32", "almost the same scale", "other scale", "int8", "none"])
def test_conv_fuses_with_its_bias(bias: str) -> None:
    graph = conv_graph(bias)
    after = fuse_quantized(graph)
    assert kinds(after) == ["Conv"]
    (conv,) = after.nodes
    if bias != "none":
        np.testing.assert_array_equal(
            after.tensors[conv.inputs[2]].data, np.array([100, -50, 25], np.int32), strict=True
        )
    assert after.tensors["y"].quant == quant(0.125)
    expected = execute(graph, random_feeds(graph))["y"].astype(int)  # all of it is exact in float32 here
    if bias in ("int32", "other scale", "int8", "none"):
        np.testing.assert_array_equal(execute(after, random_feeds(graph))["y"], expected)


def test_sources_name_all_nodes() -> None:
    (conv,) = fuse_quantized(conv_graph("int32")).nodes
    assert conv.sources == ("n0", "n1", "n2", "n3", "n4")


def test_bias_formula_is_that_of_the_quantiser() -> None:
    scales = np.array([0.1, 0.1, 1e-12, 0.25], np.float32)
    values = np.array([0.25, -0.35, 1.0, 0.125], np.float32)
    got = quantize_bias(values, scales)
    assert got is not None
    np.testing.assert_array_equal(got, np.array([2, -3, 2**31 - 1, 0], np.int32), strict=True)
    assert quantize_bias(values, np.array([0, 1, 1, 1], np.float32)) is None
    assert quantize_bias(np.array([np.inf], np.float32), np.array([1], np.float32)) is None


@pytest.mark.parametrize("per_channel", [False, True])
def test_transposed_convolution_in_groups(per_channel: bool) -> None:
    """Its weights' scales belong to the same channel of every group; the operator takes one scale only then."""
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 4, 3, 3), "int8", quant(0.5)))
    q = channel_quant([0.5, 1], axis=1) if per_channel else quant(0.5)
    w = make.weights(np.ones((4, 2, 2, 2), np.int8), q)
    bias = make.constant(np.array([1, 2, 3, 4], np.float32))
    op = ConvTranspose(strides=(2, 2), pads=(0,) * 4, dilations=(1, 1), output_padding=(0, 0), groups=2)
    graph = make.graph(make.quantize(make.add(op, x, w, bias), quant(1)))
    after = fuse_quantized(graph)
    if per_channel:
        assert kinds(after) == kinds(graph)
        scales = accumulator_scales(op, make.tensors["x"], make.tensors["c2"])
        np.testing.assert_array_equal(scales, np.array([0.25, 0.5, 0.25, 0.5], np.float32), strict=True)
    else:
        assert kinds(after) == ["ConvTranspose"]
        np.testing.assert_array_equal(after.tensors[after.nodes[0].inputs[2]].data, np.array([4, 8, 12, 16], np.int32))


def test_several_quantises_get_an_operator_each() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 8), "int8", quant(0.5)))
    y = make.add(Softmax(axis=1), x)
    graph = make.graph(make.quantize(y, quant(1 / 256, -128)), make.quantize(y, quant(1 / 128, -128)))
    after = fuse_quantized(graph)
    assert kinds(after) == ["Softmax", "Softmax"]
    assert len({node.name for node in after.nodes}) == 2


def not_fusible(case: str) -> Graph:
    make = GraphMaker()
    x = make.input("x", (1, 4), "int8", quant(0.5))
    real = make.dequantize(x)
    if case == "float weights":
        y = make.add(Gemm(), real, make.constant(np.ones((4, 4), np.float32)))
    elif case == "float input":
        y = make.add(Gemm(), make.input("r", (1, 4)), make.weights(np.ones((4, 4), np.int8), quant(1)))
    elif case == "per-channel operand":
        make.input("other", (1, 4))
        c = make.weights(np.ones((1, 4), np.int8), channel_quant([1, 2, 3, 4], axis=1))
        y = make.add(Add(), make.add(Add(), real, "other"), c)
    elif case == "wrong axis":
        w = make.weights(np.ones((4, 4), np.int8), channel_quant([1, 2, 3, 4], axis=1))
        y = make.add(Gemm(), real, w)
    else:
        y = make.add(Gemm(), real, make.weights(np.ones((4, 4), np.int8), quant(1)))
        y = make.add(Unary(function="sigmoid"), y)
    return make.graph(make.quantize(y, quant(0.25)))


@pytest.mark.parametrize("case", ["float weights", "float input", "per-channel operand", "wrong axis", "no Quantize"])
def test_what_cannot_fuse_stays_float_and_is_reported(case: str) -> None:
    graph = not_fusible(case)
    after = checked(run_passes, graph)
    assert {"Gemm", "Add"} & {node.op.kind for node in float_nodes(after)}


def test_float_output_beside_stays_float() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 4), "int8", quant(0.5)))
    y = make.add(Softmax(axis=1), x)
    after = checked(fuse_quantized, make.graph(make.quantize(y, quant(1)), y))
    assert kinds(after) == ["Dequantize", "Softmax", "Quantize"]
    assert float_nodes(after) == after.nodes


def test_linear_resize_between_other_scales_stays_float() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2, 4, 4), "int8", quant(0.5)))
    op = Resize(sizes=(1, 2, 8, 8), scales=(1, 1, 2, 2), mode="linear", coordinates="half_pixel")
    graph = make.graph(make.quantize(make.add(op, x), quant(0.25)))
    assert kinds(checked(fuse_quantized, graph)) == ["Dequantize", "Resize", "Quantize"]


# ---------------------------------------------------------------------- islands


def image_normalisation(mean: np.ndarray, deviation: np.ndarray, *, transpose: str) -> Graph:
    make = GraphMaker()
    x = make.input("image", (1, 5, 6, 3), "uint8")
    y = make.add(Cast(to="float32"), x)
    if transpose == "first":
        y = make.add(Transpose(perm=(0, 3, 1, 2)), y)
        mean, deviation = (v.reshape(-1, 1, 1) if v.size > 1 else v for v in (mean, deviation))
    y = make.add(Div(), make.add(Sub(), y, make.constant(mean)), make.constant(deviation))
    if transpose == "last":
        y = make.add(Transpose(perm=(0, 3, 1, 2)), y)
    return make.graph(make.quantize(y, quant(0.02, -3)))


@pytest.mark.parametrize("transpose", ["none", "first", "last"])
def test_normalisation_with_scalars_is_one_table(transpose: str) -> None:
    graph = image_normalisation(np.float32([127.5]), np.float32([50]), transpose=transpose)
    after = checked(run_passes, graph)
    assert sorted(kinds(after)) == (["Lookup"] if transpose == "none" else ["Lookup", "Transpose"])
    lookup = next(node for node in after.nodes if isinstance(node.op, Lookup))
    assert lookup.op == Lookup()


@pytest.mark.parametrize("transpose", ["none", "first", "last"])
def test_normalisation_by_channel_is_one_table_with_a_row_each(transpose: str) -> None:
    graph = image_normalisation(np.float32([120, 110, 100]), np.float32([50, 60, 70]), transpose=transpose)
    after = checked(run_passes, graph)
    lookup = next(node for node in after.nodes if isinstance(node.op, Lookup))
    assert lookup.op == Lookup(axis=3)  # the transpose comes last, where it costs nothing
    assert after.tensors[lookup.inputs[1]].shape == (3, 256)
    assert not float_nodes(after)


def test_normalisation_of_a_float_input_stays() -> None:
    make = GraphMaker()
    x = make.add(Sub(), make.input("x", (1, 4)), make.constant(np.float32([0.5])))
    after = checked(run_passes, make.graph(make.quantize(x, quant(0.02))))
    assert kinds(after) == ["Sub", "Quantize"]
    assert after.inputs == ("x",)


def test_split_hardswish_is_one_table_in_real_arithmetic() -> None:
    make = GraphMaker()
    q, qy = quant(0.05, 3), quant(0.031, -90)
    x = make.dequantize(make.input("x", (2, 128), "int8", q))
    y = make.add(Mul(), x, make.add(Unary(function="hardsigmoid", params=(1 / 6, 0.5)), x))
    after = fold_islands(make.graph(make.quantize(y, qy)))
    assert kinds(after) == ["Lookup"]
    real = (np.arange(-128, 128) - 3) * float(q.s)
    expected = np.rint(real * np.clip(real / 6 + 0.5, 0, 1) / float(qy.s)) - 90
    np.testing.assert_array_equal(after.tensors[after.nodes[0].inputs[1]].data, np.clip(expected, -128, 127))


def test_island_with_constants_along_two_axes_stays() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 3, 4), "int8", quant(0.5)))
    y = make.add(Mul(), x, make.constant(np.ones((3, 1), np.float32)))
    y = make.add(Add(), y, make.constant(np.ones((4,), np.float32)))
    after = checked(fold_islands, make.graph(make.quantize(y, quant(1))))
    assert kinds(after) == ["Lookup", "Add", "Quantize"]  # the first of the two, with float32 entries


def test_island_of_two_tensors_stays() -> None:
    make = GraphMaker()
    x, y = (make.dequantize(make.input(name, (4,), "int8", quant(0.5))) for name in "xy")
    graph = make.graph(make.quantize(make.add(Unary(function="tanh"), make.add(Add(), x, y)), quant(1)))
    assert kinds(checked(fold_islands, graph)) == kinds(graph)


def test_island_of_many_channels_stays() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 200, 2), "int8", quant(0.5)))
    scale = make.constant(np.linspace(0.5, 2, 200, dtype=np.float32).reshape(200, 1))
    graph = make.graph(make.quantize(make.add(Mul(), x, scale), quant(1)))
    assert kinds(checked(fold_islands, graph)) == ["Dequantize", "Mul", "Quantize"]


def test_island_that_is_not_finite_stays_float() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (4,), "int8", quant(0.5)))
    graph = make.graph(make.quantize(make.add(Unary(function="log"), x), quant(1)))
    assert kinds(checked(fold_islands, graph)) == ["Lookup", "Quantize"]


def test_island_with_a_float_end_is_a_float_table() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 8), "int8", quant(0.05)))
    y = make.add(Unary(function="sigmoid"), x)
    z = make.add(Mul(), y, x)
    graph = make.graph(make.add(Softmax(axis=1), z), y)
    after = checked(fold_islands, graph)
    assert sorted(kinds(after)) == ["Lookup", "Lookup", "Softmax"]
    assert all(after.tensors[node.inputs[1]].dtype == "float32" for node in after.nodes if len(node.inputs) == 2)


def test_output_of_an_island_may_be_float() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 8), "uint8", quant(0.05, 128)))
    after = checked(run_passes, make.graph(make.add(Unary(function="sigmoid"), x, name="y")))
    assert kinds(after) == ["Lookup"]
    assert after.tensors["y"].dtype == "float32"


def test_requantisation_is_a_table_in_float32() -> None:
    make = GraphMaker()
    x = make.input("x", (2, 128), "int8", quant(0.05, 3))
    graph = make.graph(make.quantize(make.dequantize(x), quant(0.031, 7)))
    assert kinds(checked(fold_islands, graph)) == ["Dequantize", "Quantize"]
    assert kinds(checked(run_passes, graph)) == ["Lookup"]


def test_requantisation_to_the_same_parameters_is_nothing() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 4), "int8", quant(0.05, 3))
    y = make.quantize(make.dequantize(x), quant(0.05, 3))
    pool = Softmax(axis=1)
    graph = make.graph(make.add(pool, y, dtype="int8", q=quant(1 / 256, -128)))
    assert kinds(checked(run_passes, graph)) == ["Softmax"]


@pytest.mark.parametrize("op", [Quantize(), Dequantize()])
def test_no_pass_invents_rounding(op: Operator) -> None:
    """Quantize of a float graph input by two scales, and Dequantize to float: nothing is folded across."""
    make = GraphMaker()
    if isinstance(op, Quantize):
        x = make.input("x", (4,))
        graph = make.graph(make.quantize(x, quant(0.5)), make.quantize(x, quant(0.25)))
    else:
        x = make.input("x", (1, 4), "int8", quant(0.5))
        graph = make.graph(make.add(Softmax(axis=1), make.dequantize(x)))
    after = checked(run_passes, graph)
    assert kinds(after) == kinds(graph)


def test_pipeline_reports_every_pass_and_keeps_the_values() -> None:
    graph = conv_graph("int32")
    seen: list[tuple[str, Graph]] = []
    final = run_passes(graph, on_pass=lambda name, result: seen.append((name, result)))
    assert seen[-1][1] is final
    assert [name for name, _ in seen][:2] == ["simplify", "fold_constants"]
    fused = next(result for name, result in seen if name == "fuse_quantized")
    feeds = random_feeds(graph)
    for _, result in seen[[name for name, _ in seen].index("fuse_quantized") :]:
        np.testing.assert_array_equal(onnx_values(result, feeds)["y"], execute(fused, feeds)["y"])


def test_whole_bias_range_survives() -> None:
    make = GraphMaker()
    x = make.dequantize(make.input("x", (1, 2), "int8", quant(0.5)))
    w = make.weights(np.ones((2, 2), np.int8), quant(2.0**-28))
    units = np.array([-(2**31), 2**31 - 1], np.int32)
    bias = make.weights(units, QuantParams(scale=(2.0**-29,), zero_point=(0,)))
    after = fuse_quantized(make.graph(make.quantize(make.add(Gemm(), x, w, bias), quant(1))))
    np.testing.assert_array_equal(after.tensors[after.nodes[0].inputs[2]].data, units, strict=True)
