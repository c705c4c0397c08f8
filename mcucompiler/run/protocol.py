# SPDX-License-Identifier: Apache-2.0
"""The files that the harness reads and writes; the format is described in runtime_c/harness/harness.c."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from mcucompiler.build.harness import segments
from mcucompiler.errors import ToolError, VerificationError
from mcucompiler.manifest import Manifest
from mcucompiler.run.types import Sample, SampleResult, StepDump
from mcucompiler.words import counted

VERSION = 1
_STACK_UNKNOWN = 0xFFFFFFFF
_CHUNK_HEAD_BYTES = 8
_HELLO_BYTES = 32
_SAMPLE_BYTES = 20
_PROMISES = (
    "a null arena gives ERR_NULL",
    "an arena one byte too short gives ERR_ARENA",
    "a misaligned arena gives ERR_ALIGN",
    "an input index out of range gives NULL",
    "an output index out of range gives NULL",
    "a row before the beginning gives ERR_SEQUENCE",
    "a row that is NULL gives ERR_NULL",
)


class Mode(IntEnum):
    """What the harness records."""

    RUN = 0
    BENCH = 1
    LAYERS = 2


def encode_samples(mode: Mode, samples: Sequence[Sample]) -> bytes:
    """The input file."""
    head = b"MCIN" + struct.pack("<3I", VERSION, mode, len(samples))
    return head + b"".join(part for sample in samples for part in sample)


def expected_bytes(manifest: Manifest, mode: Mode, count: int) -> tuple[int, int]:
    """Bytes of the output file before the first sample, and of each sample."""
    per_sample = _CHUNK_HEAD_BYTES + _SAMPLE_BYTES
    per_sample += sum(_CHUNK_HEAD_BYTES + 4 + tensor.bytes for tensor in manifest.outputs)
    if mode is Mode.BENCH:
        per_sample += _CHUNK_HEAD_BYTES + 4 * len(manifest.steps)
    if mode is Mode.LAYERS:
        per_sample += sum(_CHUNK_HEAD_BYTES + 4 + segment.bytes for segment in segments(manifest))
    return _CHUNK_HEAD_BYTES + _HELLO_BYTES, per_sample


@dataclass
class _Pending:
    """A sample of which not all chunks have been read."""

    record: tuple[int, ...]
    dumps: list[tuple[int, bytes]]
    outputs: dict[int, bytes] = field(default_factory=dict)
    ticks: tuple[int, ...] = ()


def decode_results(manifest: Manifest, data: bytes, count: int) -> tuple[SampleResult, ...]:
    """The results of ``count`` samples from the output file.

    Raises:
        ToolError: the file is not complete, or not one of this network.
        VerificationError: the program broke what its interface promises.
    """
    dumps: list[tuple[int, bytes]] = []
    pending: list[_Pending] = []
    done = -1
    for tag, payload in _chunks(data):
        if tag == b"HELO":
            _check_hello(manifest, struct.unpack("<8I", payload))
        elif tag == b"STEP":
            dumps.append((_word(payload), payload[4:]))
        elif tag == b"SAMP":
            pending.append(_Pending(record=struct.unpack("<5I", payload), dumps=dumps))
            dumps = []
        elif tag == b"TIME":
            pending[-1].ticks = struct.unpack(f"<{len(payload) // 4}I", payload)
        elif tag == b"OUTP":
            pending[-1].outputs[_word(payload)] = payload[4:]
        elif tag == b"DONE":
            done = _word(payload)
    if done != count or len(pending) != count:
        raise ToolError(f"the run ended after {len(pending)} of {counted(count, 'sample')}")
    for sample in pending:
        _check_record(manifest, sample)
    return tuple(_result(manifest, sample) for sample in pending)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + _CHUNK_HEAD_BYTES <= len(data):
        tag, size = struct.unpack_from("<4sI", data, position)
        start = position + _CHUNK_HEAD_BYTES
        position = start + size
        if position <= len(data):
            yield tag, data[start:position]


def _word(payload: bytes) -> int:
    word: int = struct.unpack_from("<I", payload)[0]
    return word


def _check_hello(manifest: Manifest, hello: tuple[int, ...]) -> None:
    version, arena, _align, inputs, outputs, steps, _hz, broken = hello
    told = (arena, inputs, outputs, steps)
    expected = (manifest.memory.arena_bytes, len(manifest.inputs), len(manifest.outputs), len(manifest.steps))
    if version != VERSION or told != expected:
        raise ToolError(f"the program is of another network: arena, inputs, outputs, steps {told}, not {expected}")
    check_promises(broken)


def check_promises(broken: int) -> None:
    """Refuse a program that breaks promises of its interface, a bit for each."""
    causes = [promise for bit, promise in enumerate(_PROMISES) if broken >> bit & 1]
    if causes:
        raise VerificationError("interface", [f"broken promise: {cause}" for cause in causes])


def _check_record(manifest: Manifest, sample: _Pending) -> None:
    index, status, fences, _ticks, _stack = sample.record
    check_run(manifest, index, status, intact=bool(fences))
    missing = [tensor.name for tensor in manifest.outputs if tensor.index not in sample.outputs]
    if missing:
        raise VerificationError("run", [f"{manifest.name}_output gave no pointer for {', '.join(missing)}"])


def check_run(manifest: Manifest, index: int, status: int, *, intact: bool) -> None:
    """Refuse a run that failed or wrote outside of its arena."""
    function = f"{manifest.name}_{'run' if manifest.rows is None else 'push_row'}"
    if status != 0:
        raise VerificationError("run", [f"{function} returned status {status} for sample {index}"])
    if not intact:
        raise VerificationError("run", [f"{function} wrote outside of its arena for sample {index}"])


def _result(manifest: Manifest, sample: _Pending) -> SampleResult:
    stack = sample.record[4]
    return SampleResult(
        outputs=tuple(sample.outputs[tensor.index] for tensor in manifest.outputs),
        ticks=sample.record[3],
        stack_bytes=None if stack == _STACK_UNKNOWN else stack,
        step_ticks=sample.ticks,
        tensors=_tensors(manifest, sample),
    )


def _tensors(manifest: Manifest, sample: _Pending) -> tuple[StepDump, ...]:
    """Dumps come step by step and in the order of each step's outputs."""
    if not sample.dumps:
        return ()
    expected = segments(manifest)
    if [(step, len(span)) for step, span in sample.dumps] != [(piece.step, piece.bytes) for piece in expected]:
        called = list(dict.fromkeys(step for step, _ in sample.dumps))
        raise VerificationError("run", [f"the step hook was called for steps {called} of {len(manifest.steps)}"])
    dumps = []
    for piece, (_, span) in zip(expected, sample.dumps, strict=True):
        tensor = manifest.steps[piece.step].outputs[piece.output]
        dumps.append(StepDump(step=piece.step, tensor=tensor, value=tensor.decode(span)))
    return tuple(dumps)
