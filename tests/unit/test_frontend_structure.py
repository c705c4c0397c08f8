# SPDX-License-Identifier: Apache-2.0
"""Names, order, dimensions, constants: what the importer makes of a graph around its operators."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mcucompiler.frontend import import_model
from mcucompiler.ir.graph import Graph, QuantParams
from mcucompiler.ops import Add, Conv, Dequantize, Gemm, Mul, Quantize, Reshape, Slice, Unary
from tests.support.onnx_text import model_bytes, model_proto

QDQ = """g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}, int8 z = {3}> {
    [quantize] q = QuantizeLinear(x, s, z)
    [dequantize] d = DequantizeLinear(q, s, z)
    [relu] y = Relu(d)
}"""
S = QuantParams(scale=(0.5,), zero_point=(3,))


def ops(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


def quantized(body: str, shape: str = "1, 4", constants=None, opset: int = 13, **options) -> Graph:
    text = f"""g (float[{shape}] x) => (float y) <float s = {{0.5}}, int8 z = {{3}}> {{
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        {body}
    }}"""
    proto = model_proto(text, constants, opset=opset)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return import_model(proto.SerializeToString(), **options)


def test_qdq_is_kept():
    graph = import_model(model_bytes(QDQ))
    assert [type(node.op) for node in graph.nodes] == [Quantize, Dequantize, Unary]
    assert [node.name for node in graph.nodes] == ["quantize", "dequantize", "relu"]
    assert all(node.sources == (node.name,) for node in graph.nodes)
    assert graph.tensors["q"].quant == S
    assert (graph.inputs, graph.outputs, graph.name) == (("x",), ("y",), "g")
    assert "s" not in graph.tensors


def test_digest_and_name(tmp_path):
    proto = model_proto(QDQ)
    path = tmp_path / "my net.onnx"
    path.write_bytes(proto.SerializeToString())
    graph = import_model(path)
    assert graph.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert import_model(str(path)).digest == graph.digest
    assert graph.name == "g"
    proto.graph.name = ""
    path.write_bytes(proto.SerializeToString())
    assert import_model(path).name == "my net"


def test_nameless_and_equal_names_become_unique():
    proto = model_proto(QDQ)
    proto.graph.node[0].name = ""
    proto.graph.node[1].name = proto.graph.node[2].name = "twin"
    graph = import_model(proto.SerializeToString())
    assert [node.name for node in graph.nodes] == ["QuantizeLinear_0", "twin", "twin_2"]


def test_derived_names_avoid_those_of_the_file():
    body = "d_relu = Abs(d) \n v = PRelu(d_relu, w) \n y = Add(v, d_relu)"
    graph = quantized(body, constants={"w": np.array([1, 2, 3, 4], np.float32)})
    names = [name for node in graph.nodes for name in node.outputs]
    assert len(set(names)) == len(names)
    assert len({node.name for node in graph.nodes}) == len(graph.nodes)


def test_nodes_in_any_order():
    proto = model_proto(QDQ)
    reverse = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(reverse)
    assert [node.name for node in import_model(proto.SerializeToString()).nodes] == ["quantize", "dequantize", "relu"]


def test_what_no_output_needs_is_left_out():
    graph = quantized("dead = ArgMax<axis = 1>(d) \n y = Relu(d)")
    assert ops(graph) == ["Quantize", "Dequantize", "Unary"]


def test_initializers_listed_as_inputs_are_constants():
    proto = model_proto(QDQ)
    proto.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    assert import_model(proto.SerializeToString()).inputs == ("x",)


def test_local_functions_are_inlined():
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
    g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}, int8 z = {3}> {
        y = local.twice(x, s, z)
    }
    <domain: "local", opset_import: ["" : 17]>
    twice (a, s, z) => (b) {
        q = QuantizeLinear(a, s, z)
        d = DequantizeLinear(q, s, z)
        b = Add(d, d)
    }"""
    assert ops(import_model(onnx.parser.parse_model(text).SerializeToString())) == ["Quantize", "Dequantize", "Add"]


@pytest.mark.parametrize("kind", ["scalar", "list of one", "Constant node", "computed"])
def test_scales_from_everywhere(kind):
    scale = np.array(0.5 if kind != "list of one" else [0.5], np.float32)
    text = """g (float[1, 4] x) => (float[1, 4] y) {
        q = QuantizeLinear(x, s, z)
        y = DequantizeLinear(q, s, z)
    }"""
    constants = {"z": np.int8(3)}
    if kind == "Constant node":
        text = text.replace("q =", "s = Constant<value_float = 0.5>() \n q =")
    elif kind == "computed":
        text = text.replace("q =", "h = Constant<value = float {0.25}>() \n s = Add(h, h) \n q =")
    else:
        constants["s"] = scale
    assert import_model(model_bytes(text, constants)).tensors["q"].quant == S


def test_missing_zero_point_means_uint8():
    text = """g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}> {
        q = QuantizeLinear(x, s)
        y = DequantizeLinear(q, s)
    }"""
    tensor = import_model(model_bytes(text)).tensors["q"]
    assert (tensor.dtype, tensor.quant) == ("uint8", QuantParams(scale=(0.5,), zero_point=(0,)))


def test_output_dtype_attribute():
    text = """g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}> {
        q = QuantizeLinear<output_dtype = 3>(x, s)
        y = DequantizeLinear(q, s)
    }"""
    assert import_model(model_bytes(text, opset=21)).tensors["q"].dtype == "int8"


def test_integer_boundary_gets_its_scale_from_the_consumer():
    text = """g (int8[1, 4] x) => (uint8[1, 4] y) <float s = {0.5}, int8 z = {3}, float t = {0.25}> {
        d = DequantizeLinear(x, s, z)
        y = QuantizeLinear(d, t)
    }"""
    graph = import_model(model_bytes(text))
    assert graph.tensors["x"].quant == S
    assert graph.tensors["y"].quant == QuantParams(scale=(0.25,), zero_point=(0,))


# ---------------------------------------------------------------------- dimensions


def test_batch_and_symbols():
    text = """g (float[N, 3, H] x, float[N, 3, H] w) => (float y) <float s = {0.5}> {
        v = Add(x, w)
        q = QuantizeLinear(v, s)
        y = DequantizeLinear(q, s)
    }"""
    proto = model_proto(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    content = proto.SerializeToString()
    assert import_model(content, shapes={"x": (2, 3, 5)}).tensors["w"].shape == (2, 3, 5)
    assert import_model(content, shapes={"w": (1, 3, 5)}, batch=1).tensors["y"].shape == (1, 3, 5)


@pytest.mark.parametrize("dim", ["N", "", "0", "-1"])
@pytest.mark.parametrize("batch", [1, 3])
def test_unknown_batch(dim, batch):
    proto = model_proto(QDQ)
    for value in (*proto.graph.input, *proto.graph.output):
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        if dim in ("0", "-1"):
            first.dim_value = int(dim)
        elif dim:
            first.dim_param = dim
    assert import_model(proto.SerializeToString(), batch=batch).tensors["y"].shape == (batch, 4)


def test_input_without_any_shape():
    proto = model_proto(QDQ)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    graph = import_model(proto.SerializeToString(), shapes={"x": (2, 5)})
    assert graph.tensors["y"].shape == (2, 5)


# ---------------------------------------------------------------------- constants


def test_shape_subgraph():
    """Flatten as older exporters write it: Shape, Gather, Unsqueeze, Concat, Reshape."""
    body = """size = Shape(d)
        first = Gather<axis = 0>(size, zero)
        row = Unsqueeze(first, axes)
        target = Concat<axis = 0>(row, rest)
        y = Reshape(d, target)"""
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    graph = quantized(body, "N, 3, 2", constants, batch=2)
    assert ops(graph) == ["Quantize", "Dequantize", "Reshape"]
    assert graph.nodes[-1].op == Reshape(shape=(2, 6))


def test_shape_with_bounds_range_cast_and_constant_of_shape():
    body = """size = Shape<start = 1, end = 2>(d)
        ones = ConstantOfShape<value = float[1] {1.5}>(size)
        count = Squeeze(size)
        steps = Range(zero, count, one)
        real = Cast<to = 1>(steps)
        c = Mul(real, ones)
        y = Add(d, c)"""
    graph = quantized(body, "2, 4", {"zero": np.array(0), "one": np.array(1)}, opset=15)
    assert ops(graph) == ["Quantize", "Dequantize", "Add"]
    np.testing.assert_array_equal(graph.tensors["c"].data, np.array([0, 1.5, 3, 4.5], np.float32))


def test_integer_input_read_for_its_shape_only():
    text = """g (int64[2, 3] ids, float[6] x) => (float[2, 3] y) <float s = {0.5}, int8 z = {3}> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        n = Shape(ids)
        y = Reshape(d, n)
    }"""
    assert import_model(model_bytes(text)).tensors["y"].shape == (2, 3)


def test_float_weights_behind_quantize_become_integers():
    body = """wq = QuantizeLinear<axis = 0>(w, ws, wz)
        wd = DequantizeLinear<axis = 0>(wq, ws, wz)
        i = Reshape(d, shape)
        y = Conv(i, wd)"""
    constants = {
        "w": np.array([[[[1.0]]], [[[1.3]]]], np.float32),
        "ws": np.array([0.5, 0.25], np.float32),
        "wz": np.array([0, 1], np.int8),
        "shape": np.array([1, 1, 4, 1]),
    }
    graph = quantized(body, constants=constants)
    weights = graph.tensors["wq"]
    assert (weights.dtype, weights.data.reshape(-1).tolist()) == ("int8", [2, 6])
    assert weights.quant == QuantParams(scale=(0.5, 0.25), zero_point=(0, 1), axis=0)
    assert ops(graph).count("Quantize") == 1
    assert isinstance(graph.nodes[-1].op, Conv)


@pytest.mark.parametrize(
    ("move", "shape", "axis"),
    [
        ("Transpose<perm = [1, 0]>(wd)", (2, 3), 0),
        ("Reshape(wd, flat)", (1, 3, 2), 2),
        ("Unsqueeze(wd, front)", (1, 3, 2), 2),
        ("Identity(wd)", (3, 2), 1),
    ],
)
def test_integers_are_moved_before_they_are_dequantized(move, shape, axis):
    body = f"wd = DequantizeLinear<axis = 1>(w, ws) \n v = {move} \n r = Reshape(d, mid) \n y = Mul(r, v)"
    constants = {
        "w": np.arange(6, dtype=np.int8).reshape(3, 2),
        "ws": np.array([0.5, 0.25], np.float32),
        "flat": np.array([1, 3, 2]),
        "front": np.array([0]),
        "mid": np.array([1, 1, 1]),
    }
    graph = quantized(body, shape="1", constants=constants)
    (source,) = [graph.tensors[n.inputs[0]] for n in graph.nodes if graph.tensors[n.inputs[0]].is_constant]
    assert (source.shape, source.quant.axis, source.dtype) == (shape, axis, "int8")


def test_axes_that_merge_are_dequantized():
    body = "wd = DequantizeLinear<axis = 1>(w, ws) \n v = Reshape(wd, flat) \n y = Mul(d, v)"
    constants = {
        "w": np.arange(4, dtype=np.int8).reshape(2, 2),
        "ws": np.array([0.5, 0.25], np.float32),
        "flat": np.array([4]),
    }
    graph = quantized(body, constants=constants)
    np.testing.assert_array_equal(graph.tensors["v"].data, np.array([0, 0.25, 1, 0.75], np.float32))


def test_matmul_weights_keep_their_channels():
    body = "wd = DequantizeLinear<axis = -1>(w, ws) \n y = MatMul(d, wd)"
    constants = {"w": np.arange(8, dtype=np.int8).reshape(4, 2), "ws": np.array([0.5, 0.25], np.float32)}
    graph = quantized(body, constants=constants)
    assert ops(graph) == ["Quantize", "Dequantize", "Dequantize", "Gemm"]
    weights = graph.tensors[graph.nodes[2].inputs[0]]
    assert weights.quant == QuantParams(scale=(0.5, 0.25), zero_point=(0, 0), axis=0)
    np.testing.assert_array_equal(weights.data, np.arange(8).reshape(4, 2).T)


def test_bias_of_rank_one_has_but_one_axis():
    body = "b = DequantizeLinear(bq, bs) \n y = Gemm<transB = 1>(d, w, b)"
    constants = {
        "bq": np.array([1, 2], np.int32),
        "bs": np.array([0.5, 0.25], np.float32),
        "w": np.ones((2, 4), np.float32),
    }
    graph = quantized(body, constants=constants)
    assert graph.tensors["bq"].quant.axis == 0
    assert isinstance(graph.nodes[-1].op, Gemm)


def test_gemm_factors_go_into_the_scales():
    body = """wd = DequantizeLinear(w, ws) \n b = DequantizeLinear(bq, bs)
        y = Gemm<alpha = 0.5, beta = 2.0, transB = 1>(d, wd, b)"""
    constants = {
        "w": np.ones((2, 4), np.int8),
        "ws": np.float32(0.25),
        "bq": np.array([1, 2], np.int32),
        "bs": np.float32(0.125),
    }
    graph = quantized(body, constants=constants)
    scales = {t.dtype: t.quant.scale for t in graph.tensors.values() if t.is_constant}
    assert scales == {"int8": (0.125,), "int32": (0.25,)}


# ---------------------------------------------------------------------- aliases and splits


def test_identity_and_dropout_vanish():
    graph = quantized("a = Identity(d) \n b = Dropout(a) \n e = Identity(b) \n y = Relu(e)")
    assert ops(graph) == ["Quantize", "Dequantize", "Unary"]
    assert graph.nodes[-1].inputs == ("d",)


def test_identity_to_an_output_stays():
    graph = quantized("a = Relu(d) \n y = Identity(a)")
    assert ops(graph) == ["Quantize", "Dequantize", "Unary", "Reshape"]
    assert graph.outputs == ("y",)


def test_split_is_slices():
    graph = quantized("y, v, w = Split<axis = 1>(d, parts) \n", constants={"parts": np.array([1, 2, 1])})
    assert [node.op for node in graph.nodes[2:]] == [Slice(starts=(0, 0), stops=(1, 1), steps=(1, 1))]


def test_batch_normalization_is_a_product_and_a_sum():
    constants = {k: np.array(v, np.float32) for k, v in {"g": [2, 3], "b": [1, 1], "m": [4, 5], "v": [1, 4]}.items()}
    body = "y = BatchNormalization<epsilon = 0.0>(d, g, b, m, v)"
    graph = quantized(body, "1, 2, 3", constants)
    product, total = graph.nodes[2:]
    assert (type(product.op), type(total.op)) == (Mul, Add)
    assert graph.tensors[product.inputs[1]].data.reshape(-1).tolist() == [2, 1.5]
    assert graph.tensors[total.inputs[1]].data.reshape(-1).tolist() == [-7, -6.5]


def test_hostile_names_are_data():
    names = ['a"b', "c*/d", "{{ 7 * 7 }}", "line\nbreak", "{% raw %}", "\\", "名"]
    proto = model_proto(QDQ)
    renamed = dict(zip(["x", "q", "d", "y"], names, strict=False))
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = renamed[value.name]
    for node in proto.graph.node:
        node.name = names[-1] + node.name + names[3]
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    graph = import_model(proto.SerializeToString())
    assert graph.inputs == (names[0],)
    assert graph.outputs == (names[3],)
    assert graph.nodes[0].name == names[-1] + "quantize" + names[3]
