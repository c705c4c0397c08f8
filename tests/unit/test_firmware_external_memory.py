# SPDX-License-Identifier: Apache-2.0
"""External SDRAM and QSPI flash: set up as the manuals say, used where it is asked for, missed with a message."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.board_types import Board
from mcucompiler.boards import load_board, with_external
from mcucompiler.build import Flavor, build_firmware, build_program
from mcucompiler.build.board_header import write_board_header
from mcucompiler.build.size import read_sections
from mcucompiler.build.toolchain import STANDARD, WARNINGS, target_flags
from mcucompiler.cli import main
from mcucompiler.errors import BoardError, DoesNotFitError, UsageError
from mcucompiler.external_memory import QSPI_ORIGIN, SDRAM_ORIGIN
from mcucompiler.flash import plan_flash
from mcucompiler.resources import boards_dir, runtime_dir
from mcucompiler.run import encode_sample, output_array, seeded_samples
from tests.support import ROOT
from tests.support.programs import compiled, run_reference
from tests.support.stm32_memories import Discovery, OpenMvPlus

pytest.importorskip("unicorn", reason="unicorn is not installed")
from tests.support.unicorn_firmware import Firmware, FirmwareError

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
APPLICATION = ROOT / "tests" / "support" / "console_application.c"
DISCO, PLUS = "stm32f746g-disco", "openmv-h7-plus"
CONSOLES = {
    DISCO: (Discovery, {"source_hz": 25_000_000, "uart_base": 0x40011000, "uart_clock": (2, 4)}, ((0, 9), (1, 7))),
    PLUS: (OpenMvPlus, {"source_hz": 12_000_000, "uart_base": 0x40004800, "uart_clock": (1, 18)}, ((1, 10), (1, 11))),
}
HEADER_BYTES = 16


def outside(name: str) -> Board:
    """A board whose arena must go to the SDRAM, and the weights to the QSPI flash where it has one."""
    board = load_board(name)
    board = with_external(board, weights=board.qspi is not None, arena=True)
    regions = (
        region
        if region.name == "sdram"
        else replace(region, holds=tuple(content for content in region.holds if content != "arena"))
        for region in board.regions
    )
    return replace(board, regions=tuple(regions))


def make_chip(name: str, *stuck: str):
    kind, facts, (tx, rx) = CONSOLES[name]
    return kind(**facts, external=False, tx=tx, rx=rx, stuck=frozenset(stuck))


@pytest.fixture(scope="module", params=[DISCO, PLUS])
def built(request, tmp_path_factory):
    name = request.param
    folder = tmp_path_factory.mktemp("external") / "net"
    model = (ROOT / "examples" / "digits" / "digits.onnx").read_bytes()
    result, manifest = compiled(model, folder, board=name)
    board = outside(name)
    return name, result, manifest, build_program(manifest, Flavor(board=board, application=APPLICATION)), board


def test_outputs_are_exact_from_external_memory(built):
    name, result, manifest, program, board = built
    chip = make_chip(name)
    samples = seeded_samples(manifest, 2)
    chip.arriving.extend(
        bytes([len(samples)]) + b"".join(part for sample in samples for part in encode_sample(manifest, sample))
    )
    Firmware(program.path, board, chip).run()
    assert int.from_bytes(chip.sent[:4], "little") == 0, "mc_board_status()"
    position = HEADER_BYTES
    for want in run_reference(result, manifest, samples):
        position += 12
        for tensor in manifest.outputs:
            got = output_array(bytes(chip.sent[position : position + tensor.bytes]), tensor)
            np.testing.assert_array_equal(got, want[tensor.name])
            position += tensor.bytes
    chip.check_sdram()
    sections = {section.name: section for section in read_sections(program.path)}
    assert sections[".arena"].address == SDRAM_ORIGIN
    if name == DISCO:
        chip.check_qspi()
        assert QSPI_ORIGIN <= sections[".weights"].address < QSPI_ORIGIN + (16 << 20)


def test_addresses_are_opened_with_their_attributes(built):
    name, _, _, program, board = built
    chip = make_chip(name)
    chip.arriving.append(0)
    Firmware(program.path, board, chip).run()
    never, normal = 1 << 28, 3 << 24 | 1 << 19 | 3 << 16
    size = {DISCO: 22, PLUS: 24}[name]
    expected = {
        0: (0, never | 0x87 << 8 | 31 << 1 | 1),
        1: (0x1FFF8000, never | 14 << 1 | 1),
        3: (SDRAM_ORIGIN, never | normal | size << 1 | 1),
    }
    if name == DISCO:
        expected[2] = (0xA0000000, never | 3 << 24 | 1 << 18 | 1 << 16 | 12 << 1 | 1)
        expected[4] = (QSPI_ORIGIN, never | 6 << 24 | 1 << 17 | 23 << 1 | 1)
    assert chip.protected == expected


@pytest.mark.parametrize("built", [DISCO], indirect=True)
@pytest.mark.parametrize(
    ("stuck", "message", "windows"),
    [("sdram", "the external RAM", {0, 1, 2, 4}), ("qspi", "the external flash", {0, 1, 2, 3})],
)
def test_a_controller_that_does_not_answer_is_told(built, stuck, message, windows):
    name, _, _, program, board = built
    chip = make_chip(name, stuck)
    Firmware(program.path, board, chip).run()
    text = chip.sent.decode()
    assert text.startswith(message)
    assert "does not answer" in text
    assert text.count("\n") == 1, "the network is not run"
    assert {index for index, (_, value) in chip.protected.items() if value & 1} == windows


def test_a_part_that_is_not_there_is_told(built):
    name, _, _, program, board = built
    chip = make_chip(name)
    firmware = Firmware(program.path, board, chip)
    length = board.sdram.length
    firmware.machine.mem_unmap(SDRAM_ORIGIN, length)
    firmware.machine.mmio_map(SDRAM_ORIGIN, length, lambda *_: 0xFFFFFFFF, None, lambda *_: None, None)
    firmware.run()
    assert chip.sent.decode().startswith("the external RAM (SDRAM) does not answer")


@pytest.mark.parametrize("built", [DISCO], indirect=True)
def test_another_flash_is_told(built):
    name, _, _, program, board = built
    chip = make_chip(name)
    chip.IDENTITY = 0x1840EF
    Firmware(program.path, board, chip).run()
    assert chip.sent.decode().startswith("the external flash (QSPI) does not answer, or is not the part")


@pytest.mark.parametrize("built", [DISCO], indirect=True)
def test_the_model_refuses_a_clock_that_the_flash_does_not_stand(built):
    name, _, manifest, _, board = built
    board = replace(board, name="faulty", qspi=replace(board.qspi, max_hz=216_000_000))
    path = build_program(manifest, Flavor(board=board, application=APPLICATION)).path
    with pytest.raises(FirmwareError, match="above 108 MHz"):
        Firmware(path, board, make_chip(name)).run()


@pytest.mark.parametrize(
    "changes", [{"t_ras_ns": 30}, {"t_rcd_ns": 10}, {"refresh_ns": 20_000}, {"row_bits": 13}, {"t_rp_ns": 5}]
)
def test_the_model_refuses_times_that_the_part_does_not_stand(changes):
    """Without firmware: what the description would write to the registers."""
    board = load_board(DISCO)
    sdram, ahb_hz = replace(board.sdram, **changes), board.clock.ahb_hz
    chip = make_chip(DISCO)
    chip.commands = [(1, 1, 0), (2, 1, 0), (3, 8, 0), (4, 1, sdram.mode)]
    chip.clocks = lambda: replace(chip.fastest, ahb=ahb_hz)

    def fill(part) -> None:
        hz = ahb_hz // part.divider(ahb_hz)
        registers = (part.control(ahb_hz), part.timing(ahb_hz), hz * part.refresh_ns // 10**9 - 20 << 1)
        chip.values.update(zip((chip.FMC + 0x140, chip.FMC + 0x148, chip.FMC + 0x154), registers, strict=True))

    fill(board.sdram)
    chip.check_sdram()
    fill(sdram)
    with pytest.raises(AssertionError):
        chip.check_sdram()


@pytest.mark.parametrize("name", [DISCO, PLUS])
def test_external_memory_is_used_only_where_it_is_asked_for(name, tmp_path):
    board = load_board(name)
    assert {region.name for region in board.regions} & {"sdram", "qspi"} == set()
    wider = with_external(board, arena=True)
    assert wider.ram_bytes == board.sdram.length == {DISCO: 8 << 20, PLUS: 32 << 20}[name]
    _, manifest = compiled((ROOT / "examples" / "digits" / "digits.onnx").read_bytes(), tmp_path / "net", board=name)
    result = build_firmware(manifest.directory, wider)
    assert result.figures["placement"]["arena"]["region"] == "dtcm", "inside, as it fits"
    assert [r["used_bytes"] for r in result.figures["regions"] if r["name"] == "sdram"] == [0]
    large = replace(manifest, memory=replace(manifest.memory, arena_bytes=1 << 20))
    with pytest.raises(DoesNotFitError, match="external memory with --arena external"):
        build_program(large, Flavor(board=board, application=APPLICATION))


def small(board: Board, region: str, length: int) -> Board:
    """The board with less of one memory."""
    regions = (replace(r, length=length) if r.name == region else r for r in board.regions)
    return replace(board, regions=tuple(regions))


def test_weights_that_the_flash_does_not_hold_may_go_outside(monkeypatch):
    model = (ROOT / "examples" / "digits" / "digits.onnx").read_bytes()
    monkeypatch.setattr("mcucompiler.api.load_board", lambda name: small(load_board(name), "flash", 32 << 10))
    with pytest.raises(DoesNotFitError, match="of flash needed") as caught:
        compile_model(model, CompileOptions(board=DISCO))
    assert "external memory with --weights external" in str(caught.value)
    compile_model(model, CompileOptions(board=DISCO, weights="external"))
    with pytest.raises(DoesNotFitError) as caught:
        compile_model(model, CompileOptions(board=DISCO, flash_limit=16 << 10))
    assert "external" not in str(caught.value), "the limit is the user's"


def test_the_linker_refuses_more_than_an_external_region_holds(tmp_path):
    model = (ROOT / "examples" / "digits" / "digits.onnx").read_bytes()
    _, manifest = compiled(model, tmp_path / "net", board=DISCO)
    board = with_external(load_board(DISCO), weights=True)
    weights_bytes = manifest.memory.weights_bytes
    understated = replace(manifest, memory=replace(manifest.memory, weights_bytes=0))
    with pytest.raises(DoesNotFitError, match="memory region 'qspi' of board 'stm32f746g-disco'") as caught:
        build_program(understated, Flavor(board=small(board, "qspi", 4096), application=APPLICATION))
    assert (caught.value.available_bytes, caught.value.needed_bytes) == (4096, pytest.approx(weights_bytes, abs=64))


def test_boards_without_external_memory_say_so():
    with pytest.raises(UsageError, match="'openmv-h7-plus' has no external flash"):
        with_external(load_board(PLUS), weights=True)
    with pytest.raises(UsageError, match="'nucleo-h743zi2' has no external RAM"):
        with_external(load_board("nucleo-h743zi2"), arena=True)


def test_weights_outside_are_built_and_flashed_by_who_can(tmp_path, capsys):
    model = (ROOT / "examples" / "digits" / "digits.onnx").read_bytes()
    _, manifest = compiled(model, tmp_path / "net", board=DISCO)
    command = [str(manifest.directory), "--board", DISCO, "--weights", "external"]
    assert main(["build", *command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["placement"]["weights"]["region"] == "qspi"
    used = {region["name"]: region["used_bytes"] for region in figures["regions"]}
    assert used["qspi"] >= figures["weights_bytes"] > 0
    assert main(["flash", *command, "--runner", "st-flash", "--dry-run"]) == 2
    assert "st-flash does not write the external flash" in capsys.readouterr().err
    board = with_external(load_board(DISCO), weights=True)
    assert plan_flash(board, tmp_path / "f.elf").runner == "openocd"


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        ("row_bits = 12", "row_bits = 14", "'row_bits' is 14; allowed are 11 to 13"),
        ("bus_bits = 16", "bus_bits = 24", "'bus_bits' is 24; it may be 8, 16 or 32"),
        ("max_hz = 100_000_000", "max_hz = 50_000_000", "allows 50000000 Hz, less than a third of the AHB's 216000000"),
        ('"PC3", "PH3"', '"PC3", "PC3"', "'pins' names a pin twice"),
        ('"PC3", "PH3"', '"PC3:12", "PH3"', "'pins' holds 'PC3:12'; a pin is written PA0 to PK15"),
        ('"PB2:9"', '"PB2"', "'pins' holds 'PB2'; a pin is written PA0:9, with its alternate function"),
        ('length = "16M"', 'length = "12M"', "a power of two from 4K to 16M"),
        ('runners = \\["openocd"\\]\nadvice', 'runners = ["jlink"]\nadvice', "known are pyocd"),
        ('name = "dtcm"', 'name = "sdram"', "regions' has one named 'sdram' or 'qspi'"),
        ("t_rp_ns = 20\n", "", "'t_rp_ns' is missing"),
    ],
)
def test_wrong_descriptions_are_refused_with_the_key(tmp_path, pattern, replacement, message):
    text, count = re.subn(pattern, replacement, (boards_dir() / DISCO / "board.toml").read_text(), count=1)
    assert count == 1
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(BoardError, match=re.escape(message)):
        load_board(str(path))


def test_only_families_whose_controllers_are_known_have_external_memory(tmp_path):
    disco, path = (boards_dir() / DISCO / "board.toml").read_text(), tmp_path / "mine.toml"
    for name, key in (("mps2-an500", "sdram"), ("nucleo-h743zi2", "qspi")):
        table = re.search(rf"^\[{key}\]\n(?:(?!^\[|^#).*\n)*", disco, re.MULTILINE)
        assert table is not None
        path.write_text((boards_dir() / name / "board.toml").read_text() + "\n" + table[0])
        with pytest.raises(BoardError, match=f"'{key}' is for stm32f7"):
            load_board(str(path))


@pytest.mark.parametrize(
    ("name", "weights", "arena"), [(DISCO, True, True), (DISCO, True, False), (DISCO, False, True), (PLUS, False, True)]
)
@pytest.mark.parametrize("compiler", ["arm-none-eabi-gcc", "clang"])
def test_the_runtime_compiles_without_a_warning(tmp_path, name, weights, arena, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    board = with_external(load_board(name), weights=weights, arena=arena)
    write_board_header(board, tmp_path)
    target = ["--target=arm-none-eabi", "-ffreestanding"] if compiler == "clang" else []
    flags = [*target, *target_flags(board.cpu), STANDARD, "-O2", *WARNINGS, "-Werror"]
    include = [f"-I{tmp_path}", f"-I{runtime_dir() / 'include'}"]
    for source in sorted((runtime_dir() / "soc").glob("stm32*.c")):
        subprocess.run([compiler, *flags, *include, "-c", source, "-o", tmp_path / "out.o"], check=True)
