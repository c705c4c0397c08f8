# SPDX-License-Identifier: Apache-2.0
"""``plan``: which plans there are, in memory and time, without emitting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.compile import add_network, add_target, shapes_of
from mcucompiler.commands.options import add_external, add_json
from mcucompiler.commands.session import Session

HELP = "the plans of a network: memory against time"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path, help="quantized ONNX network")
    parser.add_argument("--pareto", action="store_true", help="all plans, not only the chosen one and its neighbors")
    add_target(parser)
    add_external(parser)
    add_network(parser)
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Look for the plans and list them."""
    from mcucompiler.api import CompileOptions
    from mcucompiler.pipeline import Hooks
    from mcucompiler.report.plan import survey_json, survey_report
    from mcucompiler.survey import survey_plans

    options = CompileOptions(
        board=args.board,
        cpu=args.cpu,
        ram_limit=args.ram_limit,
        weights=args.weights,
        arena=args.arena,
        input_mode=args.input,
        io=args.io,
        optimize=args.optimize,
        exact=args.exact,
        batch=args.batch,
        shapes=shapes_of(args),
    )
    with session.progress() as progress:
        hooks = Hooks(
            stage=lambda stage: progress(stage, 0, 0),
            progress=progress,
            done=lambda stage, seconds: session.note(f"{stage}: {seconds:.2f} s"),
        )
        survey = survey_plans(args.model, options, whole=args.pareto, hooks=hooks)
    if args.json:
        session.show_json(survey_json(survey))
    else:
        session.show(survey_report(survey, plot=session.out.is_terminal))
    return 0
