# SPDX-License-Identifier: Apache-2.0
"""``boards``: the boards that come with the compiler."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from mcucompiler.commands.options import add_json
from mcucompiler.commands.session import Session

if TYPE_CHECKING:
    from mcucompiler.board_types import Board

HELP = "list the boards"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """List them."""
    from mcucompiler.boards import list_boards, load_board
    from mcucompiler.report.text import table

    boards = [load_board(name) for name in list_boards()]
    if args.json:
        session.show_json({"boards": [asdict(board) for board in boards]})
        return 0
    rows = [
        (
            board.name,
            board.cpu.name,
            f"{board.clock_hz / 1e6:g} MHz" if board.clock_hz else "",
            _kib(board.ram_bytes),
            _kib(board.flash_bytes),
            _external(board),
            board.description,
        )
        for board in boards
    ]
    columns = ("board", "core", ">clock", ">RAM for a network", ">flash", "external memory", "what it is")
    session.show([table("", columns, rows)])
    return 0


def _external(board: Board) -> str:
    """The memories that `--arena external` and `--weights external` use."""
    parts = (("SDRAM", board.sdram), ("QSPI flash", board.qspi))
    return ", ".join(f"{_kib(part.length)} {name}" for name, part in parts if part is not None)


def _kib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes // 1024:,} KiB"
