# SPDX-License-Identifier: Apache-2.0
"""``build``: firmware of a generated folder for a board, and its figures."""

from __future__ import annotations

import argparse

from mcucompiler.commands.options import add_directory, add_json
from mcucompiler.commands.session import Session

HELP = "build the firmware and measure it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--board", required=True, metavar="B", help="board, or a board's .toml file")
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Build and print the figures."""
    from mcucompiler.boards import load_board
    from mcucompiler.build import build_firmware
    from mcucompiler.report.network import build_facts
    from mcucompiler.report.text import facts

    board = load_board(args.board)
    with session.progress() as progress:
        progress("building", 0, 0)
        result = build_firmware(args.directory, board)
    if args.json:
        session.show_json(dict(result.figures))
    else:
        session.show([facts(build_facts(board.name, result.figures)), f"{result.program.path}\n{result.path}"])
    return 0
