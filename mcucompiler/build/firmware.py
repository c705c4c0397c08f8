# SPDX-License-Identifier: Apache-2.0
"""``build``: the firmware of a network for a board, and its figures."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcucompiler.board_types import CONTENTS, OPTIONAL_CONTENTS, Board
from mcucompiler.build.frames import pushed_bytes
from mcucompiler.build.harness import HOOK_FUNCTION
from mcucompiler.build.program import Flavor, Program, build_program, is_weights
from mcucompiler.build.size import Sizes, read_sections, total
from mcucompiler.build.stack import StackBound, stack_bound
from mcucompiler.errors import DoesNotFitError, VerificationError
from mcucompiler.manifest import Manifest, read_manifest

BUILD_NAME = "build.json"
RUNTIME_STACK_BYTES = 1024
"""What the firmware needs of the stack beside the network."""


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A built firmware.

    Attributes:
        program: the executable and its objects.
        path: of build.json.
        figures: its contents.
    """

    program: Program
    path: Path
    figures: Mapping[str, Any]


def build_firmware(
    directory: Path, board: Board, *, compiler: str = "", protocol: str = "", application: Path | None = None
) -> BuildResult:
    """Build the network of a folder for a board and write ``build/<board>/build.json``.

    Args:
        directory: a folder that ``compile`` wrote.
        board: the target.
        compiler: a C compiler to take instead of the usual one.
        protocol: what the firmware speaks, of PROTOCOLS; "" for what suits the board: frames on its serial port, or
            files where an emulator serves them.
        application: a C file that defines ``mc_main`` and takes the place of the firmware that speaks.

    Raises:
        UsageError: the folder is not one that ``compile`` wrote, or is for another core, or no such application.
        DoesNotFitError: code, weights, arena or stack exceed the board's memory.
        ToolError: the compiler is missing or fails, or the stack cannot be bounded.
        VerificationError: the network's stack is above its declared bound.
    """
    manifest = read_manifest(directory)
    if not protocol:
        protocol = "serial" if board.console == "serial" and application is None else "files"
    program = build_program(
        manifest, Flavor(board=board, compiler=compiler, protocol=protocol, application=application)
    )
    bound = _stack(manifest, board, program)
    figures = _figures(manifest, board, program, bound)
    path = directory / "build" / board.name / BUILD_NAME
    write_atomically(path, json.dumps(figures, indent=2) + "\n")
    return BuildResult(program=program, path=path, figures=figures)


def read_build(directory: Path, board: str) -> Mapping[str, Any] | None:
    """The figures of an earlier build for a board, None where there are none that can be read."""
    try:
        figures = json.loads((directory / "build" / board / BUILD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return figures if isinstance(figures, dict) else None


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is never seen half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}-", delete=False
    ) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.close()
            temporary.chmod(0o644)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _stack(manifest: Manifest, board: Board, program: Program) -> StackBound | None:
    """The stack's bound on a board; on the host it says nothing about the declared one."""
    if board.is_host or not program.toolchain.call_graph:
        return None
    graphs = [path.with_suffix(".ci") for path in program.objects]
    root = f"{manifest.name}_{'run' if manifest.rows is None else 'push_row'}"
    bound = stack_bound(graphs, root, without=(HOOK_FUNCTION,), pushed=pushed_bytes(program.objects))
    declared = manifest.memory.stack_bytes
    if bound.bytes > declared:
        chain = " -> ".join(f"{name} ({size})" for name, size in bound.chain)
        raise VerificationError("stack", [f"{root} needs {bound.bytes} bytes, {declared} were declared: {chain}"])
    needed = bound.bytes + RUNTIME_STACK_BYTES
    if needed > board.stack_bytes:
        raise DoesNotFitError("stack", needed, board.stack_bytes, peak=f"{root} and what calls it")
    return bound


def _figures(manifest: Manifest, board: Board, program: Program, bound: StackBound | None) -> dict[str, Any]:
    code = Sizes()
    weights = Sizes()
    objects = []
    for source, path in zip(manifest.sources, program.objects, strict=True):
        sizes = total(read_sections(path))
        if is_weights(manifest, source):
            weights += sizes
        else:
            code += sizes
        objects.append({"source": source, **_bytes(sizes)})
    both = code + weights
    return {
        "name": manifest.name,
        "model_sha256": manifest.model_sha256,
        "board": board.name,
        "compiler": program.toolchain.version,
        "flags": list(program.flags),
        "executable": program.path.relative_to(manifest.directory / "build" / board.name).as_posix(),
        "code_bytes": both.code,
        "weights_bytes": weights.rodata,
        "rodata_bytes": code.rodata,
        "flash_bytes": both.code + both.rodata + both.data,
        "data_bytes": both.data,
        "bss_bytes": both.bss,
        "arena_bytes": manifest.memory.arena_bytes,
        "ram_bytes": manifest.memory.arena_bytes + manifest.memory.stack_bytes + both.data + both.bss,
        "stack": {
            "declared_bytes": manifest.memory.stack_bytes,
            "bound_bytes": bound.bytes if bound else None,
            "chain": [{"function": name, "bytes": size} for name, size in bound.chain] if bound else [],
            "external_functions": list(bound.external) if bound else [],
        },
        "objects": objects,
        "placement": _placement(board, program),
        "regions": _regions(board, program),
    }


def _bytes(sizes: Sizes) -> dict[str, int]:
    return {
        "code_bytes": sizes.code,
        "rodata_bytes": sizes.rodata,
        "data_bytes": sizes.data,
        "bss_bytes": sizes.bss,
    }


def _placement(board: Board, program: Program) -> dict[str, dict[str, Any]]:
    """Where the linker put what, by content; contents without a section of their own are left out."""
    sections = {section.name: section for section in read_sections(program.path)} if board.regions else {}
    placed = {}
    for content in (*CONTENTS, *OPTIONAL_CONTENTS):
        section = sections.get(f".{content}")
        if section is not None:
            region = next(region.name for region in board.regions if region.origin <= section.address < region.end)
            placed[content] = {"region": region, "address": section.address, "bytes": section.size_bytes}
    return placed


def _regions(board: Board, program: Program) -> list[dict[str, Any]]:
    """What the whole firmware, harness included, takes of each region; what is copied elsewhere counts in both."""
    sections = read_sections(program.path) if board.regions else ()
    figures = []
    for region in board.regions:
        there = {s.name: s.size_bytes for s in sections if region.origin <= s.address < region.end}
        copied = {
            s.name: s.size_bytes
            for s in sections
            if s.load_address != s.address and region.origin <= s.load_address < region.end
        }
        figures.append(
            {
                "name": region.name,
                "used_bytes": sum(there.values()) + sum(copied.values()),
                "length_bytes": region.length,
                "sections": there,
                "load_images": copied,
            }
        )
    return figures
