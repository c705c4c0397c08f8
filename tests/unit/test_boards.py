# SPDX-License-Identifier: Apache-2.0
"""Boards: what comes with the compiler is valid, and wrong files are refused with the key's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mcucompiler.boards import CONTENTS, list_boards, load_board
from mcucompiler.errors import BoardError
from mcucompiler.fields import parse_size
from mcucompiler.resources import boards_dir

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
