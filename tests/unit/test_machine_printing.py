# SPDX-License-Identifier: Apache-2.0
"""Printed C: silent with strict compilers at every level of optimization, and it does what the block means."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from mcucompiler.machine import ALL_REGISTERS, Block, MachineError, compile_block
from mcucompiler.machine.printing import (
    STATEMENT_REGISTERS,
    Binding,
    Branch,
    Item,
    Label,
    naked_function,
    stack_bytes,
    statement,
)
from tests.support.machine import CODE, DATA, STACK, Emulator

WARNINGS = (
    "-Wall -Wextra -Wpedantic -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wsign-conversion -Wshadow "
    "-Wcast-qual -Wundef -Werror -Wno-gnu"
).split()
GCC = ["arm-none-eabi-gcc", "-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"]
CLANG = ["clang", "--target=thumbv7em-none-eabihf", "-mcpu=cortex-m7"]
COMPILERS = [(GCC, level) for level in ("-O0", "-O2", "-O3", "-Os")] + [(CLANG, "-O0"), (CLANG, "-O2")]


def _compile(compiler: list[str], level: str, text: str, folder: Path) -> bytes:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    flags = [flag for flag in WARNINGS if flag != "-Wno-gnu" or compiler[0] == "clang"]
    source, target = folder / "a.c", folder / "a.o"
    source.write_text("#include <stdint.h>\n" + text, encoding="ascii")
    command = [*compiler, level, "-std=c11", *flags, "-ffreestanding", "-c", str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    section = ELFFile(io.BytesIO(target.read_bytes())).get_section_by_name(".text")
    return bytes(section.data())


def _dot_loop() -> Block:
    block = Block("dot")
    x, w, end = block.live_in("x", alias="x"), block.live_in("w", alias="w"), block.live_in("end", keep=True)
    total = block.live_in("total")
    for index in range(4):
        total = block.smlad(block.load(x, 4 * index), block.load(w, 4 * index), total)
    following = block.add(x, 16)
    block.live_out("x", following)
    block.live_out("w", block.add(w, 16))
    block.live_out("total", total)
    block.live_out("more", block.compare(following, end))
    return block


BINDINGS = (
    Binding(name="x", expression="x", type="const int32_t *"),
    Binding(name="w", expression="w", type="const int32_t *"),
    Binding(name="end", expression="x + count", type="const int32_t *"),
    Binding(name="total", expression="total", type="int32_t"),
)
STATEMENT = """
int32_t dot(const int32_t *x, const int32_t *w, int32_t count);
int32_t dot(const int32_t *x, const int32_t *w, int32_t count)
{{
    int32_t total = 5;
{}
    return total;
}}
"""


def _check_dot(binary: bytes) -> None:
    content = b"".join((index * 0x00030001 & 0xFFFFFFFF).to_bytes(4, "little") for index in range(64))
    registers = {"r0": DATA, "r1": DATA + 128, "r2": 32, "sp": STACK, "lr": (CODE + len(binary)) | 1}
    preserved = {f"r{index}": 0x1000 + index for index in range(4, 12)}
    state, _, _ = Emulator().run(binary + b"\x00\xbf", {**registers, **preserved}, content)
    expected = 5 + sum(i * (i + 32) + 9 * i * (i + 32) for i in range(32))
    assert state["r0"] == expected
    assert {name: state[name] for name in preserved} == preserved
    assert state["sp"] == STACK


@pytest.mark.parametrize(("compiler", "level"), COMPILERS)
def test_statement_in_c(compiler: list[str], level: str, tmp_path: Path) -> None:
    code = compile_block(_dot_loop(), registers=STATEMENT_REGISTERS)
    text = STATEMENT.format(statement(code, BINDINGS, loop_while="ne"))
    _check_dot(_compile(compiler, level, text, tmp_path))


@pytest.mark.parametrize(("compiler", "level"), COMPILERS)
def test_statement_with_every_register_that_it_may_use(compiler: list[str], level: str, tmp_path: Path) -> None:
    block = Block("wide")
    base = block.live_in("x", alias="x")
    loaded = [block.load(base, 4 * index) for index in range(len(STATEMENT_REGISTERS.core))]
    total = loaded[0]
    for value in loaded[1:]:
        total = block.add(value, total)
    block.live_out("total", total)
    code = compile_block(block, registers=STATEMENT_REGISTERS)
    _compile(compiler, level, STATEMENT.format(statement(code, BINDINGS[:1] + BINDINGS[3:])).replace(
        "return total", "(void)w; (void)count; return total"), tmp_path)  # fmt: skip


def _naked() -> tuple[str, list[Item]]:
    code = compile_block(_in_registers(), registers=ALL_REGISTERS)
    items: list[Item] = ["add r2, r0, r2, lsl #2", "mov r3, #5", Label("0"), code, Branch("bne", "0b"), "mov r0, r3"]
    unused = "__attribute__((unused)) "
    declaration = f"int32_t dot({unused}const int32_t *x, {unused}const int32_t *w, {unused}int32_t count)"
    return declaration, items


def _in_registers() -> Block:
    block = Block("dot in a function")
    frame = block.live_in("frame", register="sp", alias="frame", keep=True)
    x, w = block.live_in("x", alias="x", register="r0"), block.live_in("w", alias="w", register="r1")
    end, total = block.live_in("end", register="r2", keep=True), block.live_in("total", register="r3")
    saved = [block.load(x, 4 * index) for index in range(4)]
    for index, value in enumerate(saved):
        block.store(value, frame, 4 * index)
    loaded = [block.load(frame, 4 * index) for index in range(4)]
    for index, value in enumerate(loaded):
        total = block.smlad(value, block.load(w, 4 * index), total)
    following = block.add(x, 16)
    for name, value in (("x", following), ("w", block.add(w, 16)), ("total", total)):
        block.live_out(name, value)
    block.live_out("more", block.compare(following, end))
    return block


@pytest.mark.parametrize(("compiler", "level"), COMPILERS)
@pytest.mark.parametrize("frame", [16, 5000])
def test_naked_function(compiler: list[str], level: str, frame: int, tmp_path: Path) -> None:
    declaration, items = _naked()
    text = f"{declaration.replace('__attribute__((unused)) ', '')};\n" + naked_function(
        declaration, items, frame_bytes=frame
    )
    assert stack_bytes(items, frame_bytes=frame) >= frame
    assert stack_bytes(items, frame_bytes=frame) % 8 == 0
    binary = _compile(compiler, level, text, tmp_path)
    if frame == 16:
        _check_dot(binary)


def test_a_naked_function_saves_what_it_writes() -> None:
    text = naked_function("void f(void)", ["mov r4, #1", "mov r9, #2", "vmov s20, r4", "mov lr, #3"], frame_bytes=4)
    lines = re.findall(r'"(.*)\\n"', text)
    assert lines[:3] == ["push {r4, r9, r12, lr}", "vpush {s16-s21}", "sub sp, sp, #8"]
    assert lines[-3:] == ["add sp, sp, #8", "vpop {s16-s21}", "pop {r4, r9, r12, pc}"]


def test_statements_refuse_sp_r7_and_missing_expressions() -> None:
    code = compile_block(_dot_loop(), registers=STATEMENT_REGISTERS)
    with pytest.raises(MachineError, match="no C expression for total"):
        statement(code, BINDINGS[:3])
    with pytest.raises(MachineError, match="uses sp, which an asm statement cannot give"):
        statement(compile_block(_in_registers(), registers=STATEMENT_REGISTERS), [
            *BINDINGS, Binding(name="frame", expression="x", type="const int32_t *")])  # fmt: skip
