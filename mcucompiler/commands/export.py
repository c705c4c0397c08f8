# SPDX-License-Identifier: Apache-2.0
"""``export``: a generated network as a project of another build system."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.options import add_directory, add_json
from mcucompiler.commands.session import Session

HELP = "make a CMake, Arduino, PlatformIO or Zephyr project of a network"
_KINDS = ("cmake", "arduino", "platformio", "zephyr")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--as", dest="kind", required=True, choices=_KINDS, help="build system")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="folder to write")
    parser.add_argument("--force", action="store_true", help="write into a folder that has other content")
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Write the project and say what is in it."""
    from mcucompiler.export import export_project

    files = export_project(args.directory, args.kind, args.output, force=args.force)
    if args.json:
        session.show_json(
            {"directory": str(args.output), "kind": args.kind, "files": [path.as_posix() for path in files]}
        )
    else:
        session.show(["\n".join(path.as_posix() for path in files), f"written to {args.output}; see its README.md"])
    return 0
