# SPDX-License-Identifier: Apache-2.0
"""Blocks of the depthwise kernel: packed sums are convolutions up to the ends of their range; packing; speed."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from mcucompiler.machine import ALL_REGISTERS, MachineError, compile_block
from mcucompiler.machine.blocks.depthwise import (
    FIELD_BITS,
    OFFSET,
    OUTPUT,
    PLANE,
    Part,
    RowForm,
    RowFrame,
    packed_sums,
)
from mcucompiler.machine.blocks.depthwise_channel import Lines, Taps, channel_start, pack_lines
from mcucompiler.machine.blocks.depthwise_form import packed_pairs, packed_segments
from tests.support.interpret import Memory, run_code

SHIFT, ADDEND, MULTIPLIER = 4, (5 << 4) + 8, 0x00100000
FRAME, RECORD, PLANE_AT, OUTPUT_AT = 0x1000, 0x2000, 0x4000, 0x8000


def _words(values: list[int]) -> bytes:
    return b"".join(struct.pack("<I", value & 0xFFFFFFFF) for value in values)


def _form(kernel: int, width: int) -> RowForm:
    words = (width + kernel) // 2
    return RowForm(
        kernel=(kernel, kernel), line_words=words, element_stride=3, floating=False, held=True, shift=SHIFT, lo=None,
        hi=None,
    )  # fmt: skip


def _outputs(kernel: int, image: np.ndarray, weights: np.ndarray, bias: int, most: int) -> list[int]:
    """One row of outputs, as the blocks of a channel compute it."""
    width, pairs = image.shape[1] - kernel + 1, -(-kernel // 2)
    taps = Taps(
        columns=kernel, words=tuple((2 * w + 1 if 2 * w + 1 < kernel else None, 2 * w) for w in range(pairs)),
        packed=True,
    )  # fmt: skip
    start = 4 * pairs * kernel
    frame = RowFrame(taps=0, start=start, multiplier=start + 8, addend=start + 12, output=start + 16, sums=start + 20)
    form = _form(kernel, width)
    columns = np.pad(image, ((0, 0), (0, 2 * form.line_words - image.shape[1])))
    plane = [int(a) + (int(b) << FIELD_BITS) for a, b in columns.reshape(-1, 2)]
    memory = Memory(
        regions := {
            FRAME: bytearray(_words([0] * (start // 4 + 3) + [ADDEND])),
            RECORD: bytearray(_words([bias, MULTIPLIER]) + weights.astype(np.int8).tobytes()),
            PLANE_AT: bytearray(_words(plane)),
            OUTPUT_AT: bytearray(3 * width),
        }
    )
    run_code(compile_block(channel_start(taps, kernel, frame)), {"sp": FRAME, "r0": RECORD}, memory)
    registers = {"sp": FRAME, PLANE: PLANE_AT, OUTPUT: OUTPUT_AT}
    for segment in packed_segments(width, most):
        assert isinstance(segment.part, Part)
        code = compile_block(packed_sums(form, frame, segment.part), registers=ALL_REGISTERS)
        for _ in range(segment.times):
            registers = run_code(code, registers, memory)
            if segment.times > 1:
                registers[PLANE] += 4 * segment.step_words
                registers[OUTPUT] += form.element_stride * segment.step_outputs
    data = regions[OUTPUT_AT]
    return [struct.unpack_from("b", data, 3 * column)[0] for column in range(width)]


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize(("width", "most"), [(1, 3), (2, 3), (5, 3), (8, 2), (30, 3)])
def test_packed_sums_are_convolutions_up_to_the_ends_of_their_range(kernel: int, width: int, most: int) -> None:
    if width % 2 and kernel % 2 == 0:
        width += 1
    generator = np.random.default_rng(kernel * 100 + width)
    for extreme in (-1, 0, 1):
        if extreme:
            weights = np.full((kernel, kernel), 127 * extreme)
            image = np.full((kernel, width + kernel - 1), 127 if extreme > 0 else -128)
            bias = OFFSET - 1 - 128 * 127 * kernel * kernel
        else:
            weights = generator.integers(-128, 128, (kernel, kernel))
            image = generator.integers(-128, 128, (kernel, width + kernel - 1))
            bias = int(generator.integers(-2000, 2000))
        for sign in (-1, 1):
            got = _outputs(kernel, image, weights, sign * bias, most)
            totals = [sign * bias + int((image[:, x : x + kernel] * weights).sum()) for x in range(width)]
            want = [int(np.clip(((t * MULTIPLIER >> 32) + ADDEND) >> SHIFT, -128, 127)) for t in totals]
            assert got == want


def test_parts_of_a_row_are_all_its_outputs_once() -> None:
    for width in range(1, 70):
        for segments in (packed_segments(width, 4), packed_segments(width, 3), packed_pairs(width)):
            seen, behind = list[int](), 0
            for segment in segments:
                for time in range(segment.times):
                    step = behind + time * segment.step_outputs
                    seen += [step + output for output in segment.part.outputs]
                behind += segment.times * segment.step_outputs if segment.times > 1 else 0
            assert sorted(seen) == list(range(width)), (width, segments)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("rows", [True, False])
def test_packing_a_plane(packed: bool, rows: bool) -> None:
    zero, channel, width = -3, 1, 7
    image = np.random.default_rng(2).integers(-128, 128, (2, width)).astype(np.int8)
    pairs = tuple((n, 2 * (2 * n - 1) if n else None, 4 * n if 2 * n < width else None) for n in range(4))
    lines = Lines(pairs=pairs, packed=packed, step=2 * width, line_bytes=20, rows=rows)
    source = np.repeat(image, 2, axis=1).astype(np.int8)
    if rows:
        source[:, ::2] = 99  # the other channel
    memory = Memory(
        regions := {
            PLANE_AT: bytearray(40),
            OUTPUT_AT: bytearray(source.tobytes()),
            RECORD: bytearray(_words([OUTPUT_AT, OUTPUT_AT + 2 * width])),
        }
    )
    registers = {"r0": RECORD if rows else OUTPUT_AT, "r1": PLANE_AT, "r2": PLANE_AT + 40, "r3": zero & 0xFFFFFFFF}
    registers["r4"] = channel
    loop, whole = (compile_block(pack_lines(lines, n, n == 1)) for n in (1, 2))
    state = dict(registers)
    for _ in range(2):
        state |= run_code(loop, state, memory)
    assert state["flags"] & 4
    first = bytes(regions[PLANE_AT])
    for row in range(2):
        for n, (low, high) in enumerate([(zero, image[row, 0]), *image[row, 1:].reshape(-1, 2)]):
            word = int(low) + (int(high) << FIELD_BITS) if packed else (int(low) & 0xFFFF) | int(high) << 16
            assert struct.unpack_from("<I", first, 20 * row + 4 * n)[0] == word & 0xFFFFFFFF
    regions[PLANE_AT][:] = bytes(40)
    run_code(whole, registers, memory)
    assert bytes(regions[PLANE_AT]) == first


@pytest.mark.parametrize(("kernel", "limit"), [(3, 0.90), (5, 0.58), (7, 0.52)])
def test_estimated_cycles_of_packed_rows_do_not_grow(kernel: int, limit: float) -> None:
    form, cycles = _form(kernel, 20), 0.0
    frame = RowFrame(taps=0, start=800, multiplier=808, addend=812, output=816, sums=820)
    for segment in packed_segments(20, 4 if kernel == 3 else 3):
        assert isinstance(segment.part, Part)
        code = compile_block(packed_sums(form, frame, segment.part), registers=ALL_REGISTERS)
        cycles += segment.times * code.cycles
    assert cycles / (20 * kernel * kernel) <= limit


def test_more_sums_than_registers_are_refused() -> None:
    frame = RowFrame(taps=0, start=800, multiplier=808, addend=812, output=816, sums=820)
    part = Part(word=0, output=0, count=6, opens=True, closes=False)
    with pytest.raises(MachineError, match="does not fit in the registers"):
        compile_block(packed_sums(_form(7, 20), frame, part), registers=ALL_REGISTERS)
