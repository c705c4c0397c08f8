# SPDX-License-Identifier: Apache-2.0
"""STM32 microcontrollers as their reference manuals describe them, register by register, for firmware under test.

What they have in common; stm32_chips.py has the families. Shares nothing with the compiler's own tables. An access that
a chip would not answer as the manual says raises ModelError: a register that is not known, a peripheral without its
clock, a width other than a word, a clock that exceeds the limit of its bus, a flash with too few wait states, a PLL
changed while it runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field

MHZ = 1_000_000
DELAY_READS = 7  # reads of a status bit before it changes


class ModelError(Exception):
    """What the chip would not have stood."""


@dataclass
class Block:
    """A peripheral: where it is, what enables its clock, its registers by offset."""

    name: str
    base: int
    registers: dict[int, int]
    clock: tuple[int, int] | None = None  # address of the enable register, bit
    size: int = 0x400


@dataclass
class Clocks:
    """In Hz."""

    system: int
    ahb: int
    apb1: int
    apb2: int


def apb_divider(code: int) -> int:
    """PPRE of RCC_CFGR: 0xx is 1, 100 is 2, 101 is 4, 110 is 8, 111 is 16."""
    return 1 if code < 4 else 2 << (code & 3)


def ahb_divider(code: int) -> int:
    """HPRE: 0xxx is 1, 1000 is 2 ... 1011 is 16, 1100 is 64 ... 1111 is 512."""
    return 1 if code < 8 else (2, 4, 8, 16, 64, 128, 256, 512)[code & 7]


@dataclass
class Stm32(ABC):
    """What all have in common: registers, delays, a serial port, the core's own registers."""

    source_hz: int
    external: bool  # whether the source is another chip's clock
    uart_base: int
    uart_clock: tuple[int, int]  # bus, bit of its enable register
    tx: tuple[int, int]  # port, pin
    rx: tuple[int, int]
    baud: int = 115_200
    stuck: frozenset[str] = frozenset()  # of "oscillator", "pll", "power", "switch"
    sent: bytearray = field(default_factory=bytearray)
    arriving: bytearray = field(default_factory=bytearray)
    reset_requested: bool = False
    fastest: Clocks = field(default_factory=lambda: Clocks(0, 0, 0, 0))

    RCC = GPIO = GPIO_ENABLE = APB1_ENABLE = APB2_ENABLE = 0

    def __post_init__(self) -> None:
        self.pending: dict[str, int] = {}
        self.values: dict[int, int] = {}
        self.blocks = [*self.system_blocks(), *self.gpio_blocks(), self.uart_block()]
        for block in self.blocks:
            self.values.update({block.base + offset: value for offset, value in block.registers.items()})
        self.core: dict[int, int] = {}
        self.core_writes: Counter[int] = Counter()
        self.protected: dict[int, tuple[int, int]] = {}  # by region: address, attributes
        self.cycles = 0

    # ---- of each family

    @abstractmethod
    def system_blocks(self) -> list[Block]:
        """RCC, PWR, FLASH and the like, with their values after reset."""

    @abstractmethod
    def clocks(self) -> Clocks:
        """What the registers say."""

    @abstractmethod
    def check_clocks(self) -> None:
        """Raise where a limit is exceeded."""

    def after_write(self, address: int, old: int, new: int) -> int:
        """The value that a register takes."""
        return new

    def status(self, address: int, value: int) -> int:
        """The value that a register shows."""
        return value

    # ---- access

    def read(self, address: int, size: int) -> int:
        """A load by the core."""
        self.find(address, size)
        if self.uart_base <= address < self.uart_base + 0x400:
            return self.uart_read(address - self.uart_base)
        self.values[address] = value = self.status(address, self.values[address])
        return value

    def write(self, address: int, size: int, value: int) -> None:
        """A store by the core."""
        self.find(address, size)
        if self.uart_base <= address < self.uart_base + 0x400:
            self.uart_write(address - self.uart_base, value)
            return
        self.values[address] = self.after_write(address, self.values[address], value)
        self.check_clocks()
        now = self.clocks()
        if now.system > self.fastest.system:
            self.fastest = now

    def find(self, address: int, size: int) -> Block:
        """The peripheral that answers."""
        if size != 4 or address % 4:
            raise ModelError(f"access of {size} bytes at {address:#010x}; peripherals take words")
        for block in self.blocks:
            if block.base <= address < block.base + block.size:
                if block.clock and not self.values[block.clock[0]] >> block.clock[1] & 1:
                    raise ModelError(f"{block.name} is accessed without its clock")
                if address not in self.values:
                    raise ModelError(f"{block.name} has no register at offset {address - block.base:#x}")
                return block
        raise ModelError(f"nothing is mapped at {address:#010x}")

    def ready(self, name: str, wanted: bool) -> bool:
        """Whether something that has been asked for has come to be; takes a few reads, and for ever where stuck."""
        if not wanted:
            self.pending.pop(name, None)
            return False
        if name in self.stuck:
            return False
        self.pending[name] = self.pending.get(name, 0) + 1
        return self.pending[name] > DELAY_READS

    def settled(self, name: str) -> bool:
        """Whether it has come to be, without another read."""
        return self.pending.get(name, 0) > DELAY_READS

    # ---- pins

    def gpio_blocks(self) -> list[Block]:
        """Ports A to K: MODER OTYPER OSPEEDR PUPDR IDR ODR BSRR LCKR AFRL AFRH."""
        return [
            Block(
                f"GPIO{chr(65 + i)}", self.GPIO + 0x400 * i, dict.fromkeys(range(0, 0x28, 4), 0), (self.GPIO_ENABLE, i)
            )
            for i in range(11)
        ]

    def check_pin(self, pin: tuple[int, int]) -> None:
        """A pin must be connected to the port: alternate function mode, function 7."""
        base, number = self.GPIO + 0x400 * pin[0], pin[1]
        mode = self.values[base] >> 2 * number & 3
        function = self.values[base + 0x20 + 4 * (number // 8)] >> 4 * (number % 8) & 15
        if (mode, function) != (2, 7):
            raise ModelError(f"pin P{chr(65 + pin[0])}{number} has mode {mode} and function {function}")

    # ---- serial port, as of F7 and H7

    UART_REGISTERS = dict.fromkeys((0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28), 0)
    CR1, BRR, STATUS, RECEIVE, TRANSMIT, ENABLE = 0x00, 0x0C, 0x1C, 0x24, 0x28, 1

    def uart_block(self) -> Block:
        """The console's."""
        bus, bit = self.uart_clock
        enable = self.APB1_ENABLE if bus == 1 else self.APB2_ENABLE
        return Block("USART", self.uart_base, dict(self.UART_REGISTERS), (enable, bit))

    def uart_read(self, offset: int) -> int:
        """TXE and TC always; RXNE while there is something to receive."""
        if offset == self.STATUS:
            self.check_uart()
            return 0xC0 | (0x20 if self.arriving else 0)
        if offset == self.RECEIVE:
            return self.arriving.pop(0) if self.arriving else 0
        return self.values[self.uart_base + offset]

    def uart_write(self, offset: int, value: int) -> None:
        """BRR may be written only while the port is off."""
        if offset == self.TRANSMIT:
            self.check_uart()
            self.sent.append(value & 0xFF)
        elif offset == self.BRR and self.values[self.uart_base + self.CR1] & self.ENABLE:
            raise ModelError("USART_BRR is written while the port is enabled")
        else:
            self.values[self.uart_base + offset] = value

    def check_uart(self) -> None:
        """Enabled, both pins connected, within 1 % of the baud rate at the clock of now."""
        if self.values[self.uart_base + self.CR1] & (self.ENABLE | 12) != (self.ENABLE | 12):
            raise ModelError("USART is used before it is enabled")
        self.check_pin(self.tx)
        self.check_pin(self.rx)
        bus = self.clocks().apb1 if self.uart_clock[0] == 1 else self.clocks().apb2
        baud = bus / self.values[self.uart_base + self.BRR]
        if abs(baud / self.baud - 1) > 0.01:
            raise ModelError(f"the console runs at {baud:.0f} baud, not {self.baud}")

    # ---- the core's own registers: Armv7-M ARM, B3.2, C1.6.5, C1.8

    def core_read(self, address: int) -> int:
        """CYCCNT counts when trace and counter are enabled; the data cache has 128 sets of 4 ways."""
        if address == 0xE0001004:
            if not self.core.get(0xE000EDFC, 0) >> 24 & 1 or not self.core.get(0xE0001000, 0) & 1:
                return 0
            self.cycles += 10
            return self.cycles
        if address == 0xE000ED80:
            return 127 << 13 | 3 << 3 | 1
        return self.core.get(address, 0)

    def core_write(self, address: int, value: int) -> None:
        """AIRCR: a reset."""
        self.core_writes[address] += 1
        if address == 0xE000ED0C and value == 0x05FA0004:
            self.reset_requested = True
        if address == 0xE000ED08 and value % 0x80:
            raise ModelError(f"VTOR {value:#x} is not aligned to the table's size")
        if address == 0xE000EDA0 and value & 1:
            base = self.core[0xE000ED9C]
            if not base & 16 or base & ~31 & (1 << (value >> 1 & 31) + 1) - 1:
                raise ModelError(f"MPU region {base:#010x} is not aligned to its size")
            self.protected[base & 15] = (base & ~31, value)
        self.core[address] = value
