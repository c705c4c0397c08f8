# SPDX-License-Identifier: Apache-2.0
"""``bench``: instructions of a run, as a whole and by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType

from mcucompiler.manifest import Manifest
from mcucompiler.report.text import shortened, table
from mcucompiler.run.boundary import encode_sample
from mcucompiler.run.samples import seeded_samples
from mcucompiler.run.types import BenchResult, BenchRunner


def bench(manifest: Manifest, runner: BenchRunner) -> BenchResult:
    """Measure a run on a seeded sample.

    Raises:
        ToolError: a tool is missing or fails.
        VerificationError: the program broke a promise.
    """
    return runner.bench(encode_sample(manifest, seeded_samples(manifest, 1)[0]))


def bench_json(manifest: Manifest, result: BenchResult, on: str) -> dict[str, Any]:
    """The figures for ``--json``."""
    return {
        "name": manifest.name,
        "on": on,
        "instructions": result.instructions,
        "resolution": result.resolution,
        "macs": manifest.macs,
        "instructions_per_mac": _per_mac(result.instructions, manifest.macs),
        "stack_bytes": result.stack_bytes,
        "steps": [
            {
                "index": count.index,
                "kind": step.kind,
                "onnx_nodes": list(step.onnx_nodes),
                "kernel": step.kernel,
                "macs": step.macs,
                "instructions": count.instructions,
                "instructions_per_mac": _per_mac(count.instructions, step.macs),
            }
            for step, count in zip(manifest.steps, result.steps, strict=True)
        ],
    }


def bench_report(manifest: Manifest, result: BenchResult, on: str) -> Iterator[RenderableType]:
    """The figures as text."""
    total = max(result.instructions, 1)
    rows = []
    for step, count in zip(manifest.steps, result.steps, strict=True):
        per_mac = _per_mac(count.instructions, step.macs)
        rows.append(
            (
                str(step.index),
                step.kind,
                shortened(", ".join(step.onnx_nodes), 40),
                step.kernel,
                f"{step.macs:,}",
                f"{count.instructions:,}",
                f"{100 * count.instructions / total:.1f} %",
                "" if per_mac is None else f"{per_mac:.3f}",
            )
        )
    columns = (">step", "operator", "ONNX nodes", "kernel", ">MACs", ">instructions", ">share", ">per MAC")
    yield table(f"Instructions on {on}", columns, rows)
    per_mac = _per_mac(result.instructions, manifest.macs)
    yield (
        f"whole run: {result.instructions:,} instructions, {manifest.macs:,} multiply-accumulates"
        + ("" if per_mac is None else f", {per_mac:.3f} instructions each")
        + ("" if result.stack_bytes is None else f"; {result.stack_bytes:,} bytes of stack")
    )
    yield f"Counts are exact to {result.resolution} instructions; the emulator has no clock, so they are not cycles."


def _per_mac(instructions: int, macs: int) -> float | None:
    return round(instructions / macs, 4) if macs else None
