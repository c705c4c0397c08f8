# SPDX-License-Identifier: Apache-2.0
"""The applications of examples/openmv and examples/nucleo: built for their boards, and run without them."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import serial

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import BuildResult, build_firmware
from mcucompiler.build.toolchain import WARNINGS, find_toolchain
from mcucompiler.cli import make_parser
from tests.support import ROOT
from tests.support.programs import runtime_session
from tests.support.qemu_serial import needs_qemu, running
from tests.support.stm32_chips import H743

pytestmark = [pytest.mark.qemu, needs_qemu]
EXAMPLES = ROOT / "examples"
MODEL = EXAMPLES / "digits" / "digits.onnx"
BOARDS = {"openmv": "openmv-h7", "nucleo": "nucleo-h743zi2"}
PINS = {"openmv": (12_000_000, False, (1, 10), (1, 11)), "nucleo": (8_000_000, True, (3, 8), (3, 9))}
AXI_SRAM, FRAME_BYTES, CACHE_LINE = 0x24000000, 320 * 240, 32
CLEAN_LINE, INVALIDATE_LINE = 0xE000EF68, 0xE000EF5C


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An example's firmware for a board, each built once."""
    known: dict[tuple[str, str], BuildResult] = {}

    def build(example: str, board: str) -> BuildResult:
        if (example, board) not in known:
            folder = tmp_path_factory.mktemp(example) / "out"
            compile_model(MODEL, CompileOptions(board=board)).write(folder)
            known[example, board] = build_firmware(folder, load_board(board), application=EXAMPLES / example / "app.c")
        return known[example, board]

    return build


@pytest.fixture(scope="module")
def pictures():
    """Grey values [n, 48, 48] of test images, and the digits that ONNX Runtime sees in them."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    script = "import data, numpy, sys; numpy.save(sys.stdout.buffer, data.load()[2][:12])"
    done = subprocess.run([sys.executable, "-c", script], cwd=EXAMPLES / "digits", capture_output=True, check=True)
    images = np.load(io.BytesIO(done.stdout))[:, 0]
    grey = np.rint((images + 1) * 127.5).astype(np.uint8)
    real = grey.astype(np.float32) / np.float32(127.5) - np.float32(1)
    session = runtime_session(MODEL)
    return grey, [int(session.run(None, {"image": image[None, None]})[0].argmax()) for image in real]


def emulate(
    result: BuildResult, example: str, arriving: bytes, lines: int, *, revision: int = 0
) -> tuple[H743, list[str]]:
    """The board's own firmware on a model of its microcontroller, until it has written so many lines."""
    pytest.importorskip("unicorn", reason="unicorn is not installed")
    from tests.support.unicorn_firmware import Firmware

    source_hz, external, tx, rx = PINS[example]
    chip = H743(
        source_hz=source_hz,
        external=external,
        uart_base=0x40004800,
        uart_clock=(1, 18),
        tx=tx,
        rx=rx,
        stuck=frozenset(),
    )
    chip.arriving.extend(arriving)
    if revision:
        chip.values[H743.DBGMCU] = revision << 16 | 0x450
    firmware = Firmware(result.program.path, load_board(BOARDS[example]), chip)
    firmware.run(200_000_000, enough=lambda sent: sent.count(b"\n") == lines)
    return chip, chip.sent.decode().split("\r\n")[:-1]


@pytest.mark.parametrize("board", ["the example's", "mps2-an500"])
@pytest.mark.parametrize("example", BOARDS)
def test_an_example_compiles_without_a_warning(example, board, built):
    result = built(example, BOARDS[example] if board == "the example's" else board)
    toolchain = find_toolchain(load_board("openmv-h7").cpu)
    folder = result.program.folder
    include = [f"-I{path}" for path in (folder, folder.parents[2], ROOT / "runtime_c" / "include")]
    command = [toolchain.compiler, *toolchain.target_flags, "-std=c11", "-O2", *WARNINGS, "-Werror", *include]
    done = subprocess.run(
        [*command, "-fsyntax-only", str(EXAMPLES / example / "app.c")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("example", BOARDS)
def test_the_arena_of_an_example_is_in_the_fastest_memory(example, built):
    placed = built(example, BOARDS[example]).figures["placement"]["arena"]
    assert (placed["region"], placed["bytes"]) == ("dtcm", 19_944)


def test_the_camera_example_sees_its_pictures_on_its_board(built):
    chip, lines = emulate(built("openmv", "openmv-h7"), "openmv", b"", 3)
    assert [line.partition(",")[0] for line in lines] == ["frame 0: digit 7", "frame 1: digit 4", "frame 2: digit 7"]
    frames = 3 * FRAME_BYTES // CACHE_LINE
    assert chip.core_writes[CLEAN_LINE] == frames
    assert chip.core_writes[INVALIDATE_LINE] == 2 * frames


def test_the_camera_example_refuses_to_share_its_frame_with_the_arena(built, tmp_path):
    board = load_board("openmv-h7")
    regions = tuple(
        replace(region, origin=region.end - 0x8000, length=0x8000)
        if region.name == "axi_sram"
        else replace(region, holds=tuple(content for content in region.holds if content != "arena"))
        for region in board.regions
    )
    folder = tmp_path / "out"
    compile_model(MODEL, CompileOptions(board="openmv-h7")).write(folder)
    result = build_firmware(folder, replace(board, regions=regions), application=EXAMPLES / "openmv" / "app.c")
    assert result.figures["placement"]["arena"]["address"] >= AXI_SRAM + 0x80000 - FRAME_BYTES
    _, lines = emulate(result, "openmv", b"", 1)
    assert lines == ["the arena leaves no room for the frame"]


def test_the_camera_example_runs_in_qemu(built):
    with (
        running(built("openmv", "mps2-an500").program.path, load_board("mps2-an500")) as (url, _),
        connect(url) as port,
    ):
        text = b"".join(port.readline() for _ in range(6)).decode()
    seen = re.findall(r"^frame (\d+): digit (\d), \d+ us\r$", text, re.MULTILINE)
    assert len(seen) >= 4, text
    assert all(digit == "74"[int(number) % 2] for number, digit in seen)


def test_the_console_example_names_the_digits_on_its_board(built, pictures):
    grey, digits = pictures
    _, lines = emulate(built("nucleo", "nucleo-h743zi2"), "nucleo", grey[:3].tobytes(), 4)
    assert lines[0] == "digits: send 2304 grey values"
    assert [line.partition(",")[0] for line in lines[1:]] == [f"digit {digit}" for digit in digits[:3]]


def test_the_console_example_tells_of_a_slow_clock(built):
    _, lines = emulate(built("nucleo", "nucleo-h743zi2"), "nucleo", b"", 2, revision=0x1003)
    assert lines == ["board status 96, see mc_board.h", "digits: send 2304 grey values"]


def connect(url: str) -> serial.SerialBase:
    """The console of a firmware in QEMU."""
    return serial.serial_for_url(url, timeout=20)


def test_the_console_example_names_the_digits_in_qemu(built, pictures):
    grey, digits = pictures
    assert len(set(digits)) > 3
    with (
        running(built("nucleo", "mps2-an500").program.path, load_board("mps2-an500")) as (url, _),
        connect(url) as port,
    ):
        for image, digit in zip(grey, digits, strict=True):
            assert re.fullmatch(rf"digit {digit}, \d+ us\r\n", answer_to(port, image.tobytes()))
        port.write(grey[0].tobytes()[:1000])
        dropped = 0
        while dropped < 1000:  # in one piece, unless the machine is busy
            dropped += int(re.fullmatch(r"image dropped after (\d+) bytes\r\n", answer(port))[1])
        assert dropped == 1000
        assert answer_to(port, grey[1].tobytes()).startswith(f"digit {digits[1]}, ")


def answer_to(port: serial.SerialBase, image: bytes) -> str:
    """The answer to an image, sent again where a busy machine made a pause in it and the program dropped it."""
    for _ in range(5):
        port.write(image)
        line = answer(port)
        if not line.startswith("image dropped"):
            return line
        while port.readline():  # until what came behind the pause is dropped too
            pass
    return line


def answer(port: serial.SerialBase) -> str:
    """The next line that answers; of the greeting there may be any part, as the port is opened at any time."""
    while True:
        line = port.readline().decode()
        if not line or line.startswith(("digit ", "image dropped")):
            return line


def test_the_script_of_the_console_example_prints_the_answers(built, pictures):
    with running(built("nucleo", "mps2-an500").program.path, load_board("mps2-an500")) as (url, _):
        command = [sys.executable, str(EXAMPLES / "nucleo" / "send.py"), url, "3"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seen = re.findall(r"^a \d: digit (\d), \d+ us$", done.stdout, re.MULTILINE)
    assert seen == [str(digit) for digit in pictures[1][:3]]


@pytest.mark.parametrize("example", BOARDS)
def test_the_commands_and_links_of_a_page_exist(example):
    page = (EXAMPLES / example / "README.md").read_text()
    commands = re.findall(r"^    \$ mcucompiler (.*)$", page, re.MULTILINE)
    assert f"build out/{example} --board {BOARDS[example]} --app examples/{example}/app.c" in commands
    for command in commands:
        make_parser().parse_args(shlex.split(command))
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (EXAMPLES / example / link).exists(), link
