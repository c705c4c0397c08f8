# SPDX-License-Identifier: Apache-2.0
"""The runners: the host, plain or under sanitizers, and QEMU. Both speak the harness's files."""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.board_types import Board, Qemu
from mcucompiler.boards import load_board
from mcucompiler.build.program import Flavor, build_program
from mcucompiler.build.toolchain import find_tool
from mcucompiler.errors import UsageError
from mcucompiler.link.port import DEFAULT_BAUD
from mcucompiler.manifest import Manifest
from mcucompiler.run.emulated import qemu_board
from mcucompiler.run.execute import execute
from mcucompiler.run.protocol import Mode, decode_results, encode_samples, expected_bytes
from mcucompiler.run.serial import PREFIX, SerialRunner
from mcucompiler.run.types import (
    BenchResult,
    BenchRunner,
    Expected,
    ProgressCallback,
    Runner,
    Sample,
    SampleResult,
    StepCount,
    no_progress,
)

INPUT_NAME, OUTPUT_NAME = "samples.bin", "results.bin"
DEFAULT_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class _HarnessRunner(ABC):
    """What the runners have in common.

    Attributes:
        manifest: of the network.
        board: where it runs.
        timeout_s: how long it may stand still.
    """

    manifest: Manifest
    board: Board
    timeout_s: float = DEFAULT_TIMEOUT_S

    @property
    @abstractmethod
    def name(self) -> str:
        """As given to ``--on``."""

    def run(self, samples: Sequence[Sample], progress: ProgressCallback = no_progress) -> tuple[SampleResult, ...]:
        """Run the network on each sample."""
        return self._execute(Mode.RUN, samples, progress)

    def layers(
        self, samples: Sequence[Sample], progress: ProgressCallback = no_progress, expected: Expected | None = None
    ) -> tuple[SampleResult, ...]:
        """As ``run``, with the outputs of every step."""
        if not all(step.outputs for step in self.manifest.steps):
            raise UsageError("the manifest does not say where the steps' outputs lie; compile the model again")
        return self._execute(Mode.LAYERS, samples, progress)

    def _execute(
        self, mode: Mode, samples: Sequence[Sample], progress: ProgressCallback, *, hooks: bool | None = None
    ) -> tuple[SampleResult, ...]:
        flavor = self._flavor(hooks=mode is not Mode.RUN if hooks is None else hooks)
        program = build_program(self.manifest, flavor)
        head, per_sample = expected_bytes(self.manifest, mode, len(samples))
        with tempfile.TemporaryDirectory(prefix="mcucompiler-run-") as name:
            folder = Path(name)
            (folder / INPUT_NAME).write_bytes(encode_samples(mode, samples))
            output = folder / OUTPUT_NAME

            def watch(size: int) -> None:
                progress(min(max(size - head, 0) // per_sample, len(samples)), len(samples))

            execute(
                self._command(program.path, mode),
                what=f"running {self.manifest.name!r} on {self.name}",
                cwd=folder,
                output=output,
                timeout_s=self.timeout_s,
                watch=watch,
                environment=self._environment(),
            )
            progress(len(samples), len(samples))
            return decode_results(self.manifest, output.read_bytes() if output.exists() else b"", len(samples))

    def _flavor(self, *, hooks: bool) -> Flavor:
        return Flavor(board=self.board, hooks=hooks)

    def _command(self, program: Path, mode: Mode) -> list[str]:
        return [str(program.resolve()), INPUT_NAME, OUTPUT_NAME]

    def _environment(self) -> dict[str, str] | None:
        return None


@dataclass(frozen=True, kw_only=True)
class HostRunner(_HarnessRunner):
    """Runs the portable form of the program on this machine.

    Attributes:
        sanitize: under the address and undefined behavior sanitizers.
        compiler: a compiler to take instead of the usual one.
    """

    sanitize: bool = False
    compiler: str = ""

    @property
    def name(self) -> str:
        """As given to ``--on``."""
        return "host"

    def _flavor(self, *, hooks: bool) -> Flavor:
        return Flavor(board=self.board, hooks=hooks, sanitize=self.sanitize, compiler=self.compiler)

    def _environment(self) -> dict[str, str] | None:
        # The leak checker needs ptrace, which containers and debuggers forbid; there is no heap to leak.
        return {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"} if self.sanitize else None


@dataclass(frozen=True, kw_only=True)
class QemuRunner(_HarnessRunner):
    """Runs the firmware in QEMU, which executes the core's own instructions."""

    @property
    def name(self) -> str:
        """As given to ``--on``."""
        return "qemu"

    @property
    def qemu(self) -> Qemu:
        """How the board is emulated."""
        if self.board.qemu is None:
            raise UsageError(f"board {self.board.name!r} is not emulated; compile for mps2-an500")
        return self.board.qemu

    def bench(self, sample: Sample) -> BenchResult:
        """Count the instructions of a run on a sample, as a whole and by step."""
        whole = self._execute(Mode.BENCH, [sample], no_progress, hooks=False)[0]
        split = self._execute(Mode.BENCH, [sample], no_progress, hooks=True)[0]
        factor = self.qemu.instructions_per_tick
        return BenchResult(
            instructions=round(whole.ticks * factor),
            resolution=round(factor),
            steps=tuple(
                StepCount(index=index, instructions=round(ticks * factor))
                for index, ticks in enumerate(split.step_ticks)
            ),
            stack_bytes=whole.stack_bytes,
        )

    def _command(self, program: Path, mode: Mode) -> list[str]:
        counting = ["-icount", f"shift={self.qemu.icount_shift}"] if mode is Mode.BENCH else []
        return [
            find_tool("qemu-system-arm"),
            *("-M", self.qemu.machine),
            *counting,
            *("-nographic", "-monitor", "none", "-serial", "none"),
            *("-semihosting-config", "enable=on,target=native"),
            *("-kernel", str(program.resolve())),
        ]


def make_runner(
    manifest: Manifest,
    on: str,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    sanitize: bool = False,
    baud: int = DEFAULT_BAUD,
) -> Runner:
    """The runner that ``--on`` names.

    Args:
        manifest: of the network.
        on: "host", "qemu" or "serial:" and a port.
        timeout_s: how long the program may stand still.
        sanitize: build for the host with sanitizers.
        baud: bits per second of a serial port.

    Raises:
        UsageError: no such runner, or sanitizers elsewhere than on the host.
    """
    if on == "host":
        return HostRunner(manifest=manifest, board=load_board("host"), timeout_s=timeout_s, sanitize=sanitize)
    if sanitize:
        raise UsageError("--sanitize needs --on host")
    return make_bench_runner(manifest, on, timeout_s=timeout_s, baud=baud)


def make_bench_runner(
    manifest: Manifest, on: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, baud: int = DEFAULT_BAUD
) -> BenchRunner:
    """The runner that ``--on`` names, for measuring: "qemu", or "serial:" and a port.

    Raises:
        UsageError: that machine cannot measure.
    """
    if on.startswith(PREFIX):
        return SerialRunner(manifest=manifest, url=on.removeprefix(PREFIX), timeout_s=timeout_s, baud=baud)
    if on != "qemu":
        raise UsageError(f"--on {on} cannot measure; use --on qemu or --on serial:PORT")
    return QemuRunner(manifest=manifest, board=qemu_board(manifest), timeout_s=timeout_s)
