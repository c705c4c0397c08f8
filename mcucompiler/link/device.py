# SPDX-License-Identifier: Apache-2.0
"""A device that holds one network: inputs go in, it runs, outputs and measurements come out."""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.link.client import Client, RefusedError
from mcucompiler.link.errors import DeviceError, FaultError
from mcucompiler.link.frame import PAYLOAD_BYTES
from mcucompiler.link.messages import (
    CAPTURE_ALL,
    CAPTURE_NONE,
    RUN_DIGESTS,
    ErrorCode,
    Fault,
    Hello,
    Kind,
    RunRecord,
)
from mcucompiler.words import counted

_WORD_BYTES = 4
_WRITE_BYTES = PAYLOAD_BYTES - 3 * _WORD_BYTES
_READ_BYTES = PAYLOAD_BYTES - _WORD_BYTES
_SAMPLE_ATTEMPTS = 4
_CAPTURE_ATTEMPTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of the arena that a step writes.

    Attributes:
        size_bytes: from its first to one past its last.
        rows: pieces of it that belong to the tensor.
        row_bytes: bytes of each.
        stride_bytes: from one to the next.
    """

    size_bytes: int
    rows: int
    row_bytes: int
    stride_bytes: int

    def packed(self, data: bytes) -> bytes:
        """The rows alone."""
        return b"".join(data[row * self.stride_bytes :][: self.row_bytes] for row in range(self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is sent and received for one network.

    Attributes:
        input_bytes: of each input.
        output_bytes: of each output.
        steps: number of steps.
        spans: what the steps write, in the firmware's order.
    """

    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]
    steps: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRun:
    """One run.

    Attributes:
        record: how it went.
        outputs: bytes of each output.
        step_cycles: cycles of each step.
        digests: CRC-32 of what each span's rows held right after its step; () where not asked for.
        captures: bytes of spans by their number, where asked for.
    """

    record: RunRecord
    outputs: tuple[bytes, ...]
    step_cycles: tuple[int, ...]
    digests: tuple[int, ...] = ()
    captures: dict[int, bytes]


class Device:
    """A device at the other end of a client.

    Args:
        client: to talk through.
        shape: of its network.
        timeout_s: how long a run may take.
        hello: checks what the device says of itself; called at the start and whenever it has begun afresh.
        tokens: gives a new number for each run.

    Raises:
        LinkError: it does not answer.
        DeviceError: it is another one.
    """

    def __init__(
        self,
        client: Client,
        shape: Shape,
        *,
        timeout_s: float,
        hello: Callable[[Hello], None] = lambda hello: None,
        tokens: Callable[[], int] = lambda: secrets.randbits(32),
    ) -> None:
        self._client, self._shape, self._timeout_s = client, shape, timeout_s
        self._check, self._tokens = hello, tokens
        self.hello = self._greet()

    def run(self, inputs: Sequence[bytes], *, digests: bool = False) -> DeviceRun:
        """Run the network.

        Args:
            inputs: bytes of each input.
            digests: also ask for the CRC of what each step wrote.

        Raises:
            LinkError: the device does not answer any more.
            FaultError: the network's program faulted.
            DeviceError: the device keeps beginning afresh, or contradicts itself.
        """
        return self._repeated(inputs, RUN_DIGESTS if digests else 0, CAPTURE_NONE, _Collector(()))

    def capture(self, inputs: Sequence[bytes], span: int | None = None) -> DeviceRun:
        """Run the network and take what its steps write, each as it is right after its step.

        What the line loses is taken from another run of the same inputs.

        Args:
            inputs: bytes of each input.
            span: number of a span, None for all of them.

        Raises:
            LinkError: the line loses too much, or the device does not answer any more.
            FaultError: the network's program faulted.
            DeviceError: the device keeps beginning afresh, or contradicts itself.
        """
        wanted = range(len(self._shape.spans)) if span is None else (span,)
        collector = _Collector([(index, self._shape.spans[index].size_bytes) for index in wanted])
        for _ in range(_CAPTURE_ATTEMPTS):
            run = self._repeated(inputs, RUN_DIGESTS, CAPTURE_ALL if span is None else span, collector)
            if collector.complete:
                self._check_captures(run)
                return run
        raise DeviceError(
            f"the line to {self._client.port.name!r} loses too much to dump what the steps write\n"
            "  what to do: use a shorter cable or a lower baud rate"
        )

    def _greet(self) -> Hello:
        payload = self._client.request(Kind.HELLO)
        try:
            hello = Hello.decode(payload)
        except struct.error as error:
            raise DeviceError(
                f"the firmware at {self._client.port.name!r} describes itself in an unknown form\n"
                "  what to do: flash it again: mcucompiler flash DIR --board BOARD"
            ) from error
        self._check(hello)
        return hello

    def _repeated(self, inputs: Sequence[bytes], flags: int, span: int, collector: _Collector) -> DeviceRun:
        for _ in range(_SAMPLE_ATTEMPTS):
            token = self._tokens()
            try:
                return self._once(token, inputs, flags, span, collector)
            except RefusedError as error:
                self._recover(error, token)
        raise DeviceError(
            f"the device at {self._client.port.name!r} began afresh in each of {_SAMPLE_ATTEMPTS} attempts to run\n"
            "  what to do: check its power supply, and that no watchdog resets it"
        )

    def _recover(self, error: RefusedError, token: int) -> None:
        """Get ready for another attempt, unless there is a fault to report."""
        if error.code == ErrorCode.FAULT:
            raise self._fault(error.payload) from error
        if error.code not in (ErrorCode.STATE, ErrorCode.INPUTS):
            raise error
        if self._greet().has_fault:
            try:
                payload = self._client.request(Kind.FAULT)
            except RefusedError:
                return
            if Fault.decode(payload).token == token:
                raise self._fault(payload) from error

    def _fault(self, payload: bytes) -> FaultError:
        fault = Fault.decode(payload)
        return FaultError(
            f"the network's program on {self._client.port.name!r} ended in a fault after {fault.steps_done} of "
            f"{counted(self._shape.steps, 'step')}: {fault.cause}\n{_indented(fault.describe())}\n"
            "  what to do: the device has begun afresh and can be used again; find the code at pc and lr with "
            "arm-none-eabi-addr2line -e build/BOARD/serial/firmware.elf; a stack that overflows needs more "
            "stack_bytes in the board's description",
            fault,
        )

    def _once(self, token: int, inputs: Sequence[bytes], flags: int, span: int, collector: _Collector) -> DeviceRun:
        request = self._client.request
        head = struct.pack("<I", token)
        request(Kind.BEGIN, head)
        for index, data in enumerate(inputs):
            for offset in range(0, len(data), _WRITE_BYTES):
                where = struct.pack("<II", index, offset)
                request(Kind.WRITE, head + where + data[offset : offset + _WRITE_BYTES])
        crc = zlib.crc32(b"".join(inputs))
        payload = request(
            Kind.RUN,
            head + struct.pack("<III", flags, span, crc),
            patience_s=self._timeout_s,
            on_capture=lambda piece: collector.add(token, piece),
        )
        record = self._decoded(payload, token)
        outputs = tuple(self._output(head, index) for index in range(len(self._shape.output_bytes)))
        if zlib.crc32(b"".join(outputs)) != record.output_crc:
            raise DeviceError(f"the outputs of the device at {self._client.port.name!r} changed while they were read")
        return DeviceRun(
            record=record,
            outputs=outputs,
            step_cycles=self._words(Kind.STEPS, head, self._shape.steps),
            digests=self._words(Kind.DIGESTS, head, len(self._shape.spans)) if flags & RUN_DIGESTS else (),
            captures=collector.spans(),
        )

    def _decoded(self, payload: bytes, token: int) -> RunRecord:
        if payload[:_WORD_BYTES] != struct.pack("<I", token):
            raise self._contradiction(Kind.RUN)
        try:
            return RunRecord.decode(payload)
        except struct.error as error:
            raise self._contradiction(Kind.RUN) from error

    def _output(self, head: bytes, index: int) -> bytes:
        size, data = self._shape.output_bytes[index], b""
        while len(data) < size:
            count = min(_READ_BYTES, size - len(data))
            payload = self._client.request(Kind.READ, head + struct.pack("<III", index, len(data), count))
            if payload[:_WORD_BYTES] != head or len(payload) != _WORD_BYTES + count:
                raise self._contradiction(Kind.READ)
            data += payload[_WORD_BYTES:]
        return data

    def _words(self, kind: Kind, head: bytes, count: int) -> tuple[int, ...]:
        words: tuple[int, ...] = ()
        while len(words) < count:
            payload = self._client.request(kind, head + struct.pack("<I", len(words)))
            if payload[:_WORD_BYTES] != head or len(payload) % _WORD_BYTES or len(payload) == _WORD_BYTES:
                raise self._contradiction(kind)
            words += struct.unpack(f"<{len(payload) // _WORD_BYTES - 1}I", payload[_WORD_BYTES:])
        if len(words) != count:
            raise self._contradiction(kind)
        return words

    def _check_captures(self, run: DeviceRun) -> None:
        for index, data in run.captures.items():
            if zlib.crc32(self._shape.spans[index].packed(data)) != run.digests[index]:
                raise self._contradiction(Kind.CAPTURE)

    def _contradiction(self, kind: Kind) -> DeviceError:
        return DeviceError(
            f"the device at {self._client.port.name!r} contradicts itself in its answer to {kind.name}\n"
            "  what to do: flash it again: mcucompiler flash DIR --board BOARD"
        )


class _Collector:
    """Puts together what comes in pieces, some of them lost.

    Args:
        wanted: pairs of a span's number and its bytes.
    """

    def __init__(self, wanted: Sequence[tuple[int, int]]) -> None:
        self._data = {index: bytearray(size) for index, size in wanted}
        self._missing = {index: np.ones(size, np.bool_) for index, size in wanted}

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not any(missing.any() for missing in self._missing.values())

    def add(self, token: int, payload: bytes) -> None:
        """Take a piece, unless it is of another run."""
        if len(payload) < 3 * _WORD_BYTES:
            return
        of_token, index, offset = struct.unpack_from("<III", payload)
        piece = payload[3 * _WORD_BYTES :]
        data = self._data.get(index)
        if of_token != token or data is None or offset + len(piece) > len(data):
            return
        data[offset : offset + len(piece)] = piece
        self._missing[index][offset : offset + len(piece)] = False

    def spans(self) -> dict[int, bytes]:
        """What has come, by number."""
        return {index: bytes(data) for index, data in self._data.items()}


def _indented(text: str) -> str:
    return "\n".join(f"  | {line}" for line in text.splitlines())
