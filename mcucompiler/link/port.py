# SPDX-License-Identifier: Apache-2.0
"""A serial port, or whatever pyserial reaches by a URL, with failures explained."""

from __future__ import annotations

import errno
from typing import Protocol

import serial
from serial.tools import list_ports

from mcucompiler.link.errors import LinkError

DEFAULT_BAUD = 115200
_WRITE_TIMEOUT_S = 10.0
_BUSY = (errno.EBUSY, errno.EAGAIN)


class Port(Protocol):
    """A stream of bytes to a device."""

    @property
    def name(self) -> str:
        """As the user gave it."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes; raises LinkError when the port is gone."""
        ...

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, after waiting at most so long for the first byte; raises as ``write``."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


class SerialPort:
    """A port of pyserial.

    Args:
        url: a device (``/dev/ttyACM0``, ``COM3``) or a URL (``socket://host:port``).
        baud: bits per second; means nothing to sockets.

    Raises:
        LinkError: it cannot be opened; says why and what to do.
    """

    def __init__(self, url: str, baud: int = DEFAULT_BAUD) -> None:
        self.name = url
        try:
            self._serial = serial.serial_for_url(url, baudrate=baud, timeout=0, do_not_open=True)
            self._serial.write_timeout = None if "://" in url else _WRITE_TIMEOUT_S
            if "://" not in url:
                self._serial.exclusive = True
            self._serial.open()
        except (OSError, ValueError) as error:
            raise LinkError(_explain(url, error)) from error

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._serial.write(data)
        except (OSError, TypeError) as error:
            raise self._gone(error) from error

    def read(self, timeout_s: float) -> bytes:
        """What has arrived."""
        try:
            self._serial.timeout = timeout_s
            first = bytes(self._serial.read(1))
            if not first:
                return first
            self._serial.timeout = 0
            return first + bytes(self._serial.read(4096))
        except (OSError, TypeError) as error:  # pyserial reports a port that is gone as either
            raise self._gone(error) from error

    def close(self) -> None:
        """Give the port back."""
        # pyserial leaves the socket of a connection that has broken open.
        connection = getattr(self._serial, "_socket", None)
        self._serial.close()
        if connection is not None:
            connection.close()

    def _gone(self, error: Exception) -> LinkError:
        return LinkError(
            f"the connection to {self.name!r} was lost: {error}\n"
            "  what to do: check the cable and the board's power, then run the command again; nothing needs resetting"
        )


def open_port(url: str, baud: int = DEFAULT_BAUD) -> SerialPort:
    """A port, opened for this process alone; raises as SerialPort does."""
    return SerialPort(url, baud)


def _explain(url: str, error: Exception) -> str:
    code = getattr(error, "errno", None)
    text = str(error)
    if "://" in url:
        advice = "start what listens there (QEMU with -chardev socket,...,server=on), or give the right address"
    elif code in _BUSY or "exclusively lock" in text or "Access is denied" in text:
        advice = "another program holds the port: close the terminal, IDE or debugger that has it open"
    elif code in (errno.EACCES, errno.EPERM):
        advice = "add yourself to the group that owns the port (`sudo usermod -aG dialout $USER`), then log in again"
    else:
        found = ", ".join(sorted(port.device for port in list_ports.comports())) or "none"
        advice = f"check the cable and the name; ports found: {found}"
    return f"port {url!r} cannot be opened: {text}\n  what to do: {advice}"
