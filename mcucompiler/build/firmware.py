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

from mcucompiler.boards import Board
from mcucompiler.build.program import Flavor, Program, build_program, is_weights
from mcucompiler.build.size import Sizes, read_sections, total
from mcucompiler.build.stack import StackBound, stack_bound
from mcucompiler.errors import DoesNotFitError, VerificationError
from mcucompiler.manifest import Manifest, read_manifest

BUILD_NAME = "build.json"


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


def build_firmware(directory: Path, board: Board, *, compiler: str = "") -> BuildResult:
    """Build the network of a folder for a board and write ``build/<board>/build.json``.

    Args:
        directory: a folder that ``compile`` wrote.
        board: the target.
        compiler: a C compiler to take instead of the usual one.

    Raises:
        UsageError: the folder is not one that ``compile`` wrote, or is for another core.
        DoesNotFitError: code, weights, arena or stack exceed the board's memory.
        ToolError: the compiler is missing or fails, or the stack cannot be bounded.
        VerificationError: the network's stack is above its declared bound.
    """
    manifest = read_manifest(directory)
    program = build_program(manifest, Flavor(board=board, compiler=compiler))
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
    bound = stack_bound([path.with_suffix(".ci") for path in program.objects], f"{manifest.name}_run")
    declared = manifest.memory.stack_bytes
    if bound.bytes > declared:
        chain = " -> ".join(f"{name} ({size})" for name, size in bound.chain)
        raise VerificationError(
            "stack", [f"{manifest.name}_run needs {bound.bytes} bytes, {declared} were declared: {chain}"]
        )
    if bound.bytes > board.stack_bytes:
        raise DoesNotFitError("stack", bound.bytes, board.stack_bytes, peak=f"{manifest.name}_run")
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
        "regions": _regions(board, program),
    }


def _bytes(sizes: Sizes) -> dict[str, int]:
    return {
        "code_bytes": sizes.code,
        "rodata_bytes": sizes.rodata,
        "data_bytes": sizes.data,
        "bss_bytes": sizes.bss,
    }


def _regions(board: Board, program: Program) -> list[dict[str, Any]]:
    """What the whole firmware, harness included, takes of each region."""
    sections = read_sections(program.path) if board.regions else ()
    return [
        {
            "name": region.name,
            "used_bytes": sum(s.size_bytes for s in sections if region.origin <= s.address < region.end),
            "length_bytes": region.length,
            "sections": {s.name: s.size_bytes for s in sections if region.origin <= s.address < region.end},
        }
        for region in board.regions
    ]
