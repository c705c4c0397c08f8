# SPDX-License-Identifier: Apache-2.0
"""``bench``: instructions or cycles of a run, as a whole and by step, beside the compiler's estimates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType

from mcucompiler.manifest import Manifest, Step
from mcucompiler.report.estimate import Estimate, estimate, estimate_json, estimate_note, per_mac
from mcucompiler.report.text import shortened, table
from mcucompiler.run.boundary import encode_sample
from mcucompiler.run.samples import seeded_samples
from mcucompiler.run.types import BenchResult, BenchRunner
from mcucompiler.words import counted

_COUNTED_SHARE = 0.01  # of the run: deviations of smaller steps say little


def bench(manifest: Manifest, runner: BenchRunner) -> BenchResult:
    """Measure a run on a seeded sample.

    Raises:
        ToolError: a tool is missing or fails.
        VerificationError: the program broke a promise.
    """
    return runner.bench(encode_sample(manifest, seeded_samples(manifest, 1)[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """How far estimates are from what was measured, as parts of it; negative where they are too low.

    Attributes:
        steps: by step, None where there is no estimate or nothing was measured.
        whole: of the sums.
        worst: index of the step that is farthest off among those that matter; None where none does.
    """

    steps: tuple[float | None, ...]
    whole: float | None
    worst: int | None


def deviation(manifest: Manifest, result: BenchResult) -> Deviation:
    """Estimated instructions against measured ones; on a board, estimated cycles against measured ones."""
    guesses = _guesses(manifest, result)
    counts = [count.instructions for count in result.steps]
    steps = tuple(guess / count - 1 if guess and count else None for guess, count in zip(guesses, counts, strict=True))
    least = _COUNTED_SHARE * sum(counts)
    far = {i: abs(off) for i, off in enumerate(steps) if off is not None and counts[i] >= least}
    known = [(guess, count) for guess, count in zip(guesses, counts, strict=True) if guess and count]
    whole = sum(guess for guess, _ in known) / sum(count for _, count in known) - 1 if known else None
    return Deviation(steps=steps, whole=whole, worst=max(far, key=far.__getitem__) if far else None)


def _guesses(manifest: Manifest, result: BenchResult) -> list[int]:
    if result.unit == "instructions":
        return [step.estimated_instructions for step in manifest.steps]
    stalls = estimate(manifest).stalls or (0,) * len(manifest.steps)
    return [step.estimated_cycles + stall for step, stall in zip(manifest.steps, stalls, strict=True)]


def bench_json(manifest: Manifest, result: BenchResult, on: str) -> dict[str, Any]:
    """The figures for ``--json``; the keys name the unit, instructions or cycles."""
    unit = result.unit
    off, found = deviation(manifest, result), estimate(manifest)
    return {
        "name": manifest.name,
        "on": on,
        unit: result.instructions,
        "resolution": result.resolution,
        "macs": manifest.macs,
        f"{unit}_per_mac": per_mac(result.instructions, manifest.macs),
        "stack_bytes": result.stack_bytes,
        "estimate": estimate_json(manifest),
        "deviation": None if off.whole is None else round(off.whole, 4),
        "worst_deviation_step": off.worst,
        **_device_json(result),
        "steps": [
            {**_step_json(step, found, unit, count.instructions), "deviation": None if each is None else round(each, 4)}
            for step, count, each in zip(manifest.steps, result.steps, off.steps, strict=True)
        ],
    }


def _step_json(step: Step, found: Estimate, unit: str, measured: int) -> dict[str, Any]:
    return {
        "index": step.index,
        "kind": step.kind,
        "onnx_nodes": list(step.onnx_nodes),
        "kernel": step.kernel,
        "variant": step.variant,
        "reason": step.reason,
        "macs": step.macs,
        unit: measured,
        f"{unit}_per_mac": per_mac(measured, step.macs),
        "estimated_instructions": step.estimated_instructions or None,
        "estimated_cycles": step.estimated_cycles,
        "estimated_cycles_per_mac": per_mac(step.estimated_cycles, step.macs),
        "flash_stall_cycles": None if found.stalls is None else found.stalls[step.index],
    }


def bench_report(manifest: Manifest, result: BenchResult, on: str) -> Iterator[RenderableType]:
    """The figures as text."""
    unit, off = result.unit, deviation(manifest, result)
    rows = [
        (
            str(step.index),
            step.kind,
            shortened(", ".join(step.onnx_nodes), 30),
            step.kernel,
            f"{step.macs:,}",
            f"{count.instructions:,}",
            f"{100 * count.instructions / max(result.instructions, 1):.1f} %",
            _ratio(count.instructions, step.macs),
            "" if each is None else f"{100 * each:+.1f} %",
            f"{step.estimated_cycles:,}",
            _ratio(step.estimated_cycles, step.macs),
        )
        for step, count, each in zip(manifest.steps, result.steps, off.steps, strict=True)
    ]
    first = (">step", "operator", "ONNX nodes", "kernel", ">MACs", f">{unit}", ">share", ">per MAC")
    yield table(f"{unit.capitalize()} on {on}", (*first, ">estimate", ">est. cycles", ">per MAC"), rows)
    yield table(
        "Kernels", (">step", "variant", "because"), [(str(s.index), s.variant, s.reason) for s in manifest.steps]
    )
    each = _ratio(result.instructions, manifest.macs)
    yield (
        f"whole run: {result.instructions:,} {unit}, {manifest.macs:,} multiply-accumulates"
        + (f", {each} {unit} each" if each else "")
        + ("" if result.stack_bytes is None else f"; {result.stack_bytes:,} bytes of stack")
    )
    yield _note(result)
    yield from _estimate_lines(manifest, off, unit)


def _estimate_lines(manifest: Manifest, off: Deviation, unit: str) -> Iterator[str]:
    found = estimate(manifest)
    each = _ratio(found.total, manifest.macs)
    text = f"estimate: {found.total:,} cycles" + (f", {each} for each multiply-accumulate" if each else "")
    if found.milliseconds is not None:
        text += f"; {found.milliseconds:.2f} ms at {found.clock_hz / 1e6:g} MHz on {manifest.board}"
    yield text
    if off.whole is not None and off.worst is not None:
        worst = 100 * (off.steps[off.worst] or 0.0)
        yield (
            f"estimated {unit} are {100 * off.whole:+.1f} % off as a whole; the worst step of those that take at least "
            f"{_COUNTED_SHARE:.0%} of the run is {off.worst}, {worst:+.1f} %"
        )
    yield estimate_note()


def _note(result: BenchResult) -> str:
    if result.device is None:
        exact = counted(result.resolution, "instruction")
        return f"Counts are exact to {exact}; the emulator has no clock, so they are not cycles."
    least, most = min(result.repeats), max(result.repeats)
    milliseconds = 1000 * result.instructions / result.device.cycles_hz
    text = (
        f"Mean of {counted(len(result.repeats), 'run')}, {least:,} to {most:,} cycles; {milliseconds:.4f} ms at "
        f"{result.device.cycles_hz / 1e6:g} MHz."
    )
    return text + (" The device is emulated: durations say nothing about the board." if result.device.emulated else "")


def _device_json(result: BenchResult) -> dict[str, Any]:
    if result.device is None:
        return {}
    return {"repeats": list(result.repeats), "device": asdict(result.device)}


def _ratio(count: int, macs: int) -> str:
    """For each multiply-accumulate, as text; "" where there are none."""
    return f"{count / macs:.3f}" if macs else ""
