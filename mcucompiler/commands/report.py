# SPDX-License-Identifier: Apache-2.0
"""``report``: what a generated folder is and needs."""

from __future__ import annotations

import argparse

from mcucompiler.commands.options import add_directory, add_json
from mcucompiler.commands.session import Session

HELP = "what the network needs, step by step"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the report."""
    from mcucompiler.manifest import read_manifest
    from mcucompiler.report.network import network_json, network_report

    manifest = read_manifest(args.directory)
    if args.json:
        session.show_json(network_json(manifest))
    else:
        session.show(network_report(manifest))
    return 0
