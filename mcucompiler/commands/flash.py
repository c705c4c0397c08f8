# SPDX-License-Identifier: Apache-2.0
"""``flash``: firmware onto a board."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.options import add_directory, add_external, board_with_memory, seconds
from mcucompiler.commands.session import Session
from mcucompiler.errors import UsageError

HELP = "build the firmware and write it to a board"
_RUNNERS = ("pyocd", "openocd", "st-flash", "dfu-util")
_DEFAULT_TIMEOUT_S = 180.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--board", required=True, metavar="B", help="board, or a board's .toml file")
    add_external(parser)
    parser.add_argument(
        "--runner", choices=_RUNNERS, default="", help="program that flashes (default: the board's first installed one)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the command instead of running it")
    parser.add_argument(
        "--protocol",
        choices=("serial", "mlperf"),
        default="",
        help="what the firmware speaks (default: serial)",
    )
    parser.add_argument(
        "--app", metavar="APP.c", type=Path, help="your own program around the network: a C file that defines mc_main"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds after which the program is stopped (default %(default)g)",
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Build, flash, and say what comes next."""
    from mcucompiler.build import build_firmware
    from mcucompiler.flash import flash, plan_flash
    from mcucompiler.flash.flashing import prepare
    from mcucompiler.flash.runners import require_installed

    if args.app and args.protocol:
        raise UsageError("--app takes the place of --protocol; give one of them")
    protocol = args.protocol or ("" if args.app else "serial")
    board = board_with_memory(args)
    plan_flash(board, args.directory, args.runner)  # refuse what cannot be before the long work
    with session.progress() as progress:
        progress("building", 0, 0)
        firmware = build_firmware(args.directory, board, protocol=protocol, application=args.app).program.path.resolve()
        plan = plan_flash(board, firmware, args.runner)
        if args.dry_run:
            prepare(plan, firmware)
        else:
            require_installed(plan, board)
            session.note(plan.text)
            what = f"flashing {board.name} with {plan.runner}"
            progress(what, 0, 0)
            flash(
                board,
                plan,
                firmware,
                timeout_s=args.timeout,
                progress=lambda percent: progress(what, percent, 100),
                line=session.note,
            )
    if args.dry_run:
        session.show([plan.text])
        return 0
    session.show([f"{board.name} is flashed with {firmware}", _next_step(args.directory, protocol)])
    return 0


def _next_step(directory: Path, protocol: str) -> str:
    """What to do with firmware that speaks a protocol; "" for the user's own program."""
    return {
        "serial": f"next: mcucompiler validate {directory} --model MODEL.onnx --on serial:/dev/ttyACM0",
        "mlperf": "next: connect MLPerf Tiny's runner to the board's serial port",
        "": "your program runs",
    }[protocol]
