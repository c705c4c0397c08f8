# SPDX-License-Identifier: Apache-2.0
"""Parts of a board's description: the serial port of its console, and how it is flashed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mcucompiler.fields import Fields

SOCS = ("mps2", "stm32f4", "stm32f7", "stm32h7")
"""Families whose clocks and serial ports the runtime knows."""

FLASH_WORD_BYTES: Mapping[str, int] = {"stm32f4": 16, "stm32f7": 32, "stm32h7": 32}
"""Bytes that a family's internal flash gives at once: RM0090 3.3.1, RM0385 and RM0410 3.3.2, RM0433 4.3.8."""

RUNNERS = ("pyocd", "openocd", "st-flash", "dfu-util")
"""Programs that flash."""

DEFAULT_BAUD = 115_200
_PIN = re.compile(r"P([A-K])([0-9]|1[0-5])")
_TARGET = re.compile(r"[a-z0-9_]+")
_CONFIG = re.compile(r"(interface|target|board)/[a-z0-9_-]+\.cfg")
_DFU_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A serial port of a family.

    Attributes:
        base: address of its registers.
        bus: 1 or 2, the peripheral bus whose clock it divides; 0 where there is but one clock.
        enable_bit: of the bus's clock enable register.
    """

    base: int
    bus: int
    enable_bit: int


_STM32_PORTS: Mapping[str, Port] = {
    # RM0090 2.3 and 6.3.13-14; RM0385 and RM0410 2.2.2 and 5.3.13-14; RM0433 2.3.2 and 8.7.45-47.
    "usart1": Port(base=0x4001_1000, bus=2, enable_bit=4),
    "usart2": Port(base=0x4000_4400, bus=1, enable_bit=17),
    "usart3": Port(base=0x4000_4800, bus=1, enable_bit=18),
    "uart4": Port(base=0x4000_4C00, bus=1, enable_bit=19),
    "uart5": Port(base=0x4000_5000, bus=1, enable_bit=20),
    "usart6": Port(base=0x4001_1400, bus=2, enable_bit=5),
    "uart7": Port(base=0x4000_7800, bus=1, enable_bit=30),
    "uart8": Port(base=0x4000_7C00, bus=1, enable_bit=31),
}
PORTS: Mapping[str, Mapping[str, Port]] = {
    # Arm application note AN385, table 4-1: the five UARTs of the CMSDK.
    "mps2": {
        "uart0": Port(base=0x4000_4000, bus=0, enable_bit=0),
        "uart1": Port(base=0x4000_5000, bus=0, enable_bit=0),
    },
    "stm32f4": {name: port for name, port in _STM32_PORTS.items() if name not in ("uart7", "uart8")},
    "stm32f7": _STM32_PORTS,
    "stm32h7": _STM32_PORTS,
}
"""By family and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """The console's serial port.

    Attributes:
        uart: its name, a key of PORTS.
        baud: its speed.
        tx: pin that the board sends on, such as "PD8"; "" where pins are fixed.
        rx: pin that it receives on.
        alternate_function: number that connects both pins to the port.
    """

    uart: str
    baud: int
    tx: str = ""
    rx: str = ""
    alternate_function: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flash:
    """How firmware gets onto the board.

    Attributes:
        runners: programs of RUNNERS that can, the preferred one first.
        openocd: configuration files of OpenOCD, in order.
        pyocd_target: as in ``pyocd -t``.
        stflash_address: where st-flash writes.
        dfu_id: vendor and product of the boot loader, as "0483:df11".
        dfu_alt: alternate setting of it.
        dfu_address: where it writes.
        chip: name of the microcontroller, to tell a wrong one.
    """

    runners: tuple[str, ...]
    openocd: tuple[str, ...] = ()
    pyocd_target: str = ""
    stflash_address: int = 0
    dfu_id: str = ""
    dfu_alt: int = 0
    dfu_address: int = 0
    chip: str = ""


def read_serial(fields: Fields, soc: str) -> Serial:
    """The console of a board file's ``[serial]``.

    Raises:
        BoardError: a key is missing, unknown or wrong.
    """
    fields.only("uart", "baud", "tx", "rx", "alternate_function")
    has_pins = soc != "mps2"
    serial = Serial(
        uart=fields.choice("uart", tuple(PORTS[soc])),
        baud=fields.natural("baud", DEFAULT_BAUD),
        tx=fields.get("tx", str) if has_pins else "",
        rx=fields.get("rx", str) if has_pins else "",
        alternate_function=fields.natural("alternate_function") if has_pins else 0,
    )
    if not 1200 <= serial.baud <= 4_000_000:
        raise fields.fail("baud", f"is {serial.baud}; allowed are 1200 to 4000000")
    for key in ("tx", "rx") if has_pins else ():
        if not _PIN.fullmatch(getattr(serial, key)):
            raise fields.fail(key, f"is {getattr(serial, key)!r}; a pin is written PA0 to PK15")
    if has_pins and serial.tx == serial.rx:
        raise fields.fail("rx", f"is {serial.rx!r}, which is the pin of 'tx'")
    if serial.alternate_function > 15:
        raise fields.fail("alternate_function", f"is {serial.alternate_function}; they are numbered 0 to 15")
    return serial


def pin(name: str) -> tuple[int, int]:
    """Number of the port (A is 0) and of the pin of a name such as "PD8"."""
    match = _PIN.fullmatch(name)
    return (0, 0) if match is None else (ord(match[1]) - ord("A"), int(match[2]))


def read_flash(fields: Fields, flash_regions: tuple[tuple[int, int], ...]) -> Flash:
    """How to flash, from a board file's ``[flash]``.

    Args:
        fields: the table.
        flash_regions: begin and end of each region of the board that is flash.

    Raises:
        BoardError: a key is missing, unknown or wrong.
    """
    keys = ("openocd", "pyocd_target", "stflash_address", "dfu_id", "dfu_alt", "dfu_address", "chip")
    fields.only("runners", *keys)
    flash = Flash(
        runners=fields.texts("runners"),
        openocd=fields.texts("openocd", ()),
        pyocd_target=fields.get("pyocd_target", str, ""),
        stflash_address=fields.natural("stflash_address", 0),
        dfu_id=fields.get("dfu_id", str, ""),
        dfu_alt=fields.natural("dfu_alt", 0),
        dfu_address=fields.natural("dfu_address", 0),
        chip=fields.get("chip", str, ""),
    )
    if not flash.runners or len(set(flash.runners)) != len(flash.runners) or not set(flash.runners) <= set(RUNNERS):
        raise fields.fail("runners", f"is {list(flash.runners)}; each of {', '.join(RUNNERS)} may be in it once")
    needs = {
        "pyocd": ("pyocd_target",),
        "openocd": ("openocd",),
        "st-flash": ("stflash_address",),
        "dfu-util": ("dfu_id", "dfu_address"),
    }
    for runner in flash.runners:
        for key in needs[runner]:
            if key not in fields.values:
                raise fields.fail(key, f"is missing; runner {runner!r} needs it")
    _check_flash(fields, flash, flash_regions)
    return flash


def _check_flash(fields: Fields, flash: Flash, flash_regions: tuple[tuple[int, int], ...]) -> None:
    # All of these become words of a command line.
    if flash.pyocd_target and not _TARGET.fullmatch(flash.pyocd_target):
        raise fields.fail("pyocd_target", f"is {flash.pyocd_target!r}; give it as `pyocd list --targets` does")
    for name in flash.openocd:
        if not _CONFIG.fullmatch(name):
            raise fields.fail(
                "openocd", f"holds {name!r}; a configuration is written board/NAME.cfg or target/NAME.cfg"
            )
    if flash.dfu_id and not _DFU_ID.fullmatch(flash.dfu_id):
        raise fields.fail("dfu_id", f"is {flash.dfu_id!r}; it is written vendor:product, such as 0483:df11")
    for key in ("stflash_address", "dfu_address"):
        address = getattr(flash, key)
        if key in fields.values and not any(begin <= address < end for begin, end in flash_regions):
            raise fields.fail(key, f"is {address:#x}, which is in no region of kind 'flash'")
