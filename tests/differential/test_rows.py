# SPDX-License-Identifier: Apache-2.0
"""Networks that are fed by rows: the bits of the resident ones, a state that refuses misuse, and clear errors."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build.firmware import build_firmware
from mcucompiler.build.placement import place_contents
from mcucompiler.build.program import Flavor, build_program
from mcucompiler.cli import main
from mcucompiler.errors import DoesNotFitError, UsageError, VerificationError
from mcucompiler.export import export_project
from mcucompiler.manifest import Manifest, read_manifest
from mcucompiler.pixels import FORMATS
from mcucompiler.run import encode_sample, make_bench_runner, make_runner, network_inputs, seeded_samples
from mcucompiler.validate import validate
from tests.support import ROOT
from tests.support.compilers import ARM, STRICT
from tests.support.handmade import make_model
from tests.support.onnx_text import model_bytes
from tests.support.programs import assert_equal, compiled, run_program
from tests.support.qemu_serial import emulated, needs_qemu

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
HANDMADE = {"int8": make_model(np.int8), "uint8": make_model(np.uint8)}
COLOR = model_bytes(
    """color (uint8[1, 3, 6, 5] image) => (uint8[1, 2, 6, 5] scores) {
        scores = QLinearConv <pads = [1, 1, 1, 1]> (image, xs, xz, w, ws, wz, ys, yz)
    }""",
    {
        "xs": np.float32(1 / 255),
        "xz": np.uint8(0),
        "w": np.random.default_rng(5).integers(-128, 128, (2, 3, 3, 3)).astype(np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "ys": np.float32(0.02),
        "yz": np.uint8(120),
    },
)
SERIES = model_bytes(
    """series (int8[1, 9, 4] x) => (int8[1, 9, 4] y) { y = com.microsoft.QLinearAdd (x, s, z, x, s, z, s, z) }""",
    {"s": np.float32(0.25), "z": np.int8(3)},
)
PIXELS: dict[str, dict[str, Any]] = {
    **{name: {"pixel_format": name} for name in FORMATS},
    "meant": {"pixel_format": "rgb565", "pixel_scale": "1/255", "pixel_mean": "0.4,0.5,0.6", "pixel_std": "0.3"},
}


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_rows(model: bytes | Path, folder: Path, **options: Any) -> Manifest:
    return compiled(model, folder, input_mode="rows", **options)[1]


MODELS = {"digits": DIGITS.read_bytes(), **HANDMADE, "color": COLOR, "series": SERIES}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("io", ["int8", "float"])
def test_the_bits_of_the_resident_program(name: str, io: str, tmp_path: Path) -> None:
    _, resident = compiled(MODELS[name], tmp_path / "a", io=io)
    manifest = by_rows(MODELS[name], tmp_path / "b", io=io)
    assert manifest.rows is not None
    assert manifest.rows.count * manifest.rows.bytes == manifest.inputs[0].bytes
    samples = seeded_samples(manifest, 6)
    expected = run_program(make_runner(resident, "host"), resident, samples)
    assert_equal(run_program(make_runner(manifest, "host", sanitize=True), manifest, samples), expected)


@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("name", ["color", "digits"])
def test_pixels_are_the_inputs_that_they_stand_for(name: str, pixels: str, tmp_path: Path) -> None:
    if name == "digits" and pixels == "meant":
        pytest.skip("one channel has one mean")
    path = tmp_path / "model.onnx"
    path.write_bytes(MODELS[name])
    _, resident = compiled(path, tmp_path / "a")
    manifest = by_rows(path, tmp_path / "b", **PIXELS[pixels])
    frames = seeded_samples(manifest, 4)
    inputs = [network_inputs(manifest, frame) for frame in frames]
    runner = make_runner(manifest, "host", sanitize=True)
    expected = run_program(make_runner(resident, "host"), resident, inputs)
    assert_equal(run_program(runner, manifest, frames), expected)
    assert validate(manifest, path, runner, frames, layers=True).passed


@pytest.mark.qemu
@needs_qemu
@pytest.mark.parametrize("pixels", ["", "rgb565be"])
def test_in_qemu(pixels: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(COLOR)
    manifest = by_rows(path, tmp_path / "net", pixel_format=pixels)
    samples = seeded_samples(manifest, 3)
    assert validate(manifest, path, make_runner(manifest, "qemu"), samples).passed
    assert validate(manifest, path, make_runner(manifest, "qemu"), samples, layers=True).passed
    result = make_bench_runner(manifest, "qemu").bench(encode_sample(manifest, samples[0]))
    assert 0 < sum(step.instructions for step in result.steps) <= result.instructions * 1.05
    with emulated(manifest.directory, "mps2-an500") as url:
        device = make_runner(manifest, f"serial:{url}")
        assert validate(manifest, path, device, samples).passed
        assert validate(manifest, path, device, samples, layers=True).passed


@pytest.mark.parametrize("options", [{}, *PIXELS.values()], ids=["tensor", *PIXELS])
def test_silent_and_valid_cplusplus(options: dict[str, Any], tmp_path: Path) -> None:
    manifest = by_rows(COLOR, tmp_path / "net", **options)
    for compiler in (("gcc",), ("clang",), ARM):
        if shutil.which(compiler[0]) is not None:
            for source in manifest.sources:
                run(*compiler, *STRICT, tmp_path / "net" / source, "-o", tmp_path / "x.o")
    flags = ("-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++")
    run("g++", *flags, tmp_path / "net" / "net.h")


MISUSE = """#include "net.h"
#include <string.h>
static _Alignas(NET_ARENA_ALIGN) unsigned char arena[NET_ARENA_BYTES + 1u];
static _Alignas(NET_ARENA_ALIGN) unsigned char other[NET_ARENA_BYTES + 1u];
static unsigned char image[NET_ROW_COUNT * NET_ROW_BYTES + 4u];
static unsigned char first[NET_OUTPUT_0_BYTES];

/* Pushes rows `from` to `to` that lie `shift` bytes beyond an aligned address; 1 where an answer is wrong. */
static int push(unsigned char *where, unsigned from, unsigned to, unsigned shift)
{
    memmove(image + shift, image, NET_ROW_COUNT * NET_ROW_BYTES);
    int wrong = 0;
    for (unsigned y = from; y < to; ++y) {
        const net_status_t status = net_push_row(where, image + shift + y * NET_ROW_BYTES);
        wrong |= status != (y + 1u < NET_ROW_COUNT ? NET_MORE : NET_OK);
    }
    memmove(image, image + shift, NET_ROW_COUNT * NET_ROW_BYTES);
    return wrong;
}

int main(void)
{
    for (unsigned i = 0; i < NET_ROW_COUNT * NET_ROW_BYTES; ++i) image[i] = (unsigned char)(i * 37u);
    for (int fill = 0; fill < 256; ++fill) {
        memset(arena, fill, NET_ARENA_BYTES);
        if (net_push_row(arena, image) != NET_ERR_SEQUENCE) return 1;
    }
    if (net_begin(NULL, NET_ARENA_BYTES) != NET_ERR_NULL) return 2;
    if (net_begin(arena, NET_ARENA_BYTES - 1u) != NET_ERR_ARENA) return 3;
    if (net_begin(arena + 1, NET_ARENA_BYTES) != NET_ERR_ALIGN) return 4;
    if (net_push_row(arena, image) != NET_ERR_SEQUENCE) return 5;
    if (net_push_row(arena + 1, image) != NET_ERR_SEQUENCE) return 6;
    if (net_begin(arena, NET_ARENA_BYTES) != NET_OK) return 7;
    if (net_push_row(NULL, image) != NET_ERR_NULL || net_push_row(arena, NULL) != NET_ERR_NULL) return 8;
    if (push(arena, 0, NET_ROW_COUNT, 0)) return 9;
    memcpy(first, net_output(arena, 0), sizeof first);
    if (net_push_row(arena, image) != NET_ERR_SEQUENCE) return 10;
    if (memcmp(first, net_output(arena, 0), sizeof first) != 0) return 11;
    /* Begun anew in the middle, while another arena takes rows of its own, at every alignment. */
    for (unsigned shift = 0; shift < 4u; ++shift) {
        if (net_begin(arena, NET_ARENA_BYTES) != NET_OK || push(arena, 0, 2, shift)) return 12;
        if (net_begin(other, NET_ARENA_BYTES) != NET_OK || push(other, 0, 1, shift)) return 13;
        memset(image, 0x33, sizeof image);
        if (push(arena, 2, 3, shift)) return 14;
        for (unsigned i = 0; i < NET_ROW_COUNT * NET_ROW_BYTES; ++i) image[i] = (unsigned char)(i * 37u);
        if (net_begin(arena, NET_ARENA_BYTES) != NET_OK) return 15;
        for (unsigned y = 0; y < NET_ROW_COUNT; ++y) {
            if (push(arena, y, y + 1u, shift)) return 16;
            if (y != 0u && push(other, y, y + 1u, shift)) return 17;
        }
        if (memcmp(first, net_output(arena, 0), sizeof first) != 0) return 18;
        if (memcmp(first, net_output(other, 0), sizeof first) != 0) return 19;
    }
    return net_output(arena, NET_OUTPUT_COUNT) == NULL && net_output(NULL, 0) == NULL ? 0 : 20;
}
"""


@pytest.mark.parametrize("options", [{}, {"pixel_format": "rgb565"}, {"io": "float"}], ids=str)
def test_misuse_is_answered_by_a_status(options: dict[str, Any], tmp_path: Path) -> None:
    folder = by_rows(COLOR, tmp_path / "net", **options).directory
    (tmp_path / "main.c").write_text(MISUSE)
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover")
    flags = ("-std=c11", "-Wall", "-Werror", *sanitizers, f"-I{folder}")
    run("gcc", *flags, tmp_path / "main.c", *folder.glob("*.c"), "-lm", "-o", tmp_path / "main")
    run(tmp_path / "main")


@pytest.mark.parametrize(
    ("graph", "constants", "options", "message"),
    [
        (
            "g (int8[1, 4, 4] a, int8[1, 4, 4] b) => (int8[1, 4, 4] y)"
            "{ y = com.microsoft.QLinearAdd (a, s, z, b, s, z, s, z) }",
            {"s": np.float32(1), "z": np.int8(0)},
            {},
            "one input .* the network has 2 inputs: 'a', 'b'",
        ),
        ("g (int8[1, 40] x) => (int8[1, 40] y) { y = Relu (x) }", {}, {}, "rank 3 or 4 .*'x' is 1x40"),
        ("g (int8[2, 3, 4, 4] x) => (int8[2, 3, 4, 4] y) { y = Relu (x) }", {}, {}, "batch 1.*'x' is 2x3x4x4"),
        (
            "g (float[1, 3, 4, 4] x) => (float[1, 3, 4, 4] y)"
            "{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }",
            {"s": np.float32(1), "z": np.int8(0)},
            {"pixel_format": "rgb888", "io": "float"},
            "int8 or uint8 .*'x' is float32",
        ),
        (
            "g (int8[1, 2, 4, 4] x) => (int8[1, 2, 4, 4] y) { y = Relu (x) }",
            {},
            {"pixel_format": "gray8"},
            "int8 or uint8 .*'x' is int8 .1x2x4x4.",
        ),
    ],
)
def test_networks_that_cannot_be_fed_by_rows(
    graph: str, constants: dict[str, np.ndarray], options: dict[str, Any], message: str
) -> None:
    model = model_bytes(graph, constants, opset=14)
    with pytest.raises(UsageError, match=message):
        compile_model(model, CompileOptions(name="net", input_mode="rows", **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pixel-format", "rgb888"), "--pixel-format needs --input rows"),
        (("--input", "rows", "--pixel-format", "yuyv"), "'yuyv' is unknown; known are rgb888"),
        (("--input", "rows", "--pixel-scale", "1/255"), "need --pixel-format"),
        (("--input", "rows", "--pixel-format", "gray8", "--pixel-scale", "1,2,3"), "has 3 numbers"),
    ],
)
def test_wrong_options(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compile", str(DIGITS), "-o", str(tmp_path / "net"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_the_command_line_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model = tmp_path / "net", tmp_path / "color.onnx"
    model.write_bytes(COLOR)
    meaning = ("--pixel-format", "bgr888", "--pixel-scale", "1/255", "--pixel-std", "0.5,0.6,0.7")
    assert main(["compile", str(model), "-o", str(folder), "--input", "rows", *meaning]) == 0
    raw = json.loads((folder / "manifest.json").read_text())
    assert (raw["input_mode"], raw["row_bytes"], raw["rows"]["count"]) == ("rows", 15, 6)
    assert raw["command"].endswith("--input rows " + " ".join(meaning))
    assert raw["inputs"][0]["onnx_shape"] == [1, 3, 6, 5]
    assert f"#define COLOR_ARENA_BYTES {raw['memory']['arena_bytes']}u" in (folder / "color.h").read_text()
    assert "6 rows of 15 bytes of bgr888 pixels" in capsys.readouterr().out
    frame = np.random.default_rng(1).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", image=frame)
    on = ("--on", "host")
    assert main(["run", str(folder), *on, "--input", str(tmp_path / "x.npz"), "--output", str(tmp_path / "y.npz")]) == 0
    assert np.load(tmp_path / "y.npz")["scores"].shape == (1, 2, 6, 5)
    np.savez(tmp_path / "many.npz", image=np.stack([frame, frame[::-1]]))
    assert main(["validate", str(folder), *on, "--model", str(model), "--data", str(tmp_path / "many.npz")]) == 0
    np.savez(tmp_path / "x.npz", image=frame.transpose(2, 0, 1)[None])
    capsys.readouterr()
    assert main(["run", str(folder), *on, "--input", str(tmp_path / "x.npz")]) == 2
    assert "expected is uint8 of shape 6x5x3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 3}, "'rows'"),
        ({"row_bytes": 14}, "'row_bytes' is 14, which is not"),
        ({"rows": {"count": 5}}, "is missing"),
        ({"inputs": []}, "not what 'inputs' and 'rows' hold"),
    ],
)
def test_a_manifest_that_contradicts_itself(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = by_rows(COLOR, tmp_path / "net").directory
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**raw, **changes}))
    with pytest.raises(UsageError, match=message):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return NET_MORE;", "return NET_OK;", "returned status 255"),
        ("return NET_MORE;", "return NET_ERR_ARENA;", "returned status 3"),
        ("        return NET_ERR_SEQUENCE;", "        return NET_OK;", "before the beginning gives ERR_SEQUENCE"),
        ("arena == NULL || row == NULL", "arena == NULL", "that is NULL gives ERR_NULL"),
    ],
)
def test_programs_that_misbehave_are_caught(old: str, new: str, message: str, tmp_path: Path) -> None:
    manifest = by_rows(COLOR, tmp_path / "net")
    source = manifest.directory / "net.c"
    text = source.read_text()
    assert old in text
    source.write_text(text.replace(old, new))
    with pytest.raises(VerificationError, match=message):
        run_program(make_runner(manifest, "host"), manifest, seeded_samples(manifest, 1))


def test_the_arena_and_the_stack_are_declared(tmp_path: Path) -> None:
    _, resident = compiled(COLOR, tmp_path / "a")
    manifest = by_rows(COLOR, tmp_path / "b")
    assert 8 <= manifest.memory.arena_bytes - resident.memory.arena_bytes < 12
    needed = manifest.memory.arena_bytes + manifest.memory.stack_bytes
    options = CompileOptions(name="net", input_mode="rows")
    compile_model(COLOR, replace(options, ram_limit=needed))
    with pytest.raises(DoesNotFitError, match="RAM") as caught:
        compile_model(COLOR, replace(options, ram_limit=64))
    least = compile_model(COLOR, replace(options, ram_limit=caught.value.needed_bytes)).tree.program
    assert least.arena_bytes + least.stack_bytes == caught.value.needed_bytes


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.parametrize("pixels", ["", "gray8"])
def test_the_exported_example_pushes_rows(pixels: str, tmp_path: Path) -> None:
    manifest = by_rows(DIGITS, tmp_path / "net", pixel_format=pixels)
    for kind in ("arduino", "platformio", "zephyr"):
        files = export_project(manifest.directory, kind, tmp_path / kind)
        texts = [(tmp_path / kind / path).read_text() for path in files if path.suffix in (".c", ".ino")]
        assert any("net_push_row(arena, row)" in text for text in texts)
    export_project(manifest.directory, "cmake", tmp_path / "project")
    run("cmake", "-S", tmp_path / "project", "-B", tmp_path / "build", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path / "build")
    fill = 0 if pixels else (manifest.inputs[0].zero_point or 0) & 0xFF
    sample = (bytes([fill]) * manifest.sample_inputs[0].bytes,)
    result = make_runner(manifest, "host").run([sample])[0].outputs[0]
    told = [int(line.split("=")[1]) for line in run(tmp_path / "build" / "net_run").splitlines()]
    assert told == np.frombuffer(result, np.int8).tolist()


@pytest.mark.parametrize("board", ["nucleo-h743zi2", "openmv-h7", "stm32f746g-disco"])
@pytest.mark.parametrize("protocol", ["serial", "mlperf"])
def test_firmware_for_boards(board: str, protocol: str, tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    manifest = by_rows(DIGITS, tmp_path / "net", board=board)
    program = build_program(manifest, Flavor(board=load_board(board), protocol=protocol))
    sections = run("arm-none-eabi-size", "-A", program.path)
    frame = next(line.split() for line in sections.splitlines() if line.startswith(".frame"))
    assert int(frame[1]) == 48 * 48
    if protocol == "serial":
        assert build_firmware(manifest.directory, load_board(board)).figures["stack"]["bound_bytes"] > 0


def test_the_image_of_a_harness_takes_the_memory_that_the_arena_leaves(tmp_path: Path) -> None:
    manifest, board = by_rows(DIGITS, tmp_path / "net", board="nucleo-h743zi2"), load_board("nucleo-h743zi2")
    assert place_contents(manifest, board)["frame"] is place_contents(manifest, board)["arena"]
    place = place_contents(manifest, board, frame_bytes=300_000)
    assert place["arena"].length < 300_000 < place["frame"].length
    with pytest.raises(DoesNotFitError, match=r"the image of 'net'(.|\n)*no more than a row"):
        place_contents(manifest, board, frame_bytes=2_000_000)
