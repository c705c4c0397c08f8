# SPDX-License-Identifier: Apache-2.0
"""``report``: what a generated folder is, what it needs and how exact it is, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType

from mcucompiler.boards import list_boards
from mcucompiler.build.firmware import read_build
from mcucompiler.cost import CODE_ERROR
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.report.estimate import estimate, estimate_facts, estimate_json, estimate_note, stall_of
from mcucompiler.report.streams import plan_explanation, plan_lines, stream_tables
from mcucompiler.report.text import facts, kib, shortened, table
from mcucompiler.words import counted


def network_report(manifest: Manifest) -> Iterator[RenderableType]:
    """The report's parts, in order."""
    yield facts(summary(manifest))
    yield boundary_table(manifest)
    yield steps_table(manifest)
    yield from stream_tables(manifest)
    yield estimate_note()
    for board, figures in builds(manifest).items():
        yield facts(build_facts(board, figures))


def network_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest, with what was built of it under "builds" and its time on the board under "estimate"."""
    return {**manifest.raw, "builds": builds(manifest), "estimate": estimate_json(manifest)}


def summary(manifest: Manifest) -> list[tuple[str, str]]:
    """The network in a few lines."""
    memory = manifest.memory
    peak = manifest.steps[memory.peak_step] if memory.peak_step < len(manifest.steps) else None
    total = manifest.channels_proved + manifest.channels_float
    proved = f"{manifest.channels_proved:,} of {total:,} channels" if total else "none needed"
    share = f" ({100 * manifest.channels_proved / total:.1f} %)" if total else ""
    return [
        ("network", f"{manifest.name}, for {manifest.cpu}" + (f" on {manifest.board}" if manifest.board else "")),
        ("model", f"SHA-256 {manifest.model_sha256}"),
        ("compiled by", f"mcucompiler {manifest.compiler_version}"),
        ("command", manifest.command),
        *_rows(manifest),
        *plan_lines(manifest),
        ("arena", f"{kib(memory.arena_bytes)}, lower bound {memory.lower_bound_bytes:,}"),
        ("peak", f"step {peak.index}: {peak.kind} {shortened(', '.join(peak.onnx_nodes))}" if peak else "none"),
        ("stack", f"{memory.stack_bytes:,} bytes, declared bound"),
        ("arena and stack", kib(memory.arena_bytes + memory.stack_bytes)),
        ("weights", kib(memory.weights_bytes)),
        ("other constants", kib(memory.const_bytes)),
        *_code(manifest),
        ("multiply-accumulates", f"{manifest.macs:,}" + _recomputed(manifest)),
        *estimate_facts(manifest),
        ("integer requantization", f"proved exact for {proved}{share}; float32 for {manifest.channels_float:,}"),
        ("computed in float32", shortened(", ".join(manifest.float_nodes), 200) or "no node"),
    ]


def boundary_table(manifest: Manifest) -> RenderableType:
    """Inputs and outputs."""
    rows = [
        (kind, tensor.name, tensor.dtype, _shape(tensor.c_shape), _quantization(tensor), f"{tensor.bytes:,}")
        for kind, tensors in (("input", manifest.inputs), ("output", manifest.outputs))
        for tensor in tensors
    ]
    return table("Inputs and outputs", ("", "ONNX name", "type", "shape in C", "real value", ">bytes"), rows)


def steps_table(manifest: Manifest) -> RenderableType:
    """The steps with the figures that are known before building."""
    total = max(manifest.estimated_cycles, 1)
    found = estimate(manifest)
    rows = [
        (
            str(step.index),
            step.kind,
            shortened(", ".join(step.onnx_nodes), 40),
            step.variant or step.kernel,
            f"{step.macs:,}",
            f"{step.estimated_cycles:,}",
            f"{100 * step.estimated_cycles / total:.1f} %",
            f"{step.estimated_cycles / step.macs:.2f}" if step.macs else "",
            *((stall_of(found, step),) if found.stalls is not None else ()),
            f"{step.arena_bytes:,}",
        )
        for step in manifest.steps
    ]
    waiting = (">for flash",) if found.stalls is not None else ()
    first = (">step", "operator", "ONNX nodes", "kernel", ">MACs", ">est. cycles", ">share", ">per MAC")
    columns = (*first, *waiting, ">arena bytes")
    return table("Steps", columns, rows)


def explanation(manifest: Manifest) -> Iterator[RenderableType]:
    """Why this plan, what its streams do, and why each kernel was chosen."""
    why = plan_explanation(manifest)
    if why is not None:
        yield why
    yield from stream_tables(manifest)
    yield kernel_table(manifest)


def kernel_table(manifest: Manifest) -> RenderableType:
    """Why each step's kernel was chosen, and what was not taken."""
    rows = [
        (
            str(step.index),
            step.kind,
            step.variant or step.kernel,
            step.reason,
            "; ".join(f"{variant}: {reason}" for variant, reason in step.rejected),
        )
        for step in manifest.steps
    ]
    return table("Kernel choice", (">step", "operator", "kernel", "because", "not taken"), rows)


def builds(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    """Figures of the builds of this very model, by board."""
    found = {board: read_build(manifest.directory, board) for board in _built_boards(manifest)}
    return {
        board: figures
        for board, figures in found.items()
        if figures is not None and figures.get("model_sha256") == manifest.model_sha256
    }


def build_facts(board: str, figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the C compiler made of the network."""
    stack = figures.get("stack", {})
    bound = stack.get("bound_bytes")
    return [
        (f"built for {board}", str(figures.get("compiler", ""))),
        ("  code", kib(int(figures.get("code_bytes", 0)))),
        ("  weights and constants", kib(int(figures.get("weights_bytes", 0)) + int(figures.get("rodata_bytes", 0)))),
        ("  flash in all", kib(int(figures.get("flash_bytes", 0)))),
        ("  arena, stack, static data", kib(int(figures.get("ram_bytes", 0)))),
        (
            "  stack",
            f"{stack.get('declared_bytes', 0):,} bytes declared, "
            + ("not bounded by this compiler" if bound is None else f"{bound:,} in the worst chain of calls"),
        ),
    ]


def _built_boards(manifest: Manifest) -> list[str]:
    try:
        names = sorted(path.parent.name for path in manifest.directory.glob("build/*/build.json"))
    except OSError:
        return []
    return sorted(names, key=lambda name: (name not in list_boards(), name))


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    rows = manifest.rows
    if rows is None:
        return []
    pixels = f" of {rows.pixels.format.name} pixels" if rows.pixels is not None else ""
    share = 100 * rows.worst_cycles / max(manifest.estimated_cycles, 1)
    what = f"{counted(rows.count, 'row')} of {rows.bytes:,} bytes{pixels}"
    return [("input", f"{what}; one push does up to {share:.0f} % of the work")]


def _code(manifest: Manifest) -> list[tuple[str, str]]:
    code = manifest.memory.estimated_code_bytes
    return [("estimated code", f"{kib(code)}, {CODE_ERROR}")] if code else []


def _recomputed(manifest: Manifest) -> str:
    return f", and {manifest.recomputed_macs:,} recomputed" if manifest.recomputed_macs else ""


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _quantization(tensor: BoundaryTensor) -> str:
    if tensor.scale is None:
        return "the value itself"
    zero = tensor.zero_point or 0
    return f"{tensor.scale:.9g} * (q {'+' if zero < 0 else '-'} {abs(zero)})" if zero else f"{tensor.scale:.9g} * q"
