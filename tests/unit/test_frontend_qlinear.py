# SPDX-License-Identifier: Apache-2.0
"""QOperator graphs: exact against ONNX Runtime, and quantisation parameters where the file leaves them out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mcucompiler.frontend import import_model
from mcucompiler.ir.graph import Graph, QuantParams
from mcucompiler.ops import Dequantize, Gemm, Reshape, Transpose, Unary
from mcucompiler.reference import execute
from tests.support.onnx_text import model_proto, runtime_session

#: Parameters by name: the scale, and zero points as int8 and as uint8.
SCALES = {"sx": 0.0371, "sb": 0.0523, "sy": 0.0617, "sm": 0.00390625}
ZEROS = {"zx": -7, "zb": 11, "zy": 5, "zm": -128}
RNG = np.random.default_rng(3)


def _integers(*shape: int, dtype=np.int8) -> np.ndarray:
    info = np.iinfo(dtype)
    return RNG.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def build(body: str, shape: str, constants=None, *, unsigned: bool = False, opset: int = 13) -> bytes:
    """A model from the integer input x to the output y, with the parameters above at hand."""
    dtype = np.uint8 if unsigned else np.int8
    known = {name: np.float32(scale) for name, scale in SCALES.items()}
    known |= {name: dtype(zero + 128 if unsigned else zero) for name, zero in ZEROS.items()}
    text = f"g ({dtype.__name__}[{shape}] x) => ({dtype.__name__} y) {{ {body} }}"
    used = {name: value for name, value in known.items() if name in body}
    proto = model_proto(text, used | (constants or {}), opset=opset)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto.SerializeToString()


def check(content: bytes, tolerance: float = 0.0) -> Graph:
    """Import, and compare output y with ONNX Runtime's on random integers."""
    graph = import_model(content)
    x = graph.tensors["x"]
    values = np.random.default_rng(5).integers(*((0, 256) if x.dtype == "uint8" else (-128, 128)), x.shape)
    feeds = {"x": values.astype(x.dtype)}
    (expected,) = runtime_session(content).run(["y"], feeds)
    got = execute(graph, feeds)["y"]
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    if tolerance:
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
    else:
        np.testing.assert_array_equal(got, expected)
    return graph


CHANNELS = np.array([0.004, 0.0071, 0.0123], np.float32)
CASES = [
    (
        "y = QLinearConv<pads = [1, 1, 0, 1], strides = [2, 1]>(x, sx, zx, w, ws, wz, sy, zy, c)",
        "1, 2, 7, 6",
        {
            "w": _integers(3, 2, 3, 3),
            "ws": CHANNELS,
            "wz": np.zeros(3, np.int8),
            "c": np.array([100, -200, 300], np.int32),
        },
    ),
    (
        "y = QLinearConv<group = 2>(x, sx, zx, w, ws, wz, sy, zy)",
        "1, 4, 5, 5",
        {"w": _integers(2, 2, 3, 3), "ws": np.float32(0.004), "wz": np.int8(-8)},
    ),
    (
        "y = QLinearMatMul(x, sx, zx, w, ws, wz, sy, zy)",
        "2, 3, 4",
        {"w": _integers(4, 3), "ws": CHANNELS, "wz": np.zeros(3, np.int8)},
    ),
    (
        "y = QLinearMatMul(x, sx, zx, w, ws, wz, sy, zy)",
        "3, 4",
        {"w": _integers(4, 2), "ws": np.float32(0.01), "wz": np.int8(4)},
    ),
    (
        "y = com.microsoft.QGemm<transB = 1>(x, sx, zx, w, ws, wz, c, sy, zy)",
        "2, 4",
        {
            "w": _integers(3, 4),
            "ws": CHANNELS,
            "wz": np.zeros(3, np.int8),
            "c": np.array([100, -200, 300], np.int32),
        },
    ),
    (
        "y = com.microsoft.QGemm<alpha = 0.37>(x, sx, zx, w, ws, wz, , sy, zy)",
        "2, 4",
        {"w": _integers(4, 3), "ws": np.float32(0.02), "wz": np.int8(0)},
    ),
    (
        "y = com.microsoft.QGemm<transA = 1>(x, sx, zx, w, ws, wz, c, sy, zy)",
        "4, 2",
        {"w": _integers(4, 3), "ws": np.float32(0.01), "wz": np.int8(0), "c": np.array([[5, 6, 7]], np.int32)},
    ),
    ("y = com.microsoft.QLinearAdd(x, sx, zx, x, sx, zx, sy, zy)", "1, 3, 4, 5", {}),
    ("y = com.microsoft.QLinearAdd(x, sx, zx, k, sb, zb, sy, zy)", "1, 3, 4, 5", {"k": _integers(3, 1, 1)}),
    ("y = com.microsoft.QLinearMul(x, sx, zx, k, sb, zb, sy, zy)", "1, 3, 4, 5", {"k": _integers(1, 3, 1, 1)}),
    ("y = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm)", "1, 300", {}),
    ("y = com.microsoft.QLinearLeakyRelu<alpha = 0.2>(x, sx, zx, sy, zy)", "1, 300", {}),
    ("y = com.microsoft.QLinearSoftmax<axis = -1, opset = 13>(x, sx, zx, sm, zm)", "3, 12", {}),
    ("y = com.microsoft.QLinearSoftmax<axis = 1, opset = 11>(x, sx, zx, sm, zm)", "2, 3, 4", {}),
    ("y = com.microsoft.QLinearAveragePool<kernel_shape = [2, 2]>(x, sx, zx, sy, zy)", "1, 3, 5, 4", {}),
    ("y = com.microsoft.QLinearGlobalAveragePool<channels_last = 0>(x, sx, zx, sy, zy)", "1, 3, 5, 4", {}),
    ("y = com.microsoft.QLinearGlobalAveragePool<channels_last = 1>(x, sx, zx, sy, zy)", "1, 5, 4, 3", {}),
    (
        "r = MaxPool<kernel_shape = [1, 1]>(x) \n"
        "y = com.microsoft.QLinearConcat<axis = 1>(sy, zy, x, sx, zx, r, sx, zx)",
        "1, 3, 5, 4",
        {},
    ),
    (
        "y = com.microsoft.QLinearConcat<axis = 1>(sy, zy, x, sx, zx, k, sb, zb)",
        "1, 3, 2",
        {"k": _integers(1, 2, 2)},
    ),
    (
        "y = com.microsoft.QLinearConv<channels_last = 1, strides = [2, 1], pads = [1, 0, 0, 1]>"
        "(x, sx, zx, w, ws, wz, sy, zy)",
        "1, 5, 4, 2",
        {"w": _integers(3, 2, 3, 2), "ws": np.float32(0.004), "wz": np.int8(0)},
    ),
    (
        "m = com.microsoft.NhwcMaxPool<kernel_shape = [2, 3], strides = [2, 1]>(x) \n"
        "y = com.microsoft.QLinearSigmoid(m, sx, zx, sy, zy)",
        "1, 5, 4, 3",
        {},
    ),
]


@pytest.mark.parametrize(("body", "shape", "constants"), CASES)
def test_exact(body, shape, constants):
    graph = check(build(body, shape, constants))
    assert graph.tensors["x"].quant == QuantParams(scale=(float(np.float32(0.0371)),), zero_point=(-7,))
    assert graph.tensors["y"].quant is not None


@pytest.mark.parametrize("case", [0, 2, 7, 10, 12, 14, 15, 17])
def test_exact_of_unsigned_activations(case):
    body, shape, constants = CASES[case]
    graph = check(build(body, shape, constants, unsigned=True))
    assert graph.tensors["x"].quant.zero_point == (121,)


def test_unsigned_weights():
    constants = {"w": _integers(2, 2, 3, 3, dtype=np.uint8), "ws": np.float32(0.004), "wz": np.uint8(120)}
    check(build("y = QLinearConv(x, sx, zx, w, ws, wz, sy, zy)", "1, 2, 5, 5", constants, unsigned=True))


def test_two_outputs_of_a_table():
    body = (
        "a = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm) \n y = com.microsoft.QLinearLeakyRelu(a, sm, zm, sy, zy)"
    )
    graph = check(build(body, "1, 300"))
    assert [node.op for node in graph.nodes] == [
        Unary(function="sigmoid"),
        Unary(function="leakyrelu", params=(float(np.float32(0.01)),)),
    ]


# ---------------------------------------------------------------------- parameters that the file leaves out


def test_parameters_pass_backwards_to_the_input():
    body = """a = Transpose<perm = [0, 2, 3, 1]>(x) \n b = Reshape(a, t) \n c = Clip(b, lo, hi)
        y = com.microsoft.QLinearSigmoid(c, sx, zx, sm, zm)"""
    constants = {"t": np.array([0, -1]), "lo": np.int8(-50), "hi": np.int8(60)}
    graph = check(build(body, "1, 3, 4, 5", constants))
    wanted = QuantParams(scale=(float(np.float32(0.0371)),), zero_point=(-7,))
    assert [graph.tensors[name].quant for name in "xabc"] == [wanted] * 4


def test_parameters_pass_forwards_to_the_output():
    body = "a = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm) \n y = MaxPool<kernel_shape = [2, 2]>(a)"
    graph = check(build(body, "1, 3, 4, 5"))
    assert graph.tensors["y"].quant == QuantParams(scale=(0.00390625,), zero_point=(-128,))


def test_parameters_come_from_the_other_input_of_a_concat():
    body = """a = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm) \n b = Concat<axis = 0>(k, a)
        y = Slice(b, one, two)"""
    constants = {"k": _integers(1, 6), "one": np.array([0]), "two": np.array([2])}
    graph = check(build(body, "1, 6", constants))
    quants = {graph.tensors[name].quant for name in "kaby"}
    assert quants == {QuantParams(scale=(0.00390625,), zero_point=(-128,))}


def test_an_unquantized_integer_input_stays_as_it_is():
    body = "f = Cast<to = 1>(x) \n s = Mul(f, sx) \n y = QuantizeLinear(s, sy, zy)"
    graph = check(build(body, "1, 6"))
    assert graph.tensors["x"].quant is None


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        "y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)",
        "y = ReduceMax<axes = [2, 3]>(x)",
        "y = Concat<axis = 1>(x, k)",
        "a = MaxPool<kernel_shape = [2, 2]>(x) \n b = Cast<to = 1>(a) \n y = QuantizeLinear(b, sy, zy)",
    ],
)
def test_maxima_and_concats_of_integers_without_parameters_take_them_for_numbers(body, unsigned):
    constants = {"k": _integers(1, 2, 4, 5, dtype=np.uint8 if unsigned else np.int8)} if "k)" in body else None
    graph = check(build(body, "1, 3, 4, 5", constants, unsigned=unsigned))
    assert graph.tensors["x"].quant == QuantParams(scale=(1.0,), zero_point=(0,))


def test_a_stated_scale_reaches_an_input_before_that_of_plain_numbers():
    body = """a = MaxPool<kernel_shape = [2, 2]>(x) \n b = Concat<axis = 1>(a, a)
        y = com.microsoft.QLinearSigmoid(b, sx, zx, sm, zm)"""
    graph = check(build(body, "1, 3, 4, 5"))
    assert graph.tensors["x"].quant == QuantParams(scale=(float(np.float32(0.0371)),), zero_point=(-7,))


def test_other_parameters_at_the_consumer_relabel():
    body = """a = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm)
        y = com.microsoft.QLinearAdd(a, sb, zb, a, sm, zm, sy, zy)"""
    graph = check(build(body, "1, 300"))
    (relabel,) = [node for node in graph.nodes if isinstance(node.op, Reshape)]
    assert graph.tensors[relabel.outputs[0]].quant == QuantParams(scale=(float(np.float32(0.0523)),), zero_point=(11,))
    assert relabel.sources == ("QLinearAdd_1",)
    assert graph.tensors["a"].quant == QuantParams(scale=(0.00390625,), zero_point=(-128,))


def test_a_relabel_is_made_once():
    body = """a = com.microsoft.QLinearSigmoid(x, sx, zx, sm, zm)
        b = com.microsoft.QLinearAdd(a, sb, zb, a, sb, zb, sy, zy)
        y = com.microsoft.QLinearMul(a, sb, zb, b, sy, zy, sy, zy)"""
    graph = check(build(body, "1, 300"))
    assert sum(isinstance(node.op, Reshape) for node in graph.nodes) == 1


def test_a_constant_under_two_scales_is_copied():
    body = """a = com.microsoft.QLinearAdd(x, sx, zx, k, sb, zb, sy, zy)
        y = com.microsoft.QLinearMul(a, sy, zy, k, sx, zx, sy, zy)"""
    graph = check(build(body, "1, 6", {"k": _integers(6)}))
    assert sorted(t.quant.scale[0] for t in graph.tensors.values() if t.is_constant) == [
        float(np.float32(0.0371)),
        float(np.float32(0.0523)),
    ]


def test_dequantize_with_other_parameters_than_quantize():
    body = "f = DequantizeLinear(x, sx, zx) \n q = QuantizeLinear(f, sb, zb) \n e = DequantizeLinear(q, sm, zm) \n" + (
        " y = QuantizeLinear(e, sy, zy)"
    )
    graph = check(build(body, "1, 300"))
    assert [node.op.kind for node in graph.nodes] == ["Dequantize", "Quantize", "Reshape", "Dequantize", "Quantize"]


# ---------------------------------------------------------------------- other things


def test_qgemm_without_an_output_scale_is_a_float_operator():
    constants = {
        "w": _integers(3, 4),
        "ws": CHANNELS,
        "wz": np.zeros(3, np.int8),
        "c": np.array([100, -200, 300], np.int32),
    }
    body = "y = com.microsoft.QGemm<transB = 1, alpha = 0.5>(x, sx, zx, w, ws, wz, c)"
    proto = onnx.load_from_string(build(body, "2, 4", constants))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    graph = check(proto.SerializeToString(), tolerance=1e-5)
    assert [type(node.op) for node in graph.nodes][-1] is Gemm
    assert sum(isinstance(node.op, Dequantize) for node in graph.nodes) == 3


def test_channels_last_pools_are_transposed():
    graph = import_model(build(*CASES[16]))
    assert [type(node.op).__name__ for node in graph.nodes] == ["Transpose", "ReduceMean", "Transpose"]
    assert graph.nodes[0].op == Transpose(perm=(0, 3, 1, 2))
    assert graph.nodes[2].op == Transpose(perm=(0, 2, 3, 1))


def test_bias_carries_the_product_of_the_scales():
    graph = import_model(build(*CASES[0]))
    wanted = tuple(float(np.float32(0.0371) * scale) for scale in CHANNELS)
    assert graph.tensors["c"].quant == QuantParams(scale=wanted, zero_point=(0, 0, 0), axis=0)
