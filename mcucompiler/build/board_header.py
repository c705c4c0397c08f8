# SPDX-License-Identifier: Apache-2.0
"""The generated header that tells the runtime what board it is on."""

from __future__ import annotations

from pathlib import Path

from mcucompiler.board_parts import PORTS, pin
from mcucompiler.board_types import Board
from mcucompiler.external_memory import QSPI_ORIGIN, SDRAM_ORIGIN, Pin

BOARD_CONFIG_NAME = "board_config.h"
GUARD_BYTES = 32 * 1024
_USB_HZ = 48_000_000
_EXTERNAL = (0x6000_0000, 0xE000_0000)
"""Addresses of the memory controllers: DDI 0403E, table B3-1."""


def write_board_header(board: Board, folder: Path) -> None:
    """Write the header of a board into a folder."""
    (folder / BOARD_CONFIG_NAME).write_text(board_header(board), encoding="ascii")


def board_header(board: Board) -> str:
    """The header's text."""
    lines = [
        f"/* What start-up and console know of board '{board.name}'. Generated from its description. */",
        "#ifndef MC_BOARD_CONFIG_H",
        "#define MC_BOARD_CONFIG_H",
        "",
        f"#define MC_CLOCK_HZ {board.clock_hz}u",
        "/* Rate of the timer that stands in for the cycle counter of an emulated core; 0 on silicon. */",
        f"#define MC_TIMER_HZ {board.qemu.timer_hz if board.qemu else 0}u",
        f"#define MC_INSTRUCTION_CACHE {int(board.caches.instruction_bytes > 0)}",
        f"#define MC_DATA_CACHE {int(board.caches.data_bytes > 0)}",
        "/* Nothing answers at the addresses of external memory until its controllers are set up. */",
        f"#define MC_NO_EXTERNAL_MEMORY {int(_has_no_external_memory(board))}",
        "/* Where what must stay below the stack begins; 0 where other memory is there. */",
        f"#define MC_STACK_GUARD 0x{stack_guard(board):08x}u",
        *_console(board),
        *_clock(board),
        *_external(board),
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def stack_guard(board: Board) -> int:
    """Address of GUARD_BYTES that end where the stack's region begins; 0 where they cannot be protected.

    The memory protection unit takes addresses that are multiples of a region's size.
    """
    if board.is_host:
        return 0
    end = board.holding("stack")[0].origin
    begin = end - GUARD_BYTES
    if begin < 0 or begin % GUARD_BYTES or any(r.origin < end and r.end > begin for r in board.regions):
        return 0
    return begin


def _has_no_external_memory(board: Board) -> bool:
    return not board.is_host and all(
        region.end <= _EXTERNAL[0] or region.origin >= _EXTERNAL[1]
        for region in board.regions
        if region.origin not in (SDRAM_ORIGIN, QSPI_ORIGIN)
    )


def _external(board: Board) -> list[str]:
    """The external memories that are among the board's regions."""
    if board.clock is None:
        return []
    origins = {region.origin for region in board.regions}
    ahb_hz = board.clock.ahb_hz
    lines: list[str] = []
    pins: list[Pin] = []
    if board.sdram is not None and SDRAM_ORIGIN in origins:
        sdram = board.sdram
        pins += sdram.pins
        lines += [
            f"#define MC_SDRAM_BYTES {sdram.length}u",
            f"#define MC_SDRAM_CONTROL 0x{sdram.control(ahb_hz):08x}u",
            f"#define MC_SDRAM_TIMING 0x{sdram.timing(ahb_hz):08x}u",
            f"#define MC_SDRAM_MODE 0x{sdram.mode:04x}u",
            f"#define MC_SDRAM_DIVIDER {sdram.divider(ahb_hz)}u",
            f"#define MC_SDRAM_REFRESH_NS {sdram.refresh_ns}u",
        ]
    if board.qspi is not None and QSPI_ORIGIN in origins:
        qspi = board.qspi
        pins += qspi.pins
        lines += [
            f"#define MC_QSPI_BYTES {qspi.length}u",
            f"#define MC_QSPI_DIVIDER {qspi.divider(ahb_hz)}u",
            f"#define MC_QSPI_IDENTITY 0x{qspi.identity:06x}u",
            f"#define MC_QSPI_READ 0x{qspi.read_command:02x}u",
            f"#define MC_QSPI_DUMMY_CYCLES {qspi.dummy_cycles}u",
        ]
    if pins:
        lines += ["/* Port, pin, alternate function. */", "#define MC_MEMORY_PINS \\"]
        lines += [f"    {{ {pin.port}u, {pin.number}u, {pin.function}u }}, \\" for pin in pins[:-1]]
        lines.append(f"    {{ {pins[-1].port}u, {pins[-1].number}u, {pins[-1].function}u }}")
    return lines


def _console(board: Board) -> list[str]:
    if board.serial is None:
        return []
    port = PORTS[board.soc][board.serial.uart]
    lines = [
        f"#define MC_SOC_{board.soc.upper()} 1",
        f"#define MC_CONSOLE_BASE 0x{port.base:08x}u",
        f"#define MC_CONSOLE_BAUD {board.serial.baud}u",
    ]
    if board.serial.tx:
        (tx_port, tx_pin), (rx_port, rx_pin) = pin(board.serial.tx), pin(board.serial.rx)
        lines += [
            f"#define MC_CONSOLE_BUS {port.bus}",
            f"#define MC_CONSOLE_ENABLE_BIT {port.enable_bit}u",
            f"#define MC_CONSOLE_FUNCTION {board.serial.alternate_function}u",
            f"#define MC_CONSOLE_TX_PORT {tx_port}u",
            f"#define MC_CONSOLE_TX_PIN {tx_pin}u",
            f"#define MC_CONSOLE_RX_PORT {rx_port}u",
            f"#define MC_CONSOLE_RX_PIN {rx_pin}u",
        ]
    return lines


def _clock(board: Board) -> list[str]:
    clock = board.clock
    if clock is None:
        return []
    usb_divider = max(2, -(-clock.vco_hz // _USB_HZ))  # the PLL's third output must not exceed 48 MHz
    return [
        f"#define MC_SOURCE_HZ {clock.source_hz}u",
        f"#define MC_SOURCE_EXTERNAL {int(clock.source == 'external')}",
        f"#define MC_PLL_M {clock.pll_m}u",
        f"#define MC_PLL_N {clock.pll_n}u",
        f"#define MC_PLL_P {clock.pll_p}u",
        f"#define MC_PLL_Q {min(usb_divider, 15)}u",
        f"#define MC_AHB_DIVIDER {clock.ahb_divider}u",
        f"#define MC_APB1_DIVIDER {clock.apb1_divider}u",
        f"#define MC_APB2_DIVIDER {clock.apb2_divider}u",
        f"#define MC_AHB_HZ {clock.ahb_hz}u",
        f"#define MC_APB1_HZ {clock.ahb_hz // clock.apb1_divider}u",
        f"#define MC_APB2_HZ {clock.ahb_hz // clock.apb2_divider}u",
        f"#define MC_FLASH_WAIT_STATES {clock.flash_wait_states}u",
        f"#define MC_VOLTAGE_SCALE {clock.voltage_scale}",
        f"#define MC_OVER_DRIVE {int(clock.over_drive)}",
    ]
