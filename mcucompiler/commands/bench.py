# SPDX-License-Identifier: Apache-2.0
"""``bench``: instructions or cycles by step."""

from __future__ import annotations

import argparse

from mcucompiler.commands.options import add_directory, add_json, add_machine
from mcucompiler.commands.session import Session

HELP = "count instructions, or cycles on a board, as a whole and by step"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    add_machine(parser, ("qemu",))
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Measure and print."""
    from mcucompiler.bench import bench, bench_json, bench_report
    from mcucompiler.manifest import read_manifest
    from mcucompiler.run import make_bench_runner

    manifest = read_manifest(args.directory)
    runner = make_bench_runner(manifest, args.on, timeout_s=args.timeout, baud=args.baud)
    with session.progress() as progress:
        progress(f"measuring on {args.on}", 0, 0)
        result = bench(manifest, runner)
    if args.json:
        session.show_json(bench_json(manifest, result, args.on))
    else:
        session.show(bench_report(manifest, result, args.on))
    return 0
