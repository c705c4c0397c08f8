# SPDX-License-Identifier: Apache-2.0
"""Every operation's Python meaning against the emulator, and what the builder refuses."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from mcucompiler.machine import Block, MachineError
from mcucompiler.machine.operations import OPCODES, Immediate, Opcode
from mcucompiler.machine.program import Operation, render
from tests.support.interpret import Memory, execute
from tests.support.machine import DATA, Emulator, assemble, float_pattern, pattern

CASES = 24
FLAT = sorted(OPCODES)


def _immediate(limit: Immediate, generator: random.Random) -> int:
    tries = generator.choice(
        (0, 1, 4, 8, 16, 21, 24, 31, 32, generator.randrange(4096), generator.getrandbits(32), 0xFF00FF)
    )
    return tries if limit.accepts(tries) else _immediate(limit, generator)


def _operation(code: Opcode, generator: random.Random) -> Operation:
    immediates = tuple(_immediate(limit, generator) for limit in code.immediates)
    if code.name in ("ubfx", "sbfx", "bfi"):
        position = generator.randrange(32)
        immediates = position, generator.randrange(1, 33 - position)
    if code.access and not code.indexed:
        immediates = (4 * generator.randrange(-32, 200) if code.access.words == 2 or "s" in code.results + code.operands
                      else generator.randrange(-128, 900),)  # fmt: skip
    if code.access and code.indexed:
        immediates = (generator.randrange(4),)
    count = len(code.results)
    return Operation(code.name, tuple(range(count)), tuple(range(count, count + len(code.operands))), immediates)


def _registers(operation: Operation) -> dict[int, str]:
    """Distinct registers, but tied operands in their result's."""
    code = operation.code
    cores, floats = iter(f"r{index}" for index in range(13)), iter(f"s{index}" for index in range(16))
    special = {"f": "flags", "g": "ge"}
    names: dict[int, str] = {}
    for value, kind in zip((*operation.results, *operation.operands), code.results + code.operands, strict=True):
        names[value] = special.get(kind) or next(cores if kind == "r" else floats)
    for result, operand in code.tied:
        names[operation.operands[operand]] = names[operation.results[result]]
    return names


def _inputs(code: Opcode, generator: random.Random) -> tuple[int, ...]:
    floats = code.name.startswith("v") and "s32" not in code.name[-3:] and not code.name.startswith("vmov")
    make = float_pattern if floats else pattern
    values = [make(generator) for _ in code.operands]
    if code.access:
        values[0] = DATA + 1024
        if code.indexed:
            values[1] = generator.randrange(0, 100)
    return tuple(values)


@pytest.fixture(scope="module")
def prepared() -> dict[str, list[tuple[Operation, bytes]]]:
    generator = random.Random(1)
    flat = [(name, _operation(OPCODES[name], generator)) for name in FLAT for _ in range(CASES)]
    texts = [[render(operation, _registers(operation).__getitem__)] for _, operation in flat]
    result: dict[str, list[tuple[Operation, bytes]]] = {}
    for (name, operation), code in zip(flat, assemble(texts), strict=True):
        result.setdefault(name, []).append((operation, code))
    return result


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator()


def _pairs(operation: Operation, results: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    names = _registers(operation)
    for value, result, kind in zip(operation.results, results, operation.code.results, strict=True):
        if kind in "rs":
            yield names[value], result


@pytest.mark.parametrize("name", [name for name in FLAT if "g" not in OPCODES[name].operands])
def test_meaning_equals_the_emulator(
    name: str, prepared: dict[str, list[tuple[Operation, bytes]]], emulator: Emulator
) -> None:
    generator = random.Random(name)
    for operation, code in prepared[name]:
        operands = _inputs(operation.code, generator)
        content = generator.randbytes(4096)
        names = _registers(operation)
        registers = {names[value]: content_ for value, content_ in zip(operation.operands, operands, strict=True)}
        state, after, flags = emulator.run(code, registers, content)
        expected_memory = bytearray(content)
        results = execute(operation, operands, Memory({DATA: expected_memory}))
        assert bytes(expected_memory) == after
        for register, value in _pairs(operation, results):
            assert state[register] == value, (render(operation, names.__getitem__), operands, hex(value))
        if "f" in operation.code.results:
            assert flags == results[operation.code.results.index("f")]


@pytest.mark.parametrize("producer", [name for name in FLAT if "g" in OPCODES[name].results])
def test_select_uses_the_flags_of_parallel_operations(producer: str, emulator: Emulator) -> None:
    (code,) = assemble([[f"{producer} r0, r1, r2", "sel r3, r1, r2"]])
    generator = random.Random(producer)
    for _ in range(100):
        a, b = pattern(generator), pattern(generator)
        state, _, _ = emulator.run(code, {"r1": a, "r2": b})
        total, flags = execute(Operation(producer, (0, 1), (2, 3)), (a, b), Memory({}))
        assert state["r0"] == total
        assert execute(Operation("sel", (0,), (1, 2, 3)), (a, b, flags), Memory({})) == (state["r3"],)


def test_fused_multiply_add_rounds_once(emulator: Emulator) -> None:
    (code,) = assemble([["vfma.f32 s0, s1, s2"]])
    generator = random.Random(7)
    operation = Operation("vfma.f32", (0,), (1, 2, 3))
    for _ in range(2000):
        a, b = (struct.unpack("<I", struct.pack("<f", generator.uniform(-300, 300)))[0] for _ in range(2))
        product = struct.unpack("<f", struct.pack("<I", a))[0] * struct.unpack("<f", struct.pack("<I", b))[0]
        c = struct.unpack("<I", struct.pack("<f", -product * generator.choice((1.0, 0.5, 1e-3))))[0]
        state, _, _ = emulator.run(code, {"s0": c, "s1": a, "s2": b})
        assert execute(operation, (c, a, b), Memory({})) == (state["s0"],)


def test_constants_of_all_kinds() -> None:
    from tests.support.interpret import run_program

    for value in (0, 1, 255, 65535, 65536, 0xFF00FF00, -1, -129, 0x12345678, 0x7FFFFFFF, -(2**31)):
        block = Block("constant")
        block.live_out("value", block.constant(value))
        assert run_program(block.freeze(), {}, Memory({})) == {"value": value & 0xFFFFFFFF}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, v: b.load(v, 4096), "immediate 4096 is outside -255..4095"),
        (lambda b, v: b.ssat(v, 8, asr=32), "immediate 32 is outside 1..31"),
        (lambda b, v: b.ubfx(v, 20, 13), "bits 20..32 do not exist"),
        (lambda b, v: b.and_(v, 0x12345), "modified immediate"),
        (lambda b, v: b.emit("nonsense", (v,)), "no operation 'nonsense'"),
        (lambda b, v: b.emit("add", (v,)), "takes operands of classes 'rr', got 'r'"),
        (lambda b, v: b.vmul(v, v), "takes operands of classes 'ss', got 'rr'"),
        (lambda b, v: b.emit("mov", (v,), (1,)), "takes 0 immediates, got 1"),
        (lambda b, v: b.add(v, Block("other").live_in("o")), "belongs to another block"),
        (lambda b, v: b.live_in("v"), "declared twice"),
        (lambda b, v: b.ssat(v, 8, asr=1, lsl=1), "one shift, not both"),
    ],
)
def test_the_builder_refuses(build: object, message: str) -> None:
    block = Block("refused")
    value = block.live_in("v")
    with pytest.raises(MachineError, match=message.replace("(", r"\(")):
        build(block, value)  # type: ignore[operator]
