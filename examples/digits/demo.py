# SPDX-License-Identifier: Apache-2.0
"""Compiles the digits network for a Cortex-M7, runs it in QEMU on test images, and compares with ONNX Runtime."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import data
import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import build_firmware
from mcucompiler.manifest import read_manifest
from mcucompiler.run import dequantize, encode_sample, make_bench_runner, output_array

HERE = Path(__file__).resolve().parent
MODEL = HERE / "digits.onnx"
BOARD = "mps2-an500"


def onnx_runtime_logits(images: np.ndarray) -> np.ndarray:
    """[n, 10] float32: what ONNX Runtime computes, without graph optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def main() -> None:
    """Runs the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/digits"), help="folder for the generated C")
    parser.add_argument("--images", type=int, default=data.TEST_IMAGES, help="how many test images to run")
    arguments = parser.parse_args()
    console = Console()
    _, _, images, labels = data.load()
    images, labels = images[: arguments.images], labels[: arguments.images]

    console.print(f"[bold]1. compile[/] {MODEL.name} for a Cortex-M7 ({BOARD})")
    start = time.perf_counter()
    compiled = compile_model(MODEL, CompileOptions(board=BOARD))
    shutil.rmtree(arguments.output, ignore_errors=True)
    compiled.write(arguments.output)
    seconds = time.perf_counter() - start
    console.print(f"   {len(compiled.tree.program.steps)} steps, {seconds:.1f} s -> {arguments.output}/")

    console.print("[bold]2. build[/] the firmware")
    figures = build_firmware(arguments.output, load_board(BOARD)).figures
    manifest = read_manifest(arguments.output)

    console.print(f"[bold]3. run[/] {len(images)} test images in QEMU, an emulated Cortex-M7")
    runner = make_bench_runner(manifest, "qemu")
    samples = [encode_sample(manifest, {"image": image[None]}) for image in images]
    columns = (TextColumn("  "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(samples))
        results = runner.run(samples, lambda done, count: progress.update(task, completed=done))
    tensor = manifest.outputs[0]
    logits = np.concatenate([dequantize(output_array(result.outputs[0], tensor), tensor) for result in results])
    bench = runner.bench(samples[0])

    expected = onnx_runtime_logits(images)
    ours, theirs = logits.argmax(1), expected.argmax(1)
    table = Table(show_header=False, box=None, padding=(0, 2))
    right = (ours == labels).sum()
    table.add_row("accuracy on the Cortex-M7", f"{right / len(labels):.2%}  ({right} of {len(labels)})")
    table.add_row("accuracy in ONNX Runtime", f"{(theirs == labels).mean():.2%}")
    table.add_row("predictions that differ", str((ours != theirs).sum()))
    table.add_row("output values that differ", f"{(logits != expected).sum()} of {logits.size}")
    table.add_row("RAM: arena + stack", f"{manifest.memory.arena_bytes:,} + {bench.stack_bytes or 0:,} bytes")
    constants = figures["weights_bytes"] + figures["rodata_bytes"]
    table.add_row("flash: code + constants", f"{figures['code_bytes']:,} + {constants:,} bytes")
    per_mac = bench.instructions / manifest.macs
    table.add_row("instructions per image", f"{bench.instructions:,}  ({per_mac:.2f} per MAC)")
    console.print(table)

    folder, model = arguments.output, MODEL.relative_to(HERE.parents[1])
    console.print("\n[bold]what to type next[/]  (after: . .venv/bin/activate)")
    for command, what in (
        (f"mcucompiler bench {folder} --on qemu", "instructions of each step"),
        (f"mcucompiler validate {folder} --model {model} --on qemu --layers", "every tensor"),
        (f"mcucompiler report {folder}", "memory, exactness and kernels"),
        ("mcucompiler compile YOUR.onnx -o out", "a network of your own"),
    ):
        console.print(f"  {command}   [dim]# {what}[/]", highlight=False, soft_wrap=True)
    if (ours != theirs).any():
        raise SystemExit("the predictions differ from ONNX Runtime's")


if __name__ == "__main__":
    main()
