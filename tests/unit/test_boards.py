# SPDX-License-Identifier: Apache-2.0
"""Boards: what comes with the compiler is valid, and wrong files are refused with the key's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcucompiler.board_parts import PORTS, RUNNERS, pin
from mcucompiler.board_types import CONTENTS
from mcucompiler.boards import list_boards, load_board
from mcucompiler.clock_tree import RULES
from mcucompiler.errors import BoardError
from mcucompiler.fields import parse_size
from mcucompiler.resources import boards_dir
from tests.support import ROOT

GOOD = (boards_dir() / "mps2-an500" / "board.toml").read_text()


def load_text(tmp_path: Path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_board(str(path))


@pytest.mark.parametrize("name", list_boards())
def test_boards_that_come_with_the_compiler_load_under_their_folders_name(name):
    assert load_board(name).name == name


def test_mps2_an500():
    board = load_board("mps2-an500")
    assert (board.cpu.name, board.cpu.fpu, board.cpu.dsp, board.is_host) == ("cortex-m7", "fpv5-sp-d16", True, False)
    assert [(region.origin, region.length) for region in board.regions] == [
        (0x00000000, 4 << 20),
        (0x20000000, 4 << 20),
        (0x60000000, 16 << 20),
    ]
    assert all(board.holding(content) for content in CONTENTS)
    assert board.ram_bytes == (4 << 20) - board.stack_bytes - 4096
    assert board.flash_bytes == 20 << 20
    assert board.qemu is not None
    assert board.qemu.instructions_per_tick == 40.0


def test_host_has_no_limits():
    board = load_board("host")
    assert board.is_host
    assert (board.ram_bytes, board.flash_bytes, board.qemu) == (None, None, None)


def test_a_board_of_the_users_is_loaded_by_path(tmp_path):
    assert load_text(tmp_path, GOOD.replace('name = "mps2-an500"', 'name = "mine"')).name == "mine"


def test_unknown_board_names_the_known_ones():
    with pytest.raises(BoardError, match=r"unknown board 'mps3'.*host, mps2-an386, mps2-an500.*\.toml"):
        load_board("mps3")


@pytest.mark.parametrize("name", ["../host", "", "HOST", "host/"])
def test_names_are_not_paths(name):
    with pytest.raises(BoardError, match="unknown board"):
        load_board(name)


WRONG = {
    "not TOML": (r"^name = .*$", "name = ", "not valid TOML"),
    "name": (r'^name = "mps2-an500"', 'name = "a b"', "'name' is 'a b'"),
    "unknown key": (r"^clock_hz", "clok_hz", "'clok_hz' is not known here"),
    "type": (r"^clock_hz = .*$", 'clock_hz = "fast"', "'clock_hz' is 'fast'; a whole number"),
    "boolean for a number": (r"^clock_hz = .*$", "clock_hz = true", "'clock_hz' is True; a whole number"),
    "negative": (r"^clock_hz = .*$", "clock_hz = -1", "'clock_hz' is -1; it cannot be negative"),
    "size": (r'^stack_bytes = "64K"', 'stack_bytes = "64Q"', "'stack_bytes' is wrong.*64Q.*not a size"),
    "tiny stack": (r'^stack_bytes = "64K"', "stack_bytes = 8", "'stack_bytes' is 8"),
    "stack that does not fit": (r'^stack_bytes = "64K"', 'stack_bytes = "5M"', "'stack_bytes'.*fit region 'sram'"),
    "console": (r'"semihosting"', '"carrier pigeon"', "'console' is 'carrier pigeon'; it must be one of"),
    "region kind": (r'kind = "sram"', 'kind = "cloud"', r"regions\[1\]: 'kind' is 'cloud'"),
    "region name": (r'name = "sram"', 'name = "s ram"', r"regions\[1\]: 'name'"),
    "twin regions": (r'name = "sram"', 'name = "code"', "two regions of one name"),
    "overlap": (r"origin = 0x2000_0000", "origin = 0x0010_0000", "overlap"),
    "beyond 4 GiB": (r"origin = 0x6000_0000", "origin = 0xffff_0000", "32-bit address space"),
    "empty region": (r'length = "16M"', "length = 0", "at least one byte"),
    "unknown content": (r'"arena"\]', '"heap"]', "names 'heap'"),
    "nowhere for the arena": (r', "arena"\]', "]", "hold no 'arena'"),
    "content of a wrong type": (r'"arena"\]', "7]", "holds 7"),
    "cpu": (r'^name = "cortex-m7"', 'name = "cortex m7; rm"', "cpu: 'name'"),
    "empty cpu": (r'^name = "cortex-m7"', 'name = ""', "cpu: 'name' is empty"),
    "machine": (r'^machine = "mps2-an500"', 'machine = "a,b"', "qemu: 'machine'"),
    "timer": (r"^timer_hz = .*$", "timer_hz = 0", "'timer_hz' is 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused_with_file_and_key(tmp_path, case):
    pattern, replacement, message = WRONG[case]
    text, count = re.subn(pattern, replacement, GOOD, count=1, flags=re.MULTILINE)
    assert count == 1
    with pytest.raises(BoardError, match=message) as caught:
        load_text(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("key", ["name", "description", "stack_bytes", "startup", "console", r"\[cpu\]"])
def test_missing_keys_are_named(tmp_path, key):
    text, count = re.subn(rf"^{key}.*\n", "", GOOD, count=1, flags=re.MULTILINE)
    assert count == 1
    if key == r"\[cpu\]":  # its keys move to the top level, where the name is given twice
        text = text.replace('name = "cortex-m7"\nfpu = "fpv5-sp-d16"\ndsp = true\n', "")
    with pytest.raises(BoardError, match=rf"'{key.strip(chr(92) + '[]')}' is missing"):
        load_text(tmp_path, text)


def test_missing_file(tmp_path):
    with pytest.raises(BoardError, match=r"none\.toml.*cannot be read"):
        load_board(str(tmp_path / "none.toml"))


def test_file_that_is_not_text(tmp_path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="cannot be read"):
        load_board(str(path))


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("4096", 4096), ("64K", 65536), ("64k", 65536), ("1M", 1 << 20), ("1_024", 1024)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5K", "1G", "64 K K", "0x10"])
def test_what_is_not_a_size(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


HARDWARE = {
    # core clock, flash and where it begins, RAM in one piece for a network, DTCM, runner that is tried first
    "netduinoplus2": (168_000_000, 0x08000000, 1 << 20, (120 << 10) - 4096, 0, "pyocd"),
    "nucleo-f767zi": (216_000_000, 0x08000000, 2 << 20, 384 << 10, 128 << 10, "pyocd"),
    "nucleo-h743zi2": (480_000_000, 0x08000000, 2 << 20, 512 << 10, 128 << 10, "pyocd"),
    "openmv-h7": (480_000_000, 0x08040000, 1792 << 10, 512 << 10, 128 << 10, "dfu-util"),
    "openmv-h7-plus": (480_000_000, 0x08040000, 1792 << 10, 512 << 10, 128 << 10, "dfu-util"),
    "stm32f746g-disco": (216_000_000, 0x08000000, 1 << 20, 256 << 10, 64 << 10, "pyocd"),
}


def test_every_board_is_known_here():
    assert {*HARDWARE, "host", "mps2-an386", "mps2-an500"} == set(list_boards())


@pytest.mark.parametrize("name", HARDWARE)
def test_boards_with_silicon(name):
    clock_hz, origin, flash_bytes, ram_bytes, dtcm_bytes, runner = HARDWARE[name]
    board = load_board(name)
    assert (board.clock_hz, board.flash_bytes, board.ram_bytes) == (clock_hz, flash_bytes, ram_bytes)
    assert board.holding("vectors")[0].origin == origin
    assert sum(region.length for region in board.regions if region.kind == "dtcm") == dtcm_bytes
    assert board.clock is not None
    assert board.clock.ahb_hz * (2 if board.soc == "stm32h7" else 1) == clock_hz
    assert board.serial is not None
    assert board.serial.baud == 115_200
    assert board.flash is not None
    assert board.flash.runners[0] == runner
    assert set(board.flash.runners) <= set(RUNNERS)
    assert board.flash.stflash_address == origin
    assert board.stack_bytes == 8192
    assert (board.cpu.name == "cortex-m7") == (board.caches.data_bytes > 0)


def test_every_port_and_rule_has_a_family():
    assert {*RULES, "mps2"} == set(PORTS)


@pytest.mark.parametrize(("name", "place"), [("PA0", (0, 0)), ("PD8", (3, 8)), ("PK15", (10, 15))])
def test_pins(name, place):
    assert pin(name) == place


DISCO = (boards_dir() / "stm32f746g-disco" / "board.toml").read_text()
H743 = (boards_dir() / "nucleo-h743zi2" / "board.toml").read_text()
WRONG_PARTS = {
    "no clock": (DISCO, r"^\[clock\]\n(.+\n)+", "", "'clock' is missing"),
    "unknown key of the clock": (DISCO, r"^pll_m", "pll_x", "clock: 'pll_x' is not known here"),
    "source": (DISCO, r'"crystal"', '"sundial"', "clock: 'source' is 'sundial'"),
    "source frequency": (DISCO, r"^source_hz = .*$", "source_hz = 50_000_000", "clock: 'source_hz' is 5e"),
    "another clock": (DISCO, r"^pll_n = 432", "pll_n = 400", "clock: 'pll_n' makes a core clock of 200000000 Hz"),
    "promise": (DISCO, r"^clock_hz = .*$", "clock_hz = 200_000_000", "clock: 'pll_n'.*'clock_hz' promises 200000000"),
    "PLL input": (DISCO, r"^pll_m = 25", "pll_m = 5", "clock: 'pll_m' makes a PLL input of 5e"),
    "PLL oscillator": (DISCO, r"^pll_n = 432", "pll_n = 60", "clock: 'pll_n' makes a PLL oscillator of 6e"),
    "PLL multiplier": (DISCO, r"^pll_n = 432", "pll_n = 500", "clock: 'pll_n' is 500; allowed are 50 to 432"),
    "PLL divider": (DISCO, r"^pll_p = 2", "pll_p = 3", "clock: 'pll_p' is 3"),
    "bus divider": (DISCO, r"^apb1_divider = 4", "apb1_divider = 3", "clock: 'apb1_divider' is 3; it must be one of"),
    "bus too fast": (
        DISCO,
        r"^apb1_divider = 4",
        "apb1_divider = 2",
        "clock: 'apb1_divider' does not allow the APB1 clock of 108000000 Hz",
    ),
    "wait states": (
        DISCO,
        r"^flash_wait_states = 7",
        "flash_wait_states = 6",
        "clock: 'flash_wait_states' does not allow",
    ),
    "useless wait states": (
        DISCO,
        r"^flash_wait_states = 7",
        "flash_wait_states = 9",
        "'flash_wait_states' is 9; more",
    ),
    "over-drive": (
        DISCO,
        r"^over_drive = true\n",
        "",
        "clock: 'voltage_scale' does not allow the core clock of 216000000 Hz; at most 180000000",
    ),
    "voltage": (H743, r"^voltage_scale = 0", "voltage_scale = 1", "'voltage_scale' does not allow.*at most 400000000"),
    "voltage scale": (H743, r"^voltage_scale = 0", "voltage_scale = 7", "'voltage_scale' is 7; stm32h7 has 0, 1, 2, 3"),
    "over-drive of H7": (H743, r"^voltage_scale = 0", "voltage_scale = 0\nover_drive = true", "'over_drive' does not"),
    "AHB": (
        H743,
        r"^ahb_divider = 2",
        "ahb_divider = 1",
        "clock: 'ahb_divider' does not allow the AHB clock of 480000000",
    ),
    "family": (DISCO, r'"stm32f7"', '"z80"', "'soc' is 'z80'; it must be one of"),
    "no family": (DISCO, r"^soc = .*\n", "", "'soc' is missing"),
    "port": (DISCO, r'"usart1"', '"usart9"', "serial: 'uart' is 'usart9'"),
    "pin": (DISCO, r'"PA9"', '"A9"', "serial: 'tx' is 'A9'; a pin is written"),
    "same pin": (DISCO, r'"PA9"', '"PB7"', "serial: 'rx' is 'PB7', which is the pin of 'tx'"),
    "no pin": (DISCO, r"^tx = .*\n", "", "serial: 'tx' is missing"),
    "function": (DISCO, r"^alternate_function = 7", "alternate_function = 16", "'alternate_function' is 16"),
    "baud": (DISCO, r"^alternate_function = 7", "alternate_function = 7\nbaud = 3", "serial: 'baud' is 3"),
    "runner": (DISCO, r'"pyocd", "openocd"', '"pigeon", "openocd"', r"flash: 'runners' is \['pigeon'"),
    "runner twice": (DISCO, r'"pyocd", "openocd"', '"pyocd", "pyocd"', "flash: 'runners' is"),
    "no runner": (DISCO, r"^runners = .*$", "runners = []", r"flash: 'runners' is \[\]"),
    "a runner's key": (DISCO, r"^pyocd_target = .*\n", "", "flash: 'pyocd_target' is missing; runner 'pyocd' needs it"),
    "a target that is an option": (DISCO, r'"stm32f746ng"', '"-x y"', "flash: 'pyocd_target' is '-x y'"),
    "a configuration elsewhere": (
        DISCO,
        r"board/stm32f746g-disco.cfg",
        "../x.cfg",
        "flash: 'openocd' holds '../x.cfg'",
    ),
    "an address elsewhere": (
        DISCO,
        r"^stflash_address = .*$",
        "stflash_address = 0",
        "'stflash_address' is 0x0, which",
    ),
    "device": (H743, r"^chip", 'dfu_id = "x"\nchip', "flash: 'dfu_id' is 'x'; it is written vendor:product"),
    "stdio": (DISCO, r'console = "serial"', 'console = "stdio"', "'console' is 'stdio'"),
    "semihosting": (DISCO, r'console = "serial"', 'console = "semihosting"', "'console' is 'semihosting'.*emulator"),
    "a clock that cannot be set": (GOOD, r"^\[qemu\]", "[clock]\n[qemu]", "'clock' is given, but"),
}


@pytest.mark.parametrize("case", WRONG_PARTS)
def test_wrong_clocks_consoles_and_runners_are_refused_with_the_key(tmp_path, case):
    good, pattern, replacement, message = WRONG_PARTS[case]
    text, count = re.subn(pattern, replacement, good, count=1, flags=re.MULTILINE)
    assert count == 1
    with pytest.raises(BoardError, match=message) as caught:
        load_text(tmp_path, text)
    assert "mine.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_the_board_of_the_documentation_is_valid(tmp_path):
    text = (ROOT / "docs" / "boards.md").read_text()
    board = load_text(tmp_path, re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    assert (board.name, board.clock.system_hz, board.flash.chip) == ("mine", 216_000_000, "STM32F746")
    for name in list_boards():
        assert name == "host" or (boards_dir() / name / "notes.md").is_file()
