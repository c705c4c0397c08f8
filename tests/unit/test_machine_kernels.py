# SPDX-License-Identifier: Apache-2.0
"""The blocks of the kernels compute convolutions; rotated loops compute what the loops do; speed is kept."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest

from mcucompiler.machine import ALL_REGISTERS, CORTEX_M4, Block, Code, compile_block
from mcucompiler.machine.blocks.gemm import FrameOffsets, channel_pair_body, k_loop_body
from mcucompiler.machine.interpret import Memory, run_code, run_program
from mcucompiler.machine.loops import compile_loop, movable, rotate
from mcucompiler.machine.store import VARIABLE
from tests.support.machine import DATA, STACK, Emulator, assemble

SHIFT, ROUNDING = 4, (5 << 4) + 8


def _words(values: list[int]) -> bytes:
    return b"".join(struct.pack("<I", value & 0xFFFFFFFF) for value in values)


def _requantized(total: int, multiplier: int) -> int:
    return int(np.clip(((total * multiplier >> 32) + ROUNDING) >> SHIFT, -128, 127))


def _run_loop(code: Code, registers: dict[str, int], regions: dict[int, bytearray], limit: int) -> dict[str, int]:
    """Repeat a body while the flags say "not equal"."""
    memory = Memory(regions)
    for _ in range(limit):
        registers = run_code(code, registers, memory)
        if registers["flags"] & 4:
            return registers
    raise AssertionError("the loop does not end")


def _product_operands(steps: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, bytes, bytes]:
    weights = generator.integers(-128, 128, (2, 2 * steps))
    pixels = generator.integers(-128, 128, (4, 2 * steps))
    stream = b"".join(
        np.int8([weights[0, 2 * s], weights[1, 2 * s], weights[0, 2 * s + 1], weights[1, 2 * s + 1]]).tobytes()
        for s in range(steps)
    )
    expanded = np.int16([[pixels[p, 2 * s : 2 * s + 2] for p in range(4)] for s in range(steps)]).tobytes()
    return weights, pixels, stream, expanded


@pytest.mark.parametrize("registers", ["all", "without r9"])
def test_channel_pair_is_a_requantized_matrix_product(registers: str) -> None:
    generator, steps, stride = np.random.default_rng(0), 11, 6
    weights, pixels, stream, expanded = _product_operands(steps, generator)
    biases, multipliers = [1234, -567], [0x01234567, 0x00ABCDEF]
    frame = FrameOffsets(output=len(expanded), rounding=len(expanded) + 4, end=len(expanded) + 8)
    content = _words(biases) + stream + _words(multipliers)
    stack = bytearray(expanded + _words([0x4000, ROUNDING, 0x2000 + len(content)]))
    output = bytearray(4 * stride)
    block = channel_pair_body(steps, stride, shift=SHIFT, offsets=frame)
    code = compile_block(block, registers=ALL_REGISTERS) if registers == "all" else compile_block(block)
    assert ("r9" in code.written) == (registers == "all") or registers == "all"
    entering = {code.live_in["pixels"]: 0x1000, code.live_in["stream"]: 0x2000}
    _run_loop(code, entering, {0x1000: stack, 0x2000: bytearray(content), 0x4000: output}, 1)
    for channel in range(2):
        for pixel in range(4):
            total = biases[channel] + int(weights[channel] @ pixels[pixel])
            expected = _requantized(total, multipliers[channel])
            assert np.int8(np.uint8(output[pixel * stride + channel])) == expected
    assert struct.unpack_from("<I", stack, frame.output)[0] == 0x4000 + 2


@pytest.mark.parametrize("ahead", [0, 2, 4])
def test_k_loop_sums_products_however_far_it_runs_ahead(ahead: int) -> None:
    generator, unroll, rounds = np.random.default_rng(1), 4, 3
    weights, pixels, stream, expanded = _product_operands(unroll * rounds, generator)
    loop = compile_loop(k_loop_body(unroll, end_offset=0), registers=ALL_REGISTERS, ahead=(ahead,), attempts=4)
    assert loop.rotated == ahead
    assert (loop.prologue is None) == (ahead == 0)
    slack = bytes(64)
    regions = {
        0x1000: bytearray(_words([0x3000 + len(expanded)])),
        0x2000: bytearray(stream + slack),
        0x3000: bytearray(expanded + slack),
    }
    values = {"frame": 0x1000, "stream": 0x2000, "pixels": 0x3000}
    registers = {register: values.get(name, 0) for name, register in loop.body.live_in.items()}
    if loop.prologue is not None:
        registers = run_code(loop.prologue, registers, Memory(regions))
    registers = _run_loop(loop.body, registers, regions, rounds)
    for channel in range(2):
        for pixel in range(4):
            expected = int(weights[channel] @ pixels[pixel]) & 0xFFFFFFFF
            assert registers[loop.body.live_out[f"sum{channel}_{pixel}"]] == expected


def test_rotation_moves_no_accumulator_and_nothing_that_is_stored() -> None:
    block = Block("loop")
    x, y = block.live_in("x", alias="x"), block.live_in("y", alias="y")
    total = block.live_in("total")
    first, kept = block.load(x, 0), block.load(y, 0)
    total = block.mla(first, kept, total)
    block.store(total, y, 4)
    block.live_out("x", block.add(x, 4))
    block.live_out("y", y)
    block.live_out("total", total)
    program = block.freeze()
    assert [program.operations[index].alias for index in movable(program) if program.operations[index].alias] == ["x"]
    rotated = rotate(program, 1)
    content = bytes(range(64))
    plain, ahead = ({0: bytearray(content), 256: bytearray(content)} for _ in range(2))
    inputs = {"x": 0, "y": 256, "total": 7}
    expected = run_program(program, inputs, Memory(plain), times=5)
    start = run_program(rotated.prologue, inputs, Memory(ahead))
    result = run_program(rotated.body, start, Memory(ahead), times=5)
    assert {name: result[name] for name in expected} == expected
    assert plain == ahead


def test_the_same_code_in_the_emulator() -> None:
    block = k_loop_body(8, end_offset=0)
    code = compile_block(block, registers=ALL_REGISTERS)
    generator = np.random.default_rng(3)
    weights, pixels, stream, expanded = _product_operands(8, generator)
    emulator = Emulator()
    content = _words([DATA + 4 + len(expanded)]) + expanded + stream
    values = {"frame": DATA, "pixels": DATA + 4, "stream": DATA + 4 + len(expanded)}
    registers = {register: values.get(name, 0) for name, register in code.live_in.items()}
    state, after, flags = emulator.run(assemble([code.lines])[0], registers, content)
    assert after == content
    assert flags & 4
    assert STACK > DATA
    for channel in range(2):
        for pixel in range(4):
            expected = int(weights[channel] @ pixels[pixel]) & 0xFFFFFFFF
            assert state[code.live_out[f"sum{channel}_{pixel}"]] == expected


@pytest.mark.parametrize(("channels", "limit"), [(16, 0.74), (48, 0.63), (96, 0.60)])
def test_estimated_cycles_of_products_do_not_grow(channels: int, limit: float) -> None:
    offsets = FrameOffsets(output=2000, rounding=2004, end=2008)
    code = compile_block(channel_pair_body(channels // 2, 96, shift=4, offsets=offsets))
    assert code.cycles / (8 * channels) <= limit
    assert compile_block(k_loop_body(16, end_offset=0), registers=ALL_REGISTERS).cycles / 256 <= 0.585


def test_a_single_issue_core_takes_a_cycle_for_each_instruction_at_least() -> None:
    code = compile_block(k_loop_body(4, end_offset=0), core=CORTEX_M4, registers=ALL_REGISTERS)
    assert code.cycles >= len(code.lines) + 2


def test_scheduling_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    block = k_loop_body(16, end_offset=0)
    start = time.process_time()
    compile_block(block, registers=ALL_REGISTERS, attempts=25)
    assert time.process_time() - start < 2.0
