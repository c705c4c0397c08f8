# SPDX-License-Identifier: Apache-2.0
"""Compiling and linking a network with the harness, for the host or for a board."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.board_types import Board, Region
from mcucompiler.build.board_header import write_board_header
from mcucompiler.build.folder import digest, make_folder
from mcucompiler.build.harness import HOOK_NAME, frame_bytes, write_headers
from mcucompiler.build.mlperf import write_mlperf_header
from mcucompiler.build.placement import linker_script, place_contents, place_kernels
from mcucompiler.build.size import read_sections, total
from mcucompiler.build.toolchain import (
    SANITIZE_FLAGS,
    STANDARD,
    WARNINGS,
    Toolchain,
    find_toolchain,
    optimization_flags,
    run_tool,
)
from mcucompiler.errors import DoesNotFitError, ToolError, UsageError
from mcucompiler.manifest import MANIFEST_NAME, Manifest
from mcucompiler.resources import runtime_dir, templates_dir

PROTOCOLS = ("files", "serial", "mlperf")
"""What a program speaks: files of samples and results, frames on the console, or MLPerf Tiny's commands there."""

_PROTOCOL_SOURCES = {
    "files": ("harness/harness.c",),
    "serial": ("protocol/frame.c", "protocol/serial.c", "protocol/serial_main.c"),
    "mlperf": ("protocol/mlperf.c",),
}
KERNEL_SLACK_BYTES = 512
"""What alignment and the linker's long branches may add to the kernels' code."""

_OVERFLOW = re.compile(r"region `(?P<region>\w+)' overflowed by (?P<bytes>\d+) bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """One way to build a network.

    Attributes:
        board: for which machine.
        hooks: whether the harness is called after each step.
        sanitize: whether to build with the address and undefined behavior sanitizers (host only).
        compiler: a compiler to take instead of the usual one.
        protocol: what the program speaks, of PROTOCOLS.
        application: a C file of the user's that defines ``mc_main`` and takes the place of all that speak.
    """

    board: Board
    hooks: bool = False
    sanitize: bool = False
    compiler: str = ""
    protocol: str = "files"
    application: Path | None = None

    @property
    def label(self) -> str:
        """Name of the folder it is built in."""
        kind = self.protocol if self.protocol != "files" else "profile" if self.hooks else "program"
        kind = "application" if self.application else kind
        parts = (kind, *(["sanitized"] if self.sanitize else []), self.compiler)
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
    if flavor.protocol != "files" and flavor.board.serial is None:
        raise UsageError(f"board {flavor.board.name!r} has no serial port to speak {flavor.protocol!r} on")
    toolchain = find_toolchain(flavor.board.cpu, compiler=flavor.compiler)
    flags = (STANDARD, *optimization_flags(manifest.cflags), "-ffunction-sections", "-fdata-sections")
    flags += SANITIZE_FLAGS if flavor.sanitize else ()
    place = place_contents(manifest, flavor.board, frame_bytes=0 if flavor.application else frame_bytes(manifest))
    key = digest(
        (toolchain.compiler, toolchain.version, *toolchain.target_flags, *flags, flavor.label, repr(flavor.board)),
        (*_network_files(manifest), *_runtime_files(), templates_dir() / "linker.ld.j2", *_users_files(flavor)),
    )
    target = manifest.directory / "build" / flavor.board.name / flavor.label

    def fill(folder: Path) -> None:
        write_headers(manifest, folder, board=flavor.board.name)
        write_board_header(flavor.board, folder)
        if flavor.protocol == "mlperf":
            write_mlperf_header(manifest, folder)
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


def _network_files(manifest: Manifest) -> list[Path]:
    return [manifest.directory / name for name in (MANIFEST_NAME, *manifest.sources, *manifest.headers)]


def _runtime_files() -> list[Path]:
    return sorted(runtime_dir().glob("*/*.[ch]"))


def _application(flavor: Flavor) -> tuple[Path, ...]:
    if flavor.application is None:
        return ()
    if not flavor.application.is_file():
        raise UsageError(f"application {str(flavor.application)!r} is not a file")
    return (flavor.application.resolve(),)


def _users_files(flavor: Flavor) -> tuple[Path, ...]:
    """The application and the headers beside it, which it may include."""
    return tuple(file for path in _application(flavor) for file in (path, *sorted(path.parent.glob("*.h"))))


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
    hook = ["-include", str(folder / HOOK_NAME)] if flavor.hooks or flavor.protocol == "serial" else []
    commands: list[list[str]] = []
    objects: list[Path] = []
    for kind in ("network", "runtime"):
        (folder / kind).mkdir()
    for source in manifest.sources:
        target = folder / "network" / _object_name(source)
        commands.append([*base, *usage, *hook, "-I.", "-c", source, "-o", str(target)])
        objects.append(target)
    sources = _runtime_sources(flavor)
    include = [f"-I{folder}", *(f"-I{runtime / name}" for name in ("harness", "protocol", "include")), "-I."]
    for path in sources:
        target = folder / "runtime" / ("application.o" if path in _application(flavor) else f"{path.stem}.o")
        commands.append([*base, *WARNINGS, *include, "-c", str(path), "-o", str(target)])
        objects.append(target)

    def compile_one(command: list[str]) -> None:
        # From within the folder, so that diagnostics and debug information hold relative names.
        run_tool(command, what=f"compiling {Path(command[-3]).name}", cwd=manifest.directory)

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(compile_one, commands))
    return objects


def _runtime_sources(flavor: Flavor) -> list[Path]:
    """What is linked with the network, other than the C library."""
    names: list[str] = []
    if flavor.application is None:
        names += ["harness/guard.c", "harness/feed.c", *_PROTOCOL_SOURCES[flavor.protocol]]
        if flavor.protocol == "files":
            names.append("harness/platform_host.c" if flavor.board.is_host else "harness/platform_semihosting.c")
    if flavor.board.startup:
        names += [f"startup/startup_{flavor.board.startup}.c", "startup/fault_report.c"]
    return [
        *(runtime_dir() / name for name in names),
        *(sorted((runtime_dir() / "soc").glob("*.c")) if flavor.board.soc else ()),
        *_application(flavor),
    ]


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
        script.write_text(_script(manifest, flavor, place, folder), encoding="ascii")
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


def _script(manifest: Manifest, flavor: Flavor, place: dict[str, Region], folder: Path) -> str:
    """The linker script; the kernels get a region of their own where the board has one that holds them."""
    kernels = [_object_name(source) for source in manifest.sources if is_kernels(manifest, source)]
    size = sum(total(read_sections(folder / "network" / name)).code for name in kernels)
    region = place_kernels(flavor.board, size + KERNEL_SLACK_BYTES if size else 0)
    weights = [_object_name(source) for source in manifest.sources if is_weights(manifest, source)]
    return linker_script(
        flavor.board,
        place if region is None else {**place, "kernels": region},
        weights=tuple(f"*/network/{name}" for name in weights),
        kernels=tuple(f"*/network/{name}" for name in kernels),
        arena_bytes=manifest.memory.arena_bytes,
        needs_arena=flavor.application is None,
    )


def is_kernels(manifest: Manifest, source: str) -> bool:
    """Whether a source holds the network's kernels."""
    return source == f"{manifest.name}_kernels.c"


def is_weights(manifest: Manifest, source: str) -> bool:
    """Whether a source holds the network's constants."""
    return source == f"{manifest.name}_weights.c"
