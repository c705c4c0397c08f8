# SPDX-License-Identifier: Apache-2.0
"""Frames: consistent overhead byte stuffing around a body that ends in its CRC-32.

A zero byte ends a frame and occurs nowhere else, so a receiver that has lost its place finds it again at the
next zero. S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking
7(2), 1999.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

VERSION = 1
PAYLOAD_BYTES = 240
"""The longest payload."""

_HEAD = struct.Struct("<BBH")
_CRC = struct.Struct("<I")
_LONGEST_FRAME = 1 + _HEAD.size + PAYLOAD_BYTES + _CRC.size
_LONGEST_BLOCK = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What one side tells the other.

    Attributes:
        kind: what it is, of ``messages.Kind``.
        sequence: a request's number, which its answer repeats.
        payload: at most PAYLOAD_BYTES bytes.
        version: of the protocol that the sender speaks.
    """

    kind: int
    sequence: int
    payload: bytes = b""
    version: int = VERSION


def stuff(body: bytes) -> bytes:
    """The body without zeros: each block is its length plus one, then its bytes; a zero follows all but the last."""
    stuffed = bytearray()
    for block in body.split(b"\0"):
        piece = block
        while len(piece) >= _LONGEST_BLOCK:
            stuffed += b"\xff" + piece[:_LONGEST_BLOCK]
            piece = piece[_LONGEST_BLOCK:]
        stuffed.append(len(piece) + 1)
        stuffed += piece
    return bytes(stuffed)


def unstuff(stuffed: bytes) -> bytes | None:
    """The inverse of ``stuff``; None for bytes that it never gives."""
    body = bytearray()
    position = 0
    while position < len(stuffed):
        code = stuffed[position]
        block = stuffed[position + 1 : position + code]
        if code == 0 or len(block) != code - 1:
            return None
        body += block
        position += code
        if position < len(stuffed) and code != _LONGEST_BLOCK + 1:
            body.append(0)
    return bytes(body)


def encode(frame: Frame) -> bytes:
    """The bytes on the line: a zero, which ends whatever noise came before, the stuffed body, a zero."""
    content = _HEAD.pack(frame.version, frame.kind, frame.sequence) + frame.payload
    return b"\0" + stuff(content + _CRC.pack(zlib.crc32(content))) + b"\0"


def decode(stuffed: bytes) -> Frame | None:
    """The frame between two zeros; None where it is damaged."""
    body = unstuff(stuffed)
    if body is None or len(body) < _HEAD.size + _CRC.size:
        return None
    content, crc = body[: -_CRC.size], body[-_CRC.size :]
    if _CRC.pack(zlib.crc32(content)) != crc:
        return None
    version, kind, sequence = _HEAD.unpack_from(content)
    return Frame(version=version, kind=kind, sequence=sequence, payload=content[_HEAD.size :])


class Receiver:
    """Finds frames in a stream of bytes; holds no more than one frame's."""

    def __init__(self) -> None:
        self._noise = 0
        self._text = b""
        self._pending = bytearray()
        self._too_long = False

    @property
    def noise(self) -> int:
        """Bytes that belong to no sound frame so far."""
        return self._noise + len(self._pending)

    @property
    def text(self) -> bytes:
        """The last of them, for messages: what else may be talking on the line."""
        return (self._text + self._pending)[-_LONGEST_FRAME:]

    def feed(self, data: bytes) -> list[Frame]:
        """The sound frames that these bytes complete."""
        frames = []
        for index, part in enumerate(data.split(b"\0")):
            if index:
                frame = self._finish()
                if frame is not None:
                    frames.append(frame)
            self._append(part)
        return frames

    def _append(self, part: bytes) -> None:
        room = _LONGEST_FRAME - len(self._pending)
        if len(part) > room:
            self._too_long = True
            self._count(part[room:])
        self._pending += part[:room]

    def _finish(self) -> Frame | None:
        stuffed, too_long = bytes(self._pending), self._too_long
        self._pending.clear()
        self._too_long = False
        frame = None if too_long else decode(stuffed)
        if frame is None:
            self._count(stuffed)
        return frame

    def _count(self, noise: bytes) -> None:
        self._noise += len(noise)
        self._text = (self._text + noise)[-_LONGEST_FRAME:]
