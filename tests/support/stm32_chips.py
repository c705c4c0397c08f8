# SPDX-License-Identifier: Apache-2.0
"""Models of STM32F405 (RM0090), F746 and F767 (RM0385, RM0410) and H743 (RM0433)."""

from __future__ import annotations

from tests.support.stm32_model import MHZ, Block, Clocks, ModelError, Stm32, ahb_divider, apb_divider


class Classic(Stm32):
    """F4 and F7."""

    RCC, GPIO = 0x40023800, 0x40020000
    PWR, FLASH = 0x40007000, 0x40023C00
    GPIO_ENABLE, APB1_ENABLE, APB2_ENABLE = RCC + 0x30, RCC + 0x40, RCC + 0x44
    PWR_RESET = 0xC000
    VOLTAGE = "voltage"  # the name of its ready bit; "power" is what can be stuck

    def system_blocks(self) -> list[Block]:
        """Values after reset: RM0385 5.3.1-5.3.14, 4.4.1-2, 3.7.1."""
        rcc = {0x00: 0x83, 0x04: 0x24003010, 0x08: 0, 0x30: 0x00100000, 0x40: 0, 0x44: 0}
        return [
            Block("RCC", self.RCC, rcc),
            Block("PWR", self.PWR, {0x00: self.PWR_RESET, 0x04: 0}, (self.APB1_ENABLE, 28)),
            Block("FLASH", self.FLASH, {0x00: 0}),
        ]

    def after_boot_loader(self) -> None:
        """Leave the PLL running from the internal oscillator at 96 MHz, as a boot loader may."""
        self.values[self.RCC] = 0x03000083
        self.values[self.RCC + 4] = 16 | 192 << 6 | 4 << 24
        self.values[self.RCC + 8] = 2 | 2 << 2 | 5 << 10 | 4 << 13
        self.values[self.FLASH] = 3
        self.pending["pll"] = self.pending["switch"] = 99

    def pll_hz(self) -> tuple[int, int, int]:
        """Input, oscillator and output."""
        config = self.values[self.RCC + 4]
        source = self.source_hz if config >> 22 & 1 else 16 * MHZ
        pll_input = source / (config & 63)
        vco = pll_input * (config >> 6 & 511)
        return round(pll_input), round(vco), round(vco / (2 * (config >> 16 & 3) + 2))

    def clocks(self) -> Clocks:
        """RCC_CFGR: RM0385 5.3.3."""
        config = self.values[self.RCC + 8]
        system = {0: 16 * MHZ, 1: self.source_hz, 2: self.pll_hz()[2]}[config >> 2 & 3]
        ahb = system // ahb_divider(config >> 4 & 15)
        return Clocks(system, ahb, ahb // apb_divider(config >> 10 & 7), ahb // apb_divider(config >> 13 & 7))

    def limits(self) -> tuple[int, int, int]:
        """Greatest clock of the core at the voltage of now, of APB1 and of APB2."""
        power, over_drive = self.values[self.PWR], self.values[self.PWR + 4] >> 17 & 1
        core = {1: (144, 144), 2: (168, 180), 3: (180, 216)}[power >> 14 & 3][over_drive]
        return core * MHZ, 54 * MHZ, 108 * MHZ

    def check_clocks(self) -> None:
        """Every clock within its limit, the flash slow enough: a wait state for each 30 MHz (RM0385 table 7)."""
        now, (core, apb1, apb2) = self.clocks(), self.limits()
        for name, hz, limit in (("core", now.ahb, core), ("APB1", now.apb1, apb1), ("APB2", now.apb2, apb2)):
            if hz > limit:
                raise ModelError(f"{name} clock of {hz} Hz, at most {limit} are allowed")
        waits = self.values[self.FLASH] & 15
        if now.ahb > 30 * MHZ * (waits + 1):
            raise ModelError(f"{waits} wait states are too few for {now.ahb} Hz")

    def status(self, address: int, value: int) -> int:
        """Ready bits follow enable bits after a while."""
        if address == self.RCC:
            starts = value >> 16 & 1 and bool(value >> 18 & 1) == self.external
            hse = self.ready("oscillator", bool(starts))
            source_ready = hse if self.values[self.RCC + 4] >> 22 & 1 else True
            pll = self.ready("pll", bool(value >> 24 & 1) and (source_ready or self.settled("pll")))
            return value & ~0x02020002 | hse << 17 | pll << 25 | (value & 1) << 1
        if address == self.RCC + 8 and value & 3 != value >> 2 & 3:
            return value & ~12 | (value & 3) << 2 if "switch" not in self.stuck or value & 3 == 0 else value
        if address == self.PWR + 4:
            control, on = self.values[self.PWR], bool(self.values[self.RCC] >> 24 & 1)
            over_drive = self.VOLTAGE != "power" and self.ready("power", bool(control >> 16 & 1))
            switched = self.ready("over-drive switch", over_drive and bool(control >> 17 & 1))
            return self.ready(self.VOLTAGE, on) << 14 | over_drive << 16 | switched << 17
        return value

    def after_write(self, address: int, old: int, new: int) -> int:
        """What a running PLL forbids: RM0385 5.3.2, 4.4.1."""
        running = self.values[self.RCC] >> 24 & 1
        if address == self.RCC + 4 and running and old != new:
            raise ModelError("RCC_PLLCFGR is written while the PLL runs")
        if address == self.PWR and running and (old ^ new) & 0xC000:
            raise ModelError("the voltage scale is changed while the PLL runs")
        if address == self.RCC:
            if self.values[self.RCC + 8] >> 2 & 3 == 2 and not new >> 24 & 1:
                raise ModelError("the PLL is stopped while the core runs on it")
            if new >> 24 & 1 and not old >> 24 & 1:
                self.check_pll()
            new = new & ~0x02020002 | old & 0x02020002
        if address == self.RCC + 8:
            if new & 3 == 2 and not self.settled("pll"):
                raise ModelError("the core is switched to a PLL that has not locked")
            new = new & ~12 | old & 12
        if address == self.PWR and new >> 17 & 1 and not self.settled("power"):
            raise ModelError("the over-drive is switched to before it is ready")
        return new

    def check_pll(self) -> None:
        """RM0385 5.3.2: M 2 to 63, input 1 to 2 MHz, N 50 to 432, oscillator 100 to 432 MHz, Q 2 to 15, for 48 MHz."""
        config = self.values[self.RCC + 4]
        pll_input, vco, _ = self.pll_hz()
        usb = config >> 24 & 15
        good = (config & 63) >= 2 and 1 * MHZ <= pll_input <= 2 * MHZ and 50 <= (config >> 6 & 511) <= 432
        if not good or not 100 * MHZ <= vco <= 432 * MHZ or usb < 2 or vco / usb > 48 * MHZ:
            raise ModelError(f"the PLL is set to {config:#010x}")


class F405(Classic):
    """One bit of voltage scale, no over-drive, the older serial port: RM0090 5.4.1, 30.6."""

    PWR_RESET, VOLTAGE = 0x4000, "power"
    UART_REGISTERS = dict.fromkeys((0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18), 0)
    STATUS, RECEIVE, TRANSMIT, BRR, CR1, ENABLE = 0x00, 0x04, 0x04, 0x08, 0x0C, 1 << 13

    def limits(self) -> tuple[int, int, int]:
        """RM0090 5.1.3, 6.2."""
        return (168 if self.values[self.PWR] >> 14 & 1 else 144) * MHZ, 42 * MHZ, 84 * MHZ


class H743(Stm32):
    """RM0433."""

    RCC, GPIO = 0x58024400, 0x58020000
    PWR, FLASH, SYSCFG, DBGMCU = 0x58024800, 0x52002000, 0x58000400, 0x5C001000
    GPIO_ENABLE, APB1_ENABLE, APB2_ENABLE = RCC + 0xE0, RCC + 0xE8, RCC + 0xF0
    revision = 0x2003

    def system_blocks(self) -> list[Block]:
        """Values after reset: RM0433 8.7, 6.8, 4.9.1, 12.3, 60.5.8."""
        rcc = {0x00: 0x25, 0x10: 0, 0x18: 0, 0x1C: 0, 0x20: 0, 0x28: 0x02020200, 0x2C: 0x01FF0000}
        rcc |= {0x30: 0x01010280, 0x34: 0, 0x54: 0, 0xDC: 0, 0xE0: 0, 0xE8: 0, 0xF0: 0, 0xF4: 0x00010000}
        return [
            Block("RCC", self.RCC, rcc),
            Block("PWR", self.PWR, {0x00: 0xF000C000, 0x04: 0x4000, 0x0C: 0x6, 0x18: 0x4000}),
            Block("FLASH", self.FLASH, {0x00: 0x37}),
            Block("SYSCFG", self.SYSCFG, {0x2C: 0}, (self.RCC + 0xF4, 1)),
            Block("DBGMCU", self.DBGMCU, {0x00: self.revision << 16 | 0x450}),
        ]

    def after_boot_loader(self) -> None:
        """Leave the PLL running from the internal oscillator at 200 MHz, as a boot loader may."""
        self.values[self.RCC] = 0x03000025
        self.values[self.RCC + 0x28] = 16 << 4
        self.values[self.RCC + 0x2C] = 2 << 2 | 1 << 16
        self.values[self.RCC + 0x30] = 1 << 9 | 99
        self.values[self.RCC + 0x10] = 3 | 3 << 3
        self.values[self.RCC + 0x18] = 8 | 4 << 4
        self.values[self.RCC + 0x1C] = 4 << 8 | 4 << 4
        self.values[self.RCC + 0x20] = 4 << 4
        self.values[self.PWR + 0x18] = 0xE000
        self.values[self.PWR + 0x0C] = 2
        self.pending["pll"] = self.pending["voltage"] = 99

    def pll_hz(self) -> tuple[float, float, float]:
        """Input, oscillator and output P of PLL1."""
        select, divide = self.values[self.RCC + 0x28], self.values[self.RCC + 0x30]
        source = {0: 64 * MHZ, 1: 4 * MHZ, 2: self.source_hz, 3: 0}[select & 3]
        pll_input = source / max(select >> 4 & 63, 1)
        vco = pll_input * ((divide & 511) + 1)
        return pll_input, vco, vco / ((divide >> 9 & 127) + 1)

    def clocks(self) -> Clocks:
        """RCC_CFGR, D1CFGR and D2CFGR: 8.7.5-8."""
        domain1, domain2 = self.values[self.RCC + 0x18], self.values[self.RCC + 0x1C]
        system = {0: 64 * MHZ, 1: 4 * MHZ, 2: self.source_hz, 3: round(self.pll_hz()[2])}[
            self.values[self.RCC + 0x10] >> 3 & 7
        ] // ahb_divider(domain1 >> 8 & 15)
        ahb = system // ahb_divider(domain1 & 15)
        return Clocks(system, ahb, ahb // apb_divider(domain2 >> 4 & 7), ahb // apb_divider(domain2 >> 8 & 7))

    def scale(self) -> int:
        """Voltage scale that has been reached: 6.6.2."""
        wanted = {3: 1, 2: 2, 1: 3}[self.values[self.PWR + 0x18] >> 14 & 3]
        reached = self.settled("voltage") or wanted == 3
        return (0 if self.values[self.SYSCFG + 0x2C] & 1 and wanted == 1 else wanted) if reached else 3

    def check_clocks(self) -> None:
        """Data sheet table "General operating conditions"; RM0433 table 17 for the flash."""
        now, scale = self.clocks(), self.scale()
        core, ahb = ((480, 240), (400, 200), (300, 150), (200, 100))[scale]
        apb3 = now.ahb // apb_divider(self.values[self.RCC + 0x18] >> 4 & 7)
        apb4 = now.ahb // apb_divider(self.values[self.RCC + 0x20] >> 4 & 7)
        enables = {"APB1": 0xE8, "APB2": 0xF0, "APB4": 0xF4}
        buses = [("APB3", apb3)] if scale < 3 else []
        # The data sheet's limit holds when at least one peripheral of the bus is enabled.
        rates = (("APB1", now.apb1), ("APB2", now.apb2), ("APB4", apb4))
        buses += [(name, hz) for name, hz in rates if self.values[self.RCC + enables[name]] & ~0x10000]
        for name, hz, limit in (
            ("core", now.system, core),
            ("AHB", now.ahb, ahb),
            *((n, f, ahb / 2) for n, f in buses),
        ):
            if hz > limit * MHZ:
                raise ModelError(f"{name} clock of {hz} Hz, at most {limit} MHz are allowed at voltage scale {scale}")
        control = self.values[self.FLASH]
        waits, delay = control & 15, control >> 4 & 3
        steps = ((70, 140, 210, 225, 240), (70, 140, 210, 225), (55, 110, 165, 225), (45, 90, 135, 180, 225))[scale]
        if now.ahb > steps[min(waits, len(steps) - 1)] * MHZ or (delay < 2 and now.ahb > (70, 185)[delay] * MHZ):
            raise ModelError(f"{waits} wait states and delay {delay} are too few for {now.ahb} Hz at scale {scale}")

    def status(self, address: int, value: int) -> int:
        """Ready bits follow enable bits after a while."""
        if address == self.RCC:
            starts = value >> 16 & 1 and bool(value >> 18 & 1) == self.external
            hse = self.ready("oscillator", bool(starts))
            source_ready = hse if self.values[self.RCC + 0x28] & 3 == 2 else True
            pll = self.ready("pll", bool(value >> 24 & 1) and (source_ready or self.settled("pll")))
            return value & ~0x02020004 | hse << 17 | pll << 25 | (value & 1) << 2
        if address == self.RCC + 0x10:
            return value & ~0x38 | (value & 7) << 3 if "switch" not in self.stuck or value & 7 == 0 else value
        if address == self.PWR + 4:
            return value | self.ready("supply", self.values[self.PWR + 0x0C] & 7 == 2) << 13
        if address == self.PWR + 0x18:
            over_drive_missed = "power" in self.stuck and self.values[self.SYSCFG + 0x2C] & 1
            return value & ~0x2000 | (self.ready("voltage", True) and not over_drive_missed) << 13
        return value

    def after_write(self, address: int, old: int, new: int) -> int:
        """What must not be written when."""
        running = self.values[self.RCC] >> 24 & 1
        if address in (self.RCC + 0x28, self.RCC + 0x2C, self.RCC + 0x30) and running and old != new:
            raise ModelError("PLL1 is changed while it runs")
        if address == self.RCC:
            if self.values[self.RCC + 0x10] >> 3 & 7 == 3 and not new >> 24 & 1:
                raise ModelError("PLL1 is stopped while the core runs on it")
            if new >> 24 & 1 and not old >> 24 & 1:
                self.check_pll()
            new = new & ~0x02020004 | old & 0x02020004
        if address == self.RCC + 0x10:
            if new & 7 == 3 and not self.settled("pll"):
                raise ModelError("the core is switched to a PLL that has not locked")
            new = new & ~0x38 | old & 0x38
        if address == self.PWR + 0x18:
            self.pending.pop("voltage", None)
            if not self.settled("supply"):
                raise ModelError("the voltage scale is changed before the supply is configured")
        if address == self.SYSCFG + 0x2C and new & 1 and self.scale() != 1:
            raise ModelError("the over-drive is entered from another voltage scale than 1")
        if address == self.PWR + 0x0C and old & 7 == 2 and new != old:
            raise ModelError("the supply is configured twice")
        return new

    def check_pll(self) -> None:
        """8.7.11-13: input 1 to 16 MHz in the range that is set, wide oscillator 192 to 960 MHz, P even or 1."""
        config, divide = self.values[self.RCC + 0x2C], self.values[self.RCC + 0x30]
        pll_input, vco, _ = self.pll_hz()
        least, most = ((1, 2), (2, 4), (4, 8), (8, 16))[config >> 2 & 3]
        p = (divide >> 9 & 127) + 1
        good = least * MHZ <= pll_input <= most * MHZ and not config >> 1 & 1 and config >> 16 & 1
        if not good or not 192 * MHZ <= vco <= 960 * MHZ or (p != 1 and p % 2):
            raise ModelError(f"PLL1 is set to {config:#010x}, {divide:#010x}")
