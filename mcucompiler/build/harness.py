# SPDX-License-Identifier: Apache-2.0
"""The generated headers that tie the harness to one network."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.ir.graph import ITEM_BYTES
from mcucompiler.manifest import MANIFEST_NAME, Manifest

CONFIG_NAME = "harness_config.h"
HOOK_NAME = "harness_hook.h"
HOOK_FUNCTION = "mc_harness_step"
FENCE_BYTES = 64
DIGEST_BYTES = 32
_FUNCTIONS = {"resident": ("run", "input", "output"), "rows": ("begin", "push_row", "output")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of the arena to be dumped after a step: an output of it.

    Attributes:
        step: index of the step.
        output: index of the step's output.
        offset: bytes from the arena's start.
        bytes: how many, from the first to one past the last.
        rows: rows that hold elements of the tensor, others' bytes may lie between them.
        row_bytes: bytes of a row.
        stride_bytes: from the start of a row to that of the next.
    """

    step: int
    output: int
    offset: int
    bytes: int
    rows: int
    row_bytes: int
    stride_bytes: int


def segments(manifest: Manifest) -> tuple[Segment, ...]:
    """What the harness dumps, in the order in which it does."""
    return tuple(
        Segment(
            step=step.index,
            output=index,
            offset=tensor.offset,
            bytes=tensor.span_bytes,
            rows=tensor.rows,
            row_bytes=tensor.row * ITEM_BYTES[tensor.dtype],
            stride_bytes=tensor.stride * ITEM_BYTES[tensor.dtype],
        )
        for step in manifest.steps
        for index, tensor in enumerate(step.outputs)
    )


def program_digest(manifest: Manifest) -> bytes:
    """SHA-256 over the generated files: tells programs of one model that were compiled differently apart.

    Raises:
        OSError: a file that the manifest names cannot be read.
    """
    total = hashlib.sha256()
    for name in (MANIFEST_NAME, *manifest.sources, *manifest.headers):
        total.update(hashlib.sha256((manifest.directory / name).read_bytes()).digest())
    return total.digest()


def write_headers(manifest: Manifest, folder: Path, *, board: str = "") -> None:
    """Write both headers.

    Args:
        manifest: of the network.
        folder: where to.
        board: name of the board.
    """
    (folder / CONFIG_NAME).write_text(_config(manifest, board), encoding="ascii")
    (folder / HOOK_NAME).write_text(_hook(manifest), encoding="ascii")


def _config(manifest: Manifest, board: str) -> str:
    name, prefix = manifest.name, manifest.prefix
    dumps = segments(manifest)
    lines = [
        f"/* What the harness knows of the network '{name}'. Generated from its manifest. */",
        "#ifndef MC_HARNESS_CONFIG_H",
        "#define MC_HARNESS_CONFIG_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f'#include "{name}.h"',
        "",
        *(f"#define mc_network_{function} {name}_{function}" for function in _FUNCTIONS[manifest.input_mode]),
        *_rows(manifest),
        f"#define MC_STATUS_NULL {prefix}_ERR_NULL",
        f"#define MC_STATUS_ARENA {prefix}_ERR_ARENA",
        f"#define MC_STATUS_ALIGN {prefix}_ERR_ALIGN",
        f"#define MC_ARENA_BYTES {prefix}_ARENA_BYTES",
        f"#define MC_ARENA_ALIGN {prefix}_ARENA_ALIGN",
        "/* The least odd multiple of the alignment that is no shorter than a fence. */",
        f"#define MC_LEAD_BYTES (((({FENCE_BYTES}u + MC_ARENA_ALIGN - 1u) / MC_ARENA_ALIGN) | 1u) * MC_ARENA_ALIGN)",
        f"#define MC_TRAIL_BYTES {FENCE_BYTES}u",
        f"#define MC_INPUT_COUNT {len(manifest.inputs)}u",
        f"#define MC_OUTPUT_COUNT {len(manifest.outputs)}u",
        f"#define MC_STEP_COUNT {len(manifest.steps)}u",
        f"#define MC_SEGMENT_COUNT {len(dumps)}u",
        "",
        "/* Who this is, for whoever is at the other end of a console. */",
        f'#define MC_BOARD_NAME "{board}"',
        f'#define MC_NETWORK_NAME "{name}"',
        f'#define MC_COMPILER_VERSION "{_plain(manifest.compiler_version)}"',
        f"#define MC_MODEL_DIGEST {_octets(model_digest(manifest))}",
        f"#define MC_PROGRAM_DIGEST {_octets(program_digest(manifest))}",
        "",
        "typedef struct { uint32_t step, offset, bytes, rows, row_bytes, stride_bytes; } mc_segment_t;",
        "static const mc_segment_t mc_segments[MC_SEGMENT_COUNT + 1u] = {",
        *(
            f"    {{ {dump.step}u, {dump.offset}u, {dump.bytes}u, "
            f"{dump.rows}u, {dump.row_bytes}u, {dump.stride_bytes}u }},"
            for dump in dumps
        ),
        "    { 0u, 0u, 0u, 0u, 0u, 0u },",
        "};",
        f"static const uint32_t mc_input_bytes[] = {{ {_sizes(manifest, 'inputs')} }};",
        f"static const uint32_t mc_output_bytes[] = {{ {_sizes(manifest, 'outputs')} }};",
        "",
        "/* Header and manifest must say the same. */",
        _equal(f"{prefix}_ARENA_BYTES", manifest.memory.arena_bytes),
        _equal(f"{prefix}_INPUT_COUNT", len(manifest.inputs)),
        _equal(f"{prefix}_OUTPUT_COUNT", len(manifest.outputs)),
        *(_equal(f"{prefix}_INPUT_{tensor.index}_BYTES", tensor.bytes) for tensor in manifest.inputs),
        *(_equal(f"{prefix}_OUTPUT_{tensor.index}_BYTES", tensor.bytes) for tensor in manifest.outputs),
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def frame_bytes(manifest: Manifest) -> int:
    """Of the image that the harness keeps outside of the arena; 0 where the network's input is in it."""
    return 0 if manifest.rows is None else manifest.rows.count * manifest.rows.bytes


def _rows(manifest: Manifest) -> list[str]:
    if manifest.rows is None:
        return ["#define MC_ROWS 0"]
    prefix = manifest.prefix
    return [
        "#define MC_ROWS 1",
        f"#define MC_ROW_BYTES {prefix}_ROW_BYTES",
        f"#define MC_ROW_COUNT {prefix}_ROW_COUNT",
        f"#define MC_STATUS_MORE {prefix}_MORE",
        f"#define MC_STATUS_SEQUENCE {prefix}_ERR_SEQUENCE",
        _equal(f"{prefix}_ROW_BYTES", manifest.rows.bytes),
        _equal(f"{prefix}_ROW_COUNT", manifest.rows.count),
    ]


def model_digest(manifest: Manifest) -> bytes:
    """The manifest's digest of the model; where it is not one, a digest of what it says instead."""
    try:
        digest = bytes.fromhex(manifest.model_sha256)
    except ValueError:
        digest = b""
    return digest if len(digest) == DIGEST_BYTES else hashlib.sha256(manifest.model_sha256.encode()).digest()


def _octets(data: bytes) -> str:
    return "{ " + ", ".join(f"0x{byte:02x}" for byte in data) + " }"


def _plain(text: str) -> str:
    """What may stand in a C string."""
    return re.sub(r"[^A-Za-z0-9 .+_-]", "_", text)


def _sizes(manifest: Manifest, which: str) -> str:
    tensors = manifest.sample_inputs if which == "inputs" else manifest.outputs
    return ", ".join(f"{tensor.bytes}u" for tensor in tensors) or "0u"


def _equal(macro: str, value: int) -> str:
    return f'_Static_assert({macro} == {value}u, "{macro} is not what the manifest says");'


def _hook(manifest: Manifest) -> str:
    return (
        f"/* Included before the sources of '{manifest.name}' when they are built for profiling. */\n"
        "#include <stdint.h>\n"
        f"void {HOOK_FUNCTION}(uint32_t index);\n"
        f"#define {manifest.prefix}_STEP_HOOK(index) {HOOK_FUNCTION}((uint32_t)(index))\n"
    )
