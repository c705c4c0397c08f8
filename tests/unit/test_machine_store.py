# SPDX-License-Identifier: Apache-2.0
"""Scheduled blocks are kept between processes, and nothing depends on whether they are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mcucompiler.machine import compile as compiler
from mcucompiler.machine.block import Block
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.registers import RegisterFile
from mcucompiler.machine.store import VARIABLE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def _block(sums: int) -> Block:
    block = Block("sums of a few words")
    source = block.live_in("source")
    total = block.load(source, 0)
    for index in range(1, sums):
        total = block.add(total, block.load(source, 4 * index))
    block.live_out("total", total)
    return block


def _compiled(sums: int, registers: RegisterFile | None = None) -> Code:
    """In a process that knows nothing yet."""
    compiler._cached.cache_clear()
    compiler._solution.cache_clear()
    return compile_block(_block(sums), registers=registers or RegisterFile())


def test_what_was_kept_is_used_and_equal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _compiled(5)
    assert (folder / "blocks.sqlite").exists()
    monkeypatch.setattr(compiler, "_solve", lambda *arguments: pytest.fail("searched again"))
    again = _compiled(5)
    assert (again.lines, again.cycles) == (first.lines, first.cycles)


def test_another_block_is_not_taken_for_it(folder: Path) -> None:
    assert len(_compiled(5).lines) != len(_compiled(6).lines)


def test_that_there_is_no_solution_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    single = RegisterFile(core=("r0",))
    with pytest.raises(MachineError) as first:
        _compiled(5, single)
    monkeypatch.setattr(compiler, "_solve", lambda *arguments: pytest.fail("searched again"))
    with pytest.raises(MachineError) as again:
        _compiled(5, single)
    assert str(again.value) == str(first.value)


@pytest.mark.parametrize("spoiled", ["[1, 2]", "no json", '[[0], [["a"]], 1.0, ""]', '[[0], [], 1.0, ""]'])
def test_what_cannot_be_read_is_computed_again(folder: Path, spoiled: str) -> None:
    first = _compiled(5)
    with sqlite3.connect(folder / "blocks.sqlite") as database:
        database.execute("UPDATE blocks SET value = ?", (spoiled,))
    assert _compiled(5).lines == first.lines


def test_a_file_that_is_no_database_does_no_harm(folder: Path) -> None:
    (folder / "blocks.sqlite").write_bytes(b"something else" * 100)
    assert _compiled(5).lines


def test_it_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    monkeypatch.chdir(tmp_path)
    assert _compiled(5).lines
    assert not list(tmp_path.iterdir())


def test_blocks_that_differ_in_constants_only_share_a_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stored(offset: int) -> Block:
        block = Block("a store between loads")
        source = block.live_in("source")
        first = block.load(source, 0)
        block.store(first, source, offset)
        block.live_out("total", block.add(first, block.load(source, 4)))
        return block

    searched = []
    solve = compiler._solve
    monkeypatch.setattr(compiler, "_solve", lambda *arguments: searched.append(1) or solve(*arguments))
    compiler._cached.cache_clear()
    compiler._solution.cache_clear()
    first, second = compile_block(stored(8)), compile_block(stored(12))
    assert len(searched) == 1
    assert [line.replace("#12", "#8") for line in second.lines] == list(first.lines)
    # Where the store meets what is loaded behind it, the order is another one.
    compile_block(stored(4))
    assert len(searched) == 2
