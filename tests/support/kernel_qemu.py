# SPDX-License-Identifier: Apache-2.0
"""Runs single kernels on an emulated Cortex-M7: the instructions themselves, and how many of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcucompiler.emit.kernels import function_names
from mcucompiler.ir.graph import Array
from tests.support.kernel_program import Prepared, compile_program, program_text, scratch_folder
from tests.support.kernels import Case, outputs_after, prepare

CPU = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
CFLAGS = ("-std=c11", "-O2", "-fno-schedule-insns")
_INSTRUCTIONS_PER_TICK = 40  # with -icount shift=0: 1 ns an instruction, a timer of 25 MHz

_LINKER_SCRIPT = """
MEMORY { CODE (rx) : ORIGIN = 0, LENGTH = 4M
         RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
ENTRY(reset)
SECTIONS { .vectors : { KEEP(*(.vectors)) } > CODE
           .text : { *(.text*) *(.rodata*) } > CODE
           .ARM.exidx : { *(.ARM.exidx*) } > CODE
           .bss (NOLOAD) : { *(.bss*) *(COMMON) } > RAM }
"""

_MAIN = """
static unsigned char arena[{arena}] __attribute__((aligned(16)));
static uint32_t stack[4096] __attribute__((aligned(16)));
#define TIMER ((volatile uint32_t *)0x40000000u)
void reset(void);
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {{
    &stack[4096], (const void *)reset, (const void *)reset, (const void *)reset
}};
static void call(long operation, const void *argument)
{{
    register long r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}}
static void print_hex(const unsigned char *bytes, uint32_t count)
{{
    char text[129];
    while (count != 0u) {{
        uint32_t length = 0;
        for (; length < 128u && count != 0u; --count, ++bytes) {{
            text[length++] = "0123456789abcdef"[*bytes >> 4];
            text[length++] = "0123456789abcdef"[*bytes & 15u];
        }}
        text[length] = 0;
        call(4, text);
    }}
}}
void reset(void)
{{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\\n isb");
    unsigned char *buffers[8];
    uint32_t ticks;
{cases}
    call(0x18, (const void *)0x20026u);
    for (;;) {{
    }}
}}
"""

_CASE = """
{fill}
    TIMER[0] = 0;
    TIMER[2] = TIMER[1] = 0xFFFFFFFFu;
    TIMER[0] = 1;
    run_{number}(buffers);
    ticks = 0xFFFFFFFFu - TIMER[1];
    call(4, "ticks ");
    print_hex((const unsigned char *)&ticks, 4u);
{show}
    call(4, "\\n");
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a case gave.

    Attributes:
        outputs: arrays in ONNX order and axes.
        instructions: executed, within 40.
        stack_bytes: of the kernel's own functions, as the compiler states them, summed up.
    """

    outputs: tuple[Array, ...]
    instructions: int
    stack_bytes: int


def measure_cases(cases: Sequence[Case]) -> list[Measured]:
    """Runs cases in the emulator; skips the test where the emulator or the compiler is missing."""
    for tool in ("qemu-system-arm", "arm-none-eabi-gcc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    prepared = [prepare(case) for case in cases]
    program = _build(prepared)
    command = ["qemu-system-arm", "-M", "mps2-an500", "-icount", "shift=0", "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = re.findall(r"^ticks ([0-9a-f]+)((?: [0-9a-f]*)*)$", result.stdout + result.stderr, re.MULTILINE)
    assert len(lines) == len(cases), f"the emulator printed {len(lines)} of {len(cases)} results"
    usage = _stack_usage(program)
    names = function_names([item.call.kernel for item in prepared], "k")
    return [
        Measured(
            outputs=outputs_after(item, [bytes.fromhex(text) for text in buffers.split(" ")[1:]]),
            instructions=int.from_bytes(bytes.fromhex(ticks), "little") * _INSTRUCTIONS_PER_TICK,
            stack_bytes=_own_stack(usage, names[item.call.kernel], set(names.values())),
        )
        for item, (ticks, buffers) in zip(prepared, lines, strict=True)
    ]


def build_cases(cases: Sequence[Case]) -> tuple[Path, list[str]]:
    """The program of some cases, and the name of each one's kernel in it; skips the test without the compiler."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    kernels = [prepare(case) for case in cases]
    names = function_names([item.call.kernel for item in kernels], "k")
    return _build(kernels), [names[item.call.kernel] for item in kernels]


def _build(prepared: Sequence[Prepared]) -> Path:
    text = program_text(prepared, main=_main_text(prepared))
    for name in function_names([item.call.kernel for item in prepared], "k").values():
        text = text.replace(f"\nstatic void {name}(", f"\n__attribute__((noipa)) static void {name}(")
    script = scratch_folder() / "kernels.ld"
    script.write_text(_LINKER_SCRIPT)
    flags = [*CPU, *CFLAGS, "-fstack-usage", "-nostartfiles", "-specs=nosys.specs", "-T", str(script)]
    return compile_program(text, "arm-none-eabi-gcc", [*flags, "-Wl,--gc-sections"])


def _main_text(prepared: Sequence[Prepared]) -> str:
    arena = max(sum(_room(buffer) for buffer in item.buffers) for item in prepared)
    constants, cases = [], []
    for number, item in enumerate(prepared):
        fill, show, offset = [], [], 0
        for index, buffer in enumerate(item.buffers):
            values = ",".join(map(str, buffer))
            constants.append(f"static const unsigned char d{number}_{index}[] = {{{values}}};")
            fill.append(f"    buffers[{index}] = arena + {offset};")
            fill.append(f"    memcpy(buffers[{index}], d{number}_{index}, sizeof d{number}_{index});")
            show.append(f'    call(4, " ");\n    print_hex(buffers[{index}], {len(buffer)}u);')
            offset += _room(buffer)
        cases.append(_CASE.format(fill="\n".join(fill), number=number, show="\n".join(show)))
    return "\n".join(constants) + _MAIN.format(arena=arena, cases="\n".join(cases))


def _room(buffer: bytes) -> int:
    """Bytes for a buffer, so that the next one is aligned to 4 bytes and to nothing more."""
    return (len(buffer) + 7) // 8 * 8 + 4


def _stack_usage(program: Path) -> dict[str, int]:
    """Bytes of stack of each function, from the compiler's .su file."""
    usage = {}
    for path in program.parent.glob(f"{program.name}*.su"):
        for line in path.read_text().splitlines():
            where, size, kind = line.split("\t")
            assert kind in ("static", "dynamic,bounded"), line
            usage[where.split(":")[-1]] = int(size)
    return usage


def _own_stack(usage: dict[str, int], name: str, kernels: set[str]) -> int:
    """The stack of a kernel and its helpers, which do not call each other."""
    base = {function: size for function, size in usage.items() if function.split(".")[0] == name}
    helpers = [
        size
        for function, size in usage.items()
        if function.startswith(f"{name}_") and not any(function.startswith(k) for k in kernels if len(k) > len(name))
    ]
    return max(base.values()) + max(helpers, default=0)
