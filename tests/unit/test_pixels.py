# SPDX-License-Identifier: Apache-2.0
"""Camera pixels: what the numbers mean, against ONNX Runtime and plain arithmetic; what cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.errors import UsageError
from mcucompiler.pixels import FORMATS, conversion, parse_pixels
from tests.support.onnx_text import model_bytes, runtime_session


def converter(name, *, channels=3, dtype="int8", input_scale=0.25, zero_point=-3, **meaning):
    return conversion(
        parse_pixels(name, **meaning),
        name="image",
        shape=(1, 8, 8, channels),
        dtype=dtype,
        scale=input_scale,
        zero_point=zero_point,
    )


def gray(values):
    return np.asarray(values, np.uint8).reshape(1, -1, 1)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize(
    ("scale", "zero_point", "meaning"),
    [
        (0.00392156886, 0, {"scale": "1/255"}),
        (0.0186584480, 12, {"scale": "1/255", "mean": "0.485", "std": "0.229"}),
        (0.0078431377, -1, {"scale": "1/128", "mean": "1"}),
        (0.5, 3, {"scale": "1"}),
        (1e-9, 0, {"scale": "1", "mean": "127.5"}),
    ],
)
def test_the_table_is_quantize_linear(dtype, scale, zero_point, meaning):
    zero_point += 128 if dtype == "uint8" else 0
    how = converter("gray8", channels=1, dtype=dtype, input_scale=scale, zero_point=zero_point, **meaning)
    factor = 1 / float(meaning["scale"].split("/")[1]) if "/" in meaning["scale"] else float(meaning["scale"])
    reals = (np.arange(256) * factor - float(meaning.get("mean", 0))) / float(meaning.get("std", 1))
    graph = f"g (float[256] x) => ({dtype}[256] y) {{ y = QuantizeLinear(x, s, z) }}"
    constants = {"s": np.float32(scale), "z": np.asarray(zero_point, dtype)}
    expected = runtime_session(model_bytes(graph, constants)).run(None, {"x": reals.astype(np.float32)})[0]
    assert np.array_equal(how.convert(gray(np.arange(256))).reshape(-1), expected)


@pytest.mark.parametrize(("dtype", "shift"), [("int8", 128), ("uint8", 0)])
def test_by_default_the_range_of_a_pixel_is_that_of_the_type(dtype, shift):
    how = converter("gray8", channels=1, dtype=dtype)
    assert how.table is None
    assert np.array_equal(how.convert(gray(np.arange(256))).reshape(-1), np.arange(256) - shift)
    one = float(np.float32(1 / 255))
    same = converter("gray8", channels=1, dtype=dtype, input_scale=one, zero_point=-shift, scale="1/255")
    assert same.table is None, "the same meaning said in numbers is found to be that"


def test_five_and_six_bits_are_widened_to_the_whole_range():
    words = np.arange(1 << 16)
    little = np.stack([words & 255, words >> 8], axis=-1)[None].astype(np.uint8)
    got = converter("rgb565", dtype="uint8", zero_point=0).convert(little)[0].astype(int)
    assert np.array_equal(converter("rgb565be", dtype="uint8").convert(little[..., ::-1])[0], got)
    for channel, bits, shift in ((0, 5, 11), (1, 6, 5), (2, 5, 0)):
        repeated = [int((f"{field:0{bits}b}" * 2)[:8], 2) for field in range(1 << bits)]
        assert np.array_equal(got[:, channel], np.take(repeated, words >> shift & ((1 << bits) - 1)))
        assert (repeated[0], repeated[-1]) == (0, 255)


def test_orders_of_color():
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    assert converter("rgb888", dtype="uint8").convert(pixel).tolist() == [[[10, 20, 30]]]
    assert converter("bgr888", dtype="uint8").convert(pixel).tolist() == [[[30, 20, 10]]]
    assert converter("gray8", dtype="uint8").convert(pixel[..., :1]).tolist() == [[[10, 10, 10]]]


def test_each_channel_has_its_own_numbers():
    meaning = {"scale": "1,2,1/2", "mean": "0,10,0", "std": "1,1,0.25"}
    how = converter("rgb888", dtype="uint8", input_scale=1.0, zero_point=0, **meaning)
    assert how.convert(np.array([[[40, 40, 40]]], np.uint8)).tolist() == [[[40, 70, 80]]]


def test_grey_of_color_is_luma():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (1, 5000, 3)).astype(np.uint8)
    pixels[0, :3] = [[0, 0, 0], [255, 255, 255], [255, 0, 0]]
    got = converter("rgb888", channels=1, dtype="uint8").convert(pixels)[0, :, 0].astype(float)
    exact = pixels[0] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(got - exact).max() <= 0.501
    assert got[:3].tolist() == [0, 255, 76]
    swapped = converter("bgr888", channels=1, dtype="uint8").convert(pixels[..., ::-1])[0, :, 0]
    assert np.array_equal(swapped, got)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "yuv422"}, r"'yuv422' is unknown; known are rgb888"),
        ({"name": "", "scale": "1/255"}, "need --pixel-format"),
        ({"name": "rgb888", "mean": "1"}, "need --pixel-scale"),
        ({"name": "rgb888", "scale": "1/0"}, "neither a number"),
        ({"name": "rgb888", "scale": "1;2;3"}, "neither a number"),
        ({"name": "rgb888", "scale": "nan"}, "neither a number"),
        ({"name": "rgb888", "scale": "1", "std": "1,0,1"}, "must not be zero"),
    ],
)
def test_what_cannot_be_meant(arguments, message):
    with pytest.raises(UsageError, match=message):
        parse_pixels(**arguments)


@pytest.mark.parametrize(
    ("shape", "dtype", "quant", "message"),
    [
        ((1, 8, 8, 2), "int8", (0.5, 0), r"'image' is int8 \[1x8x8x2\]"),
        ((1, 8, 3), "int8", (0.5, 0), r"\[1x8x3\]"),
        ((1, 8, 8, 3), "float32", (None, None), "is float32"),
        ((1, 8, 8, 3), "int8", (None, None), "has no scale"),
        ((1, 8, 8, 1), "int8", (0.5, 0), "has 3 numbers; input 'image' has 1 channel"),
    ],
)
def test_inputs_that_pixels_do_not_fit(shape, dtype, quant, message):
    pixels = parse_pixels("rgb888", scale="1/255", mean="0.4,0.5,0.6")
    with pytest.raises(UsageError, match=message):
        conversion(pixels, name="image", shape=shape, dtype=dtype, scale=quant[0], zero_point=quant[1])


def test_no_format_is_no_pixels():
    assert parse_pixels("") is None
    assert {entry.bytes for entry in FORMATS.values()} == {1, 2, 3}
