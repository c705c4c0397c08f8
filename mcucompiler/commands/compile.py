# SPDX-License-Identifier: Apache-2.0
"""``compile``: an ONNX file to a folder of C."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from mcucompiler.commands.options import add_external, add_json, named_shape, positive, size
from mcucompiler.commands.session import Session
from mcucompiler.errors import UsageError

if TYPE_CHECKING:
    from mcucompiler.api import CompileOptions
    from mcucompiler.pipeline import Hooks

HELP = "compile an int8 ONNX network to C"
_CPUS = ("cortex-m7", "cortex-m4", "host")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL.onnx", type=Path, help="quantized ONNX network")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder to write")
    parser.add_argument("--name", default="", metavar="N", help="C prefix (default: from the file's name)")
    add_target(parser)
    parser.add_argument("--flash-limit", type=size, metavar="SIZE", help="most bytes of constants and code, e.g. 1M")
    add_external(parser)
    pixels = parser.add_argument_group("pixels of a camera, with --input rows")
    pixels.add_argument("--pixel-format", default="", metavar="F", help="rgb888, bgr888, rgb565, rgb565be or gray8")
    meaning = "real value (p * SCALE - MEAN) / STD of p from 0 to 255; one number, or one for each channel: "
    pixels.add_argument(
        "--pixel-scale", default="", metavar="S", help=meaning + "1/255 (default: the type's whole range)"
    )
    pixels.add_argument("--pixel-mean", default="", metavar="M", help="see --pixel-scale (default: 0)")
    pixels.add_argument("--pixel-std", default="", metavar="D", help="see --pixel-scale (default: 1)")
    add_network(parser)
    parser.add_argument("--explain", action="store_true", help="say why the plan and each kernel were chosen")
    parser.add_argument("--force", action="store_true", help="write into a folder that has other content")
    parser.add_argument("--dump-dir", metavar="D", type=Path, help="write the graph after each pass there")
    add_json(parser)


def add_target(parser: argparse.ArgumentParser) -> None:
    """What to plan for."""
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--board", default="mps2-an500", metavar="B", help="board, or a board's .toml file")
    target.add_argument("--cpu", default="", choices=_CPUS, help="core instead of the board's")
    parser.add_argument("--ram-limit", type=size, metavar="SIZE", help="most bytes of arena and stack, e.g. 64K")


def add_network(parser: argparse.ArgumentParser) -> None:
    """What to make of the network."""
    parser.add_argument("--input", choices=("resident", "rows"), default="resident", help="how the input arrives")
    parser.add_argument("--io", choices=("int8", "float"), default="int8", help="types at the boundary")
    parser.add_argument("--optimize", choices=("speed", "ram", "size"), default="speed", help="what to favor")
    parser.add_argument(
        "--exact", choices=("proved", "float"), default="proved", help="integer requantization where proved, or never"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="size of a dynamic batch axis")
    parser.add_argument(
        "--shape", type=named_shape, action="append", default=[], metavar="NAME=1x3x96x96", help="shape of an input"
    )


def options_of(args: argparse.Namespace) -> CompileOptions:
    """What the command line asks for; options that the command does not have keep their defaults."""
    from mcucompiler.api import CompileOptions

    shapes = dict(args.shape)
    if len(shapes) != len(args.shape):
        raise UsageError("--shape names an input twice")
    given = {**vars(args), "input_mode": args.input, "shapes": shapes}
    return CompileOptions(**{field.name: given[field.name] for field in fields(CompileOptions) if field.name in given})


def hooks_of(
    session: Session, progress: Callable[[str, int, int], None], dump: Callable[[str, str], None] | None = None
) -> Hooks:
    """What the command shows of the chain while it runs."""
    from mcucompiler.pipeline import Hooks

    return Hooks(
        stage=lambda stage: progress(stage, 0, 0),
        progress=progress,
        done=lambda stage, seconds: session.note(f"{stage}: {seconds:.2f} s"),
        dump=dump,
    )


def run(args: argparse.Namespace, session: Session) -> int:
    """Compile, write, and say what came out."""
    _check_folder(args.output, force=args.force)
    from mcucompiler.api import compile_model
    from mcucompiler.manifest import read_manifest
    from mcucompiler.report.network import boundary_table, explanation, summary
    from mcucompiler.report.text import facts

    options = options_of(args)
    with session.progress() as progress:
        hooks = hooks_of(session, progress, _dumper(args.dump_dir) if args.dump_dir else None)
        compiled = compile_model(args.model, options, hooks=hooks)
    folder = compiled.write(args.output, force=args.force)
    manifest = read_manifest(folder)
    if args.json:
        session.show_json({"directory": str(args.output), **manifest.raw})
        return 0
    parts = [facts(summary(manifest)), boundary_table(manifest)]
    if args.explain:
        parts += explanation(manifest)
    session.show(
        [*parts, f"written to {args.output}; next: mcucompiler validate {args.output} --model {args.model} --on qemu"]
    )
    return 0


def _check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder that could not be written before the long work rather than after it."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{str(folder)!r} exists and is not a folder")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"the output folder {str(folder)!r} is not empty; choose another or give --force")


def _dumper(folder: Path) -> Callable[[str, str], None]:
    """Writes dumps into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)

    def dump(name: str, text: str) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return dump
