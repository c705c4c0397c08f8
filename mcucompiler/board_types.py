# SPDX-License-Identifier: Apache-2.0
"""What is known of a board, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.board_parts import Flash, Serial
from mcucompiler.clock_tree import ClockTree
from mcucompiler.external_memory import Qspi, Sdram
from mcucompiler.lower.types import Cpu

CONTENTS = ("vectors", "text", "rodata", "weights", "data", "stack", "arena")
"""What some region must hold: vector table, code, constants, weights, static data, stack and the network's arena."""

OPTIONAL_CONTENTS = ("kernels",)
"""What may have a region of its own: the network's kernels, which start-up copies there; else they are code as any."""

REGION_KINDS = ("ram", "flash", "itcm", "dtcm", "sram", "external")
RUNTIME_DATA_BYTES = 4096
"""What start-up and harness may need of the region that holds static data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A range of addresses.

    Attributes:
        name: as in the linker script.
        kind: one of REGION_KINDS.
        origin: first address.
        length: bytes.
        holds: what may be put there, of CONTENTS.
    """

    name: str
    kind: str
    origin: int
    length: int
    holds: tuple[str, ...]

    @property
    def end(self) -> int:
        """One past the last address."""
        return self.origin + self.length


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """Sizes in bytes, 0 without one; and core cycles to fill a line from flash, 0 where nobody has measured them."""

    instruction_bytes: int = 0
    data_bytes: int = 0
    line_bytes: int = 32
    miss_cycles: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Qemu:
    """How the board is emulated.

    Attributes:
        machine: as in ``qemu-system-arm -M``.
        icount_shift: as in ``-icount shift=N``: an instruction takes 2**N ns of virtual time.
        timer_hz: clock of the timer that stands in for the core's cycle counter.
        console_serial: which of ``-serial`` is the console.
    """

    machine: str
    icount_shift: int
    timer_hz: int
    console_serial: int

    @property
    def instructions_per_tick(self) -> float:
        """Instructions that pass in one tick of the timer."""
        return 1e9 / (self.timer_hz * float(1 << self.icount_shift))


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A target.

    Attributes:
        name: what users call it.
        description: one line.
        cpu: the core; named "host" for the machine that the compiler runs on.
        clock_hz: rated core clock, 0 where it means nothing.
        caches: of the core.
        regions: memory, fastest first among those that may hold the same; () for the host.
        stack_bytes: main stack of the firmware.
        startup: stem of the start-up file in the runtime; "" for the host.
        soc: family, of SOCS; "" for the host.
        console: how the firmware that ``build`` makes talks: "semihosting" (through emulator or debugger), "serial",
            or "stdio" (the host).
        clock: from the oscillator to the buses, where there is a choice.
        serial: the serial port of the console, where there is one.
        flash: how firmware gets onto it, where it is a thing.
        qemu: how it is emulated, where it can be.
        sdram: RAM outside of the microcontroller, which is used where the user asks for it: see ``with_external``.
        qspi: flash outside of it, likewise.
    """

    name: str
    description: str
    cpu: Cpu
    clock_hz: int
    caches: Caches
    regions: tuple[Region, ...]
    stack_bytes: int
    startup: str
    soc: str
    console: str
    clock: ClockTree | None
    serial: Serial | None
    flash: Flash | None
    qemu: Qemu | None
    sdram: Sdram | None = None
    qspi: Qspi | None = None

    @property
    def is_host(self) -> bool:
        """Whether programs for it run on this machine."""
        return self.cpu.name == "host"

    @property
    def ram_bytes(self) -> int | None:
        """RAM for a network's arena and stack, in one piece; None where it is not bounded.

        The firmware's own stack and data are taken off the regions that hold them.
        """
        usable = [region.length - self._reserved(region) for region in self.regions if "arena" in region.holds]
        return max(usable) if usable else None

    @property
    def flash_bytes(self) -> int | None:
        """Memory for code and weights together; None where it is not bounded."""
        sizes = [region.length for region in self.regions if {"text", "weights"} & set(region.holds)]
        return sum(sizes) if sizes else None

    def holding(self, content: str) -> tuple[Region, ...]:
        """The regions that may hold something, in the board's order."""
        return tuple(region for region in self.regions if content in region.holds)

    def external_hint(self, content: str) -> str:
        """Words that propose the external memory for "arena" or "weights"; "" where there is none, or it is in use."""
        part = self.sdram if content == "arena" else self.qspi
        name = "sdram" if content == "arena" else "qspi"
        is_used = any(region.name == name for region in self.regions)
        return "" if part is None or is_used else f", or allow the board's external memory with --{content} external"

    def _reserved(self, region: Region) -> int:
        first_stack, first_data = self.holding("stack")[0], self.holding("data")[0]
        return (self.stack_bytes if region is first_stack else 0) + (RUNTIME_DATA_BYTES if region is first_data else 0)
