# SPDX-License-Identifier: Apache-2.0
"""``bench``: instructions or cycles of a run, as a whole and by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
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
    """The figures for ``--json``; the keys name the unit, instructions or cycles."""
    unit = result.unit
    return {
        "name": manifest.name,
        "on": on,
        unit: result.instructions,
        "resolution": result.resolution,
        "macs": manifest.macs,
        f"{unit}_per_mac": _per_mac(result.instructions, manifest.macs),
        "stack_bytes": result.stack_bytes,
        **_device_json(result),
        "steps": [
            {
                "index": count.index,
                "kind": step.kind,
                "onnx_nodes": list(step.onnx_nodes),
                "kernel": step.kernel,
                "macs": step.macs,
                unit: count.instructions,
                f"{unit}_per_mac": _per_mac(count.instructions, step.macs),
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
    unit = result.unit
    columns = (">step", "operator", "ONNX nodes", "kernel", ">MACs", f">{unit}", ">share", ">per MAC")
    yield table(f"{unit.capitalize()} on {on}", columns, rows)
    per_mac = _per_mac(result.instructions, manifest.macs)
    yield (
        f"whole run: {result.instructions:,} {unit}, {manifest.macs:,} multiply-accumulates"
        + ("" if per_mac is None else f", {per_mac:.3f} {unit} each")
        + ("" if result.stack_bytes is None else f"; {result.stack_bytes:,} bytes of stack")
    )
    yield _note(result)


def _note(result: BenchResult) -> str:
    if result.device is None:
        return (
            f"Counts are exact to {result.resolution} instructions; the emulator has no clock, so they are not cycles."
        )
    least, most = min(result.repeats), max(result.repeats)
    milliseconds = 1000 * result.instructions / result.device.cycles_hz
    text = (
        f"Mean of {len(result.repeats)} runs, {least:,} to {most:,} cycles; {milliseconds:.4f} ms at "
        f"{result.device.cycles_hz / 1e6:g} MHz."
    )
    return text + (" The device is emulated: durations say nothing about the board." if result.device.emulated else "")


def _device_json(result: BenchResult) -> dict[str, Any]:
    if result.device is None:
        return {}
    return {"repeats": list(result.repeats), "device": asdict(result.device)}


def _per_mac(instructions: int, macs: int) -> float | None:
    return round(instructions / macs, 4) if macs else None
