# SPDX-License-Identifier: Apache-2.0
"""What running a network gives, and the protocol of everything that can run one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mcucompiler.ir.graph import Array
from mcucompiler.manifest import StepTensor

Sample = tuple[bytes, ...]
"""The bytes of each input, as the C program takes them."""

ProgressCallback = Callable[[int, int], None]
"""Called with the number of samples done and of all samples."""


Expected = Callable[[int], Mapping[str, Array]]
"""Called with a sample's number: what its steps should write, by tensor, in ONNX order and of the stored type."""


def no_progress(done: int, count: int) -> None:
    """The progress callback that reports to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepDump:
    """An output of a step as it was right after the step.

    Attributes:
        step: index of the step.
        tensor: which tensor it is.
        value: its elements in ONNX order, of the tensor's shape and dtype.
    """

    step: int
    tensor: StepTensor
    value: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleResult:
    """One run of the network.

    Attributes:
        outputs: bytes of each output.
        ticks: duration in the timer's ticks.
        stack_bytes: stack that was used, None where the machine cannot tell.
        step_ticks: duration of each step, where steps were measured.
        tensors: what the steps wrote, where it was dumped.
    """

    outputs: tuple[bytes, ...]
    ticks: int
    stack_bytes: int | None
    step_ticks: tuple[int, ...] = ()
    tensors: tuple[StepDump, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCount:
    """Instructions or cycles of a step, exact to the timer's tick."""

    index: int
    instructions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """The machine at the other end of a link.

    Attributes:
        board: its name.
        clock_hz: of the core, as it runs.
        cycles_hz: of the counter that durations are measured with.
        emulated: whether it is an emulator, whose durations say nothing about the board.
        stack_bytes: the firmware's stack.
        problems: what did not come up as the board's description says.
    """

    board: str
    clock_hz: int
    cycles_hz: int
    emulated: bool
    stack_bytes: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """How long a run takes.

    Attributes:
        instructions: of a whole run without step hooks, exact to the timer's tick; cycles where those are counted.
        resolution: instructions in a tick.
        steps: by step.
        stack_bytes: stack that was used.
        unit: "instructions" or "cycles".
        repeats: cycles of each of the runs that ``instructions`` is the mean of; () for a single run.
        device: the machine, where cycles are counted.
    """

    instructions: int
    resolution: int
    steps: tuple[StepCount, ...]
    stack_bytes: int | None
    unit: str = "instructions"
    repeats: tuple[int, ...] = ()
    device: DeviceFacts | None = None


class Runner(Protocol):
    """A machine that runs one network."""

    @property
    def name(self) -> str:
        """As given to ``--on``."""
        ...

    def run(self, samples: Sequence[Sample], progress: ProgressCallback = no_progress) -> tuple[SampleResult, ...]:
        """Run the network on each sample.

        Raises:
            ToolError: the program cannot be built or does not run to its end.
            VerificationError: the program broke what the interface promises.
        """
        ...

    def layers(
        self, samples: Sequence[Sample], progress: ProgressCallback = no_progress, expected: Expected | None = None
    ) -> tuple[SampleResult, ...]:
        """As ``run``, with the outputs of every step; raises likewise.

        A runner behind a slow line may end a sample's dumps after the first step that differs from ``expected``.
        """
        ...


class BenchRunner(Runner, Protocol):
    """A runner that can count instructions or cycles."""

    def bench(self, sample: Sample) -> BenchResult:
        """Measure a run on a sample; raises as ``run`` does."""
        ...


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """A runner on a device that tells what it is, and whose ticks are cycles."""

    @property
    def device(self) -> DeviceFacts:
        """What it is; raises as ``run`` does."""
        ...
