# SPDX-License-Identifier: Apache-2.0
"""``ops``: the operators that can be compiled."""

from __future__ import annotations

import argparse
import inspect

from mcucompiler.commands.options import add_json
from mcucompiler.commands.session import Session

HELP = "list the supported operators"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """List them with what they are."""
    from mcucompiler.ops import OPERATORS
    from mcucompiler.report.text import table

    listed = [
        {"name": operator.__name__, "description": (inspect.getdoc(operator) or "").split("\n")[0]}
        for operator in OPERATORS
    ]
    if args.json:
        session.show_json({"operators": listed})
    else:
        session.show([table("", ("operator", "what it is"), [(op["name"], op["description"]) for op in listed])])
    return 0
