# SPDX-License-Identifier: Apache-2.0
"""Every converted operator computes what ONNX Runtime computes, in all the forms in which it is written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from mcucompiler.frontend import import_model
from mcucompiler.reference import execute
from tests.support.onnx_text import model_proto, runtime_session

RNG = np.random.default_rng(7)


def _real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def check(body: str, shape: str, constants=None, opset: int = 13, *, exact: bool = False) -> None:
    """Import a model of this body, whose input is the dequantized `d`, the integer `q`; compare output y."""
    text = f"""g (float[{shape}] x) => (float y) <float s = {{0.03125}}, int8 z = {{3}}> {{
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        {body}
    }}"""
    proto = model_proto(text, constants, opset=opset)
    _set_output_type(proto)
    content = proto.SerializeToString()
    graph = import_model(content)
    dims = tuple(int(size) for size in shape.split(","))
    x = np.random.default_rng(11).uniform(-4, 4, dims).astype(np.float32)
    (expected,) = runtime_session(content).run(["y"], {"x": x})
    got = execute(graph, {"x": x})["y"]
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    if exact or expected.dtype != np.float32:
        np.testing.assert_array_equal(got, expected)
    else:
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6)


def _set_output_type(proto: onnx.ModelProto) -> None:
    """Declare the output with the type that it has, and without a shape."""
    proto.graph.output[0].type.Clear()
    output_type = onnx.shape_inference.infer_shapes(proto).graph.output[0].type.tensor_type
    proto.graph.output[0].type.tensor_type.elem_type = output_type.elem_type


# ---------------------------------------------------------------------- convolutions

CONV = [
    ("y = Conv(d, w)", "1, 2, 6, 5", {"w": _real(3, 2, 3, 2)}),
    ("y = Conv(d, w, b)", "2, 2, 6, 5", {"w": _real(3, 2, 3, 2), "b": _real(3)}),
    ("y = Conv<group = 2, pads = [1, 0, 2, 1], strides = [2, 1]>(d, w)", "1, 4, 6, 5", {"w": _real(6, 2, 3, 2)}),
    ("y = Conv<dilations = [2, 3], kernel_shape = [2, 2]>(d, w)", "1, 1, 6, 5", {"w": _real(1, 1, 2, 2)}),
    ("y = Conv<pads = [2, 1], strides = [2]>(d, w)", "1, 2, 7", {"w": _real(3, 2, 3)}),
    ('y = Conv<auto_pad = "SAME_UPPER", strides = [2, 3]>(d, w)', "1, 1, 7, 8", {"w": _real(1, 1, 4, 4)}),
    ('y = Conv<auto_pad = "SAME_LOWER", strides = [2, 3]>(d, w)', "1, 1, 7, 8", {"w": _real(1, 1, 4, 4)}),
    ('y = Conv<auto_pad = "VALID">(d, w)', "1, 1, 7, 8", {"w": _real(1, 1, 4, 4)}),
    ("y = ConvTranspose(d, w)", "1, 2, 4, 5", {"w": _real(2, 3, 3, 2)}),
    (
        "y = ConvTranspose<strides = [2, 3], pads = [1, 0, 0, 2]>(d, w, b)",
        "1, 2, 4, 5",
        {"w": _real(2, 3, 3, 3), "b": _real(3)},
    ),
    (
        "y = ConvTranspose<group = 2, strides = [2, 2], output_padding = [1, 0]>(d, w)",
        "1, 4, 3, 3",
        {"w": _real(4, 3, 2, 2)},
    ),
    ("y = ConvTranspose<strides = [2, 2], output_shape = [7, 9]>(d, w)", "1, 2, 4, 5", {"w": _real(2, 3, 3, 3)}),
    (
        'y = ConvTranspose<strides = [2, 2], output_shape = [8, 10], auto_pad = "SAME_UPPER">(d, w)',
        "1, 2, 4, 5",
        {"w": _real(2, 3, 3, 3)},
    ),
    ('y = ConvTranspose<strides = [2, 2], auto_pad = "SAME_UPPER">(d, w)', "1, 2, 4, 5", {"w": _real(2, 3, 3, 3)}),
    ('y = ConvTranspose<strides = [2, 2], auto_pad = "SAME_LOWER">(d, w)', "1, 2, 4, 5", {"w": _real(2, 3, 3, 3)}),
    ("y = ConvTranspose<strides = [2], dilations = [2]>(d, w)", "1, 2, 5", {"w": _real(2, 3, 3)}),
]


@pytest.mark.parametrize(("body", "shape", "constants"), CONV)
def test_convolutions(body, shape, constants):
    check(body, shape, constants)


# ---------------------------------------------------------------------- matrix products

GEMM = [
    ("y = Gemm(d, w)", "2, 4", {"w": _real(4, 3)}),
    ("y = Gemm<transB = 1>(d, w, c)", "2, 4", {"w": _real(3, 4), "c": _real(3)}),
    ("y = Gemm<transA = 1, alpha = 0.5, beta = 2.0>(d, w, c)", "4, 2", {"w": _real(4, 3), "c": _real(1, 3)}),
    ("y = Gemm(d, w, c)", "2, 4", {"w": _real(4, 3), "c": _real(1)}),
    ("y = Gemm<beta = 3.0>(d, w, c)", "2, 4", {"w": _real(4, 3), "c": np.float32(1.5)}),
    ("y = Gemm(d, w, c)", "2, 4", {"w": _real(4, 3), "c": _real(2, 3)}),
    ("y = Gemm(d, w, c)", "2, 4", {"w": _real(4, 3), "c": _real(2, 1)}),
    ("y = Gemm<beta = 0.0>(d, w, c)", "2, 4", {"w": _real(4, 3), "c": _real(2, 3)}),
    ("y = Gemm<alpha = -1.5>(d, w)", "2, 4", {"w": _real(4, 3)}),
    ("e = Abs(d) \n y = Gemm(d, w, e)", "4, 4", {"w": _real(4, 4)}),
    ("y = MatMul(d, w)", "4", {"w": _real(4, 3)}),
    ("y = MatMul(d, w)", "2, 3, 4", {"w": _real(4, 3)}),
    ("y = MatMul(d, w)", "2, 3, 4", {"w": _real(4)}),
    ("y = MatMul(d, w)", "2, 4", {"w": _real(1, 1, 4, 3)}),
    ("y = MatMul(d, w)", "2, 3, 4", {"w": _real(1, 4, 3)}),
    ("y = MatMul(d, w)", "4", {"w": _real(1, 4, 3)}),
]


@pytest.mark.parametrize(("body", "shape", "constants"), GEMM)
def test_matrix_products(body, shape, constants):
    check(body, shape, constants)


# ---------------------------------------------------------------------- pools and means

POOL = [
    ("y = MaxPool<kernel_shape = [2, 3], strides = [2, 1]>(d)", 13),
    ("y = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 0, 1], ceil_mode = 1>(d)", 13),
    ("y = MaxPool<kernel_shape = [2, 2], dilations = [2, 3], storage_order = 1>(d)", 13),
    ('y = MaxPool<kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_LOWER">(d)', 13),
    ("y = MaxPool<kernel_shape = [2, 2]>(q)", 13),
    ("y = AveragePool<kernel_shape = [2, 3], strides = [2, 1]>(d)", 13),
    ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(d)", 13),
    ("y = AveragePool<kernel_shape = [3, 3], pads = [1, 1, 1, 1], count_include_pad = 1>(d)", 13),
    ("y = AveragePool<kernel_shape = [3, 3], strides = [2, 2], ceil_mode = 1>(d)", 13),
    ("y = AveragePool<kernel_shape = [2, 2], dilations = [2, 2]>(d)", 19),
    ('y = AveragePool<kernel_shape = [3, 2], strides = [2, 2], auto_pad = "SAME_UPPER">(d)', 13),
    ("y = GlobalAveragePool(d)", 13),
    ("y = GlobalMaxPool(d)", 13),
    ("y = ReduceMax(d)", 13),
    ("y = ReduceMax<axes = [2, -1], keepdims = 0>(d)", 13),
    ("y = ReduceMax<axes = [3]>(q)", 13),
    ("y = ReduceMax<axes = [1]>(d)", 13),
    ("y = ReduceMax<axes = [1, 3], keepdims = 0>(q)", 13),
    ("y = ReduceMax<keepdims = 0>(d, a)", 18),
    ("y = ReduceMax<noop_with_empty_axes = 1>(d)", 18),
    ("y = ReduceMean(d)", 13),
    ("y = ReduceMean<axes = [-1, 2], keepdims = 0>(d)", 13),
    ("y = ReduceMean<keepdims = 0>(d, a)", 18),
    ("y = ReduceMean<noop_with_empty_axes = 1>(d)", 18),
    ("y = ReduceMean<noop_with_empty_axes = 0>(d)", 18),
]


@pytest.mark.parametrize(("body", "opset"), POOL)
def test_pools(body, opset):
    check(body, "1, 3, 7, 6", {"a": np.array([-1, 1])} if "a)" in body else None, opset)


def test_pools_of_one_axis():
    check("y = MaxPool<kernel_shape = [3], strides = [2], pads = [1, 1]>(d)", "1, 3, 7")
    check("y = AveragePool<kernel_shape = [3], strides = [2], pads = [1, 1]>(d)", "1, 3, 7")
    check("y = GlobalAveragePool(d)", "1, 3, 7")


# ---------------------------------------------------------------------- elementwise

UNARY = [
    "Abs(d)",
    "Ceil(d)",
    "Celu<alpha = 0.7>(d)",
    "Clip(d)",
    "Clip(d, lo)",
    "Clip(d, , hi)",
    "Clip(d, lo, hi)",
    "Clip(d, hi, lo)",
    "Cos(d)",
    "Elu<alpha = 0.7>(d)",
    "Erf(d)",
    "Exp(d)",
    "Floor(d)",
    "Gelu(d)",
    'Gelu<approximate = "tanh">(d)',
    "HardSigmoid(d)",
    "HardSigmoid<alpha = 0.3, beta = 0.4>(d)",
    "HardSwish(d)",
    "LeakyRelu(d)",
    "LeakyRelu<alpha = 0.3>(d)",
    "Max(d)",
    "Max(d, lo)",
    "Max(lo, d, hi)",
    "Min(d, hi)",
    "Mish(d)",
    "Neg(d)",
    "Pow(d, one)",
    "Pow(d, two)",
    "Pow(d, three)",
    "PRelu(d, lo)",
    "PRelu(d, slopes)",
    "Relu(d)",
    "Round(d)",
    "Selu(d)",
    "Selu<alpha = 1.1, gamma = 0.9>(d)",
    "Sigmoid(d)",
    "Sin(d)",
    "Softplus(d)",
    "Softsign(d)",
    "Tanh(d)",
    "ThresholdedRelu<alpha = 0.5>(d)",
]


@pytest.mark.parametrize("call", UNARY)
def test_functions_of_one_element(call):
    constants = {name: np.float32(n) for n, name in enumerate(("one", "two", "three"), start=1)}
    constants |= {"lo": np.float32(-0.5), "hi": np.float32(1.25), "slopes": _real(3, 1, 1)}
    check(f"y = {call}", "1, 3, 4, 4", constants, 20)


@pytest.mark.parametrize("call", ["Log(p)", "Sqrt(p)", "Reciprocal(p)", "Pow(p, half)", "Pow(p, minus)", "Sign(d)"])
def test_functions_of_positive_numbers(call):
    constants = {"half": np.float32(0.5), "minus": np.float32(-1), "one": np.float32(1)}
    check(f"a = Abs(d) \n p = Add(a, one) \n y = {call}", "1, 3, 4, 4", constants, 20)


@pytest.mark.parametrize("call", ["Relu(q)", "Clip(q, lo, hi)", "Clip(q, lo)", "Clip(q)", "Max(q, lo)", "Min(q, hi)"])
def test_bounds_on_integers(call):
    check(f"y = {call}", "1, 3, 4, 4", {"lo": np.int8(-20), "hi": np.int8(30)}, 14)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("operands", ["d, c", "c, d", "d, k", "e, d"])
def test_pairs(op, operands):
    constants = {"c": _real(3, 1, 1) + 5, "k": np.float32(1.5), "one": np.float32(6)}
    check(f"a = Abs(d) \n e = Add(a, one) \n y = {op}({operands})", "1, 3, 4, 4", constants)


def test_sums_of_many():
    check("a = Abs(d) \n y = Sum(d, a, k, a)", "1, 3", {"k": _real(3)})
    check("y = Sum(d)", "1, 3")


def test_batch_normalization():
    constants = {"g": _real(3), "b": _real(3), "m": _real(3), "v": np.abs(_real(3))}
    check("y = BatchNormalization(d, g, b, m, v)", "2, 3, 4, 4", constants)
    check("y = BatchNormalization<epsilon = 0.1>(d, g, b, m, v)", "2, 3, 4", constants, 15)


# ---------------------------------------------------------------------- moving elements

MOVES = [
    ("Reshape(V, t)", {"t": np.array([0, -1, 2])}),
    ("Reshape(V, t)", {"t": np.array([-1])}),
    ("Flatten(V)", {}),
    ("Flatten<axis = 0>(V)", {}),
    ("Flatten<axis = -1>(V)", {}),
    ("Flatten<axis = 4>(V)", {}),
    ("Squeeze(V)", {}),
    ("Squeeze(V, t)", {"t": np.array([-4])}),
    ("Unsqueeze(V, t)", {"t": np.array([-1, 0])}),
    ("Transpose(V)", {}),
    ("Transpose<perm = [0, 2, 3, 1]>(V)", {}),
    ("Slice(V, a, b)", {"a": np.array([0, 1]), "b": np.array([1, 3])}),
    ("Slice(V, a, b, c)", {"a": np.array([1, -3]), "b": np.array([2**62, -1]), "c": np.array([2, -1])}),
    (
        "Slice(V, a, b, c, e)",
        {"a": np.array([-1, 5]), "b": np.array([-(2**62), 0]), "c": np.array([3, 2]), "e": np.array([-2, -1])},
    ),
    ("Slice(V, a, b, c, e)", {k: np.array([v], np.int32) for k, v in {"a": 100, "b": -100, "c": 3, "e": -3}.items()}),
    ("Gather<axis = 1>(V, t)", {"t": np.array(-1)}),
    ("Gather<axis = 2>(V, t)", {"t": np.array([1, 2, 3])}),
    ("Gather<axis = -1>(V, t)", {"t": np.array([4, 2, 0])}),
    ("Gather<axis = -1>(V, t)", {"t": np.array([[1], [2]])}),
    ("Concat<axis = 1>(V, V)", {}),
    ("Concat<axis = -1>(V, V, V)", {}),
    ("Pad(V, p)", {"p": np.array([0, 1, 2, 0, 0, 0, 1, 3])}),
    ('Pad<mode = "edge">(V, p)', {"p": np.array([0, 0, 2, 0, 0, 0, 1, 3])}),
    ('Pad<mode = "reflect">(V, p)', {"p": np.array([0, 0, 2, 0, 0, 0, 1, 3])}),
    ("Pad(V, p)", {"p": np.array([0, 0, -1, 2, 0, 0, 1, -2])}),
    ("Pad(V, p)", {"p": np.array([0, 0, -1, 0, 0, 0, 0, -2])}),
    ("Pad(V, p)", {"p": np.zeros(8, np.int64)}),
    ("Expand(V, t)", {"t": np.array([1, 1])}),
    ("Identity(V)", {}),
]


@pytest.mark.parametrize("source", ["d", "q"])
@pytest.mark.parametrize(("call", "constants"), MOVES)
def test_moves(call, constants, source):
    check(f"y = {call.replace('V', source)}", "1, 3, 4, 6", constants, exact=True)


@pytest.mark.parametrize("source", ["d", "q"])
def test_moves_of_newer_opsets(source):
    value = np.float32(1.5) if source == "d" else np.int8(-7)
    constants = {"p": np.array([2, 1, 0, 3]), "v": value, "axes": np.array([-1, 1])}
    check(f"y = Pad({source}, p, v, axes)", "1, 3, 4, 6", constants, 18, exact=True)
    check(f"y = Reshape<allowzero = 1>({source}, t)", "1, 3, 4, 6", {"t": np.array([3, 24])}, 14, exact=True)
    check(f"y = Identity({source})", "1, 3, 4, 6", None, 14, exact=True)


def test_old_axes_attributes():
    check("y = Squeeze<axes = [0]>(d)", "1, 3, 1", opset=11, exact=True)
    check("y = Unsqueeze<axes = [0, -1]>(d)", "1, 3, 1", opset=11, exact=True)


@pytest.mark.parametrize("source", ["d", "q"])
@pytest.mark.parametrize(
    ("call", "opset"),
    [
        ("a, b, c = Split<axis = 1>(V)", 13),
        ("a, b, c = Split<axis = -3>(V, parts)", 13),
        ("a, b, c = Split<axis = 1, split = [2, 3, 1]>(V)", 11),
        ("a, b, c = Split<axis = 1, num_outputs = 3>(V)", 18),
        ("a, b, c = Split<axis = 2, num_outputs = 3>(V)", 18),
    ],
)
@pytest.mark.parametrize("part", ["a", "b", "c"])
def test_split(call, opset, source, part):
    body = f"{call.replace('V', source)} \n y = Identity({part})"
    if source == "q" and opset < 14:
        body = body.replace("Identity(", "Transpose(")
    check(body, "1, 6, 5, 2", {"parts": np.array([1, 2, 3])}, opset, exact=True)


def test_casts():
    check("f = Cast<to = 1>(q) \n y = Mul(f, k)", "1, 3", {"k": np.float32(0.5)}, exact=True)
    check("y = Cast<to = 1>(d)", "1, 3", exact=True)


# ---------------------------------------------------------------------- resize and softmax

SIZES = [
    {"scales": np.array([1, 1, 2, 3], np.float32)},
    {"scales": np.array([1, 1, 0.6, 1.7], np.float32)},
    {"sizes": np.array([1, 2, 7, 3])},
]


@pytest.mark.parametrize("source", ["d", "q"])
@pytest.mark.parametrize("given", SIZES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
def test_resize(source, given, mode, coordinates):
    inputs = ", , sizes" if "sizes" in given else ", scales"
    call = f'Resize<mode = "{mode}", coordinate_transformation_mode = "{coordinates}">({source}, {inputs})'
    check(f"y = {call}", "1, 2, 4, 5", given)


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_nearest_modes(nearest):
    body = f'y = Resize<nearest_mode = "{nearest}">(d, , scales)'
    check(body, "1, 2, 4, 5", {"scales": np.array([1, 1, 0.5, 1.5], np.float32)}, exact=True)


def test_resize_with_axes_and_policies():
    scales = {"scales": np.array([2, 0.5], np.float32)}
    check("y = Resize<axes = [2, 3]>(d, , scales)", "1, 2, 4, 6", scales, 18, exact=True)
    sizes = {"sizes": np.array([8, 7])}
    for policy in ("stretch", "not_larger", "not_smaller"):
        body = f'y = Resize<axes = [2, 3], keep_aspect_ratio_policy = "{policy}">(d, , , sizes)'
        check(body, "1, 2, 4, 6", sizes, 18, exact=True)
    check(
        'y = Resize<coordinate_transformation_mode = "half_pixel_symmetric">(d, , scales)',
        "1, 2, 4, 6",
        {"scales": np.array([1, 1, 2, 1.3], np.float32)},
        19,
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resize_of_channels_last(mode):
    constants = {"f": np.array([1, 2, 1.5, 1], np.float32)}
    check(f'y = Resize<mode = "{mode}">(d, , f)', "1, 4, 6, 3", constants, exact=mode == "nearest")


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("source", ["d", "q"])
def test_depth_to_space(source, mode):
    check(f'y = DepthToSpace<blocksize = 2, mode = "{mode}">({source})', "2, 12, 3, 4", exact=True)


def test_space_to_depth():
    check("y = SpaceToDepth<blocksize = 3>(d)", "2, 2, 6, 3", exact=True)


def test_resize_to_the_same_size():
    check("y = Resize(d, , scales)", "1, 2, 4, 6", {"scales": np.ones(4, np.float32)}, exact=True)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1, -2])
@pytest.mark.parametrize("shape", ["2, 3, 4, 2", "1, 5, 1, 1"])
def test_softmax(opset, axis, shape):
    attribute = "" if axis is None else f"<axis = {axis}>"
    check(f"y = Softmax{attribute}(d)", shape, opset=opset)
