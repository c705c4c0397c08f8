# SPDX-License-Identifier: Apache-2.0
"""Values across the boundary: quantisation, axis order, npz files, seeded samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from mcucompiler.errors import UsageError
from mcucompiler.manifest import BoundaryTensor, read_manifest
from mcucompiler.run.boundary import (
    dequantize,
    encode_sample,
    input_bytes,
    load_npz,
    output_array,
    quantize_input,
    requantize_reference,
    save_npz,
)
from mcucompiler.run.samples import seeded_samples, user_samples
from tests.support.handmade import write_program

IMAGE = BoundaryTensor(
    index=0,
    name="image",
    onnx_shape=(1, 3, 2, 4),
    c_shape=(1, 2, 4, 3),
    onnx_to_c=(0, 2, 3, 1),
    dtype="int8",
    float_in_onnx=True,
    scale=float(np.float32(0.1)),
    zero_point=-7,
    bytes=24,
)
PLAIN = dataclasses.replace(IMAGE, dtype="uint8", float_in_onnx=False, scale=None, zero_point=None)


def onnx_runtime_quantizes(x, tensor):
    """QuantizeLinear of ONNX Runtime itself."""
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])
    initializers = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [tensor.scale]),
        helper.make_tensor("z", TensorProto.INT8, [], [tensor.zero_point]),
    ]
    shape = list(x.shape)
    graph = helper.make_graph(
        [node],
        "q",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, shape)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_real_inputs_are_quantized_as_onnx_runtime_does():
    generator = np.random.default_rng(1)
    x = generator.uniform(-20, 20, (1, 3, 2, 4)).astype(np.float32)
    halves = (np.arange(24).reshape(1, 3, 2, 4) + 0.5).astype(np.float32) * np.float32(0.1)
    extremes = np.resize(np.array([np.inf, -np.inf, 3e38, -3e38, 1e-45, 0], np.float32), x.shape)
    for value in (x, halves, -halves, extremes):
        assert np.array_equal(quantize_input(value, IMAGE), onnx_runtime_quantizes(value, IMAGE))


def test_every_integer_survives_its_real_value():
    every = np.resize(np.arange(-128, 128), 264).reshape(11, 1, 3, 2, 4).astype(np.int8)
    for value in every:
        real = (value.astype(np.float32) - np.float32(-7)) * np.float32(IMAGE.scale)
        assert np.array_equal(quantize_input(real, IMAGE), value)
        assert np.array_equal(dequantize(value, IMAGE), real)
        assert np.array_equal(requantize_reference(real, IMAGE), value)


def test_bytes_are_in_the_order_of_c():
    value = np.arange(24, dtype=np.int8).reshape(1, 3, 2, 4)
    data = input_bytes(value, IMAGE)
    assert data == value.transpose(0, 2, 3, 1).tobytes()
    assert np.array_equal(output_array(data, IMAGE), value)


def test_wide_elements_are_little_endian():
    tensor = dataclasses.replace(PLAIN, dtype="int32", bytes=96)
    value = np.arange(24, dtype=np.int64).reshape(1, 3, 2, 4) * 1_000_003
    data = input_bytes(value, tensor)
    assert data[:4] == bytes(4)
    assert np.array_equal(output_array(data, tensor), value)


@pytest.mark.parametrize(
    ("value", "tensor", "message"),
    [
        (np.zeros((3, 2, 4), np.float32), IMAGE, r"shape 3x2x4; expected is int8 or float32 of shape 1x3x2x4"),
        (np.full((1, 3, 2, 4), np.nan, np.float32), IMAGE, "NaN"),
        (np.full((1, 3, 2, 4), 200, np.int64), IMAGE, "out of range; expected is int8 or float32"),
        (np.zeros((1, 3, 2, 4), np.float32), PLAIN, "has type float32; expected is uint8 of shape"),
        (np.full((1, 3, 2, 4), -1), PLAIN, "out of range"),
        (np.zeros((1, 3, 2, 4), bool), PLAIN, "type bool"),
        (np.zeros((1, 3, 2, 4), "U3"), PLAIN, "has type <U3"),
        (np.zeros((1, 3, 2, 4), complex), PLAIN, "has type complex128"),
    ],
)
def test_wrong_arrays_are_refused(value, tensor, message):
    with pytest.raises(UsageError, match=message):
        quantize_input(value, tensor)


def test_wrong_names_are_refused(tmp_path):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    image = np.zeros((1, 2, 4, 4), np.float32)
    with pytest.raises(
        UsageError, match=r"no input 'image' in the file \(found: 'picture'\); expected are 'image' int8"
    ):
        encode_sample(manifest, {"picture": image})
    with pytest.raises(UsageError, match="the network has no input 'picture'; expected are 'image'"):
        encode_sample(manifest, {"image": image, "picture": image})


@pytest.mark.parametrize("name", ["a/b:0", "file", "allow_pickle", "", "x.npy", "ü"])
def test_any_name_survives_npz(tmp_path, name):
    path = tmp_path / "x.npz"
    save_npz(path, {name: np.arange(3)})
    if name.endswith(".npy"):  # numpy strips the ending itself
        assert list(load_npz(path)) == ["x.npy"]
    else:
        assert np.array_equal(load_npz(path)[name], np.arange(3))


def test_files_that_are_not_npz(tmp_path):
    missing, text, single, cut = (tmp_path / name for name in ("none.npz", "text.npz", "one.npy", "cut.npz"))
    text.write_text("hello")
    np.save(single, np.zeros(3))
    np.savez(cut, x=np.arange(1000))
    cut.write_bytes(cut.read_bytes()[:500])
    with pytest.raises(UsageError, match="does not exist"):
        load_npz(missing)
    with pytest.raises(UsageError, match=r"not an \.npz file"):
        load_npz(text)
    with pytest.raises(UsageError, match="one array without a name"):
        load_npz(single)
    with pytest.raises(UsageError, match=r"not an \.npz file"):
        load_npz(cut)


def test_objects_are_not_unpickled(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="plain arrays"):
        load_npz(path)


def test_seeded_samples_reach_the_whole_range_and_repeat(tmp_path):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    samples = seeded_samples(manifest, 80)
    again = seeded_samples(manifest, 80)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(samples, again, strict=True))
    values = np.stack([quantize_input(sample["image"], manifest.inputs[0]) for sample in samples])
    assert len(np.unique(values)) == 256
    assert samples[0]["image"].dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_seeded_samples_have_the_type_of_onnx(tmp_path, dtype):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    tensor = dataclasses.replace(PLAIN, dtype=dtype, float_in_onnx=dtype == "float32")
    for sample in seeded_samples(dataclasses.replace(manifest, inputs=(tensor,)), 5):
        assert (sample["image"].dtype, sample["image"].shape) == (np.dtype(dtype), (1, 3, 2, 4))
        input_bytes(sample["image"], tensor)


def test_samples_of_the_users(tmp_path):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    data = np.arange(3 * 32, dtype=np.float32).reshape(3, 1, 2, 4, 4)
    assert [sample["image"][0, 0, 0, 0] for sample in user_samples(manifest, {"image": data}, None)] == [0, 32, 64]
    assert len(user_samples(manifest, {"image": data}, 2)) == 2
    with pytest.raises(UsageError, match="holds no samples"):
        user_samples(manifest, {"image": data[:0]}, None)
    with pytest.raises(UsageError, match="leading axis"):
        user_samples(manifest, {"image": np.float32(1)}, None)
    two = dataclasses.replace(manifest, inputs=(manifest.inputs[0], dataclasses.replace(IMAGE, name="b")))
    with pytest.raises(UsageError, match="different numbers of samples: 'image' 3, 'b' 2"):
        user_samples(two, {"image": data, "b": data[:2]}, None)
