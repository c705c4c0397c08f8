# SPDX-License-Identifier: Apache-2.0
"""The programs that flash, and their command lines."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.board_parts import Flash
from mcucompiler.board_types import Board
from mcucompiler.errors import ToolError, UsageError
from mcucompiler.external_memory import QSPI_ORIGIN

_HINTS: Mapping[str, str] = {
    "pyocd": "`pip install pyocd`",
    "openocd": "`apt install openocd` or `brew install openocd`",
    "st-flash": "`apt install stlink-tools` or `brew install stlink`",
    "dfu-util": "`apt install dfu-util` or `brew install dfu-util`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashPlan:
    """What will be run.

    Attributes:
        runner: name of the program.
        installed: whether it is on the PATH.
        command: the whole command line.
        image: the plain image that the command names, None where it names the ELF file.
        address: where the image begins.
        limit: one past the last address of the region that it begins in.
    """

    runner: str
    installed: bool
    command: tuple[str, ...]
    image: Path | None
    address: int = 0
    limit: int = 0

    @property
    def text(self) -> str:
        """As a shell takes it."""
        return shlex.join(self.command)


def plan_flash(board: Board, firmware: Path, runner: str = "") -> FlashPlan:
    """How to flash a board.

    Args:
        board: the target.
        firmware: the ELF file.
        runner: the program to use; "" for the first of the board's that is installed, or, where none is, the first.

    Raises:
        UsageError: the board cannot be flashed, or not with this program.
    """
    flash = board.flash
    if flash is None:
        where = "it runs in an emulator: use --on qemu" if board.qemu else "its description has no table 'flash'"
        raise UsageError(f"board {board.name!r} cannot be flashed; {where}")
    if runner and runner not in flash.runners:
        raise UsageError(f"board {board.name!r} is not flashed with {runner!r}; it can be with {_list(flash)}")
    usable = _usable(board, flash, runner)
    installed = [name for name in usable if shutil.which(name)]
    chosen = runner or (installed or usable)[0]
    address = {"st-flash": flash.stflash_address, "dfu-util": flash.dfu_address}.get(chosen, 0)
    image = firmware.with_suffix(".bin") if address else None
    return FlashPlan(
        runner=chosen,
        installed=chosen in installed,
        command=_COMMANDS[chosen](flash, image or firmware),
        image=image,
        address=address,
        limit=max((region.end for region in board.regions if region.origin <= address < region.end), default=0),
    )


def _usable(board: Board, flash: Flash, runner: str) -> tuple[str, ...]:
    """The board's runners that can write all flash that the firmware lies in."""
    qspi = board.qspi
    if qspi is None or all(region.origin != QSPI_ORIGIN for region in board.regions):
        return flash.runners
    usable = tuple(name for name in flash.runners if name in qspi.runners)
    if not usable or (runner and runner not in usable):
        who = f"{runner} does not write" if runner else "no runner writes"
        raise UsageError(f"{who} the external flash of board {board.name!r}\n  what to do: {qspi.advice}")
    return usable


def require_installed(plan: FlashPlan, board: Board) -> None:
    """Refuse a plan whose program is missing.

    Raises:
        ToolError: it is; says how to install it, and what could be used instead.
    """
    if plan.installed or board.flash is None:
        return
    ways = "; ".join(f"{name}: {_HINTS[name]}" for name in board.flash.runners)
    raise ToolError(
        f"{plan.runner} is not installed, which flashes board {board.name!r}\n"
        f"  what to do: install one of {ways}\n"
        f"  command it would be: {plan.text}"
    )


def _list(flash: Flash) -> str:
    return " or ".join(flash.runners)


def _pyocd(flash: Flash, firmware: Path) -> tuple[str, ...]:
    return ("pyocd", "load", "--no-wait", "--target", flash.pyocd_target, str(firmware))


def _openocd(flash: Flash, firmware: Path) -> tuple[str, ...]:
    files = [word for name in flash.openocd for word in ("-f", name)]
    # Braces keep Tcl from looking into the path; OpenOCD wants forward slashes on every system.
    return ("openocd", *files, "-c", f"program {{{firmware.as_posix()}}} verify reset exit")


def _st_flash(flash: Flash, image: Path) -> tuple[str, ...]:
    return ("st-flash", "--reset", "write", str(image), f"{flash.stflash_address:#010x}")


def _dfu_util(flash: Flash, image: Path) -> tuple[str, ...]:
    where = f"{flash.dfu_address:#010x}:leave"
    return ("dfu-util", "-d", flash.dfu_id, "-a", str(flash.dfu_alt), "-s", where, "-D", str(image))


_COMMANDS: Mapping[str, Callable[[Flash, Path], tuple[str, ...]]] = {
    "pyocd": _pyocd,
    "openocd": _openocd,
    "st-flash": _st_flash,
    "dfu-util": _dfu_util,
}
