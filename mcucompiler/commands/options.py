# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mcucompiler.fields import parse_size

if TYPE_CHECKING:
    from mcucompiler.board_types import Board

_DEFAULT_TIMEOUT_S = 120.0
_DEFAULT_BAUD = 115200
_SERIAL = "serial:"


def size(text: str) -> int:
    """A size such as 64K."""
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def seconds(text: str) -> float:
    """A duration above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above zero")
    return value


def named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """NAME=1x3x96x96; the name may itself contain "="."""
    name, equals, extents = text.rpartition("=")
    parts = extents.split("x")
    if not equals or not name or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=1x3x96x96")
    return name, tuple(int(part) for part in parts)


def add_directory(parser: argparse.ArgumentParser) -> None:
    """DIR."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="folder that `compile` wrote")


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_machine(parser: argparse.ArgumentParser, choices: tuple[str, ...] = ("host", "qemu")) -> None:
    """--on, --timeout and --baud, and --sanitize where the host is a choice."""

    def machine(text: str) -> str:
        if text in choices or (text.startswith(_SERIAL) and text != _SERIAL):
            return text
        names = ", ".join(choices)
        raise argparse.ArgumentTypeError(f"{text!r} is none of {names}, and not serial:PORT (serial:/dev/ttyACM0)")

    parser.add_argument(
        "--on",
        required=True,
        type=machine,
        metavar="|".join((*choices, "serial:PORT")),
        help="machine to run on; PORT is a serial port with a flashed board, or a URL such as socket://127.0.0.1:5555",
    )
    parser.add_argument(
        "--baud",
        type=positive,
        default=_DEFAULT_BAUD,
        metavar="N",
        help="bits per second of a serial port (default %(default)d)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=_DEFAULT_TIMEOUT_S,
        metavar="S",
        help="seconds without progress after which a run is stopped (default %(default)g)",
    )
    if "host" in choices:
        parser.add_argument(
            "--sanitize", action="store_true", help="build with address and undefined behavior sanitizers (host)"
        )


def add_external(parser: argparse.ArgumentParser) -> None:
    """Add the options that allow memory outside of the microcontroller."""
    places = ("internal", "external")
    parser.add_argument(
        "--weights",
        choices=places,
        default="internal",
        help="memory for the weights: external is the board's QSPI flash",
    )
    parser.add_argument(
        "--arena",
        choices=places,
        default="internal",
        help="external: the board's SDRAM may hold an arena too large else",
    )


def board_with_memory(args: argparse.Namespace) -> Board:
    """The board that is asked for, with the external memories that are; raises BoardError or UsageError."""
    from mcucompiler.boards import load_board, with_external

    return with_external(load_board(args.board), weights=args.weights == "external", arena=args.arena == "external")
