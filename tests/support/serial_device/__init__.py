# SPDX-License-Identifier: Apache-2.0
"""The firmware's side of the serial protocol as a library of this process, behind a line that can be spoiled."""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from mcucompiler.build.harness import HOOK_NAME, write_headers
from mcucompiler.manifest import Manifest
from mcucompiler.resources import runtime_dir

_HERE = Path(__file__).parent
_SOURCES = ("harness/guard.c", "harness/feed.c", "protocol/frame.c", "protocol/serial.c")
_TAKE_BYTES = 1 << 20


def build(manifest: Manifest, folder: Path, *flags: str) -> Path:
    """The network of a folder with the protocol, as a library, or as a program with ``-DSIM_MAIN``."""
    write_headers(manifest, folder, board="simulated")
    target = folder / "device"
    shared = () if "-DSIM_MAIN" in flags else ("-shared", "-fPIC")
    include = [f"-I{runtime_dir() / name}" for name in ("harness", "protocol", "include")]
    command = [
        *("gcc", "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", *shared, *flags),
        *(f"-I{folder}", f"-I{manifest.directory}", *include, "-include", str(folder / HOOK_NAME)),
        *(str(runtime_dir() / name) for name in _SOURCES),
        *(str(manifest.directory / name) for name in manifest.sources),
        *(str(_HERE / "board.c"), "-o", str(target)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return target


class Line:
    """Spoils bytes on their way.

    Args:
        rate: how many of the bytes are where something happens.
        seed: of what happens.
    """

    def __init__(self, rate: float, seed: int) -> None:
        self.rate, self.events = rate, 0
        self._random = random.Random(seed)

    def pass_on(self, data: bytes) -> bytes:
        """What arrives."""
        if self.rate == 0:
            return data
        arrived = bytearray()
        for position, byte in enumerate(data):
            if self._random.random() >= self.rate:
                arrived.append(byte)
                continue
            self.events += 1
            kind = self._random.randrange(6)
            if kind == 0:
                arrived.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 1:
                arrived.append(self._random.randrange(256))
            elif kind == 2:
                arrived += data[max(position - self._random.randrange(60), 0) : position + 1]
            elif kind == 3:
                arrived += bytes([byte]) + self._random.randbytes(self._random.randrange(1, 20))
            elif kind == 4:
                return bytes(arrived)
        return bytes(arrived)  # kind 5: the byte is lost


class SimulatedPort:
    """A port to a library that ``build`` made; time passes only while nothing arrives.

    Attributes:
        name: for messages.
        to_device: the line there.
        from_device: the line back.
        on_write: called before bytes are sent.
    """

    def __init__(self, library: Path) -> None:
        self.name = "simulated"
        self.to_device = self.from_device = Line(0, 0)
        self.on_write: Callable[[], None] = lambda: None
        self._device = ctypes.CDLL(str(library))
        self._now = 0.0
        self._arrived = bytearray()
        self.restart()

    def restart(self) -> None:
        """What a reset does."""
        self._device.sim_start()

    def clock(self) -> float:
        """Seconds."""
        return self._now

    def write(self, data: bytes) -> None:
        self.on_write()
        arrived = self.to_device.pass_on(data)
        self._device.sim_feed(arrived, ctypes.c_size_t(len(arrived)))
        buffer = ctypes.create_string_buffer(_TAKE_BYTES) if not hasattr(self, "_buffer") else self._buffer
        self._buffer = buffer
        count = self._device.sim_take(buffer, ctypes.c_size_t(_TAKE_BYTES))
        self._arrived += self.from_device.pass_on(ctypes.string_at(buffer, count))

    def read(self, timeout_s: float) -> bytes:
        if not self._arrived:
            self._now += timeout_s
            return b""
        data = bytes(self._arrived[:200])
        del self._arrived[:200]
        return data

    def close(self) -> None:
        pass
