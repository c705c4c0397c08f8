# SPDX-License-Identifier: Apache-2.0
"""Firmware in QEMU whose console is a socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mcucompiler.board_types import Board
from mcucompiler.boards import load_board
from mcucompiler.build.program import Flavor, build_program
from mcucompiler.manifest import read_manifest

_START_S = 20.0

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)


def free_port() -> int:
    """A TCP port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def emulated(
    folder: Path, board_name: str = "mps2-an500", protocol: str = "serial", *, icount: bool = False
) -> Iterator[str]:
    """The URL of the console of a folder's firmware, which runs meanwhile."""
    board = load_board(board_name)
    program = build_program(read_manifest(folder), Flavor(board=board, protocol=protocol))
    with running(program.path, board, icount=icount) as (url, _):
        yield url


@contextmanager
def running(firmware: Path, board: Board, *, icount: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The URL of a firmware's console, and the emulator."""
    assert board.qemu is not None
    port = free_port()
    command = [
        *("qemu-system-arm", "-M", board.qemu.machine, "-display", "none", "-monitor", "none"),
        *(("-icount", f"shift={board.qemu.icount_shift}") if icount else ()),
        *("-chardev", f"socket,id=console,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on"),
        *(["-serial", "null"] * board.qemu.console_serial),
        *("-serial", "chardev:console", "-kernel", str(firmware)),
    ]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _wait_until_it_listens(process, port)
        yield f"socket://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("QEMU does not listen")
