# SPDX-License-Identifier: Apache-2.0
"""``run``: one sample through a generated program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcucompiler.commands.options import add_directory, add_json, add_machine
from mcucompiler.commands.session import Session

if TYPE_CHECKING:
    from mcucompiler.manifest_parts import BoundaryTensor

HELP = "run the network on one sample"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_directory(parser)
    add_machine(parser)
    parser.add_argument(
        "--input", metavar="X.npz", type=Path, help="one sample, arrays by ONNX name (default: a seeded one)"
    )
    parser.add_argument(
        "--output",
        metavar="Y.npz",
        type=Path,
        help="where to write the outputs, of the ONNX types: real numbers where ONNX has them",
    )
    add_json(parser)


def run(args: argparse.Namespace, session: Session) -> int:
    """Run and print the outputs."""
    from mcucompiler.manifest import read_manifest
    from mcucompiler.report.text import table
    from mcucompiler.run import (
        dequantize,
        encode_sample,
        load_npz,
        make_runner,
        output_array,
        save_npz,
        seeded_samples,
    )

    manifest = read_manifest(args.directory)
    arrays = load_npz(args.input) if args.input else seeded_samples(manifest, 1)[0]
    sample = encode_sample(manifest, arrays)
    runner = make_runner(manifest, args.on, timeout_s=args.timeout, sanitize=args.sanitize, baud=args.baud)
    with session.progress() as progress:
        progress(f"on {args.on}", 0, 0)
        result = runner.run([sample])[0]
    stored = [output_array(data, tensor) for data, tensor in zip(result.outputs, manifest.outputs, strict=True)]
    values = [dequantize(array, tensor) for array, tensor in zip(stored, manifest.outputs, strict=True)]
    if args.output:
        save_npz(args.output, {tensor.name: value for tensor, value in zip(manifest.outputs, values, strict=True)})
    if args.json:
        outputs = [_facts(*each) for each in zip(manifest.outputs, stored, values, strict=True)]
        session.show_json({"on": args.on, "stack_bytes": result.stack_bytes, "outputs": outputs})
        return 0
    rows = [
        (tensor.name, "x".join(map(str, tensor.onnx_shape)), f"{value.min():g}", f"{value.max():g}", _largest(value))
        for tensor, value in zip(manifest.outputs, values, strict=True)
    ]
    session.show([table(f"Outputs on {args.on}", ("output", "shape", ">least", ">greatest", "greatest at"), rows)])
    return 0


def _facts(tensor: BoundaryTensor, array: Any, value: Any) -> dict[str, Any]:
    """An output for other programs: its elements as they are stored, and the real numbers that they stand for."""
    return {
        "name": tensor.name,
        "shape": list(tensor.onnx_shape),
        "dtype": tensor.dtype,
        "values": _plain(array),
        "real_values": _plain(value),
    }


def _plain(array: Any) -> list[Any]:
    """Nested lists in ONNX order; what JSON cannot hold becomes null."""
    import numpy as np

    values = array.astype(object)
    if array.dtype.kind == "f":
        values[~np.isfinite(array)] = None
    nested = values.tolist()
    return nested if isinstance(nested, list) else [nested]


def _largest(array: Any) -> str:
    import numpy as np

    return str([int(axis) for axis in np.unravel_index(int(array.argmax()), array.shape)])
