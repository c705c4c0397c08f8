# SPDX-License-Identifier: Apache-2.0
"""Boards: TOML files read into frozen values."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from mcucompiler.board_parts import SOCS, read_flash, read_serial
from mcucompiler.board_types import CONTENTS, OPTIONAL_CONTENTS, REGION_KINDS, Board, Caches, Qemu, Region
from mcucompiler.clock_tree import RULES, read_clock
from mcucompiler.errors import BoardError, UsageError
from mcucompiler.external_memory import QSPI_ORIGIN, SDRAM_ORIGIN, read_qspi, read_sdram
from mcucompiler.fields import Fields
from mcucompiler.lower.types import Cpu
from mcucompiler.resources import boards_dir

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_REGION_NAME = re.compile(r"[a-z][a-z0-9_]*")
_CPU_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_ADDRESS_SPACE = 1 << 32
_RESERVED_NAMES = {"sdram", "qspi"}


def list_boards() -> tuple[str, ...]:
    """Names of the boards that come with the compiler, sorted."""
    return tuple(sorted(path.parent.name for path in boards_dir().glob("*/board.toml")))


def load_board(name_or_path: str) -> Board:
    """A board that comes with the compiler, by name, or one of the user's, by the path of its ``.toml`` file.

    Raises:
        BoardError: unknown name, unreadable file, missing, unknown or wrong key.
    """
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
    else:
        if name_or_path not in list_boards():
            raise BoardError(
                f"unknown board {name_or_path!r}; known are {', '.join(list_boards())}; "
                "a board of your own is given by the path of its .toml file"
            )
        path = boards_dir() / name_or_path / "board.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError(f"board file {str(path)!r} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"board file {str(path)!r} is not valid TOML: {error}") from error
    return _board(Fields(values, f"board file {str(path)!r}", BoardError))


def with_external(board: Board, *, weights: bool = False, arena: bool = False) -> Board:
    """A board with its external memories among its regions.

    Args:
        board: as loaded.
        weights: whether the weights go to the external flash.
        arena: whether an arena that fits nowhere else may go to the external RAM.

    Raises:
        UsageError: it has no such memory.
    """
    before: tuple[Region, ...] = ()
    after: tuple[Region, ...] = ()
    if weights:
        if board.qspi is None:
            raise UsageError(
                f"board {board.name!r} has no external flash that the runtime sets up ('qspi' of its file)"
            )
        length = board.qspi.length
        before = (Region(name="qspi", kind="flash", origin=QSPI_ORIGIN, length=length, holds=("weights",)),)
    if arena:
        if board.sdram is None:
            raise UsageError(f"board {board.name!r} has no external RAM that the runtime sets up ('sdram' of its file)")
        length = board.sdram.length
        after = (Region(name="sdram", kind="external", origin=SDRAM_ORIGIN, length=length, holds=("arena",)),)
    return replace(board, regions=(*before, *board.regions, *after))


def _board(fields: Fields) -> Board:
    tables = ("cpu", "caches", "regions", "clock", "serial", "flash", "qemu", "sdram", "qspi")
    fields.only("name", "description", "clock_hz", "stack_bytes", "startup", "soc", "console", *tables)
    name = fields.get("name", str)
    if not _NAME.fullmatch(name):
        raise fields.fail("name", f"is {name!r}; lower-case letters, digits, '-' and '_' are allowed")
    cpu = _cpu(fields.table("cpu"))
    is_host = cpu.name == "host"
    soc = "" if is_host else fields.choice("soc", SOCS)
    clock_hz = fields.natural("clock_hz", 0)
    regions = tuple(_region(region) for region in fields.tables("regions", () if is_host else ({},)))
    flash_regions = tuple((region.origin, region.end) for region in regions if region.kind == "flash")
    board = Board(
        name=name,
        description=fields.get("description", str),
        cpu=cpu,
        clock_hz=clock_hz,
        caches=_caches(fields.table("caches", {})),
        regions=regions,
        stack_bytes=fields.size("stack_bytes", 0) if is_host else fields.size("stack_bytes"),
        startup="" if is_host else fields.choice("startup", ("cortex_m",)),
        soc=soc,
        console=fields.choice("console", ("semihosting", "serial", "stdio")),
        clock=read_clock(fields.table("clock"), soc, clock_hz) if soc in RULES else None,
        serial=None if is_host else read_serial(fields.table("serial"), soc),
        flash=read_flash(fields.table("flash"), flash_regions) if "flash" in fields.values else None,
        qemu=_qemu(fields.table("qemu")) if "qemu" in fields.values else None,
        sdram=read_sdram(fields.table("sdram")) if "sdram" in fields.values else None,
        qspi=read_qspi(fields.table("qspi")) if "qspi" in fields.values else None,
    )
    _check_kind(fields, board)
    return board


def _check_kind(fields: Fields, board: Board) -> None:
    """What must agree between keys."""
    if board.console == "semihosting" and board.qemu is None:
        raise fields.fail("console", "is 'semihosting', which needs an emulator: a table 'qemu'")
    if (board.console == "stdio") != board.is_host:
        raise fields.fail("console", f"is {board.console!r}; 'stdio' is for the host, and the host has no other")
    if "clock" in fields.values and board.clock is None:
        raise fields.fail("clock", "is given, but this board has no clock to set")
    if board.sdram is not None and board.soc not in ("stm32f7", "stm32h7"):
        raise fields.fail("sdram", "is for stm32f7 and stm32h7, whose controller the runtime sets up")
    if board.sdram is not None and board.clock is not None and board.clock.ahb_hz > 3 * board.sdram.max_hz:
        raise fields.fail(
            "sdram", f"allows {board.sdram.max_hz} Hz, less than a third of the AHB's {board.clock.ahb_hz}"
        )
    if board.qspi is not None and board.soc != "stm32f7":
        raise fields.fail("qspi", "is for stm32f7, whose controller the runtime sets up")
    if not board.is_host:
        _check_regions(fields, board)


def _cpu(fields: Fields) -> Cpu:
    fields.only("name", "fpu", "dsp")
    cpu = Cpu(name=fields.get("name", str), fpu=fields.get("fpu", str, ""), dsp=fields.get("dsp", bool, False))
    for key, value in (("name", cpu.name), ("fpu", cpu.fpu)):
        # Both become part of a compiler's command line.
        if value and not _CPU_NAME.fullmatch(value):
            raise fields.fail(key, f"is {value!r}; lower-case letters, digits, '-', '+' and '.' are allowed")
    if not cpu.name:
        raise fields.fail("name", "is empty; give it as in the compiler's -mcpu, for example cortex-m7")
    return cpu


def _caches(fields: Fields) -> Caches:
    fields.only("instruction_bytes", "data_bytes", "line_bytes", "miss_cycles")
    caches = Caches(
        instruction_bytes=fields.size("instruction_bytes", 0),
        data_bytes=fields.size("data_bytes", 0),
        line_bytes=fields.size("line_bytes", 32),
        miss_cycles=fields.natural("miss_cycles", 0),
    )
    if caches.line_bytes == 0:
        raise fields.fail("line_bytes", "is 0; a line has at least one byte")
    return caches


def _qemu(fields: Fields) -> Qemu:
    fields.only("machine", "icount_shift", "timer_hz", "console_serial")
    machine = fields.get("machine", str)
    if not _NAME.fullmatch(machine):
        raise fields.fail("machine", f"is {machine!r}; give it as in qemu-system-arm -M")
    timer_hz = fields.natural("timer_hz")
    if timer_hz == 0:
        raise fields.fail("timer_hz", "is 0; it must be positive")
    return Qemu(
        machine=machine,
        icount_shift=fields.natural("icount_shift", 0),
        timer_hz=timer_hz,
        console_serial=fields.natural("console_serial", 0),
    )


def _region(fields: Fields) -> Region:
    fields.only("name", "kind", "origin", "length", "holds")
    region = Region(
        name=fields.get("name", str),
        kind=fields.choice("kind", REGION_KINDS),
        origin=fields.natural("origin"),
        length=fields.size("length"),
        holds=fields.texts("holds"),
    )
    if not _REGION_NAME.fullmatch(region.name):
        raise fields.fail("name", f"is {region.name!r}; lower-case letters, digits and '_' are allowed")
    if region.length == 0:
        raise fields.fail("length", "is 0; a region has at least one byte")
    if region.end > _ADDRESS_SPACE:
        raise fields.fail("length", f"is {region.length}; the region ends beyond the 32-bit address space")
    known = (*CONTENTS, *OPTIONAL_CONTENTS)
    unknown = [content for content in region.holds if content not in known]
    if unknown:
        raise fields.fail("holds", f"names {unknown[0]!r}; a region may hold {', '.join(known)}")
    return region


def _check_regions(fields: Fields, board: Board) -> None:
    names = [region.name for region in board.regions]
    if len(set(names)) != len(names):
        raise fields.fail("regions", f"has two regions of one name: {', '.join(names)}")
    if set(names) & _RESERVED_NAMES:
        raise fields.fail("regions", "has one named 'sdram' or 'qspi'; the tables of these names make theirs")
    ordered = sorted(board.regions, key=lambda region: region.origin)
    for lower, upper in pairwise(ordered):
        if upper.origin < lower.end:
            raise fields.fail(
                "regions", f"overlap: {lower.name!r} ends at {lower.end:#x}, {upper.name!r} begins before"
            )
    for content in CONTENTS:
        if not board.holding(content):
            raise fields.fail("regions", f"hold no {content!r}; at least one region must name it in 'holds'")
    if board.stack_bytes % 8 or not 256 <= board.stack_bytes <= board.holding("stack")[0].length:
        raise fields.fail(
            "stack_bytes",
            f"is {board.stack_bytes}; it must be a multiple of 8, at least 256, and fit region "
            f"{board.holding('stack')[0].name!r}",
        )
