# SPDX-License-Identifier: Apache-2.0
"""Running a program that reads and writes files, watching that it gets on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mcucompiler.errors import ToolError

_POLL_S = 0.05
_MESSAGE_BYTES = 16000
_MARKS = ("FAULT", "runtime error:", "ERROR: AddressSanitizer")
_REPORT_LINES = 12


def execute(
    command: Sequence[str],
    *,
    what: str,
    cwd: Path,
    output: Path,
    timeout_s: float,
    watch: Callable[[int], None],
    environment: dict[str, str] | None = None,
) -> None:
    """Run a program to its end.

    Args:
        command: program and arguments.
        what: what is being done, for messages.
        cwd: working folder, where what it prints is kept.
        output: the file that grows while it gets on.
        timeout_s: how long the file may stay as it is.
        watch: called with the file's size whenever it has grown.
        environment: environment variables, None for this process's.

    Raises:
        ToolError: it cannot be started, fails, or stands still for longer than ``timeout_s``.
    """
    log = cwd / "log.txt"
    with log.open("wb") as sink:
        try:
            process = subprocess.Popen(
                list(command), cwd=cwd, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment
            )
        except OSError as error:
            raise ToolError(f"{what} failed: {error}", command=command) from error
        try:
            stuck = _wait(process, output, timeout_s, watch)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if stuck:
        raise ToolError(
            f"{what} stood still for {timeout_s:.0f} s and was stopped; a longer time is given with --timeout",
            command=command,
            stderr=_tail(log),
        )
    if process.returncode:
        raise ToolError(f"{what} failed", command=command, returncode=process.returncode, stderr=_tail(log))


def _wait(process: subprocess.Popen[bytes], output: Path, timeout_s: float, watch: Callable[[int], None]) -> bool:
    """Whether the program stood still for too long."""
    size, since = 0, time.monotonic()
    while True:
        try:
            process.wait(timeout=_POLL_S)
            return False
        except subprocess.TimeoutExpired:
            now = output.stat().st_size if output.exists() else 0
        if now != size:
            size, since = now, time.monotonic()
            watch(size)
        elif time.monotonic() - since > timeout_s:
            return True


def _tail(log: Path) -> str:
    """What it printed last; where it reported a defect, the lines from there on."""
    text = log.read_bytes()[-_MESSAGE_BYTES:].decode("utf-8", "replace")
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if any(mark in line for mark in _MARKS):
            return "\n".join(lines[index : index + _REPORT_LINES])
    return text or "(it printed nothing)"
