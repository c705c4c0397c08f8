# SPDX-License-Identifier: Apache-2.0
"""The blocks of the kernels compute convolutions; rotated loops compute what the loops do; speed is kept."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest

from mcucompiler.machine import ALL_REGISTERS, CORTEX_M4, Block, Code, MachineError, compile_block
from mcucompiler.machine.blocks.depthwise import (
    FIELD_BITS,
    RowFrame,
    RowShape,
    dual_row,
    pack_plane_row,
    packed_row,
    weight_words,
)
from mcucompiler.machine.blocks.gemm import FrameOffsets, channel_pair_body, k_loop_body
from mcucompiler.machine.interpret import Memory, run_code, run_program
from mcucompiler.machine.loops import compile_loop, movable, rotate
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


def _plane(image: np.ndarray, kernel: int, row_words: int, pack: str) -> list[int]:
    border = kernel // 2
    rows = np.pad(image, ((border, border), (border, 2 * row_words - image.shape[1] - border)))
    if pack == "packed":
        return [int(a) + (int(b) << FIELD_BITS) for row in rows for a, b in row.reshape(-1, 2)]
    return [(int(a) & 0xFFFF) | int(b) << 16 for row in rows for a, b in row.reshape(-1, 2)]


def _depthwise_case(form: str, kernel: int, stride: int, width: int) -> tuple[RowShape, list[int], np.ndarray, int]:
    """(shape, the frame's words, the image, outputs a row)."""
    generator = np.random.default_rng(kernel * 10 + stride)
    weights = generator.integers(-127, 128, (kernel, kernel))
    outputs = -(-width // stride)
    pairs = (kernel + 1) // 2
    row_words = max((width + kernel) // 2, outputs * stride // 2 + pairs + 1)
    shape = RowShape(
        kernel=kernel, stride=stride, width=outputs, row_words=row_words, element_stride=3, shift=SHIFT,
        group=3 if form == "packed" else 6,
    )  # fmt: skip
    padded = np.pad(weights, ((0, 0), (1, 1)))
    if form == "packed":
        words = [
            int(padded[r, 2 * j + 2]) + (int(padded[r, 2 * j + 1]) << FIELD_BITS)
            for r in range(kernel)
            for j in range(pairs)
        ]
    else:
        taps = weight_words(shape)
        words = [(int(padded[r, a + 1]) & 0xFFFF) | int(padded[r, b + 1]) << 16 for r in range(kernel) for a, b in taps]
    return shape, words, weights, outputs


FORMS = [("packed", 3, 1), ("packed", 5, 1), ("packed", 7, 1), ("dual", 3, 1), ("dual", 5, 1), ("dual", 7, 1)]


@pytest.mark.parametrize(("form", "kernel", "stride"), [*FORMS, ("dual", 3, 2), ("dual", 5, 2), ("dual", 7, 2)])
@pytest.mark.parametrize("width", [8, 11])
def test_depthwise_rows_are_convolutions(form: str, kernel: int, stride: int, width: int) -> None:
    shape, words, weights, outputs = _depthwise_case(form, kernel, stride, width)
    image = np.random.default_rng(5).integers(-128, 128, (stride + 1, width))
    plane = _plane(image, kernel, shape.row_words, form)
    rows = len(plane) // shape.row_words
    bias, multiplier, count = 321, 0x01000000, (rows - kernel) // stride + 1
    offset = 1 << 20
    packed = (offset + bias) + ((offset + bias) << FIELD_BITS)
    start = [packed, packed >> 32] if form == "packed" else [bias, 0]
    rounding = ROUNDING - (offset * multiplier >> 32) if form == "packed" else ROUNDING
    base = 4 * len(words)
    frame = RowFrame(weights=0, start=base, multiplier=base + 8, output=base + 16, end=base + 20)
    end = 0x2000 + 4 * shape.row_words * stride * count
    stack = bytearray(_words([*words, *start, multiplier, rounding, 0x8000, end]))
    output = bytearray(3 * outputs * count)
    build = packed_row if form == "packed" else dual_row
    code = compile_block(build(shape, frame, output_step=3 * outputs), registers=ALL_REGISTERS, attempts=4)
    regions = {0x1000: stack, 0x2000: bytearray(_words(plane)), 0x8000: output}
    _run_loop(code, {code.live_in["frame"]: 0x1000, code.live_in["plane"]: 0x2000}, regions, count)
    border = kernel // 2
    whole = np.pad(image, ((border, border), (border, border + kernel)))
    for y in range(count):
        for x in range(outputs):
            window = whole[y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            expected = _requantized(bias + int((window * weights).sum()), multiplier)
            assert np.int8(np.uint8(output[3 * (y * outputs + x)])) == expected, (y, x)


@pytest.mark.parametrize("packed_sums", [True, False])
def test_packing_a_plane(packed_sums: bool) -> None:
    columns, border, zero, rows = 7, 1, -3, 2
    image = np.random.default_rng(2).integers(-128, 128, (rows, columns))
    words = (columns + 2 * border + 1) // 2
    block = pack_plane_row(
        columns=columns, border=border, element_stride=2, packed_sums=packed_sums, output_step=4 * words, zero_word=0
    )
    code = compile_block(block)
    zeros = zero + (zero << FIELD_BITS) if packed_sums else (zero & 0xFFFF) | zero << 16
    target = bytearray(_words([zeros] * (words * rows)))
    source = bytearray(np.repeat(image.astype(np.int8), 2).tobytes())
    regions = {0x1000: bytearray(_words([zero, 0x2000 + len(target)])), 0x2000: target, 0x4000: source}
    entering = {
        code.live_in[name]: value for name, value in (("frame", 0x1000), ("target", 0x2000), ("source", 0x4000))
    }
    _run_loop(code, entering, regions, rows)
    padded = np.pad(image, ((0, 0), (border, 2 * words - columns - border)), constant_values=zero)
    for index, (low, high) in enumerate(padded.reshape(-1, 2)):
        word = int(low) + (int(high) << FIELD_BITS) if packed_sums else (int(low) & 0xFFFF) | int(high) << 16
        expected = word & 0xFFFFFFFF
        assert struct.unpack_from("<I", target, 4 * index)[0] == expected


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


def _row(kernel: int, form: str) -> Block:
    group = 3 if form == "packed" else 6
    shape = RowShape(kernel=kernel, stride=1, width=20, row_words=13, element_stride=96, shift=4, group=group)
    frame = RowFrame(weights=0, start=800, multiplier=808, output=816, end=820)
    return (packed_row if form == "packed" else dual_row)(shape, frame, output_step=0xF00)


@pytest.mark.parametrize(
    ("kernel", "form", "limit"),
    [
        (3, "packed", 0.86),
        (5, "packed", 0.53),
        (7, "packed", 0.43),
        (3, "dual", 0.95),
        (5, "dual", 0.73),
        (7, "dual", 0.68),
    ],
)
def test_estimated_cycles_of_depthwise_rows_do_not_grow(kernel: int, form: str, limit: float) -> None:
    assert compile_block(_row(kernel, form)).cycles / (20 * kernel * kernel) <= limit


@pytest.mark.parametrize(("channels", "limit"), [(16, 0.74), (48, 0.63), (96, 0.60)])
def test_estimated_cycles_of_products_do_not_grow(channels: int, limit: float) -> None:
    offsets = FrameOffsets(output=2000, rounding=2004, end=2008)
    code = compile_block(channel_pair_body(channels // 2, 96, shift=4, offsets=offsets))
    assert code.cycles / (8 * channels) <= limit
    assert compile_block(k_loop_body(16, end_offset=0), registers=ALL_REGISTERS).cycles / 256 <= 0.585


def test_a_single_issue_core_takes_a_cycle_for_each_instruction_at_least() -> None:
    code = compile_block(k_loop_body(4, end_offset=0), core=CORTEX_M4, registers=ALL_REGISTERS)
    assert code.cycles >= len(code.lines) + 2


def test_scheduling_is_quick() -> None:
    block = _row(3, "packed")
    start = time.process_time()
    compile_block(block, attempts=25)
    assert time.process_time() - start < 2.0


def test_a_block_with_too_many_accumulators_says_so() -> None:
    shape = RowShape(kernel=7, stride=1, width=20, row_words=14, element_stride=1, shift=4, group=5)
    frame = RowFrame(weights=0, start=800, multiplier=808, output=816, end=820)
    with pytest.raises(MachineError, match="does not fit in the registers"):
        compile_block(packed_row(shape, frame, output_step=20))
