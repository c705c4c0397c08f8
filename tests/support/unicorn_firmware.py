# SPDX-License-Identifier: Apache-2.0
"""Runs linked firmware on an instruction set simulator beside a model of the microcontroller's peripherals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const

from mcucompiler.board_types import Board
from tests.support.stm32_model import ModelError, Stm32

PERIPHERALS = (
    (0x40000000, 0x80000),
    (0x52000000, 0x10000),
    (0x58000000, 0x30000),
    (0x5C000000, 0x10000),
    (0xA0000000, 0x2000),
)
CORE = (0xE0000000, 0x10000)
_CPUS = {"cortex-m7": arm_const.UC_CPU_ARM_CORTEX_M7, "cortex-m4": arm_const.UC_CPU_ARM_CORTEX_M4}


class FirmwareError(Exception):
    """The firmware did what the chip would not have stood."""


class Firmware:
    """Firmware on a board.

    Args:
        path: the ELF file.
        board: whose memory there is.
        chip: its peripherals.
    """

    def __init__(self, path: Path, board: Board, chip: Stm32) -> None:
        self.chip, self.failed, self.done = chip, "", False
        self.enough: Callable[[bytes], bool] = lambda sent: False
        self.machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.machine.ctl_set_cpu_model(_CPUS[board.cpu.name])
        for region in board.regions:
            rights = unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC
            rights |= 0 if region.kind == "flash" else unicorn.UC_PROT_WRITE
            self.machine.mem_map(region.origin, region.length, rights)
        for base, size in PERIPHERALS:
            self.machine.mmio_map(base, size, self._peripheral_read(base), None, self._peripheral_write(base), None)
        self.machine.mmio_map(*CORE, self._core_read, None, self._core_write, None)
        with path.open("rb") as file:
            elf = ELFFile(file)
            for segment in elf.iter_segments("PT_LOAD"):
                if segment["p_filesz"]:
                    self.machine.mem_write(segment["p_paddr"], segment.data())
            symbols = elf.get_section_by_name(".symtab").iter_symbols()
            self.symbols = {symbol.name: symbol["st_value"] for symbol in symbols}

    def run(self, instructions: int = 20_000_000, enough: Callable[[bytes], bool] | None = None) -> None:
        """From reset to the end that the firmware chooses, or until ``enough`` of what it sent.

        Raises:
            FirmwareError: an access that the chip would not have answered, a bad instruction, or no end.
        """
        vectors = int.from_bytes(self.machine.mem_read(self.symbols["mc_vectors"], 8), "little")
        self.machine.reg_write(arm_const.UC_ARM_REG_SP, vectors & 0xFFFFFFFF)
        end = self.symbols["mc_board_exit"] & ~1
        self.enough = enough or self.enough
        try:
            self.machine.emu_start(vectors >> 32, end, count=instructions)
        except unicorn.UcError as error:
            self.failed = self.failed or str(error)
        place = self.machine.reg_read(arm_const.UC_ARM_REG_PC)
        if self.failed or (place != end and not self.chip.reset_requested and not self.done):
            raise FirmwareError(f"at {place:#010x} in {self._function(place)}: {self.failed or 'no end'}")

    def _function(self, address: int) -> str:
        below = [
            (value & ~1, name) for name, value in self.symbols.items() if value & ~1 <= address and "$" not in name
        ]
        return max(below)[1] if below else "?"

    def _guard(self, access: Callable[[], int | None]) -> int:
        try:
            return access() or 0
        except ModelError as error:
            self.failed = self.failed or str(error)
            self.machine.emu_stop()
            return 0

    def _peripheral_read(self, base: int):
        return lambda _, offset, size, __: self._guard(lambda: self.chip.read(base + offset, size))

    def _peripheral_write(self, base: int):
        def write(_machine, offset, size, value, _data) -> None:
            before = len(self.chip.sent)
            self._guard(lambda: self.chip.write(base + offset, size, value))
            if len(self.chip.sent) > before and self.enough(self.chip.sent):
                self.done = True
                self.machine.emu_stop()

        return write

    def _core_read(self, _machine, offset, _size, _data) -> int:
        return self._guard(lambda: self.chip.core_read(CORE[0] + offset))

    def _core_write(self, _machine, offset, _size, value, _data) -> None:
        self._guard(lambda: self.chip.core_write(CORE[0] + offset, value))
        if self.chip.reset_requested:
            self.machine.emu_stop()
