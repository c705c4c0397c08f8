# SPDX-License-Identifier: Apache-2.0
"""What the model of the core says about loops in compiled C: mnemonics and registers from the disassembly."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcucompiler.machine import CORTEX_M7
from mcucompiler.machine.core import Kind
from mcucompiler.machine.pipeline import Pipeline

_LINE = re.compile(r"^\s*([0-9a-f]+):\t[0-9a-f ]+\t(\S+)(?:\t([^;@<\n]*))?")
_REGISTER = re.compile(r"\b(?:r1[0-2]|r[0-9]|s[12][0-9]|s3[01]|s[0-9]|lr|sp|ip|fp|sl)\b")
_KINDS: tuple[tuple[str, Kind], ...] = (
    (r"(ldrd|ldm\S*|pop|vldm\S*)", Kind.LOAD_PAIR),
    (r"(strd|stm\S*|push|vstm\S*)", Kind.STORE_PAIR),
    (r"ldrs?[bh]", Kind.LOAD_NARROW),
    (r"v?ldr", Kind.LOAD),
    (r"v?str[bh]?", Kind.STORE),
    (r"(smull|umull|smlal|umlal)", Kind.MAC_LONG),
    (r"(mul|mla|mls|sml\S*|smul\S*|smu\S*|smm\S*)s?", Kind.MAC),
    (r"([us]xt\S*|sel|[usq](add|sub)(8|16)|qadd|qsub)", Kind.EXTEND),
    (r"([us]bfx|bfi|bfc|pkh\S*)", Kind.BITFIELD),
    (r"[us]sat(16)?", Kind.SATURATE),
    (r"vmov\S*", Kind.VMOV),
    (r"v\S*", Kind.VFP),
    (r"(b|b(eq|ne|lt|gt|le|ge|cs|cc|hi|ls|mi|pl)|cbn?z|it[te]*)", Kind.BRANCH),
    (r"(lsl|lsr|asr|ror)s?", Kind.ALU_SHIFT),
)
_NO_RESULT = re.compile(r"(cmp|cmn|tst|teq|v?str\S*|stm\S*|push|vcmp\S*|b\S*|cb\S*|it\S*)$")
_ACCUMULATING = re.compile(r"(mla|sml\S*|smmla)$")


@dataclass(frozen=True, slots=True)
class _Code:
    kind: Kind
    accumulator: int | None


@dataclass(frozen=True, slots=True)
class _Instruction:
    """What the pipeline asks of an operation, with registers in the place of values."""

    address: int
    target: int | None
    code: _Code
    results: tuple[str, ...]
    operands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledLoop:
    """An innermost loop: instructions of a round, and cycles in the steady state."""

    instructions: int
    cycles: float


def innermost_loops(program: Path, function: str) -> list[CompiledLoop]:
    """The innermost loops of a function of an Arm program, the longest one first."""
    command = ["arm-none-eabi-objdump", "-d", f"--disassemble={function}", str(program)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    code = [_instruction(match) for match in map(_LINE.match, text.splitlines()) if match]
    spans = [(each.target, each.address) for each in code if each.target is not None and each.target <= each.address]
    inner = [
        span
        for span in spans
        if not any(other != span and span[0] <= other[0] <= other[1] <= span[1] for other in spans)
    ]
    loops = [[each for each in code if first <= each.address <= last] for first, last in inner]
    return sorted((_measure(loop) for loop in loops), key=lambda loop: -loop.instructions)


def _instruction(match: re.Match[str]) -> _Instruction:
    address, mnemonic, operands = int(match[1], 16), match[2].removesuffix(".n").removesuffix(".w"), match[3] or ""
    base = mnemonic.split(".")[0]
    kind = next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, base)), Kind.ALU)
    if kind is Kind.ALU and re.search(r"\b(lsl|lsr|asr|ror)\b", operands):
        kind = Kind.ALU_SHIFT
    names = _REGISTER.findall(operands)
    results = [] if _NO_RESULT.match(base) else names[: 2 if kind in (Kind.LOAD_PAIR, Kind.MAC_LONG) else 1]
    reads = names[len(results) :]
    if "]!" in operands or re.search(r"\], #", operands):
        results.append(names[-1])
    if re.match(r"(cmp|cmn|tst|teq)$|\w+s$", base) and kind in (Kind.ALU, Kind.ALU_SHIFT):
        results.append("flags")
    if kind is Kind.BRANCH:
        reads.append("flags")
    if re.match(r"[us](add|sub)(8|16)$", base):
        results.append("ge")
    reads += ["ge"] if base == "sel" else []
    target = re.match(r"(?:\w+, )?([0-9a-f]+)\s*$", operands) if kind is Kind.BRANCH else None
    accumulator = len(reads) - 1 if _ACCUMULATING.match(base) and reads else None
    return _Instruction(
        address, int(target[1], 16) if target else None, _Code(kind, accumulator), tuple(results), tuple(reads)
    )


def _measure(loop: Sequence[_Instruction]) -> CompiledLoop:
    pipeline, marks = Pipeline(CORTEX_M7), []
    for _ in range(6):
        for instruction in loop:
            pipeline.issue(instruction)  # type: ignore[arg-type]
        marks.append(pipeline.cycles)
    return CompiledLoop(instructions=len(loop), cycles=(marks[-1] - marks[1]) / 4)
