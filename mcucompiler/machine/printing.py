# SPDX-License-Identifier: Apache-2.0
"""C text around allocated code: one asm statement inside a function, or a whole naked function.

**asm statement.** The code keeps its registers: live values are bound by local register variables, the others are
clobbered. What is allowed was measured with GCC 12 and Clang 14 at -O0, -O2, -O3 and -Os: all core registers but
R7, the frame pointer of unoptimized code, and SP. (Operands that the compiler may place freely are no way out:
GCC at -O0 satisfies only seven that are read and written, and at most twelve altogether.) So compile such blocks
for ``STATEMENT_REGISTERS``.

**naked function.** For code that needs R7 or SP, or loops around several blocks. The prologue saves what AAPCS
wants preserved and reserves the frame; SP never lies above live data, so interrupts may come at any time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcucompiler.machine.compile import Code
from mcucompiler.machine.errors import MachineError
from mcucompiler.machine.registers import RegisterFile

# What one asm statement may use: not R7 (frame pointer at -O0), not R9 (reserved on some platforms), not SP.
STATEMENT_REGISTERS = RegisterFile(core=(*(f"r{index}" for index in range(7)), "r8", "r10", "r11", "r12", "lr"))

_SAVED = tuple(f"r{index}" for index in range(4, 12))
_FLOATS = frozenset(f"s{index}" for index in range(32))
_REGISTER = re.compile(r"\b(?:r1[0-2]|r[0-9]|s[12][0-9]|s3[01]|s[0-9]|lr|sp)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A C variable that enters or leaves an asm statement.

    Attributes:
        name: of the live-in or live-out.
        expression: the C lvalue, or for a value that only enters, any expression.
        type: its C type, of 32 bits: "int32_t", "const int8_t *", "float" for float registers.
    """

    name: str
    expression: str
    type: str


def statement(code: Code, bindings: Sequence[Binding], *, loop_while: str = "", indent: str = "    ") -> str:
    """One ``__asm__ volatile`` statement in a C block of its own.

    Args:
        code: compiled for ``STATEMENT_REGISTERS`` (R9 may be added).
        bindings: the C expression of each live-in and live-out name, but condition flags.
        loop_while: a condition ("ne"): the code repeats while it holds for the flags it leaves.
        indent: before each line.

    Raises:
        MachineError: a live value without a binding, or a register that an asm statement cannot use.
    """
    entering = code.live_in
    leaving = {name: register for name, register in code.live_out.items() if register not in ("flags", "ge")}
    by_name = {binding.name: binding for binding in bindings}
    unbound = sorted({*entering, *leaving} - by_name.keys())
    if unbound:
        raise MachineError(f"block {code.program.name!r}: no C expression for {', '.join(unbound)}")
    used = {*code.written, *entering.values(), *leaving.values()}
    if used & {"r7", "sp"}:
        raise MachineError(
            f"block {code.program.name!r} uses {', '.join(sorted(used & {'r7', 'sp'}))}, which an asm statement cannot "
            "give; compile it for STATEMENT_REGISTERS, or print it as a naked function"
        )
    bound = _bind(code, entering, leaving, by_name)
    lines = ["1:", *code.lines, f"b{loop_while} 1b"] if loop_while else list(code.lines)
    clobbers = sorted(set(code.written) - {*entering.values(), *leaving.values()})
    clobbers += ["cc"] if any("f" in operation.code.results for operation in code.operations) else []
    inner = indent + "    "
    text = [f"{inner}{line}" for line in bound.declarations]
    text += [f"{inner}__asm__ volatile(", *(f'{inner}    "{line}\\n"' for line in lines)]
    text += [f"{inner}    : {', '.join(bound.outputs)}", f"{inner}    : {', '.join(bound.inputs)}"]
    text += [f"{inner}    : {', '.join(f'{chr(34)}{name}{chr(34)}' for name in [*clobbers, 'memory'])});"]
    text += [f"{inner}{line}" for line in bound.results]
    return "\n".join([f"{indent}{{", *text, f"{indent}}}"])


@dataclass(frozen=True, slots=True)
class _Bound:
    declarations: list[str]
    outputs: list[str]
    inputs: list[str]
    results: list[str]


def _bind(
    code: Code, entering: Mapping[str, str], leaving: Mapping[str, str], bindings: Mapping[str, Binding]
) -> _Bound:
    """Register variables. All values are computed first: evaluating one may use the registers of others."""
    first: list[str] = []
    bound = _Bound([], [], [], [])
    into, out_of = ({register: name for name, register in names.items()} for names in (entering, leaving))
    for register in sorted({*into, *out_of}):
        letter = "t" if register in _FLOATS else "r"
        enters, leaves = into.get(register), out_of.get(register)
        type_ = bindings[enters or leaves or ""].type
        start = ""
        if enters is not None:
            first.append(f"{type_} mc_in_{register} = {bindings[enters].expression};")
            start = f" = mc_in_{register}"
        bound.declarations.append(f'register {type_} mc_{register} __asm__("{register}"){start};')
        if register in code.written:
            bound.outputs.append(f'"{"+" if enters else "="}{letter}"(mc_{register})')
        else:
            bound.inputs.append(f'"{letter}"(mc_{register})')
        if leaves is not None and register in code.written:
            bound.results.append(f"{bindings[leaves].expression} = ({bindings[leaves].type})mc_{register};")
    bound.declarations[:0] = first
    return bound


@dataclass(frozen=True, slots=True)
class Label:
    """A place to branch to."""

    name: str


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch to a label: "b", or a condition such as "bne"."""

    mnemonic: str
    label: str


Item = Code | Label | Branch | str
"""A part of a function: code, a label, a branch, or one line of assembler (whose registers are then saved, too)."""


def naked_function(declaration: str, items: Sequence[Item], *, frame_bytes: int = 0) -> str:
    """A C function with attribute naked that consists of one asm statement.

    Arguments arrive in r0 to r3, the result leaves in r0, as AAPCS says.

    Args:
        declaration: "static void name(const int8_t *x, int8_t *y)", say.
        items: what it does, without saving registers.
        frame_bytes: stack to reserve; it starts at SP, aligned to 8 bytes.
    """
    lines, used = _function_lines(items)
    saved = [register for register in _SAVED if register in used] + (["lr"] if "lr" in used else [])
    floats = _highest_float(used)
    if len(saved) % 2:
        saved.insert(-1 if saved[-1] == "lr" else len(saved), "r12")
    frame = -(-frame_bytes // 8) * 8
    pushed = [f"push {{{', '.join(saved)}}}"] if saved else []
    restore = [register if register != "lr" else "pc" for register in saved]
    wide = [f"vpush {{s16-s{floats}}}"] if floats >= 16 else []
    leave = [f"vpop {{s16-s{floats}}}"] if floats >= 16 else []
    leave += [f"pop {{{', '.join(restore)}}}"] if saved else []
    leave += ["bx lr"] if "lr" not in saved else []
    enter = [*pushed, *wide, *_move_sp("sub", frame)]
    text = [*enter, *lines, *_move_sp("add", frame), *leave]
    body = "\n".join(f'        "{line}\\n"' for line in text)
    return f"__attribute__((naked, noinline)) {declaration}\n{{\n    __asm__ volatile(\n{body}\n    );\n}}\n"


def _highest_float(used: set[str]) -> int:
    """The number of the last float register to save, odd so that SP stays a multiple of 8; 0 without any."""
    return max((int(register[1:]) | 1 for register in used & _FLOATS), default=0)


def stack_bytes(items: Sequence[Item], *, frame_bytes: int = 0) -> int:
    """Stack that the function uses: its frame and what it saves."""
    _, used = _function_lines(items)
    saved = sum(register in used for register in (*_SAVED, "lr"))
    floats = _highest_float(used)
    return -(-frame_bytes // 8) * 8 + (saved + saved % 2) * 4 + max(floats - 15, 0) * 4


def _move_sp(mnemonic: str, amount: int) -> list[str]:
    """Reserve or release the frame; r12 is free at both ends of a function."""
    if amount == 0:
        return []
    if amount < 4096:
        return [f"{mnemonic} sp, sp, #{amount}"]
    high = [f"movt r12, #{amount >> 16}"] if amount >> 16 else []
    return [f"movw r12, #{amount & 0xFFFF}", *high, f"{mnemonic} sp, sp, r12"]


def _function_lines(items: Sequence[Item]) -> tuple[list[str], set[str]]:
    lines: list[str] = []
    for item in items:
        if isinstance(item, Code):
            lines.extend(item.lines)
        elif isinstance(item, Label):
            lines.append(f"{item.name}:")
        elif isinstance(item, Branch):
            lines.append(f"{item.mnemonic} {item.label}")
        else:
            lines.append(item)
    return lines, {name for line in lines for name in _REGISTER.findall(line)}
