# SPDX-License-Identifier: Apache-2.0
"""The kernels that convert pixels: the numpy definition on every value of a pixel, at any address, without warnings."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.emit.kernels import render
from mcucompiler.emit.rows import _kernel, _table
from mcucompiler.pixels import Conversion, conversion, parse_pixels
from tests.support.compilers import ARM, STRICT

MEANINGS = {
    "plain": {},
    "same": {"scale": "1/255", "mean": "0.4"},
    "each": {"scale": "1/255", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"},
}
CASES = [
    (name, channels, dtype, meaning)
    for name in ("rgb888", "bgr888", "rgb565", "rgb565be", "gray8")
    for channels in (1, 3)
    for dtype in ("int8", "uint8")
    for meaning in MEANINGS
    if channels == 3 or meaning != "each"
]


def converter(name: str, channels: int, dtype: str, meaning: str, width: int) -> Conversion:
    pixels = parse_pixels(name, **MEANINGS[meaning])
    assert pixels is not None
    shape = (1, 1, width, channels)
    return conversion(pixels, name="x", shape=shape, dtype=dtype, scale=0.0171, zero_point=5)


def source(how: Conversion, width: int) -> str:
    function = render(_kernel(how, width), "convert", ["a test"])
    return f"#include <stdint.h>\n#include <string.h>\n{function.signature};\n{function.text}"


class Compiled:
    """The kernel as a function of this process."""

    def __init__(self, how: Conversion, width: int, folder: Path) -> None:
        self._how, self._width = how, width
        (folder / "k.c").write_text(source(how, width))
        flags = (*STRICT[:-1], "-fsanitize=undefined", "-fno-sanitize-recover", "-shared", "-fPIC")
        subprocess.run(["gcc", *flags, str(folder / "k.c"), "-o", str(folder / "k.so")], check=True)
        self._convert = ctypes.CDLL(str(folder / "k.so")).convert
        table = _table(how)
        self._table = None if table is None else np.concatenate([np.zeros(1, table.values.dtype), table.values])

    def __call__(self, frame: np.ndarray, shift: int) -> np.ndarray:
        """Converts [rows, width, bytes] with every pointer ``shift`` bytes beyond an aligned one."""
        rows, row_bytes = len(frame), self._width * self._how.channels
        given = np.zeros(frame.size + 8, np.uint8)
        given[shift : shift + frame.size] = frame.reshape(-1)
        taken = np.full(rows * row_bytes + 16, 0x5A, np.uint8)
        for row in range(rows):
            pointers = [taken.ctypes.data + shift + row * row_bytes, given.ctypes.data + shift + row * frame[0].size]
            pointers += [] if self._table is None else [self._table.ctypes.data + 1]
            self._convert(*map(ctypes.c_void_p, pointers))
        beside = set(taken[:shift]) | set(taken[shift + rows * row_bytes :])
        assert beside == {0x5A}, "nothing beside the rows is written"
        return taken[shift : shift + rows * row_bytes].view(self._how.dtype).reshape(rows, self._width, -1)


@pytest.mark.parametrize(("name", "channels", "dtype", "meaning"), CASES)
def test_every_value(name: str, channels: int, dtype: str, meaning: str, tmp_path: Path) -> None:
    how = converter(name, channels, dtype, meaning, 256)
    kernel, ramp = Compiled(how, 256, tmp_path), np.arange(256, dtype=np.uint8)
    size = how.pixels.format.bytes
    if size == 1:
        frame = ramp.reshape(1, 256, 1)
    elif size == 2:
        frame = np.stack(np.meshgrid(ramp, ramp, indexing="ij"), axis=-1)
    else:
        frame = np.stack([ramp[::-1], np.roll(ramp, 77), ramp], axis=-1)[None]
        frame = np.concatenate([frame, np.random.default_rng(1).integers(0, 256, (300, 256, 3)).astype(np.uint8)])
    for shift in range(4):
        np.testing.assert_array_equal(kernel(frame, shift), how.convert(frame))


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["rgb888", "gray8", "rgb565"])
def test_short_rows(name: str, width: int, tmp_path: Path) -> None:
    channels = 1 if name == "gray8" else 3
    how = converter(name, channels, "int8", "plain", width)
    frame = np.random.default_rng(width).integers(0, 256, (50, width, how.pixels.format.bytes)).astype(np.uint8)
    np.testing.assert_array_equal(Compiled(how, width, tmp_path)(frame, 1), how.convert(frame))


def test_luma_of_every_color(tmp_path: Path) -> None:
    how = converter("rgb888", 1, "uint8", "plain", 4096)
    kernel = Compiled(how, 4096, tmp_path)
    for first in range(0, 1 << 24, 1 << 20):
        colors = np.arange(first, first + (1 << 20), dtype=np.uint32)
        frame = np.stack([colors & 255, colors >> 8 & 255, colors >> 16], axis=-1).astype(np.uint8)
        np.testing.assert_array_equal(kernel(frame.reshape(-1, 4096, 3), 0), how.convert(frame.reshape(-1, 4096, 3)))


@pytest.mark.parametrize("compiler", [("clang",), ARM], ids=lambda c: c[0])
def test_silent(compiler: tuple[str, ...], tmp_path: Path) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    for number, case in enumerate(CASES):
        path = tmp_path / f"{number}.c"
        path.write_text(source(converter(*case, 7), 7))
        subprocess.run([*compiler, *STRICT, str(path), "-o", str(tmp_path / "k.o")], check=True)
