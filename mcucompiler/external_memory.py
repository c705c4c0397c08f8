# SPDX-License-Identifier: Apache-2.0
"""Memory outside of an STM32: SDRAM behind its FMC, flash behind its QUADSPI."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcucompiler.board_parts import RUNNERS
from mcucompiler.fields import Fields

SDRAM_ORIGIN = 0xC000_0000
"""Where bank 1 of the SDRAM appears: RM0385 13.4.3, RM0433 22.5."""

QSPI_ORIGIN = 0x9000_0000
"""Where the flash appears: RM0385 14.3.3."""

_PIN = re.compile(r"P([A-K])([0-9]|1[0-5])(?::([0-9]|1[0-5]))?")
_FMC_FUNCTION = 12
_LEAST_WINDOW_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A pin of the microcontroller and the alternate function that connects it; port A is 0."""

    port: int
    number: int
    function: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdram:
    """SDRAM on bank 1 of the FMC.

    Attributes:
        row_bits: width of a row's address.
        column_bits: of a column's.
        bus_bits: of the data bus: 8, 16 or 32.
        cas_cycles: CAS latency: 2 or 3.
        max_hz: greatest clock of memory and controller.
        t_mrd_cycles: mode register to any command.
        t_wr_cycles: last data to precharge, at least.
        t_xsr_ns: end of self refresh to activate.
        t_ras_ns: activate to precharge.
        t_rc_ns: activate to activate.
        t_rp_ns: precharge to activate.
        t_rcd_ns: activate to read or write.
        refresh_ns: from one row's refresh to the next row's, at most.
        pins: all that the controller drives or reads.
    """

    row_bits: int
    column_bits: int
    bus_bits: int
    cas_cycles: int
    max_hz: int
    t_mrd_cycles: int
    t_wr_cycles: int
    t_xsr_ns: int
    t_ras_ns: int
    t_rc_ns: int
    t_rp_ns: int
    t_rcd_ns: int
    refresh_ns: int
    pins: tuple[Pin, ...]

    @property
    def length(self) -> int:
        """Bytes; all such parts have four internal banks."""
        return 4 * self.bus_bits // 8 << (self.row_bits + self.column_bits)

    def divider(self, ahb_hz: int) -> int:
        """From the controller's clock to the memory's: 2 or 3."""
        return 2 if ahb_hz <= 2 * self.max_hz else 3

    def control(self, ahb_hz: int) -> int:
        """FMC_SDCR1: RM0385 13.7.5, RM0433 22.9.5. Four banks, burst reads, no pipeline delay."""
        width = {8: 0, 16: 1, 32: 2}[self.bus_bits]
        fields = self.column_bits - 8 | self.row_bits - 11 << 2 | width << 4 | 1 << 6 | self.cas_cycles << 7
        return fields | self.divider(ahb_hz) << 10 | 1 << 12

    def timing(self, ahb_hz: int) -> int:
        """FMC_SDTR1: as above. Cycles of the memory's clock, less one, each no shorter than the part asks for."""

        def cycles(nanoseconds: int) -> int:
            return -(-nanoseconds * ahb_hz // (self.divider(ahb_hz) * 1_000_000_000))

        ras, row, precharge, rcd = map(cycles, (self.t_ras_ns, self.t_rc_ns, self.t_rp_ns, self.t_rcd_ns))
        write = max(self.t_wr_cycles, ras - rcd, row - rcd - precharge)
        fields = (self.t_mrd_cycles, cycles(self.t_xsr_ns), ras, row, write, precharge, rcd)
        return sum(max(count, 1) - 1 << 4 * place for place, count in enumerate(fields))

    @property
    def mode(self) -> int:
        """The part's mode register: bursts of one, sequential, this CAS latency, single writes."""
        return self.cas_cycles << 4 | 1 << 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Qspi:
    """Flash on bank 1 of the QUADSPI, read through the memory map.

    Attributes:
        length: bytes.
        max_hz: greatest clock.
        identity: manufacturer, type and capacity, as command 0x9F gives them, the first in the lowest byte.
        read_command: one that takes a 24-bit address on one line and answers on four.
        dummy_cycles: between address and data.
        runners: programs that can write it, of the board's.
        advice: how to write it otherwise.
        pins: clock, select and four lines of data.
    """

    length: int
    max_hz: int
    identity: int
    read_command: int
    dummy_cycles: int
    runners: tuple[str, ...]
    advice: str
    pins: tuple[Pin, ...]

    def divider(self, ahb_hz: int) -> int:
        """From the controller's clock to the flash's."""
        return -(-ahb_hz // self.max_hz)


def read_sdram(fields: Fields) -> Sdram:
    """A board file's ``[sdram]``; raises BoardError where a key is missing, unknown or wrong."""
    bounds = {
        "row_bits": (11, 13),
        "column_bits": (8, 11),
        "cas_cycles": (2, 3),
        "max_hz": (1_000_000, 200_000_000),
        "t_mrd_cycles": (1, 16),
        "t_wr_cycles": (1, 16),
        **dict.fromkeys(("t_xsr_ns", "t_ras_ns", "t_rc_ns", "t_rp_ns", "t_rcd_ns"), (1, 1000)),
        "refresh_ns": (1000, 64_000),
    }
    fields.only(*bounds, "bus_bits", "pins")
    values = {key: _within(fields, key, *bound) for key, bound in bounds.items()}
    bus_bits = fields.natural("bus_bits")
    if bus_bits not in (8, 16, 32):
        raise fields.fail("bus_bits", f"is {bus_bits}; it may be 8, 16 or 32")
    return Sdram(bus_bits=bus_bits, pins=_pins(fields, _FMC_FUNCTION), **values)


def read_qspi(fields: Fields) -> Qspi:
    """A board file's ``[qspi]``; raises BoardError where a key is missing, unknown or wrong."""
    fields.only("length", "max_hz", "identity", "read_command", "dummy_cycles", "runners", "advice", "pins")
    length, runners = fields.size("length"), fields.texts("runners", ())
    if length & (length - 1) or not _LEAST_WINDOW_BYTES <= length <= 1 << 24:
        raise fields.fail("length", f"is {length}; it must be a power of two from 4K to 16M, which 24 bits address")
    if not set(runners) <= set(RUNNERS):
        raise fields.fail("runners", f"is {list(runners)}; known are {', '.join(RUNNERS)}")
    return Qspi(
        length=length,
        max_hz=_within(fields, "max_hz", 1_000_000, 133_000_000),
        identity=_within(fields, "identity", 1, 0xFF_FFFF),
        read_command=_within(fields, "read_command", 1, 255),
        dummy_cycles=_within(fields, "dummy_cycles", 0, 31),
        runners=runners,
        advice=fields.get("advice", str),
        pins=_pins(fields, None),
    )


def _within(fields: Fields, key: str, least: int, most: int) -> int:
    value = fields.natural(key)
    if not least <= value <= most:
        raise fields.fail(key, f"is {value}; allowed are {least} to {most}")
    return value


def _pins(fields: Fields, function: int | None) -> tuple[Pin, ...]:
    """Pins written PB2:9, with the function; where all have the same one, without."""
    pins = []
    for text in fields.texts("pins"):
        match = _PIN.fullmatch(text)
        if match is None or (match[3] is None) != (function is not None):
            form = "PA0 to PK15" if function is not None else "PA0:9, with its alternate function"
            raise fields.fail("pins", f"holds {text!r}; a pin is written {form}")
        pins.append(Pin(port=ord(match[1]) - 65, number=int(match[2]), function=int(match[3] or function or 0)))
    if len({(pin.port, pin.number) for pin in pins}) != len(pins):
        raise fields.fail("pins", "names a pin twice")
    return tuple(pins)
