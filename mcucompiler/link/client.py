# SPDX-License-Identifier: Apache-2.0
"""Requests and their answers over a line that loses, repeats and damages bytes.

One request is on its way at a time. Its answer carries its number; without one in time it is sent again, which
every request allows. Nothing is ever taken from a frame whose CRC-32 is wrong.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from mcucompiler.link.errors import DeviceError, LinkError
from mcucompiler.link.frame import VERSION, Frame, Receiver, encode
from mcucompiler.link.messages import ANSWER, ErrorCode, Kind
from mcucompiler.link.port import DEFAULT_BAUD, Port

_BITS_PER_BYTE = 10
_TURNAROUND_S = 0.25
_ERROR = struct.Struct("<II")
_SEQUENCES = 1 << 16
_FIRST_ATTEMPTS = 4  # until the device has been heard: it may not be there at all
_ATTEMPTS = 8
_PATIENT_ATTEMPTS = 3  # where there is a time that the device may take


class RefusedError(DeviceError):
    """The device refused a request.

    Args:
        port: where.
        code: why.
        payload: of the error.
    """

    def __init__(self, port: str, kind: Kind, code: int, payload: bytes) -> None:
        self.code, self.payload = code, payload
        name = ErrorCode(code).name if code in tuple(ErrorCode) else str(code)
        detail = _ERROR.unpack_from(payload)[1] if len(payload) >= _ERROR.size else 0
        super().__init__(f"the device at {port!r} refused {kind.name} with {name} ({detail})")


@dataclass
class Statistics:
    """What it took.

    Attributes:
        requests: made.
        repeats: requests that had to be sent again.
        noise: bytes that belonged to no sound frame.
    """

    requests: int = 0
    repeats: int = 0
    noise: int = 0


class Client:
    """Sends requests through a port.

    Args:
        port: where the device is.
        baud: for how long a frame takes.
        clock: seconds, for time-outs.
    """

    def __init__(
        self,
        port: Port,
        *,
        baud: int = DEFAULT_BAUD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.port = port
        self.statistics = Statistics()
        self._receiver = Receiver()
        self._clock = clock
        self._byte_s = _BITS_PER_BYTE / baud
        self._sequence = int(clock() * 1000) % _SEQUENCES
        self._waiting: list[Frame] = []
        self._heard = False

    def request(
        self,
        kind: Kind,
        payload: bytes = b"",
        *,
        patience_s: float = 0.0,
        on_capture: Callable[[bytes], None] = lambda payload: None,
    ) -> bytes:
        """The payload of the answer.

        Args:
            kind: of the request.
            payload: its payload.
            patience_s: how long the device may take, beyond the time that the line needs.
            on_capture: takes what the device sends unasked meanwhile.

        Raises:
            RefusedError: the device says no.
            DeviceError: it speaks another version of the protocol.
            LinkError: it does not answer, or the port is gone.
        """
        self.statistics.requests += 1
        self._sequence = (self._sequence + 1) % _SEQUENCES
        data = encode(Frame(kind=kind, sequence=self._sequence, payload=payload))
        deadline = self._clock() + patience_s
        least = _PATIENT_ATTEMPTS if patience_s else _ATTEMPTS if self._heard else _FIRST_ATTEMPTS
        attempt = 0
        while attempt < least or self._clock() < deadline:
            if attempt:
                self.statistics.repeats += 1
            self.port.write(data)
            # Waits grow, so that a device that is slow to answer is not flooded.
            wait_s = _TURNAROUND_S * min(1 << attempt, 8) + (len(data) + 512) * self._byte_s
            answer = self._answer(kind, wait_s, on_capture)
            if answer is not None:
                return answer
            attempt += 1
        raise self._silence(patience_s)

    def _answer(self, kind: Kind, wait_s: float, on_capture: Callable[[bytes], None]) -> bytes | None:
        until = self._clock() + wait_s
        while (left := until - self._clock()) > 0:
            for frame in self._frames(left):
                self._heard = True
                if frame.version != VERSION:
                    raise self._other_version(frame.version)
                if frame.kind == Kind.CAPTURE:
                    until = self._clock() + wait_s
                    on_capture(frame.payload)
                elif frame.sequence == self._sequence and frame.kind == kind | ANSWER:
                    return frame.payload
                elif frame.sequence == self._sequence and frame.kind == Kind.ERROR:
                    raise self._refusal(kind, frame.payload)
        return None

    def _frames(self, timeout_s: float) -> list[Frame]:
        frames = self._receiver.feed(self.port.read(timeout_s))
        self.statistics.noise = self._receiver.noise
        return frames

    def _refusal(self, kind: Kind, payload: bytes) -> DeviceError:
        code, detail = _ERROR.unpack_from(payload.ljust(_ERROR.size, b"\0"))
        if code == ErrorCode.VERSION:
            return self._other_version(detail)
        return RefusedError(self.port.name, kind, code, payload)

    def _other_version(self, version: int) -> DeviceError:
        return DeviceError(
            f"the firmware at {self.port.name!r} speaks version {version} of the serial protocol, this mcucompiler "
            f"version {VERSION}\n  what to do: flash it again: mcucompiler flash DIR --board BOARD"
        )

    def _silence(self, patience_s: float) -> LinkError:
        where = f"the device at {self.port.name!r}"
        text = "".join(chr(byte) if 32 <= byte < 127 else " " for byte in self._receiver.text).split()
        if self._heard:
            waited = f" within {patience_s:.0f} s; a longer time is given with --timeout" if patience_s else ""
            return LinkError(
                f"{where} stopped answering{waited}\n"
                "  what to do: check the cable; if the network does not come to an end, press the board's reset button"
            )
        if self._receiver.noise:
            return LinkError(
                f"{where} sends {self._receiver.noise} bytes that are not of this protocol: {' '.join(text)[-80:]!r}\n"
                "  what to do: flash mcucompiler's firmware (mcucompiler flash DIR --board BOARD), or give the baud "
                "rate that the board uses with --baud"
            )
        return LinkError(
            f"{where} is silent\n"
            "  what to do: check that it is the board's console and not another port, that the firmware is flashed "
            "(mcucompiler flash DIR --board BOARD), that RX and TX are not exchanged; then press the reset button"
        )
