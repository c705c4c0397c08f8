# SPDX-License-Identifier: Apache-2.0
"""``report``: what a generated folder is and needs."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.options import add_directory, add_json
from mcucompiler.commands.session import Session

HELP = "what the network needs, step by step"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the report there as a page")
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the report."""
    from mcucompiler.manifest import read_manifest
    from mcucompiler.report.html import as_page
    from mcucompiler.report.network import network_json, network_report

    manifest = read_manifest(args.directory)
    if args.html is not None:
        args.html.write_text(as_page(manifest.name, network_report(manifest)), encoding="utf-8")
    if args.json:
        session.show_json(network_json(manifest))
    elif args.html is not None:
        session.show([f"written to {args.html}"])
    else:
        session.show(network_report(manifest))
    return 0
