# SPDX-License-Identifier: Apache-2.0
"""Compiles the digits network for a Cortex-M7, runs it in QEMU on test images, and compares with ONNX Runtime.

Then it does the same with a quarter of the RAM, and compares the outputs of both bit for bit.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import data
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import build_firmware
from mcucompiler.manifest import Manifest, read_manifest
from mcucompiler.run import dequantize, encode_sample, make_bench_runner, output_array
from mcucompiler.run.types import BenchResult

HERE = Path(__file__).resolve().parent
MODEL = HERE / "digits.onnx"
BOARD = "mps2-an500"
SHARE = 4  # the second plan is to need at most this part of the first one's RAM


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A program that has run on all images.

    Attributes:
        manifest: what it says of itself.
        figures: sizes of its firmware.
        bench: instructions and stack of a run.
        logits: [n, 10] float32.
    """

    manifest: Manifest
    figures: Mapping[str, Any]
    bench: BenchResult
    logits: np.ndarray

    @property
    def ram_bytes(self) -> int:
        """Arena and declared stack, which a limit counts."""
        return self.manifest.memory.arena_bytes + self.manifest.memory.stack_bytes


def onnx_runtime_logits(images: np.ndarray) -> np.ndarray:
    """[n, 10] float32: what ONNX Runtime computes, without graph optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def measure(images: np.ndarray, folder: Path, ram_limit: int | None, console: Console) -> Measured:
    """Compiles, builds and runs the network."""
    console.print(f"[bold]1. compile[/] {MODEL.name} for a Cortex-M7 ({BOARD})")
    start = time.perf_counter()
    compiled = compile_model(MODEL, CompileOptions(board=BOARD, ram_limit=ram_limit))
    shutil.rmtree(folder, ignore_errors=True)
    compiled.write(folder)
    seconds = time.perf_counter() - start
    console.print(f"   {len(compiled.tree.program.steps)} steps, {seconds:.1f} s -> {folder}/")

    console.print("[bold]2. build[/] the firmware")
    figures = build_firmware(folder, load_board(BOARD)).figures
    manifest = read_manifest(folder)

    console.print(f"[bold]3. run[/] {len(images)} test images in QEMU, an emulated Cortex-M7")
    runner = make_bench_runner(manifest, "qemu")
    samples = [encode_sample(manifest, {"image": image[None]}) for image in images]
    columns = (TextColumn("  "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(samples))
        results = runner.run(samples, lambda done, count: progress.update(task, completed=done))
    tensor = manifest.outputs[0]
    logits = np.concatenate([dequantize(output_array(result.outputs[0], tensor), tensor) for result in results])
    return Measured(manifest=manifest, figures=figures, bench=runner.bench(samples[0]), logits=logits)


def show(measured: Measured, expected: np.ndarray, labels: np.ndarray, console: Console) -> int:
    """Prints what was measured, and gives the number of predictions that are not ONNX Runtime's."""
    ours, theirs = measured.logits.argmax(1), expected.argmax(1)
    manifest, bench, figures = measured.manifest, measured.bench, measured.figures
    table = Table(show_header=False, box=None, padding=(0, 2))
    right = (ours == labels).sum()
    table.add_row("accuracy on the Cortex-M7", f"{right / len(labels):.2%}  ({right} of {len(labels)})")
    table.add_row("accuracy in ONNX Runtime", f"{(theirs == labels).mean():.2%}")
    table.add_row("predictions that differ", str((ours != theirs).sum()))
    table.add_row("output values that differ", f"{(measured.logits != expected).sum()} of {expected.size}")
    table.add_row("RAM: arena + stack", f"{manifest.memory.arena_bytes:,} + {bench.stack_bytes or 0:,} bytes")
    constants = figures["weights_bytes"] + figures["rodata_bytes"]
    table.add_row("flash: code + constants", f"{figures['code_bytes']:,} + {constants:,} bytes")
    per_mac = bench.instructions / manifest.macs
    table.add_row("instructions per image", f"{bench.instructions:,}  ({per_mac:.2f} per MAC)")
    console.print(table)
    return int((ours != theirs).sum())


def measure_small(first: Measured, images: np.ndarray, folder: Path, console: Console) -> Measured:
    """The same network in a quarter of the RAM."""
    limit = first.ram_bytes // SHARE
    console.print(f"\n[bold]a second page:[/] the same network in a quarter of the RAM, {limit:,} bytes")
    return measure(images, folder, limit, console)


def compare(first: Measured, second: Measured, console: Console) -> int:
    """Prints both plans side by side, and gives the number of output values in which they differ."""
    table = Table("", "layer by layer", "by rows", "", box=None, padding=(0, 2), header_style="")
    for what, one, two in (
        ("RAM: arena + declared stack, bytes", first.ram_bytes, second.ram_bytes),
        ("stack measured, bytes", first.bench.stack_bytes or 0, second.bench.stack_bytes or 0),
        ("instructions per image", first.bench.instructions, second.bench.instructions),
        ("multiply-accumulates recomputed", first.manifest.recomputed_macs, second.manifest.recomputed_macs),
        ("code, bytes", first.figures["code_bytes"], second.figures["code_bytes"]),
    ):
        table.add_row(what, f"{one:,}", f"{two:,}", f"{two / one:.0%}" if one else "")
    console.print(table)
    different = int((first.logits != second.logits).sum())
    console.print(f"output values in which the two differ: {different} of {first.logits.size}")
    return different


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/digits"), help="folder for the generated C")
    parser.add_argument("--images", type=int, default=data.TEST_IMAGES, help="how many test images to run")
    arguments = parser.parse_args()
    console = Console()
    _, _, images, labels = data.load()
    images, labels = images[: arguments.images], labels[: arguments.images]

    folder = arguments.output
    small = folder.with_name(f"{folder.name}-small")
    expected = onnx_runtime_logits(images)
    first = measure(images, folder, None, console)
    wrong = show(first, expected, labels, console)
    different = compare(first, measure_small(first, images, small, console), console)

    model = MODEL.relative_to(HERE.parents[1])
    console.print("\n[bold]what to type next[/]  (after: . .venv/bin/activate)")
    for command, what in (
        (f"mcucompiler bench {folder} --on qemu", "instructions of each step"),
        (f"mcucompiler validate {folder} --model {model} --on qemu --layers", "every tensor"),
        (f"mcucompiler report {small}", "memory, exactness, kernels and streams"),
        (f"mcucompiler plan {model} --pareto", "RAM against time, all plans"),
        ("mcucompiler compile YOUR.onnx -o out", "a network of your own"),
    ):
        console.print(f"  {command}   [dim]# {what}[/]", highlight=False, soft_wrap=True)
    if wrong or different:
        raise SystemExit("the predictions differ from ONNX Runtime's, or the outputs of the two plans from each other")


if __name__ == "__main__":
    main()
