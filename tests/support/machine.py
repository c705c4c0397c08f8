# SPDX-License-Identifier: Apache-2.0
"""Runs assembler in the Unicorn emulator as a Cortex-M7, and random blocks for the back end's tests."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mcucompiler.machine import Block, Value

unicorn = pytest.importorskip("unicorn", reason="the back end's tests need the emulator Unicorn")
arm = pytest.importorskip("unicorn.arm_const")

CODE, DATA, STACK = 0x10000, 0x20000000, 0x30008000
DATA_BYTES = 0x4000

_CORE = {f"r{index}": getattr(arm, f"UC_ARM_REG_R{index}") for index in range(13)} | {
    "lr": arm.UC_ARM_REG_LR,
    "sp": arm.UC_ARM_REG_SP,
}
_FLOAT = {f"s{index}": getattr(arm, f"UC_ARM_REG_S{index}") for index in range(32)}
REGISTERS = {**_CORE, **_FLOAT}


def assemble(sections: Sequence[Sequence[str]]) -> list[bytes]:
    """The machine code of each list of lines, assembled in one run."""
    text = [".syntax unified", ".thumb", ".cpu cortex-m7", ".fpu fpv5-sp-d16"]
    for index, lines in enumerate(sections):
        text += [f'.section .text.n{index},"ax"', *lines]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.s"), Path(folder, "a.o")
        source.write_text("\n".join(text) + "\n", encoding="ascii")
        subprocess.run(["arm-none-eabi-as", "-mthumb", str(source), "-o", str(target)], check=True)
        return _sections(target.read_bytes(), len(sections))


def _sections(content: bytes, count: int) -> list[bytes]:
    import io

    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(content))
    return [bytes(elf.get_section_by_name(f".text.n{index}").data()) for index in range(count)]


class Emulator:
    """A Cortex-M7 with code, data and stack; one instance runs many pieces of code."""

    def __init__(self) -> None:
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._machine.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M7)
        for start, size in ((CODE, 0x40000), (DATA, 0x10000), (0x30000000, 0x10000), (0xE000E000, 0x1000)):
            self._machine.mem_map(start, size)
        self._machine.mem_write(0xE000ED88, (0xF << 20).to_bytes(4, "little"))
        self._machine.reg_write(arm.UC_ARM_REG_FPEXC, 0x40000000)

    def run(
        self, code: bytes, registers: Mapping[str, int], memory: bytes = b"", *, count: int = 0
    ) -> tuple[dict[str, int], bytes, int]:
        """Execute code to its end; returns registers, the data memory and the flags."""
        machine = self._machine
        machine.ctl_remove_cache(CODE, CODE + 0x40000)
        machine.mem_write(CODE, code)
        if memory:
            machine.mem_write(DATA, memory)
        for name, value in registers.items():
            machine.reg_write(REGISTERS[name], value & 0xFFFFFFFF)
        machine.emu_start(CODE | 1, CODE + len(code), count=count)
        state = {name: machine.reg_read(number) & 0xFFFFFFFF for name, number in REGISTERS.items()}
        flags = machine.reg_read(arm.UC_ARM_REG_APSR) >> 28
        return state, bytes(machine.mem_read(DATA, len(memory))) if memory else b"", flags


def pattern(generator: random.Random) -> int:
    """A 32-bit pattern, often an edge."""
    edges = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFF8000, 0x80007FFF, 0x80808080, 0x7F7F7F7F)
    return generator.choice(edges) if generator.random() < 0.3 else generator.getrandbits(32)


def float_pattern(generator: random.Random) -> int:
    """A float32 pattern that is no NaN, often an integer or a tie."""
    import struct

    choice = generator.random()
    if choice < 0.3:
        return int(struct.unpack("<I", struct.pack("<f", generator.randrange(-600, 600) / 2))[0])
    if choice < 0.4:
        return generator.choice((0, 0x80000000, 0x7F800000, 0xFF800000, 1, 0x007FFFFF, 0x4F000000, 0xCF000000))
    sign, exponent = (
        generator.getrandbits(1),
        generator.randrange(1, 255) if choice > 0.9 else generator.randrange(100, 160),
    )
    return sign << 31 | exponent << 23 | generator.getrandbits(23)


def random_block(seed: int, size: int, *, repeatable: bool = False) -> Block:
    """A random block over three memory classes with a dozen live values; a repeatable one can be a loop body."""
    g = random.Random(seed)
    block = Block(f"random{seed}")
    bases = [block.live_in(name, alias=name, keep=True) for name in "xwy"]
    pool = [block.live_in(f"v{index}", keep=repeatable) for index in range(2)]
    low, high = block.live_in("low"), block.live_in("high")
    carried = block.live_in("sum")
    for _ in range(size):
        pool.append(_random_operation(block, g, bases, pool))
        if g.random() < 0.2:
            low, high = block.smlal(g.choice(pool[-2:]), g.choice(pool[-2:]), low, high)
        if g.random() < 0.2:
            carried = block.smlad(g.choice(pool[-2:]), g.choice(pool[-2:]), carried)
    block.live_out("last", pool[-1])
    for name, value in (("low", low), ("high", high), ("sum", carried)):
        block.live_out(name, value)
    return block


def _random_operation(block: Block, g: random.Random, bases: list[Value], pool: list[Value]) -> Value:
    a, b = g.choice(pool[-2:]), g.choice(pool[-2:])
    base = g.choice(bases)
    choice = g.randrange(11)
    if choice == 0:
        block.store(a, base, 4 * g.randrange(8))
        return block.add(a, b)
    if choice == 1:
        block.store_byte(a, base, g.randrange(32))
        return block.eor(a, b, ("lsl", 5))
    simple = {
        2: lambda: block.load(base, 4 * g.randrange(8)),
        3: lambda: block.load_byte(base, g.randrange(32)),
        4: lambda: block.sxtb16(a, 8 * g.randrange(4)),
        5: lambda: block.bfi(a, b, g.randrange(16), 1 + g.randrange(16)),
        6: lambda: block.ssat(a, 8, asr=g.randrange(9)),
        7: lambda: block.pkhbt(a, b, 16),
        8: lambda: block.smmla(a, b, pool[-1]),
        9: lambda: block.maximum_bytes(a, b),
        10: lambda: block.from_float_register(block.float_of(block.to_float_register(a))),
    }
    return simple[choice]()
