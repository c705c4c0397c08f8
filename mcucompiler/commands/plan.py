# SPDX-License-Identifier: Apache-2.0
"""``plan``: which plans there are, in memory and time, without emitting anything."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcucompiler.commands.compile import add_network, add_target, hooks_of, options_of
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
    from mcucompiler.report.plan import survey_json, survey_report
    from mcucompiler.survey import survey_plans

    options = options_of(args)
    with session.progress() as progress:
        hooks = hooks_of(session, progress)
        survey = survey_plans(args.model, options, whole=args.pareto, hooks=hooks)
    if args.json:
        session.show_json(survey_json(survey))
    else:
        session.show(survey_report(survey, plot=session.out.is_terminal))
    return 0
