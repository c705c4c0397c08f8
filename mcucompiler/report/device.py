# SPDX-License-Identifier: Apache-2.0
"""What a device is and how long it took, as text."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from mcucompiler.boards import list_boards, load_board
from mcucompiler.build.firmware import read_build
from mcucompiler.manifest import Manifest
from mcucompiler.report.text import facts, kib, shortened, table
from mcucompiler.run.types import DeviceFacts
from mcucompiler.validate.types import Timing
from mcucompiler.words import counted

_EMULATED = "The device is emulated: results are exact, durations say nothing about the board."


def device_facts(device: DeviceFacts, manifest: Manifest, stack_bytes: int | None) -> RenderableType:
    """The device, and what the network takes of it."""
    board = load_board(device.board) if device.board in list_boards() else None
    pairs = [("device", device.board + (f", {board.description}" if board else ""))]
    clock = f"{device.clock_hz / 1e6:g} MHz"
    if board and board.clock_hz and board.clock_hz != device.clock_hz:
        clock += f", rated {board.clock_hz / 1e6:g} MHz"
    pairs.append(("clock", clock))
    pairs += [("problem", problem) for problem in device.problems]
    if board and board.caches.instruction_bytes + board.caches.data_bytes:
        caches = board.caches
        pairs.append(
            ("caches", f"{caches.instruction_bytes // 1024} KiB instructions, {caches.data_bytes // 1024} KiB data")
        )
    pairs += _memory(device, manifest, stack_bytes)
    return facts(pairs)


def _memory(device: DeviceFacts, manifest: Manifest, stack_bytes: int | None) -> list[tuple[str, str]]:
    figures = read_build(manifest.directory, device.board)
    pairs = [("arena", kib(manifest.memory.arena_bytes))]
    if figures is not None and figures.get("model_sha256") == manifest.model_sha256:
        pairs += [
            ("RAM", f"{kib(figures['ram_bytes'])}: arena, declared stack and static data of the network"),
            ("flash", f"{kib(figures['flash_bytes'])}: code and constants of the network"),
        ]
    else:
        constants = manifest.memory.weights_bytes + manifest.memory.const_bytes
        pairs.append(("flash", f"{kib(constants)} of constants, and code: see `mcucompiler build`"))
    if stack_bytes is not None:
        declared = manifest.memory.stack_bytes
        pairs.append(
            ("stack", f"{stack_bytes:,} bytes used, {declared:,} declared, {device.stack_bytes:,} in the firmware")
        )
    return pairs


def timing_report(timing: Timing, manifest: Manifest, device: DeviceFacts) -> Iterator[RenderableType]:
    """Duration of a run, and of its steps."""
    values = (timing.mean, float(min(timing.cycles)), float(max(timing.cycles)), timing.deviation)
    rows = [
        ("milliseconds", *(f"{timing.milliseconds(value):,.4f}" for value in values)),
        ("cycles", *(f"{value:,.0f}" for value in values)),
    ]
    if manifest.macs:
        rows.append(("cycles per MAC", *(f"{value / manifest.macs:.4f}" for value in values)))
    runs = counted(len(timing.cycles), "run")
    yield table(f"Duration of {runs}", ("", ">average", ">min", ">max", ">std"), rows)
    total = sum(timing.steps) or 1.0
    yield table(
        "Steps",
        (">step", "operator", "ONNX nodes", "kernel", ">MACs", ">cycles", ">ms", ">share", ">per MAC"),
        [
            (
                str(step.index),
                step.kind,
                shortened(", ".join(step.onnx_nodes), 40),
                step.kernel,
                f"{step.macs:,}",
                f"{cycles:,.0f}",
                f"{timing.milliseconds(cycles):,.4f}",
                f"{100 * cycles / total:.1f} %",
                f"{cycles / step.macs:.3f}" if step.macs else "",
            )
            for step, cycles in zip(manifest.steps, timing.steps, strict=True)
        ],
    )
    if device.emulated:
        yield _EMULATED
