# SPDX-License-Identifier: Apache-2.0
"""``validate``: a generated program against the reference and ONNX Runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mcucompiler.commands.options import add_directory, add_json, add_machine, positive
from mcucompiler.commands.session import Session
from mcucompiler.errors import UsageError, ValidationMismatchError

HELP = "compare the program with ONNX Runtime and the reference"
_DEFAULT_COUNT = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    parser.add_argument("--model", required=True, metavar="MODEL.onnx", type=Path, help="what it was compiled from")
    add_machine(parser)
    parser.add_argument(
        "--data", metavar="X.npz", type=Path, help="samples: arrays by ONNX name with a leading axis of samples"
    )
    parser.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help=f"how many samples (default: {_DEFAULT_COUNT} seeded ones, or all of --data)",
    )
    parser.add_argument(
        "--labels", metavar="KEY", help="array of --data with the class of each sample, for a confusion matrix"
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="compare every output of every step (on a board: up to the first that differs)",
    )
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Validate, report, and end with 5 on a mismatch."""
    from mcucompiler.manifest import read_manifest
    from mcucompiler.report.validation import validation_report, verdict
    from mcucompiler.run import load_npz, make_runner, seeded_samples, user_samples
    from mcucompiler.validate import check_model, validate

    manifest = read_manifest(args.directory)
    check_model(manifest, args.model)
    labels = None
    if args.labels and not args.data:
        raise UsageError("--labels names an array of the --data file; give --data too")
    if args.data:
        arrays = load_npz(args.data)
        labels = _labels(arrays, args.labels) if args.labels else None
        samples = user_samples(manifest, arrays, args.count)
        labels = labels if labels is None else labels[: len(samples)]
    else:
        samples = seeded_samples(manifest, args.count or _DEFAULT_COUNT)
    runner = make_runner(manifest, args.on, timeout_s=args.timeout, sanitize=args.sanitize, baud=args.baud)
    with session.progress() as progress:
        result = validate(manifest, args.model, runner, samples, layers=args.layers, labels=labels, progress=progress)
    if args.json:
        session.show_json(result.to_json())
        if not result.passed:
            session.complain(verdict(result, manifest))
    else:
        session.show(validation_report(result, manifest))
    return 0 if result.passed else ValidationMismatchError.exit_code


def _labels(arrays: dict[str, Any], key: str) -> Any:
    """Take the labels out of the arrays, which then are the inputs."""
    if key not in arrays:
        raise UsageError(f"no labels {key!r} in the file; it holds {', '.join(map(repr, arrays))}")
    labels = arrays.pop(key)
    return labels.reshape(-1, *labels.shape[1:])
