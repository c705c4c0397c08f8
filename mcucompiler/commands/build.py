# SPDX-License-Identifier: Apache-2.0
"""``build``: firmware of a generated folder for a board, and its figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.options import add_directory, add_external, add_json, board_with_memory
from mcucompiler.commands.session import Session
from mcucompiler.errors import UsageError

HELP = "build the firmware and measure it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--board", required=True, metavar="B", help="board, or a board's .toml file")
    add_external(parser)
    parser.add_argument(
        "--protocol",
        choices=("files", "serial", "mlperf"),
        default="",
        help="what the firmware speaks (default: what suits the board)",
    )
    parser.add_argument(
        "--app", metavar="APP.c", type=Path, help="your own program around the network: a C file that defines mc_main"
    )
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Build and print the figures."""
    from mcucompiler.build import build_firmware
    from mcucompiler.report.network import build_facts
    from mcucompiler.report.text import facts

    if args.app and args.protocol:
        raise UsageError("--app takes the place of --protocol; give one of them")
    board = board_with_memory(args)
    with session.progress() as progress:
        progress("building", 0, 0)
        result = build_firmware(args.directory, board, protocol=args.protocol, application=args.app)
    if args.json:
        session.show_json(dict(result.figures))
    else:
        session.show([facts(build_facts(board.name, result.figures)), f"{result.program.path}\n{result.path}"])
    return 0
