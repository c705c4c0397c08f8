# SPDX-License-Identifier: Apache-2.0
"""Controllers of external memories, register by register: FMC with SDRAM on bank 1 and QUADSPI with a flash.

RM0385 13.7 and 14.5, RM0433 22.9; the parts' data sheets. Added to the models of stm32_chips.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.stm32_chips import H743, Classic
from tests.support.stm32_model import MHZ, Block, ModelError, Stm32

WAITS = 3  # reads of a busy bit before it changes
NONE, CLOCK, PRECHARGE, REFRESH, MODE = 0, 1, 2, 3, 4  # commands of FMC_SDCMR


@dataclass(frozen=True)
class Part:
    """An SDRAM, as its data sheet says; times in ns but where they are clocks."""

    rows: int
    columns: int
    bus_bits: int
    xsr: int
    ras: int
    rc: int
    rp: int
    rcd: int
    wr_clocks: int = 2
    mrd_clocks: int = 2
    refresh_ms: int = 64
    most_mhz: int = 100  # with a CAS latency of 2


class WithSdram(Stm32):
    """The FMC's SDRAM controller."""

    FMC, AHB3_ENABLE, FMC_BIT = 0, 0, 0
    part: Part

    def start_memories(self) -> None:
        """Nothing has been asked of the controllers."""
        self.commands: list[tuple[int, int, int]] = []  # command, how many refreshes, mode register
        self.busy_reads = self.reads_since_clock = 0

    def fmc_block(self) -> Block:
        """Values after reset: RM0385 13.6.6 and 13.7.5."""
        registers = {0x00: 0x30DB, 0x140: 0x2D0, 0x144: 0x2D0, 0x148: 0x0FFFFFFF, 0x14C: 0x0FFFFFFF}
        registers |= {0x150: 0, 0x154: 0, 0x158: 0}
        return Block("FMC", self.FMC, registers, (self.AHB3_ENABLE, self.FMC_BIT))

    def fmc_status(self, address: int, value: int) -> int:
        """SDSR: busy for a while after each command."""
        if address != self.FMC + 0x158:
            return value
        self.reads_since_clock += 1
        self.busy_reads -= self.busy_reads > 0
        return (1 << 5) if "sdram" in self.stuck or self.busy_reads else 0

    def fmc_write(self, address: int, new: int) -> None:
        """Commands, in the order of RM0385 13.7.3."""
        if address != self.FMC + 0x150:
            return
        command = new & 7
        if not new & 16 or new & 8:
            raise ModelError("a command that is not for bank 1")
        if self.busy_reads:
            raise ModelError("a command while the controller is busy")
        before = self.commands[-1][0] if self.commands else NONE
        if command != before + 1:
            raise ModelError(f"command {command} after {before}")
        # A read of a register takes at least 6 cycles of the core.
        if command == PRECHARGE and self.reads_since_clock * 6 / self.clocks().system < 100e-6:
            raise ModelError("the memory was not given 100 us after its clock started")
        self.commands.append((command, (new >> 5 & 15) + 1, new >> 9))
        self.busy_reads, self.reads_since_clock = WAITS, 0

    def check_sdram(self) -> None:
        """All that was set suits the part at the clock of now."""
        part, ahb = self.part, self.clocks().ahb
        control, timing = self.values[self.FMC + 0x140], self.values[self.FMC + 0x148]
        hz = ahb / {2: 2, 3: 3}[control >> 10 & 3]
        assert hz <= part.most_mhz * MHZ
        geometry = ((control & 3) + 8, (control >> 2 & 3) + 11, 8 << (control >> 4 & 3), control >> 6 & 1)
        assert geometry == (part.columns, part.rows, part.bus_bits, 1)
        assert (control >> 7 & 3, control >> 9 & 1) == (2, 0), "CAS latency; not write-protected"
        mrd, xsr, ras, rc, wr, rp, rcd = (((timing >> 4 * place) & 15) + 1 for place in range(7))
        assert (mrd, wr) >= (part.mrd_clocks, part.wr_clocks)
        assert wr >= max(ras - rcd, rc - rcd - rp), "RM0385 13.7.5, TWR"
        for clocks, least in ((xsr, part.xsr), (ras, part.ras), (rc, part.rc), (rp, part.rp), (rcd, part.rcd)):
            assert clocks * 1e9 / hz >= least
        assert [command for command, _, _ in self.commands] == [CLOCK, PRECHARGE, REFRESH, MODE]
        assert self.commands[2][1] >= 2, "the data sheets ask for two refreshes at least"
        assert self.commands[3][2] == 2 << 4 | 1 << 9, "CAS latency 2, bursts of one"
        count = self.values[self.FMC + 0x154] >> 1 & 0x1FFF
        assert 41 <= count <= part.refresh_ms * 1e-3 / (1 << part.rows) * hz - 20, "RM0385 13.7.5, FMC_SDRTR"


class Discovery(WithSdram, Classic):
    """STM32F746G-DISCO: half of a MT48LC4M32B2 (or IS42S32400F), and a N25Q128A."""

    FMC, QUADSPI = 0xA0000000, 0xA0001000
    AHB3_ENABLE, AHB3_RESET, FMC_BIT = Classic.RCC + 0x38, Classic.RCC + 0x18, 0
    part = Part(rows=12, columns=8, bus_bits=16, xsr=70, ras=45, rc=67, rp=20, rcd=20)
    IDENTITY = 0x18BA20

    def system_blocks(self) -> list[Block]:
        """RCC_AHB3RSTR and AHB3ENR: RM0385 5.3.7 and 5.3.12; QUADSPI: 14.5."""
        self.start_memories()
        self.instructions: list[int] = []
        self.qspi_reads, self.mapped = 0, 0
        blocks = super().system_blocks()
        blocks[0].registers.update({0x18: 0, 0x38: 0})
        registers = dict.fromkeys(range(0, 0x34, 4), 0)
        return [*blocks, self.fmc_block(), Block("QUADSPI", self.QUADSPI, registers, (self.AHB3_ENABLE, 1))]

    def status(self, address: int, value: int) -> int:
        """TCF follows a command after a while; ABORT clears itself; DR gives what the flash answers."""
        if address == self.QUADSPI + 0x08:
            self.qspi_reads += 1
            return 2 if self.instructions and self.qspi_reads > WAITS and "qspi" not in self.stuck else 0
        if address == self.QUADSPI:
            return value & ~2
        if address == self.QUADSPI + 0x20:
            return self.IDENTITY | 0x10 << 24 if self.instructions[-1] & 0xFF == 0x9F else 0xFFFFFFFF
        return super().status(address, self.fmc_status(address, value))

    def after_write(self, address: int, old: int, new: int) -> int:
        """A command needs an enabled controller, and a clock that the flash stands."""
        self.fmc_write(address, new)
        if address == self.QUADSPI + 0x14:
            control = self.values[self.QUADSPI]
            if not control & 1 or self.values[self.AHB3_RESET] & 2:
                raise ModelError("QUADSPI is given a command before it is enabled")
            if self.clocks().ahb / ((control >> 24) + 1) > 108 * MHZ:
                raise ModelError("the flash's clock is above 108 MHz")
            if self.mapped:
                raise ModelError("QUADSPI is given a command in memory-mapped mode")
            self.instructions.append(new)
            self.qspi_reads = 0
            self.mapped = new if new >> 26 & 3 == 3 else 0
        return super().after_write(address, old, new)

    def check_qspi(self) -> None:
        """Reset, identified, then read with 0x6B: one line of command and address, four of data, 8 dummy cycles."""
        assert [word & 0xFF for word in self.instructions] == [0x66, 0x99, 0x9F, 0x6B]
        assert all(word >> 8 & 3 == 1 for word in self.instructions), "instructions on one line"
        mapped = self.mapped
        assert (mapped >> 10 & 3, mapped >> 12 & 3, mapped >> 18 & 31, mapped >> 24 & 3) == (1, 2, 8, 3)
        assert self.values[self.QUADSPI + 4] >> 16 & 31 == 23, "FSIZE: 2**24 bytes"
        assert not self.values[self.QUADSPI] >> 3 & 1, "no time-out counter in memory-mapped mode (errata ES0290)"


class OpenMvPlus(WithSdram, H743):
    """OpenMV Cam H7 Plus: 256 Mbit, 32 bits wide."""

    FMC, AHB3_ENABLE, FMC_BIT = 0x52004000, H743.RCC + 0xD4, 12
    part = Part(rows=12, columns=9, bus_bits=32, xsr=70, ras=45, rc=67, rp=20, rcd=20)

    def system_blocks(self) -> list[Block]:
        """RCC_AHB3ENR: RM0433 8.7.41."""
        self.start_memories()
        blocks = super().system_blocks()
        blocks[0].registers[0xD4] = 0
        return [*blocks, self.fmc_block()]

    def status(self, address: int, value: int) -> int:
        """This FMC has no busy bit: RM0433 22.9.5."""
        value = self.fmc_status(address, value)
        return super().status(address, value & ~32 if address == self.FMC + 0x158 else value)

    def after_write(self, address: int, old: int, new: int) -> int:
        """The controller must be enabled before a command."""
        self.busy_reads = 0
        if address == self.FMC + 0x150 and not self.values[self.FMC] >> 31 & 1:
            raise ModelError("the FMC is given a command before it is enabled")
        self.fmc_write(address, new)
        return super().after_write(address, old, new)
