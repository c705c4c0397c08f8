# SPDX-License-Identifier: Apache-2.0
"""Regenerates calibration.md here: what the cycle model is worth.

    python benchmarks/calibrate.py [--output FILE]

Every block of scheduled assembly that the networks need is given to llvm-mca, another model of the same core, and
whole networks are put beside the cycles that others publish for theirs. Without llvm-mca the first part is left out,
with the reason; --require-mca makes that an error.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

from networks import models
from peers import PUBLISHED

from mcucompiler.api import CompiledModel, CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.cost import FlashTiming, flash_timing
from mcucompiler.machine import compile as machine
from mcucompiler.machine.compile import Code
from mcucompiler.machine.pipeline import flags_of
from mcucompiler.stream.reads import constant_reads

HERE = Path(__file__).resolve().parent
BOARD = "nucleo-h743zi2"
MCA = ("llvm-mca-14", "llvm-mca")
ITERATIONS = 500
TRIPLE = ("-mtriple=thumbv7em-none-eabihf", "-mcpu=cortex-m7")


@dataclass(frozen=True)
class Compared:
    """A block, by both models.

    Attributes:
        kind: what it is, numbers left out.
        looped: whether cycles are those of an iteration in the steady state.
        instructions: in it.
        ours: cycles by machine/core.py.
        mca: cycles by llvm-mca.
    """

    kind: str
    looped: bool
    instructions: int
    ours: float
    mca: float

    @property
    def ratio(self) -> float:
        """llvm-mca's cycles for one of ours."""
        return self.mca / self.ours


Cost = Callable[[Code], float]


def compile_recorded(cost: Cost | None = None) -> tuple[dict[str, CompiledModel], list[Code]]:
    """The networks with published figures, and every block that the compiler scheduled on the way.

    Args:
        cost: cycles of a block to take instead of the model's; the order of its instructions stays.
    """
    _forget()
    codes: list[Code] = []
    schedule = machine._cached.__wrapped__

    def record(*args: Any) -> Code:
        codes.append(schedule(*args))
        return replace(codes[-1], cycles=cost(codes[-1])) if cost else codes[-1]

    with mock.patch.object(machine, "_cached", machine.lru_cache(maxsize=None)(record)):
        compiled = {
            name: compile_model(path, CompileOptions(name="net", board=BOARD))
            for name, path in models()
            if name in PUBLISHED
        }
    _forget()
    return compiled, codes


def _forget() -> None:
    """Empties the compiler's caches, which hold costs of blocks."""
    for name, module in list(sys.modules.items()):
        for value in vars(module).values() if name.startswith("mcucompiler.") else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def mca_cycles(tool: str, lines: Sequence[str], iterations: int) -> int:
    """Total cycles of llvm-mca."""
    text = "\n".join([".syntax unified", ".thumb", *lines, ""])
    done = subprocess.run(
        [tool, *TRIPLE, f"-iterations={iterations}"], input=text, capture_output=True, text=True, check=True
    )
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if found is None:
        raise RuntimeError(f"{tool} said nothing of cycles:\n{done.stdout}{done.stderr}")
    return int(found[1])


def is_loop(code: Code) -> bool:
    """Whether a block's cycles are those of an iteration in the steady state."""
    flags = flags_of(code.program.classes, {live.name: live.value for live in code.program.live_outs})
    return bool(code.program.carried) and flags is not None


def mca_cost(tool: str) -> Cost:
    """Cycles of a block by llvm-mca; of one that is executed once, what it takes more than a single instruction."""
    single = mca_cycles(tool, ["mov r0, r1"], 1) - 1

    def cost(code: Code) -> float:
        if not is_loop(code):
            return float(mca_cycles(tool, code.lines, 1) - single)
        lines = ["1:", *code.lines, "bne 1b"]
        return (mca_cycles(tool, lines, 2 * ITERATIONS) - mca_cycles(tool, lines, ITERATIONS)) / ITERATIONS

    return cost


def compare(cost: Cost, codes: Sequence[Code]) -> Iterator[Compared]:
    """Each block by both models."""
    for code in codes:
        yield Compared(
            kind=re.sub(r"\s+", " ", re.sub(r"\d+", "n", code.program.name)),
            looped=is_loop(code),
            instructions=len(code.lines),
            ours=code.cycles,
            mca=cost(code),
        )


def mca_section(tool: str | None, cost: Cost | None, codes: Sequence[Code]) -> list[str]:
    """The comparison with llvm-mca as Markdown."""
    title = "## The model and llvm-mca"
    if tool is None or cost is None:
        return [title, "", f"Left out: none of {', '.join(MCA)} is installed (package llvm-14)."]
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    release = next(line.strip() for line in version.splitlines() if "LLVM version" in line)
    groups: dict[tuple[str, bool], list[Compared]] = {}
    for each in compare(cost, codes):
        groups.setdefault((each.kind, each.looped), []).append(each)
    lines = [
        title,
        "",
        f"{release}, `{' '.join(TRIPLE)}`; {len(codes)} blocks that the networks below need. The ratio is that of "
        "llvm-mca's cycles to the model's: above 1 where the model is more hopeful. Loops are compared in the steady "
        "state; blocks that are executed once with all their inputs ready, less what llvm-mca counts for a single "
        "instruction.",
        "",
        "| block | blocks | instructions | cycles (model) | ratio: least | median | most |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for (kind, looped), members in sorted(groups.items()):
        ratios = [each.ratio for each in members]
        lines.append(
            f"| {kind}{' (loop)' if looped else ''} | {len(members)} | {_range([m.instructions for m in members])} "
            f"| {_range([m.ours for m in members])} | {min(ratios):.2f} | {statistics.median(ratios):.2f} "
            f"| {max(ratios):.2f} |"
        )
    return lines


def _range(values: Sequence[float]) -> str:
    least, most = min(values), max(values)
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def network_section(compiled: dict[str, CompiledModel], by_mca: dict[str, CompiledModel]) -> list[str]:
    """Estimates of our programs beside published latencies of others', as Markdown.

    Args:
        compiled: by the model.
        by_mca: the same with llvm-mca's cycles of scheduled assembly; empty without it.
    """
    timing = flash_timing(load_board(BOARD))
    if timing is None:
        raise RuntimeError(f"the flash of {BOARD} has no timing")
    lines = [
        "## Networks: our estimates, and what others publish",
        "",
        "Ours: estimated cycles of the core, the same with llvm-mca's cycles for each block of scheduled assembly, "
        f"and cycles of waiting for flash on a {BOARD}. Theirs: latencies measured on "
        "boards, times the clock; sources in peers.md. These are other programs on other boards: the table shows "
        "whether our estimates are of a believable size, not how far they are off.",
        "",
        "| network | MACs | ours: core | per MAC | by llvm-mca | flash | in all per MAC "
        "| published | cycles | per MAC |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for name, result in compiled.items():
        program = result.tree.program
        stalls = _stalls(result, timing)
        core = program.estimated_cycles
        other = f"{by_mca[name].tree.program.estimated_cycles / core - 1:+.1%}" if by_mca else "-"
        ours = (
            f"{program.macs:,} | {core:,} | {core / program.macs:.2f} | {other} | {stalls:,} "
            f"| {(core + stalls) / program.macs:.2f}"
        )
        for peer in PUBLISHED[name]:
            theirs = f"{peer.system}, {peer.board} | {peer.cycles:,} | {peer.cycles / program.macs:.2f}"
            lines.append(f"| {name} | {ours} | {theirs} |")
    return lines


def _stalls(result: CompiledModel, timing: FlashTiming) -> int:
    return sum(timing.stall_cycles(constant_reads(step.call)) for step in result.planned.lowered.steps)


COMPILED_C = """## Compiled C

TinyEngine's program for tinyengine_vww executes 34.52 M instructions (measured in QEMU) and takes 51 ms on an
STM32H743, which is 0.71 cycles an instruction if that board ran at 480 MHz, flash and caches included. The model takes
0.85 to 0.9 cycles for an instruction of compiled C. The other code is not ours, so this says only that the factor is
not too hopeful.

## What is not known

No figure here was measured on a board of ours. Both models of the core come from the same public facts, so that their
agreement is not a validation. Waiting for flash is a model without any measurement (docs/estimates.md)."""


def main() -> int:
    """Writes calibration.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE / "calibration.md")
    parser.add_argument("--require-mca", action="store_true", help="fail where llvm-mca is not installed")
    args = parser.parse_args()
    tool = next((found for found in map(shutil.which, MCA) if found), None)
    if tool is None and args.require_mca:
        print(f"none of {', '.join(MCA)} is installed", file=sys.stderr)
        return 1
    compiled, codes = compile_recorded()
    if not compiled:
        print("no reference network with published figures: set MCUCOMPILER_MODELS", file=sys.stderr)
        return 1
    cost = mca_cost(tool) if tool else None
    by_mca = compile_recorded(cost)[0] if cost else {}
    text = [
        "# What the cycle model is worth",
        "",
        "Written by `make calibrate`.",
        "",
        *mca_section(tool, cost, codes),
        "",
    ]
    text += [*network_section(compiled, by_mca), "", COMPILED_C, ""]
    args.output.write_text("\n".join(text))
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
