# SPDX-License-Identifier: Apache-2.0
"""The runner on real hardware: firmware at the other end of a serial port, or of anything pyserial reaches."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from mcucompiler.boards import list_boards, load_board
from mcucompiler.build.harness import Segment, model_digest, program_digest, segments
from mcucompiler.errors import UsageError, VerificationError
from mcucompiler.ir.graph import Array
from mcucompiler.link.client import Client
from mcucompiler.link.device import Device, DeviceRun, Shape, Span
from mcucompiler.link.errors import DeviceError
from mcucompiler.link.messages import Hello
from mcucompiler.link.port import DEFAULT_BAUD, open_port
from mcucompiler.manifest import Manifest, StepTensor
from mcucompiler.run.protocol import check_promises, check_run
from mcucompiler.run.types import (
    BenchResult,
    DeviceFacts,
    Expected,
    ProgressCallback,
    Sample,
    SampleResult,
    StepCount,
    StepDump,
    no_progress,
)
from mcucompiler.words import counted

PREFIX = "serial:"
_BENCH_RUNS = 10
_PROBLEMS = (
    # Bits of mc_board_status(): runtime_c/include/mc_board.h.
    "the crystal or the external clock did not start",
    "the PLL did not lock",
    "the regulator did not reach the voltage that the rated clock needs",
    "the system clock did not switch",
    "the flash did not take its wait states",
    "this revision of the chip is not rated for the board's clock",
    "it runs on the internal oscillator",
)


@dataclass(kw_only=True)
class SerialRunner:
    """Runs a network on a device.

    Attributes:
        manifest: of the network.
        url: a port (``/dev/ttyACM0``, ``COM3``) or a URL of pyserial (``socket://host:port``).
        baud: bits per second.
        timeout_s: how long a run may take.
    """

    manifest: Manifest
    url: str
    baud: int = DEFAULT_BAUD
    timeout_s: float = 120.0
    _facts: DeviceFacts | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """As given to ``--on``."""
        return PREFIX + self.url

    @property
    def device(self) -> DeviceFacts:
        """What the device is."""
        if self._facts is None:
            with self._connected():
                pass
        if self._facts is None:
            raise DeviceError(f"the device at {self.url!r} did not say what it is")
        return self._facts

    def run(self, samples: Sequence[Sample], progress: ProgressCallback = no_progress) -> tuple[SampleResult, ...]:
        """Run the network on each sample."""
        results = []
        with self._connected() as device:
            for index, sample in enumerate(samples):
                results.append(self._result(index, device.run(sample)))
                progress(index + 1, len(samples))
        return tuple(results)

    def layers(
        self, samples: Sequence[Sample], progress: ProgressCallback = no_progress, expected: Expected | None = None
    ) -> tuple[SampleResult, ...]:
        """As ``run``, with the outputs of the steps.

        Where it is known what they should be, the device tells the CRC of each, and only what differs is
        transferred: up to and with the first step that is wrong. Otherwise everything is.
        """
        if not all(step.outputs for step in self.manifest.steps):
            raise UsageError("the manifest does not say where the steps' outputs lie; compile the model again")
        results = []
        with self._connected() as device:
            for index, sample in enumerate(samples):
                if expected is None:
                    run = device.capture(sample)
                    dumps = [self._dump(piece, run.captures[i]) for i, piece in enumerate(segments(self.manifest))]
                else:
                    run, dumps = self._first_difference(device, sample, expected, index)
                results.append(self._result(index, run, tuple(dumps)))
                progress(index + 1, len(samples))
        return tuple(results)

    def bench(self, sample: Sample) -> BenchResult:
        """Cycles of a run, the mean of several, as a whole and by step."""
        runs = self.run([sample] * _BENCH_RUNS)
        steps = np.array([run.step_ticks for run in runs], np.float64).reshape(_BENCH_RUNS, -1).mean(axis=0)
        ticks = tuple(run.ticks for run in runs)
        return BenchResult(
            instructions=round(sum(ticks) / len(ticks)),
            resolution=1,
            steps=tuple(StepCount(index=index, instructions=round(float(mean))) for index, mean in enumerate(steps)),
            stack_bytes=max(run.stack_bytes or 0 for run in runs),
            unit="cycles",
            repeats=ticks,
            device=self.device,
        )

    @contextmanager
    def _connected(self) -> Iterator[Device]:
        port = open_port(self.url, self.baud)
        try:
            yield Device(Client(port, baud=self.baud), self._shape(), timeout_s=self.timeout_s, hello=self._check_hello)
        finally:
            port.close()

    def _shape(self) -> Shape:
        return Shape(
            input_bytes=tuple(tensor.bytes for tensor in self.manifest.sample_inputs),
            output_bytes=tuple(tensor.bytes for tensor in self.manifest.outputs),
            steps=len(self.manifest.steps),
            spans=tuple(
                Span(
                    size_bytes=piece.bytes, rows=piece.rows, row_bytes=piece.row_bytes, stride_bytes=piece.stride_bytes
                )
                for piece in segments(self.manifest)
            ),
        )

    def _check_hello(self, hello: Hello) -> None:
        folder, board = str(self.manifest.directory), hello.board
        again = f"\n  what to do: flash this network: mcucompiler flash {folder} --board {board}"
        if hello.model_digest != model_digest(self.manifest):
            raise DeviceError(
                f"board {board!r} at {self.url!r} holds network {hello.network!r} (model "
                f"{hello.model_digest.hex()[:16]}...), folder {folder!r} is network {self.manifest.name!r} (model "
                f"{self.manifest.model_sha256[:16]}...)" + again
            )
        if hello.program_digest != program_digest(self.manifest):
            raise DeviceError(
                f"board {board!r} at {self.url!r} holds another compilation of this model, by mcucompiler "
                f"{hello.compiler_version} with an arena of {hello.arena_bytes:,} bytes" + again
            )
        check_promises(hello.broken_promises)
        problems = [problem for bit, problem in enumerate(_PROBLEMS) if hello.board_status >> bit & 1]
        self._facts = DeviceFacts(
            board=board,
            clock_hz=hello.clock_hz,
            cycles_hz=hello.cycles_hz,
            emulated=board in list_boards() and load_board(board).qemu is not None,
            stack_bytes=hello.stack_bytes,
            problems=tuple(problems),
        )

    def _result(self, index: int, run: DeviceRun, dumps: tuple[StepDump, ...] = ()) -> SampleResult:
        record = run.record
        check_run(self.manifest, index, record.status, intact=record.fences_intact)
        if record.steps_called != len(self.manifest.steps):
            called, steps = counted(record.steps_called, "time"), counted(len(self.manifest.steps), "step")
            told = f"the step hook was called {called} for {steps}"
            raise VerificationError("run", [told])
        return SampleResult(
            outputs=run.outputs,
            ticks=record.cycles,
            stack_bytes=record.stack_bytes,
            step_ticks=run.step_cycles,
            tensors=dumps,
        )

    def _first_difference(
        self, device: Device, sample: Sample, expected: Expected, index: int
    ) -> tuple[DeviceRun, list[StepDump]]:
        run = device.run(sample, digests=True)
        wanted, dumps = expected(index), []
        wrong: int | None = None
        for number, piece in enumerate(segments(self.manifest)):
            if wrong is not None and piece.step != wrong:
                break
            tensor = self._tensor(piece)
            value = wanted[tensor.name].astype(tensor.dtype).reshape(tensor.shape)
            if run.digests[number] == zlib.crc32(_stored(tensor, value)):
                dumps.append(StepDump(step=piece.step, tensor=tensor, value=value))
                continue
            dump = self._dump(piece, device.capture(sample, number).captures[number])
            dumps.append(dump)
            # Floats of equal value may have other bits: NaN and zero.
            if not np.array_equal(dump.value, value, equal_nan=value.dtype.kind == "f"):
                wrong = piece.step
        return run, dumps

    def _tensor(self, piece: Segment) -> StepTensor:
        return self.manifest.steps[piece.step].outputs[piece.output]

    def _dump(self, piece: Segment, data: bytes) -> StepDump:
        tensor = self._tensor(piece)
        return StepDump(step=piece.step, tensor=tensor, value=tensor.decode(data))


def _stored(tensor: StepTensor, value: Array) -> bytes:
    """The bytes of a tensor in memory order, without gaps."""
    stored = tensor.layout.to_memory(value)
    return stored.astype(stored.dtype.newbyteorder("<")).tobytes()
