# SPDX-License-Identifier: Apache-2.0
"""Flashing: command lines, images, and what is said when it fails. Stand-ins record how the programs are called."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mcucompiler.boards import list_boards, load_board
from mcucompiler.cli import main
from mcucompiler.errors import ToolError, UsageError
from mcucompiler.flash import FlashError, flash, plan_flash, write_image
from mcucompiler.flash.explain import explain
from tests.support.handmade import write_program
from tests.support.qemu_serial import needs_qemu

FLASHABLE = [name for name in list_boards() if load_board(name).flash is not None]
NUCLEO = "nucleo-h743zi2"


@pytest.fixture
def program(tmp_path):
    cpu = load_board(NUCLEO).cpu
    return write_program(tmp_path, target={"cpu": cpu.name, "fpu": cpu.fpu})[0]


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder of stand-ins; the real programs that flash cannot be found, compilers can."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("arm-none-eabi-gcc", "sh"):
        path = shutil.which(name)
        if path:
            (folder / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, name: str, output: str = "", code: int = 0, body: str = "") -> Path:
    """A program that writes its arguments to a file, prints something and ends."""
    record = folder / f"{name}.called"
    script = folder / name
    script.write_text(
        f"#!{sys.executable}\nimport sys, time\nopen({str(record)!r}, 'w').write('\\n'.join(sys.argv[1:]))\n"
        f"sys.stdout.write({output!r})\nsys.stdout.flush()\n{body}\nsys.exit({code})\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return record


def called(record: Path) -> list[str]:
    return record.read_text().split("\n")


def cli(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def board_with(*runners):
    board = load_board(NUCLEO)
    everything = dataclasses.replace(
        board.flash,
        runners=runners,
        openocd=("interface/stlink.cfg", "target/stm32h7x.cfg"),
        pyocd_target="stm32h743xx",
        stflash_address=0x08000000,
        dfu_id="0483:df11",
        dfu_alt=1,
        dfu_address=0x08000000,
    )
    return dataclasses.replace(board, flash=everything)


@pytest.mark.parametrize(
    ("runner", "command"),
    [
        ("pyocd", "pyocd load --no-wait --target stm32h743xx '/a b/fw.elf'"),
        (
            "openocd",
            "openocd -f interface/stlink.cfg -f target/stm32h7x.cfg -c 'program {/a b/fw.elf} verify reset exit'",
        ),
        ("st-flash", "st-flash --reset write '/a b/fw.bin' 0x08000000"),
        ("dfu-util", "dfu-util -d 0483:df11 -a 1 -s 0x08000000:leave -D '/a b/fw.bin'"),
    ],
)
def test_command_lines(runner, command):
    plan = plan_flash(board_with("pyocd", "openocd", "st-flash", "dfu-util"), Path("/a b/fw.elf"), runner)
    assert plan.text == command
    assert (plan.image is not None) == (runner in ("st-flash", "dfu-util"))


def test_the_first_installed_runner_is_taken(tools):
    board = board_with("pyocd", "openocd", "st-flash")
    assert (plan_flash(board, Path("f.elf")).runner, plan_flash(board, Path("f.elf")).installed) == ("pyocd", False)
    stand_in(tools, "st-flash")
    assert plan_flash(board, Path("f.elf")).runner == "st-flash"
    stand_in(tools, "openocd")
    assert (plan_flash(board, Path("f.elf")).runner, plan_flash(board, Path("f.elf")).installed) == ("openocd", True)
    assert plan_flash(board, Path("f.elf"), "pyocd").runner == "pyocd"


def test_boards_that_cannot_be_flashed():
    with pytest.raises(UsageError, match="'mps2-an500' cannot be flashed; it runs in an emulator: use --on qemu"):
        plan_flash(load_board("mps2-an500"), Path("f.elf"))
    with pytest.raises(UsageError, match="no table 'flash'"):
        plan_flash(load_board("host"), Path("f.elf"))
    with pytest.raises(UsageError, match="is not flashed with 'dfu-util'; it can be with pyocd or openocd"):
        plan_flash(board_with("pyocd", "openocd"), Path("f.elf"), "dfu-util")


@needs_qemu
@pytest.mark.parametrize("name", FLASHABLE)
def test_dry_run_prints_the_command_where_nothing_is_installed(tmp_path, tools, capsys, name):
    board = load_board(name)
    folder, _ = write_program(tmp_path, target={"cpu": board.cpu.name, "fpu": board.cpu.fpu})
    for runner in board.flash.runners:
        code, out, err = cli(capsys, "flash", folder, "--board", name, "--runner", runner, "--dry-run")
        assert (code, err) == (0, "")
        words = shlex.split(out)
        assert words[0] == runner
        firmware = folder.resolve() / "build" / name / "serial" / "firmware"
        named = [word for word in words if str(firmware) in word]
        assert len(named) == 1
        suffix = ".bin" if runner in ("st-flash", "dfu-util") else ".elf"
        assert firmware.with_suffix(suffix).is_file()
        if suffix == ".bin":
            image = firmware.with_suffix(".bin").read_bytes()
            # The initial stack pointer, in RAM and aligned, and the reset handler, in flash with the Thumb bit.
            stack, reset = (int.from_bytes(image[at : at + 4], "little") for at in (0, 4))
            assert stack % 8 == 0
            assert any(r.origin < stack <= r.end for r in board.regions if "stack" in r.holds)
            assert any(r.origin < reset < r.end for r in board.regions if r.kind == "flash")
            assert reset % 2 == 1
    code, out, err = cli(capsys, "flash", folder, "--board", name)
    assert (code, out) == (4, "")
    assert f"{board.flash.runners[0]} is not installed" in err
    assert "install one of" in err


@needs_qemu
def test_flashing_calls_the_program_with_the_firmware(program, tools, capsys):
    record = stand_in(
        tools, "st-flash", "Flash page at addr: 0x08000000 erased\rFlash written and verified! jolly good!\n"
    )
    code, out, err = cli(capsys, "flash", program, "--board", NUCLEO, "--runner", "st-flash")
    assert (code, err) == (0, "")
    assert "next: mcucompiler validate" in out
    image = program.resolve() / "build" / NUCLEO / "serial" / "firmware.bin"
    assert called(record) == ["--reset", "write", str(image), "0x08000000"]
    assert image.stat().st_size > 1000


@needs_qemu
def test_a_program_of_the_users_own_is_flashed(program, tools, capsys, tmp_path):
    record = stand_in(tools, "st-flash", "Flash written and verified! jolly good!\n")
    application = tmp_path / "app.c"
    application.write_text("int mc_main(void);\nint mc_main(void) { return 0; }\n")
    arguments = ("flash", program, "--board", NUCLEO, "--runner", "st-flash", "--app", application)
    code, out, err = cli(capsys, *arguments)
    assert (code, err) == (0, "")
    assert "validate" not in out
    image = program.resolve() / "build" / NUCLEO / "application" / "firmware.bin"
    assert called(record) == ["--reset", "write", str(image), "0x08000000"]
    code, out, err = cli(capsys, *arguments, "--protocol", "mlperf")
    assert (code, out) == (2, "")
    assert "--app takes the place of --protocol" in err


@needs_qemu
def test_verbose_shows_what_the_program_says(program, tools, capsys):
    stand_in(tools, "openocd", "** Programming Started **\n** Verified OK **\n")
    code, _, err = cli(capsys, "flash", program, "--board", NUCLEO, "--runner", "openocd", "--verbose")
    assert code == 0
    assert "** Verified OK **" in err


def test_progress_is_read_from_percentages(tmp_path, tools):
    output = "Erase \t[=====] 20%\rErase \t[==] 60%\r\nDownload 100% done\n"
    stand_in(tools, "openocd", output)
    seen, lines = [], []
    board = board_with("openocd")
    firmware = tmp_path / "f.elf"
    flash(board, plan_flash(board, firmware), firmware, progress=seen.append, line=lines.append)
    assert seen == [20, 60, 100]
    assert len(lines) == 3


FAILURES = [
    ("pyocd", 1, "No connected debug probes\n0000523 E No target device available [load_cmd]\n", "no debug probe"),
    ("openocd", 1, "Info : clock speed 1800 kHz\nError: open failed\n", "no debug probe"),
    ("openocd", 1, "Error: unable to find a matching CMSIS-DAP device\n", "no debug probe"),
    ("st-flash", 255, "2026-01-01T00:00:00 WARN usb.c: Couldn't find any ST-Link devices\n", "no debug probe"),
    ("st-flash", 0, "2026-01-01T00:00:00 WARN usb.c: Couldn't find any ST-Link devices\n", "no debug probe"),
    ("dfu-util", 74, "dfu-util: No DFU capable USB device available\n", "no boot loader answers"),
    (
        "dfu-util",
        74,
        "dfu-util: Cannot open DFU device 0483:df11 found on devnum 9 (LIBUSB_ERROR_ACCESS)\n"
        "dfu-util: No DFU capable USB device available\n",
        'ATTRS{idVendor}=="0483", MODE="0660", TAG+="uaccess"',
    ),
    ("openocd", 1, "Error: libusb_open() failed with LIBUSB_ERROR_ACCESS\nError: open failed\n", "udevadm control"),
    ("openocd", 1, "Error: libusb_claim_interface() failed with LIBUSB_ERROR_BUSY\nError: open failed\n", "GDB server"),
    ("openocd", 1, "Error: stm32x device protected\nError: failed erasing sectors 0 to 1\n", "chip is locked"),
    ("pyocd", 1, "0001 C Target is locked; unlock [x]\n", "STM32_Programmer_CLI"),
    (
        "openocd",
        1,
        "Warn : stm32h7x.cpu: UNEXPECTED idcode: 0x2ba01477\nError: expected 1 of 1: 0x6ba02477\n",
        "not the chip that board 'nucleo-h743zi2' has: STM32H743",
    ),
    ("st-flash", 255, "ERROR common.c: unknown chip id! 0x5fa0004\n", "not the chip"),
    ("openocd", 1, "Error: init mode failed (unable to connect to the target)\n", "does not answer it"),
    ("st-flash", 255, "ERROR common.c: Failed to enter SWD mode\n", "hold the reset button"),
    ("pyocd", 1, "0000 C Target type stm32h743xx not recognized. Use 'pyocd list --targets'\n", "pyocd pack install"),
    ("dfu-util", 74, "dfu-util: Last page at 0x080fffff is not writeable\n", "no flash where the firmware belongs"),
    ("openocd", 1, "** Verify Failed **\nError: checksum mismatch - attempting binary compare\n", "read back"),
    ("openocd", 1, "Can't find board/st_nucleo_h743zi.cfg\n", "OpenOCD 0.12 or newer"),
    ("openocd", 3, "something that nobody has seen before\n", "what it printed last follows"),
    ("openocd", 3, "", "(it printed nothing)"),
]


@pytest.mark.parametrize(("runner", "code", "output", "message"), FAILURES)
def test_failures_are_explained(tmp_path, tools, runner, code, output, message):
    board = board_with(runner)
    stand_in(tools, runner, output, code)
    firmware = tmp_path / "f.elf"
    firmware.write_bytes(tiny_elf())
    with pytest.raises(FlashError) as caught:
        flash(board, plan_flash(board, firmware), firmware)
    text = str(caught.value)
    assert message.replace("'nucleo-h743zi2'", "nucleo-h743zi2") in text
    assert "command: " + runner in text
    assert output.strip().splitlines()[-1:] == [] or output.strip().splitlines()[-1] in text


def test_success_is_not_explained_away(tmp_path, tools):
    """Words of a known failure in the output of a program that succeeded mean nothing."""
    board = board_with("openocd")
    stand_in(tools, "openocd", "Info : target not halted, halting\n** Verified OK **\n")
    firmware = tmp_path / "f.elf"
    flash(board, plan_flash(board, firmware), firmware)
    board = board_with("st-flash")
    firmware.write_bytes(tiny_elf())
    stand_in(tools, "st-flash", "INFO: device is not locked: is locked? no\nFlash written and verified! jolly good!\n")
    flash(board, plan_flash(board, firmware), firmware)


def test_a_path_is_no_failure():
    assert explain("programming /home/wordpress/site/firmware.elf\n", board_with("openocd")) is None


def test_a_program_that_hangs_is_stopped(tmp_path, tools):
    board = board_with("openocd")
    stand_in(tools, "openocd", "Info : Listening on port 4444\n", body="time.sleep(60)")
    firmware = tmp_path / "f.elf"
    with pytest.raises(FlashError, match=r"did not end within 1 s(.|\n)*unplug the board"):
        flash(board, plan_flash(board, firmware), firmware, timeout_s=1.0)


def tiny_elf(*segments):
    """An ELF file whose segments are pairs of load address and bytes."""
    segments = segments or ((0x08000000, b"\1\2\3\4"),)
    head = 52 + 32 * len(segments)
    table, data = b"", b""
    for address, content in segments:
        offset, size = head + len(data), len(content)
        words = (1, offset, address, address, size, size, 5, 4)
        table += b"".join(word.to_bytes(4, "little") for word in words)
        data += content
    identification = b"\x7fELF\1\1\1" + bytes(9)
    halves = (2, 40)
    words = (1, 0, 52, 0, 0x5000400)
    rest = (52, 32, len(segments), 40, 0, 0)
    header = identification + b"".join(h.to_bytes(2, "little") for h in halves)
    header += b"".join(word.to_bytes(4, "little") for word in words)
    header += b"".join(h.to_bytes(2, "little") for h in rest)
    return header + table + data


def test_images_hold_what_is_loaded_and_no_more(tmp_path):
    elf, image = tmp_path / "f.elf", tmp_path / "f.bin"
    elf.write_bytes(tiny_elf((0x08000010, b"cd"), (0x08000000, b"ab")))
    write_image(elf, image, 0x08000000, 0x08000012)
    assert image.read_bytes() == b"ab" + b"\xff" * 14 + b"cd"
    with pytest.raises(ToolError, match="parts outside of the flash"):
        write_image(elf, image, 0x08000000, 0x08000011)
    with pytest.raises(ToolError, match=r"begins at 0x8000000, the board's description flashes at 0x8040000"):
        write_image(elf, image, 0x08040000, 0x08080000)
    elf.write_bytes(b"no elf")
    with pytest.raises(ToolError, match="not an ELF file"):
        write_image(elf, image, 0, 1)


@pytest.mark.skipif(shutil.which("openocd") is None, reason="openocd is not installed")
@pytest.mark.parametrize("name", [name for name in FLASHABLE if "openocd" in load_board(name).flash.runners])
def test_openocd_understands_the_configuration(name):
    files = [word for file in load_board(name).flash.openocd for word in ("-f", file)]
    command = ["openocd", *files, "-c", "noinit; shutdown"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
