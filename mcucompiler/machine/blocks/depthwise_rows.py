# SPDX-License-Identifier: Apache-2.0
"""Assembler text of a depthwise function with its effort, and the rows of outputs of a channel."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache

from mcucompiler.machine.block import Block
from mcucompiler.machine.blocks.depthwise import (
    BEFORE,
    FARTHEST,
    OUTPUT,
    PLANE,
    Part,
    RowForm,
    dual_sums,
    packed_results,
    packed_sums,
    packed_terms,
    taps_row,
)
from mcucompiler.machine.blocks.depthwise_channel import float_tail
from mcucompiler.machine.blocks.depthwise_form import DepthwiseForm, DualPart, Frame, Segment
from mcucompiler.machine.blocks.products import Effort
from mcucompiler.machine.compile import Code, compile_block
from mcucompiler.machine.registers import ALL_REGISTERS, RegisterFile
from mcucompiler.machine.value import WORD

FREE = RegisterFile(core=tuple(name for name in ALL_REGISTERS.core if name not in (PLANE, BEFORE, "lr")))
"""What the float tail may use."""
FLOATS, TAPS_ROW = 7, 8
"""Labels of the float tail, and of a loop over rows of taps."""
_TAKEN = 2  # cycles that a branch which leaves the order of the code costs besides its own
_FLOAT_TAIL_LINES = 5  # of the float tail before its loop
_UNROLLED_ROWS = 3  # rows of taps without a loop in channels with a float tail


@lru_cache(maxsize=4096)
def _compiled(
    build: Callable[..., Block], arguments: tuple[Hashable, ...], registers: RegisterFile, attempts: int
) -> Code:
    """``compile_block``; functions have many blocks in common, and even to build one takes time."""
    return compile_block(build(*arguments), registers=registers, attempts=attempts)


@dataclass(slots=True)
class Text:
    """Lines of assembler, and how many instructions and cycles of each scope they are.

    Attributes:
        lines: the function.
        counts: instructions and cycles by scope.
        attempts: schedules to try for each block, see ``compile_block``.
    """

    lines: list[str] = field(default_factory=list)
    counts: dict[str, tuple[float, float]] = field(default_factory=dict)
    attempts: int = 0

    def compiled(
        self, build: Callable[..., Block], *arguments: Hashable, registers: RegisterFile = ALL_REGISTERS
    ) -> Code:
        """The code of the block that is built of some arguments, for all registers unless told otherwise."""
        return _compiled(build, arguments, registers, self.attempts)

    def put(self, scope: str, *lines: str, times: int = 1, cycles: float | None = None) -> None:
        """Lines that are executed so many times in a scope; a cycle each unless known better."""
        self.lines += lines
        number = sum(not line.endswith(":") for line in lines)
        self.count(scope, times * number, times * (number if cycles is None else cycles))

    def count(self, scope: str, instructions: float, cycles: float) -> None:
        """What is executed in a scope besides."""
        known = self.counts.get(scope, (0.0, 0.0))
        self.counts[scope] = (known[0] + instructions, known[1] + cycles)

    def code(self, scope: str, code: Code, *branch: str, times: int = 1) -> None:
        """A block; the cycles of a loop's body have its branch in them."""
        self.put(scope, *printed(code), *branch, times=times, cycles=code.cycles)

    def effort(self, scope: str) -> Effort:
        """What a scope takes."""
        instructions, cycles = self.counts.get(scope, (0.0, 0.0))
        return Effort(instructions=round(instructions), cycles=cycles)


def printed(code: Code) -> list[str]:
    """VCVTR in the default rounding mode is VCVTN, and exists in every float unit."""
    return [line.replace("vcvtn.", "vcvtr.") for line in code.lines]


def add_lines(register: str, source: str, value: int) -> list[str]:
    """Lines that add a constant; r12 is free."""
    if value == 0:
        return [] if register == source else [f"mov {register}, {source}"]
    mnemonic, amount = ("add", value) if value > 0 else ("sub", -value)
    if amount <= FARTHEST:
        return [f"{mnemonic} {register}, {source}, #{amount}"]
    high = [f"movt r12, #{amount >> 16}"] if amount >> 16 else []
    return [f"movw r12, #{amount & 0xFFFF}", *high, f"{mnemonic} {register}, {source}, r12"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of outputs of a channel."""

    text: Text
    scope: str
    row: RowForm
    segments: tuple[Segment, ...]
    form: DepthwiseForm
    frame: Frame

    def put(self, label: int) -> None:
        """All rows; parts that repeat have the labels behind ``label``."""
        form, rows = self.form, self.form.ofmap_rows
        held = OUTPUT if self.row.held else "r0"
        self._put(f"ldr {PLANE}, [sp, #{self.frame.plane}]", f"ldr {held}, [sp, #{self.frame.target}]")
        self._put(*([] if self.row.held else [f"str r0, [sp, #{self.frame.row.output}]"]), f"{label}:")
        words = outputs = 0
        for number, segment in enumerate(self.segments):
            times, loop = segment.times, label + 1 + number
            if times > 1:
                self._put(*add_lines("r0", PLANE, WORD * times * segment.step_words), times=rows)
                self._put(f"str r0, [sp, #{self.frame.part_end}]", f"{loop}:", times=rows)
            self._part(segment.part, rows * times)
            if times > 1:
                step = segment.step_outputs * self.row.element_stride
                words, outputs = words + times * segment.step_words, outputs + times * step
                self._step(WORD * segment.step_words, step, self.frame.part_end, loop, rows * times)
        self._step(WORD * (form.line_step - words), form.out_step - outputs, self.frame.rows_end, label, rows)

    def _put(self, *lines: str, times: int = 1) -> None:
        self.text.put(self.scope, *lines, times=times)

    def _step(self, plane: int, outputs: int, end: int, label: int, times: int) -> None:
        """Both pointers go on; back to the label until that into the plane is at its end."""
        output = self.frame.row.output
        lines = add_lines(PLANE, PLANE, plane)
        if self.row.held:
            lines += [f"ldr r0, [sp, #{end}]", *add_lines(OUTPUT, OUTPUT, outputs), f"cmp {PLANE}, r0"]
        else:
            lines += [f"ldr r0, [sp, #{output}]", f"ldr r1, [sp, #{end}]", *add_lines("r0", "r0", outputs)]
            lines += [f"str r0, [sp, #{output}]", f"cmp {PLANE}, r1"]
        self._put(*lines, f"bne {label}b", times=times)

    def _part(self, part: Part | DualPart, times: int) -> None:
        """One part of a row."""
        if self.row.floating and self.form.integer and self.row.kernel[0] > _UNROLLED_ROWS:
            self._looped(part, times)
        elif isinstance(part, Part):
            self.text.code(self.scope, self.text.compiled(packed_sums, self.row, self.frame.row, part), times=times)
        else:
            code = self.text.compiled(dual_sums, self.row, self.frame.row, part.steps, part.outputs)
            self.text.code(self.scope, code, times=times)
        if self.row.floating:
            self._float_tail(part.outputs, times)

    def _float_tail(self, outputs: tuple[int, ...], times: int) -> None:
        """Sums in the frame to the outputs."""
        lines = [f"ldr r1, [sp, #{self.frame.row.output}]"]
        lines += [f"add r2, sp, #{self.frame.row.sums + WORD * len(outputs)}"]
        self._put(*lines, *add_lines("r1", "r1", self.row.element_stride * outputs[0]), f"bl {FLOATS}b", times=times)
        one, number = self.text.compiled(float_tail, self.row, registers=FREE), times * len(outputs)
        self.text.count(self.scope, times * (_FLOAT_TAIL_LINES + 1), times * (_FLOAT_TAIL_LINES + 1 + 2 * _TAKEN))
        self.text.count(self.scope, number * (len(one.lines) + 1), number * one.cycles)

    def _looped(self, part: Part | DualPart, times: int) -> None:
        """Sums of a part to the frame, in a loop over the rows of taps."""
        packed, words, frame = isinstance(part, Part), len(self.form.taps.words), self.frame.row
        if isinstance(part, Part):
            count, terms = part.count, packed_terms(self.row, part, 0)
        else:
            count, terms = len(part.outputs), [term for step in part.steps for term in step if term.tap < words]
        line_bytes, taps_bytes = WORD * self.row.line_words, WORD * words
        body = self.text.compiled(taps_row, tuple(terms), count, packed, line_bytes, taps_bytes)
        at, rows = body.live_in, self.row.kernel[0]
        for name, register in at.items():
            if name.startswith(("low", "high")):
                self._put(f"ldr {register}, [sp, #{frame.start + WORD * name.startswith('high')}]", times=times)
        self._put(f"mov {at['line']}, {PLANE}", f"add {at['taps']}, sp, #{frame.taps}", times=times)
        self._put(f"add {at['end']}, {at['taps']}, #{taps_bytes * rows}", f"{TAPS_ROW}:", times=times)
        self.text.code(self.scope, body, f"bne {TAPS_ROW}b", times=times * rows)
        if isinstance(part, Part):
            self.text.code(self.scope, self.text.compiled(packed_results, frame, part, tuple(at.items())), times=times)
        else:
            stores = [f"str {at[f'low{number}']}, [sp, #{frame.sums + WORD * number}]" for number in range(count)]
            self._put(*stores, times=times)
