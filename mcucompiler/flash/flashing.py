# SPDX-License-Identifier: Apache-2.0
"""Running the program that flashes, watching how far it is."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from mcucompiler.board_types import Board
from mcucompiler.errors import ToolError
from mcucompiler.flash.explain import explain
from mcucompiler.flash.image import write_image
from mcucompiler.flash.runners import FlashPlan, require_installed

DEFAULT_TIMEOUT_S = 180.0
_PERCENT = re.compile(r"(\d{1,3})(?:\.\d+)? ?%")
_CHUNK_BYTES = 256
_LONGEST_LINE = 4096


class FlashError(ToolError):
    """The board was not flashed."""


def flash(
    board: Board,
    plan: FlashPlan,
    firmware: Path,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    progress: Callable[[int], None] = lambda percent: None,
    line: Callable[[str], None] = lambda text: None,
) -> None:
    """Flash a board.

    Args:
        board: the target.
        plan: how.
        firmware: the ELF file.
        timeout_s: how long it may take.
        progress: told how far it is, in percent, where the program says.
        line: told each line that the program prints.

    Raises:
        FlashError: it failed; says what that means and what to do.
        ToolError: the program is not installed, or the firmware is not one for it.
    """
    require_installed(plan, board)
    prepare(plan, firmware)
    try:
        process = subprocess.Popen(
            list(plan.command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise FlashError(f"flashing {board.name!r} failed: {error}", command=plan.command) from error
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    printed: list[str] = []
    with process:
        try:
            for text in _lines(process.stdout):
                printed.append(text)
                line(text)
                percent = _PERCENT.findall(text)
                if percent:
                    progress(min(int(percent[-1]), 100))
            process.wait()
        finally:
            expired = not timer.is_alive()
            timer.cancel()
            process.kill()
    _check(board, plan, process.returncode, "\n".join(printed), expired_s=timeout_s if expired else 0.0)


def prepare(plan: FlashPlan, firmware: Path) -> None:
    """Write the plain image that a plan's command names, if it names one; raises ToolError as ``write_image``."""
    if plan.image is not None:
        write_image(firmware, plan.image, plan.address, plan.limit)


def _check(board: Board, plan: FlashPlan, code: int, output: str, *, expired_s: float) -> None:
    known = explain(output, board)
    # st-flash ends with 0 after some failures.
    failed = code != 0 or (plan.runner == "st-flash" and known is not None and "jolly good" not in output)
    if not failed:
        return
    if known is not None:
        meaning, advice = known
        message = f"{board.name!r} was not flashed: {meaning}\n  what to do: {advice}"
    elif expired_s:
        message = (
            f"{board.name!r} was not flashed: {plan.runner} did not end within {expired_s:.0f} s\n"
            "  what to do: unplug the board, plug it in again and retry"
        )
    else:
        message = f"{board.name!r} was not flashed: {plan.runner} failed; what it printed last follows"
    raise FlashError(message, command=plan.command, returncode=code, stderr=output or "(it printed nothing)")


def _lines(stream: IO[bytes] | None) -> Iterator[str]:
    """Lines as they come; progress bars end theirs with a carriage return."""
    pending = b""
    while stream is not None and (data := os.read(stream.fileno(), _CHUNK_BYTES)):
        *lines, pending = re.split(rb"[\r\n]+", pending + data)
        for text in lines:
            if text.strip():
                yield text.decode("utf-8", "replace").rstrip()
        if len(pending) > _LONGEST_LINE:
            yield pending.decode("utf-8", "replace")
            pending = b""
    if pending.strip():
        yield pending.decode("utf-8", "replace").rstrip()
