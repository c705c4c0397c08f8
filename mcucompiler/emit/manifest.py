# SPDX-License-Identifier: Apache-2.0
"""manifest.json: the program's facts for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mcucompiler.emit.manifest_plan import stream_facts
from mcucompiler.emit.program import Boundary, Program, ProgramStep
from mcucompiler.emit.rows import RowInput
from mcucompiler.lower.types import Cpu, Lowered, Stored, item_bytes
from mcucompiler.stream.choice import Choice
from mcucompiler.stream.reads import constant_reads
from mcucompiler.stream.two_pass import AGAIN
from mcucompiler.stream.types import StreamCall


def manifest(
    program: Program,
    lowered: Lowered,
    offsets: dict[str, int],
    *,
    board: str,
    cpu: Cpu,
    cflags: Sequence[str],
    sources: Sequence[str],
    headers: Sequence[str],
    peak_step: int,
    optimal: bool,
    code_bytes: int,
    plan: dict[str, Any] | None,
    choice: Choice | None,
) -> str:
    """The manifest's text; keys as in the README's reference."""
    tree: dict[str, Any] = {
        "name": program.name,
        "compiler_version": program.version,
        "model_sha256": program.digest,
        "command": program.command,
        "target": {"cpu": cpu.name, "fpu": cpu.fpu},
        "board": board,
        "sources": list(sources),
        "headers": list(headers),
        "cflags": list(cflags),
        "inputs": [_boundary(entry) for entry in program.inputs],
        "outputs": [_boundary(entry) for entry in program.outputs],
        "input_mode": "resident" if program.rows is None else "rows",
        "row_bytes": None if program.rows is None else program.rows.bytes,
        **({} if program.rows is None else {"rows": _rows(program.rows)}),
        "memory": _memory(program, optimal=optimal, peak_step=peak_step, code_bytes=code_bytes),
        "compute": {
            "macs": program.macs,
            "recomputed_macs": program.recomputed_macs,
            "estimated_cycles": program.estimated_cycles,
        },
        "exactness": _exactness(lowered),
        **({} if plan is None else {"plan": plan}),
        "steps": [_step(step, lowered, offsets, choice) for step in program.steps],
    }
    return json.dumps(tree, indent=1, ensure_ascii=True) + "\n"


def _memory(program: Program, *, optimal: bool, peak_step: int, code_bytes: int) -> dict[str, Any]:
    return {
        "arena_bytes": program.arena_bytes,
        "arena_align": program.arena_align,
        "lower_bound_bytes": program.lower_bound_bytes,
        "optimal": optimal,
        "peak_step": peak_step,
        "stack_bytes": program.stack_bytes,
        "weights_bytes": program.weights_bytes,
        "const_bytes": program.const_bytes,
        "estimated_code_bytes": code_bytes,
    }


def _exactness(lowered: Lowered) -> dict[str, Any]:
    counts = [step.call.exactness for step in lowered.steps]
    floating = [step for step in lowered.steps if step.call.float_arithmetic]
    return {
        "mode": lowered.options.exact,
        "channels_proved": sum(count.proved for count in counts),
        "channels_float": sum(count.float_tail for count in counts),
        "float_nodes": sorted({source for step in floating for source in step.sources or (step.node.name,)}),
    }


def _rows(rows: RowInput) -> dict[str, Any]:
    pixels = None if rows.conversion is None else rows.conversion.pixels
    return {
        "count": rows.count,
        "worst_cycles": rows.worst_cycles,
        "worst_runs": rows.worst_runs,
        "pixel_format": None if pixels is None else pixels.format.name,
        "pixel_scale": [] if pixels is None else list(pixels.scale),
        "pixel_mean": [] if pixels is None else list(pixels.mean),
        "pixel_std": [] if pixels is None else list(pixels.std),
    }


def _boundary(entry: Boundary) -> dict[str, Any]:
    quant = entry.tensor.quant
    return {
        "index": entry.index,
        "name": entry.name,
        "tensor": entry.tensor.name,
        "onnx_shape": list(entry.tensor.shape),
        "c_shape": list(entry.c_shape),
        "layout": entry.layout_name,
        "onnx_to_c": list(entry.onnx_to_c),
        "dtype": entry.tensor.dtype,
        "float_in_onnx": entry.float_in_onnx,
        "scale": float(quant.s) if quant is not None else None,
        "zero_point": quant.z if quant is not None else None,
        "bytes": entry.bytes,
    }


def _step(printed: ProgramStep, lowered: Lowered, offsets: dict[str, int], choice: Choice | None) -> dict[str, Any]:
    step, call = printed.step, printed.step.call
    stream = stream_facts(printed, call, choice) if isinstance(call, StreamCall) else None
    return {
        "index": printed.index,
        "kind": step.kind,
        "node": step.node.name,
        "onnx_nodes": list(step.sources),
        "kernel": printed.function,
        "variant": call.variant,
        "reason": call.reason if stream is None else stream["reason"],
        "rejected": [list(pair) for pair in step.rejected],
        "macs": step.macs,
        "estimated_cycles": call.cycles,
        "estimated_instructions": call.instructions,
        "constant_reads": [[read.bytes, read.times] for read in constant_reads(call)],
        "channels_proved": call.exactness.proved,
        "channels_float": call.exactness.float_tail,
        "float_arithmetic": call.float_arithmetic,
        "scratch_bytes": call.scratch_bytes,
        "arena_bytes": printed.live_bytes,
        "outputs": [_output(lowered.stored[name], offsets) for name in step.writes],
        **({} if stream is None else {"stream": stream}),
    }


def _output(stored: Stored, offsets: dict[str, int]) -> dict[str, Any]:
    place, tensor = stored.place, stored.tensor
    item = item_bytes(tensor)
    return {
        "tensor": tensor.name.removesuffix(AGAIN),
        "dtype": tensor.dtype,
        "onnx_shape": list(tensor.shape),
        "onnx_offset": tensor.onnx_offset,
        "offset": offsets[place.buffer] + place.offset * item,
        "rows": place.rows,
        "row_bytes": place.row * item,
        "stride_bytes": place.stride * item,
        "view": list(stored.layout.view),
        "perm": list(stored.layout.perm),
    }
