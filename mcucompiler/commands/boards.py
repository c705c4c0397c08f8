# SPDX-License-Identifier: Apache-2.0
"""``boards``: the boards that come with the compiler."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from mcucompiler.commands.options import add_json
from mcucompiler.commands.session import Session

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
            board.description,
        )
        for board in boards
    ]
    session.show([table("", ("board", "core", ">clock", ">RAM for a network", ">flash", "what it is"), rows)])
    return 0


def _kib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes // 1024:,} KiB"
