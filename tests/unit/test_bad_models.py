# SPDX-License-Identifier: Apache-2.0
"""Every kind of bad input gives one clear message of the right class."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mcucompiler.errors import ModelError, UnsupportedOperatorError, UsageError
from mcucompiler.frontend import import_model
from tests.support.onnx_text import model_bytes, model_proto

GOOD = """g (float[1, 4] x) => (float[1, 4] y) <float s = {0.5}, int8 z = {3}> {
    [first] q = QuantizeLinear(x, s, z)
    [second] y = DequantizeLinear(q, s, z)
}"""


def refused(content: bytes | str | Path, *words: str, error: type[Exception] = ModelError, **options) -> str:
    """The message of the refusal, in which all words must occur."""
    with pytest.raises(error) as caught:
        import_model(content if isinstance(content, bytes) else str(content), **options)
    assert caught.type is error
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message


def unsupported(content: bytes, *words: str) -> str:
    return refused(content, *words, error=UnsupportedOperatorError)


def quantized(body: str, constants: dict[str, np.ndarray] | None = None, shape: str = "1, 4", opset: int = 13) -> bytes:
    """A model whose float input x is quantised first, so that it counts as quantised; y is its output."""
    text = f"""g (float[{shape}] x) => (float y) <float s = {{0.5}}, int8 z = {{3}}> {{
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        {body}
    }}"""
    proto = model_proto(text, constants, opset=opset)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto.SerializeToString()


def test_the_good_model_is_good():
    graph = import_model(model_bytes(GOOD))
    assert [node.name for node in graph.nodes] == ["first", "second"]


# ---------------------------------------------------------------------- files


def test_missing_file(tmp_path):
    refused(tmp_path / "absent.onnx", "no such file", "absent.onnx")


def test_directory(tmp_path):
    refused(tmp_path, "is a directory")


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    refused(tmp_path / "secret.onnx", "cannot read", "secret.onnx", "Permission denied")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_file(tmp_path, share):
    content = model_bytes(GOOD)
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated" in refused(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ("not an ONNX model", "empty")),
        (b"\x1c\x00\x00\x00TFL3" + bytes(40), ("not an ONNX model", "TensorFlow Lite", "tf2onnx")),
        (b"\x10\x00\x00\x00ORTM" + bytes(40), ("not an ONNX model", ".ort")),
        (b"PK\x03\x04" + bytes(40), ("not an ONNX model", "zip", "torch.onnx.export")),
        (b"\x89HDF\r\n\x1a\n", ("not an ONNX model", "HDF5")),
        (b'{"a": 1}', ("not an ONNX model", "JSON")),
        (b"<html>404</html>", ("not an ONNX model", "HTML")),
        (b"version https://git-lfs.github.com/spec/v1\n", ("not an ONNX model", "git lfs pull")),
        (b"Hello, this is some text and no model.\n" * 3, ("not an ONNX model", "Hello")),
        (b"\xff" * 64, ("not an ONNX model",)),
        (onnx.ModelProto(ir_version=8).SerializeToString(), ("no graph",)),
    ],
)
def test_other_files(content, words):
    refused(content, *words)


def _with_external_data(folder: Path, name: str = "m.data") -> Path:
    proto = model_proto(
        """g (float[1, 256] x) => (float[1, 256] y) <float s = {0.5}, int8 z = {3}> {
            q = QuantizeLinear(x, s, z)
            d = DequantizeLinear(q, s, z)
            y = Mul(d, w)
        }""",
        {"w": np.linspace(0, 1, 256, dtype=np.float32)},
    )
    path = folder / "m.onnx"
    onnx.save_model(proto, path, save_as_external_data=True, location=name, size_threshold=0)
    return path


def test_external_data_is_read(tmp_path):
    graph = import_model(_with_external_data(tmp_path))
    assert graph.tensors["w"].data[255] == 1


def test_external_data_missing(tmp_path):
    path = _with_external_data(tmp_path)
    (tmp_path / "m.data").unlink()
    refused(path, "m.data", "missing", "beside the .onnx")


def test_external_data_too_short(tmp_path):
    path = _with_external_data(tmp_path)
    (tmp_path / "m.data").write_bytes(b"1234")
    refused(path, "m.data", "external file")


def test_external_data_outside_the_folder(tmp_path):
    path = _with_external_data(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    (tmp_path / "inner").mkdir()
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../m.data"
    inner = tmp_path / "inner" / "m.onnx"
    inner.write_bytes(proto.SerializeToString())
    refused(inner, "cannot be used", "m.data")


def test_external_data_with_a_model_in_memory(tmp_path):
    refused(_with_external_data(tmp_path).read_bytes(), "another file", "pass the model's path")


# ---------------------------------------------------------------------- the model as a whole


@pytest.mark.parametrize("opset", [1, 7, 10])
def test_old_opset(opset):
    refused(model_bytes(GOOD, opset=opset), f"opset {opset}", "11", "convert_version")


def test_opset_of_the_future():
    refused(model_bytes(GOOD, opset=999), "opset 999", "newer", "pip install --upgrade onnx")


def test_channel_axis_before_opset_13():
    body = "c = DequantizeLinear<axis = 0>(w, s) \n y = Add(d, c)"
    content = quantized(body, {"w": np.ones(4, np.int8)}, opset=11)
    refused(content, "not a valid ONNX model", "axis", "opset 13", "ONNX Runtime refuses")


def test_no_opset():
    proto = model_proto(GOOD)
    del proto.opset_import[:]
    refused(proto.SerializeToString(), "opset")


def test_float_model():
    text = "g (float[1, 3, 8, 8] image) => (float[1, 3, 8, 8] y) { y = Relu(image) }"
    refused(model_bytes(text), "float model", "quantize_static", "'image'", "[1, 3, 8, 8]", "per_channel=True")


@pytest.mark.parametrize(("elem_type", "word"), [(TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16")])
def test_half_precision_model(elem_type, word):
    proto = model_proto(GOOD)
    proto.graph.input[0].type.tensor_type.elem_type = elem_type
    refused(proto.SerializeToString(), "half-precision", word, "float32")


def test_half_precision_weights():
    text = "g (float[1, 4] x) => (float[1, 4] y) { y = Relu(x) }"
    refused(model_bytes(text, {"w": np.ones(4, np.float16)}), "half-precision", "'w'", "float16")


@pytest.mark.parametrize("dtype", ["int64", "int32", "double", "bool", "int16", "string"])
def test_input_of_an_unsupported_type(dtype):
    text = f"""g ({dtype}[1, 4] ids, float[1, 4] x) => (float[1, 4] y) <float s = {{0.5}}, int8 z = {{3}}> {{
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        i = Cast<to = 1>(ids)
        y = Add(d, i)
    }}"""
    refused(model_bytes(text), "'ids'", "unsupported type", "float32, int8, uint8")


def test_no_nodes():
    refused(model_bytes("g (float[1] x) => (float[1] x) { }"), "no nodes")


def test_no_outputs():
    proto = model_proto(GOOD)
    del proto.graph.output[:]
    refused(proto.SerializeToString(), "no outputs")


def test_cycle():
    text = """g (float[1, 4] x) => (float[1, 4] y) {
        [one] a = Add(x, c)
        [two] b = Relu(a)
        [three] c = Relu(b)
        [four] y = Relu(c)
    }"""
    message = refused(model_bytes(text), "cycle")
    assert all(f"'{name}'" in message for name in ("one", "two", "three"))
    assert "'four'" not in message


def test_dangling_input():
    text = "g (float[1, 4] x) => (float[1, 4] y) { [adder] y = Add(x, ghost) }"
    refused(model_bytes(text), "'adder'", "Add", "'ghost'", "no node")


def test_dangling_output():
    text = "g (float[1, 4] x) => (float[1, 4] ghost) { y = Relu(x) }"
    refused(model_bytes(text), "'ghost'", "not computed")


def test_tensor_written_twice():
    text = "g (float[1, 4] x) => (float[1, 4] y) { [one] y = Relu(x) [two] y = Abs(x) }"
    refused(model_bytes(text), "'y'", "more than once", "'one'", "'two'")


def test_input_overwritten():
    text = "g (float[1, 4] x) => (float[1, 4] x) { [one] x = Relu(x) }"
    refused(model_bytes(text), "'x'", "more than once", "graph input")


def test_output_listed_twice():
    proto = model_proto(GOOD)
    proto.graph.output.append(proto.graph.output[0])
    refused(proto.SerializeToString(), "'y'", "more than once")


def test_output_that_is_an_input():
    proto = model_proto(GOOD)
    proto.graph.output.append(proto.graph.input[0])
    refused(proto.SerializeToString(), "graph output 'x' is a graph input")


def test_output_that_is_an_initializer():
    proto = model_proto(GOOD)
    proto.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    refused(proto.SerializeToString(), "graph output 's' is a graph initializer")


@pytest.mark.parametrize("body", ["c = Add(s, s)", "c = DequantizeLinear(z, s, z)", "c = Identity(s)"])
def test_output_that_is_constant(body):
    proto = model_proto(GOOD.replace("[first]", body + "\n[first]"))
    proto.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, []))
    refused(proto.SerializeToString(), "graph output 'c' is constant")


def test_output_of_another_shape_than_declared():
    text = GOOD.replace("float[1, 4] y", "float[1, 5] y")
    refused(model_bytes(text), "graph output 'y'", "1x5 declared", "1x4 computed")


def test_sequence_input():
    proto = model_proto(GOOD)
    proto.graph.input.append(helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, [1]))
    refused(proto.SerializeToString(), "'list'", "a sequence", "tensors")


def test_map_input():
    proto = model_proto(GOOD)
    value = onnx.ValueInfoProto(name="table")
    value.type.map_type.key_type = TensorProto.INT64
    value.type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    proto.graph.input.append(value)
    refused(proto.SerializeToString(), "'table'", "a map")


def test_sparse_initializer():
    proto = model_proto(GOOD)
    values = numpy_helper.from_array(np.ones(1, np.float32), "thin")
    indices = numpy_helper.from_array(np.zeros(1, np.int64))
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    refused(proto.SerializeToString(), "'thin'", "sparse")


def test_initializer_of_the_wrong_size():
    proto = model_proto(GOOD)
    broken = numpy_helper.from_array(np.ones(4, np.float32), "s")
    broken.dims[0] = 8
    proto.graph.initializer[0].CopyFrom(broken)
    refused(proto.SerializeToString(), "s")


def test_unknown_attribute():
    proto = model_proto(GOOD)
    proto.graph.node[0].attribute.append(helper.make_attribute("sparkle", 1))
    refused(proto.SerializeToString(), "not a valid ONNX model", "sparkle")


# ---------------------------------------------------------------------- dynamic dimensions


def _dynamic(dims: str) -> bytes:
    text = f"""g (float[{dims}] image) => (float y) <float s = {{0.5}}, int8 z = {{3}}> {{
        q = QuantizeLinear(image, s, z)
        y = DequantizeLinear(q, s, z)
    }}"""
    proto = model_proto(text)
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto.SerializeToString()


def test_dynamic_dimensions():
    refused(_dynamic("N, 3, H, W"), "'image', axis 2 ('H')", "axis 3 ('W')", "--shape 'image'=1x3x?x?")


def test_no_shape_at_all():
    proto = onnx.load_from_string(_dynamic("N, 3"))
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    refused(proto.SerializeToString(), "'image' has no shape", "--shape 'image'=")


def test_shape_for_no_input():
    refused(_dynamic("N, H"), "'picture'", "no such input", "'image'", error=UsageError, shapes={"picture": (1, 3)})


def test_shape_of_another_rank():
    refused(_dynamic("N, H"), "'image'", "3 sizes", "2 dimensions", error=UsageError, shapes={"image": (1, 2, 3)})


def test_shape_against_the_model():
    refused(_dynamic("1, 4"), "'image'", "axis 1", "fixes at 4", error=UsageError, shapes={"image": (1, 5)})


def test_shape_not_positive():
    refused(_dynamic("N, H"), "'image'", "positive", error=UsageError, shapes={"image": (1, 0)})


def test_shape_against_itself():
    text = """g (float[N, H] a, float[N, H] b) => (float y) <float s = {0.5}> {
        c = Add(a, b)
        q = QuantizeLinear(c, s)
        y = DequantizeLinear(q, s)
    }"""
    shapes = {"a": (1, 4), "b": (1, 5)}
    refused(model_bytes(text), "'b'", "'H' is 4 elsewhere", error=UsageError, shapes=shapes)


def test_batch_not_positive():
    refused(_dynamic("N, 3"), "--batch", error=UsageError, batch=0)


def test_batch_of_a_model_with_a_fixed_one():
    refused(_dynamic("1, 3"), "--batch 4", "fixed at 1", error=UsageError, batch=4)


# ---------------------------------------------------------------------- unsupported operators


def test_all_unsupported_operators_at_once():
    body = """[norm] a = LayerNormalization(d, g)
        [square] b = MatMul(a, a)
        [top] c = ArgMax<axis = 1>(d)
        [again] e = LayerNormalization(b, g)
        f = Relu(e)
        [prefix] h = CumSum(f, i)
        y = Relu(h)"""
    constants = {"g": np.ones(4, np.float32), "i": np.array(1, np.int64)}
    message = unsupported(quantized(body, constants, shape="4, 4", opset=17), "mcucompiler ops")
    for name in ("norm", "square", "again", "prefix"):
        assert f"'{name}'" in message
    assert "4 unsupported nodes" in message  # Relu is none, and nothing depends on [top]


def test_unknown_domain_is_an_unsupported_operator():
    proto = onnx.load_from_string(quantized("y = Relu(d)"))
    proto.graph.node[-1].domain = "org.example"
    proto.opset_import.append(helper.make_opsetid("org.example", 3))
    unsupported(proto.SerializeToString(), "org.example.Relu")


def test_unknown_opset_imports_are_tolerated():
    proto = model_proto(GOOD)
    proto.opset_import.append(helper.make_opsetid("org.pytorch.aten", 1))
    assert import_model(proto.SerializeToString()).outputs == ("y",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = LogSoftmax<axis = 1>(d)", ("LogSoftmax", "end the graph before it")),
        ("y = MatMul(d, e)\n", ("MatMul", "two activations", "'d'", "'e'")),
        ("y = Conv(i, i)", ("Conv", "weights 'i' are not constant")),
        ("y = Conv(i, w, e)", ("Conv", "bias 'e' is not constant")),
        ("y = Clip(d, e)", ("Clip", "lower bound", "not constant")),
        ("k = Cast<to = 7>(d) \n y = Reshape(d, k)", ("Cast", "to int64", "float32, int8, uint8")),
        ("y = Max(d, e)", ("Max", "several activations")),
        ("y = Pow(d, e)", ("Pow", "exponent")),
        ("y = Pow(d, odd3)", ("Pow", "exponent 2.25")),
        ("y, m = MaxPool<kernel_shape = [1, 1]>(i) \n n = Cast<to = 1>(m) \n v = Add(y, n)", ("MaxPool", "indices")),
        ("y, m = Dropout(d)", ("Dropout", "mask", "eval mode")),
        ('y = Pad<mode = "wrap">(d, p)', ("Pad", "'wrap'", "reflect")),
        ('y = Resize<mode = "cubic">(i, , f)', ("Resize", "'cubic'", "linear")),
        (
            'y = Resize<coordinate_transformation_mode = "tf_crop_and_resize">(i, r, f)',
            ("Resize", "tf_crop_and_resize"),
        ),
        ("y = Resize(i, , c)", ("Resize", "spatial axes")),
        ("y = Gather<axis = 1>(d, odd)", ("Gather", "evenly spaced")),
        ("y = Expand(i, big)", ("Expand", "repeats elements")),
        ("y = Conv(five, w5)", ("Conv", "[N, C, L] and [N, C, H, W]")),
        ("y = Slice(d, none, none)", ("Slice", "empty")),
        ("y = QuantizeLinear(d, s, z16)", ("QuantizeLinear", "int16", "int8 and uint8")),
        ("y = Cast<to = 10>(d)", ("Cast", "float16")),
        ("a = Cast<to = 3>(d) \n y = Relu(a) \n", ()),
        ("y = Add(q, q)", ("Add", "'q' is int8", "QLinear")),
        ("y = Sigmoid(q)", ("Sigmoid", "'q' is int8")),
    ],
)
def test_unsupported_uses(body, words):
    if not words:
        import_model(quantized(body, _CONSTANTS, opset=19))
        return
    unsupported(
        quantized("e = Abs(d)\ni = Reshape(d, shape4)\nfive = Reshape(d, shape5)\n" + body, _CONSTANTS, opset=19),
        *words,
    )


_CONSTANTS = {
    "shape4": np.array([1, 1, 2, 2]),
    "shape5": np.array([1, 1, 1, 2, 2]),
    "big": np.array([3, 1, 2, 2]),
    "w": np.ones((1, 1, 1, 1), np.float32),
    "w5": np.ones((1, 1, 1, 1, 1), np.float32),
    "p": np.zeros(4, np.int64),
    "f": np.array([1, 1, 2, 2], np.float32),
    "c": np.array([1, 2, 2, 2], np.float32),
    "r": np.zeros(8, np.float32),
    "odd": np.array([0, 1, 3]),
    "none": np.array([0]),
    "odd3": np.float32(2.25),
    "z16": np.array(0, np.int16),
}


def test_control_flow():
    branch = helper.make_graph(
        [helper.make_node("Identity", ["d"], ["r"])], "b", [], [helper.make_tensor_value_info("r", 1, [1, 4])]
    )
    proto = onnx.load_from_string(quantized("m = ReduceMean(d)\nk = Cast<to = 9>(m)\ny = Relu(d)"))
    node = helper.make_node("If", ["k"], ["y"], "choice", then_branch=branch, else_branch=branch)
    proto.graph.node[-1].CopyFrom(node)
    unsupported(proto.SerializeToString(), "'choice'", "If", "control flow")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("v, vs, vz = DynamicQuantizeLinear(d) \n y = MatMulInteger(v, w8, vz)", "DynamicQuantizeLinear"),
        ("v, vs, vz = DynamicQuantizeLinear(d) \n y = MatMulInteger(v, w8, vz)", "MatMulInteger"),
        ("v, vs, vz = DynamicQuantizeLinear(i) \n y = ConvInteger(v, c8, vz)", "ConvInteger"),
    ],
)
def test_dynamic_quantization(body, word):
    constants = {
        "w8": np.ones((4, 2), np.int8),
        "c8": np.ones((1, 1, 1, 1), np.int8),
        "shape4": np.array([1, 1, 2, 2]),
    }
    unsupported(
        quantized("i = Reshape(d, shape4)\n" + body, constants), word, "dynamic quantization", "quantize_static"
    )


def test_training_outputs():
    body = "y, m, v = BatchNormalization<training_mode = 1>(i, a, b, a, a)"
    constants = {"a": np.ones(4, np.float32), "b": np.zeros(4, np.float32), "shape": np.array([1, 4, 1, 1])}
    unsupported(quantized("i = Reshape(d, shape)\n" + body, constants, opset=17), "BatchNormalization", "eval mode")


@pytest.mark.parametrize("op_type", ["GRU", "LSTM", "RNN"])
def test_recurrent(op_type):
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[op_type]
    constants = {
        "shape": np.array([1, 1, 4]),
        "w": np.ones((1, gates * 2, 4), np.float32),
        "r": np.ones((1, gates * 2, 2), np.float32),
    }
    body = f"i = Reshape(d, shape) \n y = {op_type}<hidden_size = 2>(i, w, r)"
    unsupported(quantized(body, constants), op_type, "recurrent")


# ---------------------------------------------------------------------- inconsistent shapes and attributes


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("y = Add(d, three)", ("Add", "[1, 4]", "[3]")),
        ("y = MatMul(d, w)", ("MatMul", "[1, 4]")),
        ("y = Gemm(d, w)", ("Gemm", "[1, 4]")),
        ("y = Reshape(d, target)", ("Reshape", "[1, 4] cannot be reshaped to [3, -1]", "--batch")),
        ("y = Transpose<perm = [0, 0]>(d)", ("Transpose", "permutation")),
        ("y = DepthToSpace<blocksize = 2>(d)", ("DepthToSpace", "no image", "[N, C, H, W]")),
        (
            "y = DepthToSpace<blocksize = 2>(i)",
            ("DepthToSpace", "does not divide the channels"),
        ),
        (
            "y = SpaceToDepth<blocksize = 4>(i)",
            ("SpaceToDepth", "does not divide the image"),
        ),
        ("y = Concat<axis = 2>(d, d)", ("Concat", "axis")),
        ("y = Squeeze(d, one)", ("Squeeze", "not of size 1")),
        ("y = Conv(i, k)", ("Conv", "1 input channel,", "weights for 3")),
        ("y = Conv<kernel_shape = [3, 3]>(i, k2)", ("Conv", "kernel_shape", "contradicts")),
        ("y = Conv<strides = [1]>(i, k2)", ("Conv", "strides", "[1]")),
        ('y = Conv<auto_pad = "SAME">(i, k2)', ("Conv", "auto_pad", "'SAME'")),
        ("y = Conv(i, k2, three)", ("Conv", "bias", "[3]")),
        ("y = MaxPool<kernel_shape = [5, 5]>(i)", ("MaxPool", "window")),
        ("y, v = Split<axis = 1>(d, parts)", ("Split", "add up", "[1, 2]")),
        ("y = Gather<axis = 1>(d, four)", ("Gather", "out of range", "[4]")),
        ("y = ReduceMean<axes = [5]>(d)", ("ReduceMean", "axis", "[5]")),
        ("c = Add(three, target) \n y = Relu(d)", ()),
        ("c = Add(three, five) \n y = Mul(d, c)", ("Add", "cannot be evaluated")),
    ],
)
def test_inconsistent(body, words):
    constants = {
        "three": np.ones(3, np.float32),
        "five": np.ones(5, np.float32),
        "w": np.ones((3, 2), np.float32),
        "target": np.array([3, -1]),
        "one": np.array([1]),
        "four": np.array([4]),
        "parts": np.array([1, 2]),
        "k": np.ones((1, 3, 1, 1), np.float32),
        "k2": np.ones((1, 1, 1, 1), np.float32),
        "shape4": np.array([1, 1, 2, 2]),
    }
    content = quantized("i = Reshape(d, shape4)\n" + body, constants)
    if words:
        refused(content, *words)
    else:
        import_model(content)  # what no output depends on is not looked at


# ---------------------------------------------------------------------- quantisation parameters


@pytest.mark.parametrize("bad", [0.0, -0.5, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", ["first", "second"])
def test_bad_scale(bad, op):
    place = "(x, s, z)" if op == "first" else "(q, s, z)"
    text = GOOD.replace(place, place.replace("s,", "bad,"))
    message = refused(model_bytes(text, {"bad": np.float32(bad)}), "scale", "not a positive finite", f"'{op}'")
    assert str(float(np.float32(bad))) in message


def test_bad_scale_of_one_channel():
    scales = np.array([0.5, 0.5, np.nan, 0.5], np.float32)
    body = "c = DequantizeLinear<axis = 0>(w, ws) \n y = Add(d, c)"
    refused(quantized(body, {"w": np.ones(4, np.int8), "ws": scales}), "channel 2 of 4", "nan")


@pytest.mark.parametrize(
    ("zero_point", "words"),
    [
        (np.int32(300), ("out of range", "300", "-128 to 127")),
        (np.uint8(200), ("out of range", "200", "-128 to 127")),
        (np.uint8(100), ("another type", "uint8", "int8")),
        (np.float32(0), ("not an integer", "float32")),
        (np.array([1, 2], np.int8), ("differ in number", "1 scale, 2 zero points")),
    ],
)
def test_bad_zero_point(zero_point, words):
    text = GOOD.replace("(q, s, z)", "(q, s, bad)")
    refused(model_bytes(text, {"bad": np.asarray(zero_point)}), "zero point", "'second'", *words)


def test_int32_with_a_zero_point():
    body = "c = DequantizeLinear(b, s, bz) \n y = Add(d, c)"
    constants = {"b": np.ones(4, np.int32), "bz": np.int32(7)}
    refused(quantized(body, constants), "out of range", "7", "0 to 0 for int32")


def test_per_channel_activation():
    text = GOOD.replace("(x, s, z)", "<axis = 1>(x, many)")
    unsupported(model_bytes(text, {"many": np.full(4, 0.5, np.float32)}), "'first'", "4 scales", "one scale")


def test_number_of_channel_scales():
    body = "c = DequantizeLinear<axis = 0>(w, ws) \n y = Add(d, c)"
    constants = {"w": np.ones(4, np.int8), "ws": np.full(3, 0.5, np.float32)}
    refused(quantized(body, constants), "number of scales", "3 scales", "axis 0 of size 4")


def test_axis_out_of_range():
    body = "c = DequantizeLinear<axis = 3>(w, ws) \n y = Add(d, c)"
    constants = {"w": np.ones(4, np.int32), "ws": np.full(4, 0.5, np.float32)}
    refused(quantized(body, constants), "axis out of range", "axis 3", "rank 1", "ONNX Runtime refuses")


def test_computed_scale():
    text = GOOD.replace("[first] q", "a = ReduceMean<keepdims = 0>(x) \n [first] q").replace("(x, s, z)", "(x, a, z)")
    unsupported(model_bytes(text), "'first'", "scale", "'a'", "not constant")


def test_half_precision_scale():
    proto = model_proto(GOOD.replace("(q, s, z)", "(q, h, z)"), opset=19)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["h"], value=numpy_helper.from_array(np.float16(0.5))))
    unsupported(proto.SerializeToString(), "'second'", "scale", "float16")


def test_blocked_quantization():
    text = GOOD.replace("(q, s, z)", "<block_size = 2, axis = 1>(q, s, z)")
    unsupported(model_bytes(text, opset=21), "'second'", "blocked", "block_size 2")


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, ml_dtypes.int4, ml_dtypes.float8_e4m3fn])
def test_other_widths(dtype):
    zero = numpy_helper.from_array(np.zeros((), dtype), "other")
    proto = model_proto(GOOD.replace("(x, s, z)", "(x, s, other)").replace("(q, s, z)", "(q, s, other)"), opset=21)
    proto.graph.initializer.append(zero)
    unsupported(proto.SerializeToString(), "'first'", "int8 and uint8")


# ---------------------------------------------------------------------- names


def test_hostile_names_are_escaped():
    name = 'evil"\n*/ {{ 7*7 }} \\'
    proto = onnx.load_from_string(quantized("[norm] y = LayerNormalization(d, s)", opset=17))
    proto.graph.node[2].name = name
    message = unsupported(proto.SerializeToString())
    assert repr(name) in message
    assert name not in message
