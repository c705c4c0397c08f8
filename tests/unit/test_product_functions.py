# SPDX-License-Identifier: Apache-2.0
"""Functions of products in scheduled assembly: sums, how they leave the stack, what they are estimated to cost."""

from __future__ import annotations

import re
import struct
import time

import numpy as np
import pytest

from mcucompiler.machine import ALL_REGISTERS, CORTEX_M4, compile_block
from mcucompiler.machine.blocks.product_blocks import ProductForm, loop_block
from mcucompiler.machine.blocks.products import product_function
from mcucompiler.machine.store import VARIABLE
from tests.support.interpret import Memory, run_code
from tests.support.machine import DATA, Emulator, assemble


def form(
    *,
    channels: int = 2,
    pixels: int = 4,
    head: int = 8,
    unroll: int = 8,
    floating: bool = True,
    stacked: bool = False,
) -> ProductForm:
    """A form as large layers use it."""
    return ProductForm(
        channels=channels,
        pixels=pixels,
        head=head,
        unroll=unroll,
        direct=pixels == 1,
        stacked=stacked,
        integer=True,
        floating=floating,
        stride=0 if pixels == 1 else None,
        shift=4,
        lo=None,
        hi=None,
    )


FORMS = [
    form(),
    form(pixels=3, head=2),
    form(channels=4, pixels=2),
    form(channels=6, pixels=1),
    form(head=16, unroll=16),
    form(head=16, unroll=16, stacked=True),
    form(channels=6, pixels=1, stacked=True),
]


@pytest.mark.parametrize("shape", FORMS)
def test_the_stack_pointer_moves_at_both_ends_only_and_the_bound_is_exact(shape: ProductForm) -> None:
    done = product_function(shape)
    moves = [line for line in done.lines if re.match(r"(push|pop|sub sp|add sp|mov sp)", line)]
    assert [move.split()[0] for move in moves] == ["push", "add", "pop"]
    pushed = moves[0].split("{")[1].rstrip("}").split(", ")
    popped = moves[2].split("{")[1].rstrip("}").split(", ")
    assert done.stack_bytes == 4 * len(pushed)
    assert done.stack_bytes % 8 == 0
    assert moves[1] == f"add sp, sp, #{4 * (len(pushed) - len(popped))}"
    assert pushed[-1] == "lr"
    assert popped[-1] == "pc"
    assert pushed[len(pushed) - len(popped) : -1] == popped[:-1]
    assert {f"r{number}" for number in range(4, 12)} < set(popped)


@pytest.mark.parametrize("shape", FORMS)
def test_no_instruction_that_cannot_pair(shape: ProductForm) -> None:
    assert not any(re.match(r"(ldrd|strd|ldm|stm|vldm)", line) for line in product_function(shape).lines)


@pytest.mark.parametrize("inputs", [48, 96, 192, 480])
def test_estimated_cycles_of_large_sums(inputs: int) -> None:
    for stacked, cycles, instructions in ((False, 0.70, 1.13), (True, 0.65, 1.09)):
        shape = form(stacked=stacked)
        blocks = 24
        effort = product_function(shape).effort(shape, inputs // 2, blocks, 0)
        assert effort.cycles / (blocks * inputs * shape.channels * shape.pixels) <= cycles
        assert effort.instructions / (blocks * inputs * shape.channels * shape.pixels) <= instructions


@pytest.mark.parametrize(("channels", "pixels"), [(2, 4), (2, 3), (4, 2), (6, 1)])
def test_stacked_weights_save_an_instruction_for_each_word(channels: int, pixels: int) -> None:
    plain, stacked = (form(channels=channels, pixels=pixels, stacked=kind) for kind in (False, True))
    before, after = product_function(plain), product_function(stacked)
    assert before.loop.instructions - after.loop.instructions == 8 * channels // 2
    assert after.loop.cycles <= before.loop.cycles
    assert after.integer.instructions - before.integer.instructions <= pixels * channels // 2 + 1


def test_an_iteration_adds_the_products_of_its_steps() -> None:
    shape = form()
    code = compile_block(loop_block(shape), registers=ALL_REGISTERS)
    generator, steps = np.random.default_rng(3), shape.head + shape.unroll
    weights, pixels = (generator.integers(-128, 128, (count, steps, 2)) for count in (2, 4))
    columns = np.ascontiguousarray(pixels.transpose(1, 0, 2), "<i2").tobytes()
    stream = bytes(8) + np.ascontiguousarray(weights.transpose(1, 2, 0), np.int8).tobytes()
    frame = struct.pack("<4I", 0, DATA + 16 + len(columns) - shape.head * shape.step_bytes, 0, 0)
    content = frame + columns + stream
    values = {"frame": DATA, "columns": DATA + 16, "stream": DATA + 16 + len(columns)}
    start = {register: values.get(name, 0) for name, register in code.live_in.items()}
    interpreted = run_code(code, start, Memory({DATA: bytearray(content)}))
    emulated, after, flags = Emulator().run(assemble([code.lines])[0], start, content)
    assert after == content
    assert flags & 4  # these were the last steps
    assert interpreted["flags"] & 4
    expected = np.einsum("csi,psi->cp", weights[:, shape.head :], pixels[:, shape.head :])
    for (channel, pixel), total in np.ndenumerate(expected):
        register = code.live_out[f"sum{channel}_{pixel}"]
        assert interpreted[register] == emulated[register] == int(total) & 0xFFFFFFFF


def test_estimated_cycles_of_long_loops() -> None:
    code = compile_block(loop_block(form(head=16, unroll=16)), registers=ALL_REGISTERS)
    assert code.cycles / 256 <= 0.585


def test_a_single_issue_core_takes_a_cycle_for_each_instruction_at_least() -> None:
    code = compile_block(loop_block(form(unroll=4)), core=CORTEX_M4, registers=ALL_REGISTERS)
    assert code.cycles >= len(code.lines) + 2


def test_scheduling_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "off")
    block = loop_block(form(head=16, unroll=16))
    start = time.process_time()
    compile_block(block, registers=ALL_REGISTERS, attempts=25)
    assert time.process_time() - start < 2.0
