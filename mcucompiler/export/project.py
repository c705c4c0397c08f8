# SPDX-License-Identifier: Apache-2.0
"""Projects for CMake, Arduino, PlatformIO and Zephyr around the same generated C."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcucompiler.build.toolchain import optimization_flags
from mcucompiler.emit.environment import environment
from mcucompiler.errors import UsageError
from mcucompiler.manifest import MANIFEST_NAME, BoundaryTensor, Manifest, read_manifest

CALLER_STACK_BYTES = 2048
"""Stack for what calls the network and prints, beside the network's own."""

_FILES: Mapping[str, Mapping[str, str]] = {
    "cmake": {
        "CMakeLists.txt": "cmake/CMakeLists.txt.j2",
        "main.c": "common/main.c.j2",
        "README.md": "cmake/README.md.j2",
    },
    "arduino": {
        "library.properties": "arduino/library.properties.j2",
        "examples/run/run.ino": "arduino/run.ino.j2",
        "README.md": "arduino/README.md.j2",
    },
    "platformio": {
        "platformio.ini": "platformio/platformio.ini.j2",
        "src/main.c": "common/main.c.j2",
        "lib/{name}/library.json": "platformio/library.json.j2",
        "README.md": "platformio/README.md.j2",
    },
    "zephyr": {
        "CMakeLists.txt": "zephyr/CMakeLists.txt.j2",
        "prj.conf": "zephyr/prj.conf.j2",
        "sample.yaml": "zephyr/sample.yaml.j2",
        "src/main.c": "common/main.c.j2",
        "README.md": "zephyr/README.md.j2",
    },
}
_SOURCE_FOLDERS = {"cmake": "{name}", "arduino": "src", "platformio": "lib/{name}/src", "zephyr": "{name}"}
KINDS = tuple(_FILES)
"""What ``--as`` takes."""

_BOARDS: Mapping[str, Mapping[str, str]] = {
    "platformio": {
        "nucleo-f767zi": "nucleo_f767zi",
        "nucleo-h743zi2": "nucleo_h743zi",
        "stm32f746g-disco": "disco_f746ng",
    },
    "zephyr": {
        "mps2-an386": "mps2/an386",
        "mps2-an500": "mps2/an500",
        "nucleo-f767zi": "nucleo_f767zi",
        "nucleo-h743zi2": "nucleo_h743zi",
        "openmv-h7": "openmv_h7",
        "stm32f746g-disco": "stm32f746g_disco",
    },
}
_C_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t", "float32": "float"}


def export_project(directory: Path, kind: str, output: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Write a project around the network of a folder.

    Args:
        directory: a folder that ``compile`` wrote.
        kind: one of KINDS.
        output: the project's folder.
        force: write into a folder that has other content, which stays but for files of the same names.

    Returns:
        The files, relative to ``output``.

    Raises:
        UsageError: no such kind, the folder is not one that ``compile`` wrote or lacks a file, or the project's folder
            has other content.
        OSError: the disk refuses.
    """
    files = project_files(read_manifest(directory), kind)
    if output.exists() and not output.is_dir():
        raise UsageError(f"{str(output)!r} exists and is not a folder")
    if not force and output.is_dir() and any(output.iterdir()):
        raise UsageError(f"the output folder {str(output)!r} is not empty; choose another or give --force")
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for name, text in files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        for name in files:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(scratch / name, output / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return tuple(Path(name) for name in files)


def project_files(manifest: Manifest, kind: str) -> dict[str, str]:
    """The files of a project, by path.

    Raises:
        UsageError: no such kind, or the network's folder lacks a file.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no export as {kind!r}; there are {', '.join(KINDS)}")
    values = _values(manifest, kind)
    files = {}
    for name, template in _FILES[kind].items():
        files[name.format(name=manifest.name)] = environment().get_template(f"export/{template}").render(p=values)
    folder = _SOURCE_FOLDERS[kind].format(name=manifest.name)
    for name in (*manifest.sources, *manifest.headers):
        files[f"{folder}/{name}"] = _read(manifest, name)
    return files


def _read(manifest: Manifest, name: str) -> str:
    try:
        return (manifest.directory / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(
            f"{MANIFEST_NAME} names {name!r}, which is not in {str(manifest.directory)!r}; compile the model again"
        ) from error


def _values(manifest: Manifest, kind: str) -> dict[str, object]:
    """What the templates show. StrictUndefined: a name that is missing here is an error there."""
    return {
        "name": manifest.name,
        "prefix": manifest.prefix,
        "version": manifest.compiler_version,
        "digest": manifest.model_sha256,
        "board": manifest.board,
        "target_board": _BOARDS.get(kind, {}).get(manifest.board, ""),
        "cpu": manifest.cpu,
        "sources": manifest.sources,
        "headers": manifest.headers,
        "flags": optimization_flags(manifest.cflags),
        "inputs": [_tensor(tensor) for tensor in manifest.sample_inputs],
        "by_rows": manifest.rows is not None,
        "outputs": [_tensor(tensor) for tensor in manifest.outputs],
        "arena_bytes": manifest.memory.arena_bytes,
        "stack_bytes": manifest.memory.stack_bytes,
        "prints_floats": any(tensor.dtype == "float32" for tensor in manifest.outputs),
        "main_stack_bytes": -(-(manifest.memory.stack_bytes + CALLER_STACK_BYTES) // 1024) * 1024,
    }


def _tensor(tensor: BoundaryTensor) -> dict[str, object]:
    """An input or output; ``fill`` is the byte that means zero."""
    fill = tensor.zero_point & 0xFF if tensor.zero_point is not None and tensor.dtype in ("int8", "uint8") else 0
    return {
        "index": tensor.index,
        "name": tensor.name,
        "shape": "x".join(map(str, tensor.c_shape)),
        "ctype": _C_TYPES[tensor.dtype],
        "is_float": tensor.dtype == "float32",
        "fill": fill,
    }
