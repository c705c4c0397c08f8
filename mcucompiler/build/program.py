# SPDX-License-Identifier: Apache-2.0
"""Compiling and linking a network with the harness, for the host or for a board."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.boards import Board, Region
from mcucompiler.build.folder import digest, make_folder
from mcucompiler.build.harness import HOOK_NAME, write_headers
from mcucompiler.build.toolchain import (
    SANITIZE_FLAGS,
    STANDARD,
    WARNINGS,
    Toolchain,
    find_toolchain,
    optimization_flags,
    run_tool,
)
from mcucompiler.emit.environment import environment
from mcucompiler.errors import DoesNotFitError, ToolError, UsageError
from mcucompiler.manifest import MANIFEST_NAME, Manifest
from mcucompiler.resources import runtime_dir, templates_dir

_OVERFLOW = re.compile(r"region `(?P<region>\w+)' overflowed by (?P<bytes>\d+) bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One way to build a network.

    Attributes:
        board: for which machine.
        hooks: whether the harness is called after each step.
        sanitize: whether to build with the address and undefined behavior sanitizers (host only).
        compiler: a compiler to take instead of the usual one.
    """

    board: Board
    hooks: bool = False
    sanitize: bool = False
    compiler: str = ""

    @property
    def label(self) -> str:
        """Name of the folder it is built in."""
        parts = ("profile" if self.hooks else "program", *(["sanitized"] if self.sanitize else []), self.compiler)
        return "-".join(re.sub(r"[^A-Za-z0-9]+", "_", part) for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A linked program.

    Attributes:
        folder: where it was built.
        path: the executable.
        objects: object files of the network, without harness and start-up.
        toolchain: what built it.
        flags: flags that the network was compiled with.
    """

    folder: Path
    path: Path
    objects: tuple[Path, ...]
    toolchain: Toolchain
    flags: tuple[str, ...]


def build_program(manifest: Manifest, flavor: Flavor) -> Program:
    """The program in ``build/<board>/<flavor>`` of the network's folder, built if it is not there yet.

    Raises:
        UsageError: a source that the manifest names is missing, or the folder is for another machine.
        DoesNotFitError: the network does not fit the board's memory.
        ToolError: the compiler is missing or fails.
    """
    _check(manifest, flavor.board)
    toolchain = find_toolchain(flavor.board.cpu, compiler=flavor.compiler)
    flags = (STANDARD, *optimization_flags(manifest.cflags), "-ffunction-sections", "-fdata-sections")
    flags += SANITIZE_FLAGS if flavor.sanitize else ()
    place = _placement(manifest, flavor.board)
    key = digest(
        (toolchain.compiler, toolchain.version, *toolchain.target_flags, *flags, flavor.label, repr(flavor.board)),
        (*_network_files(manifest), *_runtime_files(), templates_dir() / "linker.ld.j2"),
    )
    target = manifest.directory / "build" / flavor.board.name / flavor.label

    def fill(folder: Path) -> None:
        write_headers(manifest, folder, timer_hz=flavor.board.qemu.timer_hz if flavor.board.qemu else 0)
        objects = _compile(manifest, flavor, toolchain, flags, folder)
        _link(manifest, flavor, toolchain, objects, place, folder)

    folder = make_folder(target, key, fill)
    return Program(
        folder=folder,
        path=folder / _program_name(flavor.board),
        objects=tuple(folder / "network" / _object_name(source) for source in manifest.sources),
        toolchain=toolchain,
        flags=(*toolchain.target_flags, *flags),
    )


def _check(manifest: Manifest, board: Board) -> None:
    if manifest.input_mode != "resident":
        raise UsageError(f"{str(manifest.directory)!r} takes its input by rows, which the harness cannot feed")
    for name in (*manifest.sources, *manifest.headers):
        if not (manifest.directory / name).is_file():
            raise UsageError(
                f"{MANIFEST_NAME} names {name!r}, which is not in {str(manifest.directory)!r}; compile the model again"
            )
    if not board.is_host and manifest.cpu not in (board.cpu.name, "host"):
        raise UsageError(
            f"{str(manifest.directory)!r} was compiled for {manifest.cpu}, board {board.name!r} has {board.cpu.name}; "
            f"compile it again with --board {board.name}"
        )


def _placement(manifest: Manifest, board: Board) -> dict[str, Region]:
    """A region for each kind of content: the first that may hold it, and where its size is known, has the room."""
    if board.is_host:
        return {}
    wanted = {"arena": manifest.memory.arena_bytes, "weights": manifest.memory.weights_bytes}
    place: dict[str, Region] = {}
    for content in ("vectors", "text", "rodata", "data", "stack", "weights", "arena"):
        needed = wanted.get(content, 0)
        candidates = board.holding(content)
        taken = {region.name: board.stack_bytes if place.get("stack") is region else 0 for region in candidates}
        fitting = [region for region in candidates if region.length - taken[region.name] >= needed]
        if not fitting:
            available = max(region.length - taken[region.name] for region in candidates)
            raise DoesNotFitError(
                "RAM" if content == "arena" else "flash",
                needed,
                available,
                peak=f"the {content} of {manifest.name!r} on board {board.name!r}",
                alternative=f"compile with --ram-limit {available}, or choose a larger board"
                if content == "arena"
                else "choose a board with more memory for weights",
            )
        place[content] = fitting[0]
    return place


def _network_files(manifest: Manifest) -> list[Path]:
    return [manifest.directory / name for name in (MANIFEST_NAME, *manifest.sources, *manifest.headers)]


def _runtime_files() -> list[Path]:
    return sorted(path for path in runtime_dir().glob("*/*.[ch]") if path.parent.name in ("harness", "startup"))


def _program_name(board: Board) -> str:
    return "program" if board.is_host else "firmware.elf"


def _object_name(source: str) -> str:
    return source.replace("/", "_").removesuffix(".c") + ".o"


def _compile(
    manifest: Manifest, flavor: Flavor, toolchain: Toolchain, flags: Sequence[str], folder: Path
) -> list[Path]:
    runtime = runtime_dir()
    base = [toolchain.compiler, *toolchain.target_flags, *flags]
    usage = ["-fstack-usage", "-fcallgraph-info=su"] if toolchain.call_graph else []
    hook = ["-include", str(folder / HOOK_NAME)] if flavor.hooks else []
    commands: list[list[str]] = []
    objects: list[Path] = []
    for kind in ("network", "runtime"):
        (folder / kind).mkdir()
    for source in manifest.sources:
        target = folder / "network" / _object_name(source)
        commands.append([*base, *usage, *hook, "-I.", "-c", source, "-o", str(target)])
        objects.append(target)
    harness = ["harness.c", "platform_host.c" if flavor.board.is_host else "platform_semihosting.c"]
    sources = [runtime / "harness" / name for name in harness]
    if flavor.board.startup:
        sources.append(runtime / "startup" / f"startup_{flavor.board.startup}.c")
    include = [f"-I{folder}", f"-I{runtime / 'harness'}", "-I."]
    for path in sources:
        target = folder / "runtime" / f"{path.stem}.o"
        commands.append([*base, *WARNINGS, *include, "-c", str(path), "-o", str(target)])
        objects.append(target)

    def compile_one(command: list[str]) -> None:
        # From within the folder, so that diagnostics and debug information hold relative names.
        run_tool(command, what=f"compiling {Path(command[-3]).name}", cwd=manifest.directory)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(compile_one, commands))
    return objects


def _link(
    manifest: Manifest,
    flavor: Flavor,
    toolchain: Toolchain,
    objects: Sequence[Path],
    place: dict[str, Region],
    folder: Path,
) -> None:
    command = [toolchain.compiler, *toolchain.target_flags]
    if flavor.board.is_host:
        command += [*(SANITIZE_FLAGS if flavor.sanitize else ())]
    else:
        script = folder / "linker.ld"
        script.write_text(_linker_script(manifest, flavor.board, place), encoding="ascii")
        command += ["-nostartfiles", "-Wl,--gc-sections", f"-Wl,-Map={folder / 'firmware.map'}", "-T", str(script)]
    command += [*map(str, objects), "-lm", "-o", str(folder / _program_name(flavor.board))]
    try:
        run_tool(command, what="linking", cwd=manifest.directory)
    except ToolError as error:
        overflow = _OVERFLOW.search(error.stderr)
        if overflow is None:
            raise
        region = next(region for region in flavor.board.regions if region.name == overflow["region"])
        raise DoesNotFitError(
            "flash" if "text" in region.holds or "weights" in region.holds else "RAM",
            region.length + int(overflow["bytes"]),
            region.length,
            peak=f"memory region {region.name!r} of board {flavor.board.name!r}",
            alternative="choose a larger board, or compile with --optimize size",
        ) from error


def _linker_script(manifest: Manifest, board: Board, place: dict[str, Region]) -> str:
    weights = [f"*/network/{_object_name(source)}" for source in manifest.sources if is_weights(manifest, source)]
    return (
        environment()
        .get_template("linker.ld.j2")
        .render(
            board=board,
            place={content: region.name for content, region in place.items()},
            weights=weights,
            arena_bytes=manifest.memory.arena_bytes,
        )
    )


def is_weights(manifest: Manifest, source: str) -> bool:
    """Whether a source holds the network's constants."""
    return source == f"{manifest.name}_weights.c"
