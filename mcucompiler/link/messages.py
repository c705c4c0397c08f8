# SPDX-License-Identifier: Apache-2.0
"""Requests, answers and what they hold; the numbers are those of runtime_c/protocol/mc_serial.h."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

ANSWER = 0x80
CAPTURE_NONE = 0xFFFFFFFF
CAPTURE_ALL = 0xFFFFFFFE
RUN_DIGESTS = 1

_HELLO = struct.Struct("<12I32s32s32s32s32s")
_RESULT = struct.Struct("<4xIIQIII")
_FAULT = struct.Struct("<4x4x17I4x")
_REGISTERS = ("r0", "r1", "r2", "r3", "r12", "lr", "pc", "xpsr")
_STATUS = ("cfsr", "hfsr", "mmfar", "bfar")
_FAULT_NAMES = {2: "NMI", 3: "hard fault", 4: "memory management fault", 5: "bus fault", 6: "usage fault"}
_CAUSES = {
    # Bits of CFSR: Armv7-M Architecture Reference Manual (DDI 0403E), B3.2.15.
    0: "an instruction was fetched from where none may be",
    1: "data was accessed where none may be (address in mmfar)",
    4: "the stack left its memory on exception entry",
    8: "an instruction could not be fetched from the bus",
    9: "a precise bus error (address in bfar)",
    10: "a bus error of an earlier write",
    12: "a bus error while the stack was written",
    16: "an undefined instruction",
    17: "a jump to an address without the Thumb bit",
    19: "a coprocessor or FPU instruction without one",
    24: "an unaligned access",
    25: "a division by zero",
}


class Kind(IntEnum):
    """Kinds of frames; an answer is its request's kind with ANSWER set."""

    HELLO = 1
    BEGIN = 2
    WRITE = 3
    RUN = 4
    READ = 5
    STEPS = 6
    DIGESTS = 7
    FAULT = 8
    CAPTURE = 0xC0
    ERROR = 0xFF


class ErrorCode(IntEnum):
    """Why a device refuses a request."""

    VERSION = 1
    KIND = 2
    LENGTH = 3
    STATE = 4
    RANGE = 5
    INPUTS = 6
    FAULT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a device is.

    Attributes:
        board: its name.
        network: C name of the network.
        compiler_version: of the compiler that wrote it.
        model_digest: SHA-256 of the ONNX file.
        program_digest: SHA-256 over the generated files.
        arena_bytes: of the network.
        arena_align: likewise.
        inputs: number of inputs.
        outputs: number of outputs.
        steps: number of steps.
        segments: number of the steps' outputs.
        clock_hz: the core's clock as it runs.
        cycles_hz: of the cycle counter.
        stack_bytes: of the firmware.
        board_status: bits of mc_board_status().
        broken_promises: bits of what the network's interface does not keep.
        has_fault: whether the last run ended in a fault.
    """

    board: str
    network: str
    compiler_version: str
    model_digest: bytes
    program_digest: bytes
    arena_bytes: int
    arena_align: int
    inputs: int
    outputs: int
    steps: int
    segments: int
    clock_hz: int
    cycles_hz: int
    stack_bytes: int
    board_status: int
    broken_promises: int
    has_fault: bool

    @classmethod
    def decode(cls, payload: bytes) -> Hello:
        """From an answer; raises struct.error where it has another length."""
        (*numbers, model, program, board, network, version) = _HELLO.unpack(payload)
        arena, align, inputs, outputs, steps, segments, clock, cycles, stack, status, broken, fault = numbers
        return cls(
            board=_text(board),
            network=_text(network),
            compiler_version=_text(version),
            model_digest=model,
            program_digest=program,
            arena_bytes=arena,
            arena_align=align,
            inputs=inputs,
            outputs=outputs,
            steps=steps,
            segments=segments,
            clock_hz=clock,
            cycles_hz=cycles,
            stack_bytes=stack,
            board_status=status,
            broken_promises=broken,
            has_fault=bool(fault),
        )

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "board": self.board,
            "network": self.network,
            "compiler_version": self.compiler_version,
            "model_sha256": self.model_digest.hex(),
            "arena_bytes": self.arena_bytes,
            "clock_hz": self.clock_hz,
            "cycles_hz": self.cycles_hz,
            "stack_bytes": self.stack_bytes,
            "board_status": self.board_status,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """How a run went.

    Attributes:
        status: what the network returned, 0 for success.
        fences_intact: whether nothing was written outside of the arena.
        cycles: of the steps, without what the protocol did between them.
        stack_bytes: most that the network used.
        output_crc: CRC-32 over all outputs.
        steps_called: how often the step hook was called.
    """

    status: int
    fences_intact: bool
    cycles: int
    stack_bytes: int
    output_crc: int
    steps_called: int

    @classmethod
    def decode(cls, payload: bytes) -> RunRecord:
        """From an answer; raises struct.error where it has another length."""
        status, fences, cycles, stack, crc, steps = _RESULT.unpack(payload)
        return cls(
            status=status,
            fences_intact=bool(fences),
            cycles=cycles,
            stack_bytes=stack,
            output_crc=crc,
            steps_called=steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An exception that ended a run.

    Attributes:
        token: of the run.
        steps_done: steps that had ended.
        vector: number of the exception.
        stack_pointer: when it happened.
        stack_overflow: whether the stack had left its memory; then there are no registers.
        registers: r0 to r3, r12, lr, pc, xpsr by name.
        status: CFSR, HFSR, MMFAR, BFAR by name.
    """

    token: int
    steps_done: int
    vector: int
    stack_pointer: int
    stack_overflow: bool
    registers: dict[str, int]
    status: dict[str, int]

    @classmethod
    def decode(cls, payload: bytes) -> Fault:
        """From an answer or an error; raises struct.error where it has another length."""
        token, steps, vector, pointer, overflow, *rest = _FAULT.unpack(payload)
        return cls(
            token=token,
            steps_done=steps,
            vector=vector,
            stack_pointer=pointer,
            stack_overflow=bool(overflow),
            registers=dict(zip(_REGISTERS, rest[:8], strict=True)),
            status=dict(zip(_STATUS, rest[8:], strict=True)),
        )

    @property
    def cause(self) -> str:
        """In words, from the exception and CFSR."""
        if self.stack_overflow:
            return "the stack overflowed"
        name = _FAULT_NAMES.get(self.vector, f"exception {self.vector}")
        causes = [cause for bit, cause in _CAUSES.items() if self.status["cfsr"] >> bit & 1]
        return name + (f": {', '.join(causes)}" if causes else "")

    def describe(self) -> str:
        """The registers, in lines."""
        lines = [f"sp {self.stack_pointer:08x}"]
        if not self.stack_overflow:
            lines.append("  ".join(f"{name} {self.registers[name]:08x}" for name in _REGISTERS[:4]))
            lines.append("  ".join(f"{name} {self.registers[name]:08x}" for name in _REGISTERS[4:]))
        lines.append("  ".join(f"{name} {value:08x}" for name, value in self.status.items()))
        return "\n".join(lines)


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode("ascii", "replace")
