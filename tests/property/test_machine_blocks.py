# SPDX-License-Identifier: Apache-2.0
"""Random blocks: definition = scheduled code in Python = the same code in the emulator; schedules keep the rules."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.machine import (
    CORTEX_M4,
    CORTEX_M7,
    CORTEX_M33,
    Block,
    Code,
    Core,
    MachineError,
    RegisterFile,
    compile_block,
)
from mcucompiler.machine.core import Kind
from mcucompiler.machine.dependences import dependences, legalize
from mcucompiler.machine.pipeline import Pipeline
from mcucompiler.machine.program import Program
from tests.support.interpret import Memory, run_code, run_program
from tests.support.machine import DATA, Emulator, assemble, pattern, random_block

REGION = 64
SEEDS = st.integers(0, 2**31)


def _inputs(program: Program, generator: random.Random) -> dict[str, int]:
    bases = {"x": DATA, "w": DATA + REGION, "y": DATA + 2 * REGION}
    return {live.name: bases.get(live.name, pattern(generator)) for live in program.live_ins}


def _execute(code: Code, inputs: dict[str, int], content: bytes, times: int) -> tuple[dict[str, int], bytes]:
    memory = bytearray(content)
    registers = {register: inputs[name] for name, register in code.live_in.items()}
    state = run_code(code, registers, Memory({DATA: memory}), times=times)
    return {name: state[register] for name, register in code.live_out.items()}, bytes(memory)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=SEEDS, size=st.integers(1, 60), core=st.sampled_from([CORTEX_M7, CORTEX_M4, CORTEX_M33]))
def test_code_computes_what_the_block_means(seed: int, size: int, core: Core) -> None:
    block = random_block(seed, size, repeatable=seed % 2 == 0)
    program = block.freeze()
    code = compile_block(block, core=core, attempts=4)
    generator = random.Random(seed)
    inputs, content = _inputs(program, generator), generator.randbytes(3 * REGION)
    for times in (1, 3) if seed % 2 == 0 else (1,):
        memory = bytearray(content)
        expected = run_program(program, inputs, Memory({DATA: memory}), times=times)
        assert _execute(code, inputs, content, times) == (expected, bytes(memory))


def test_code_in_the_emulator_computes_what_the_block_means() -> None:
    blocks = [random_block(seed, 5 + seed) for seed in range(50)]
    codes = [compile_block(block, attempts=4) for block in blocks]
    emulator, generator = Emulator(), random.Random(3)
    for block, code, binary in zip(blocks, codes, assemble([code.lines for code in codes]), strict=True):
        program = block.freeze()
        inputs, content = _inputs(program, generator), generator.randbytes(3 * REGION)
        memory = bytearray(content)
        expected = run_program(program, inputs, Memory({DATA: memory}))
        registers = {register: inputs[name] for name, register in code.live_in.items()}
        state, after, _ = emulator.run(binary, registers, content)
        assert {name: state[register] for name, register in code.live_out.items()} == expected
        assert after == bytes(memory)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS, size=st.integers(1, 60))
def test_schedules_respect_dependences_and_registers(seed: int, size: int) -> None:
    program = legalize(random_block(seed, size).freeze())
    code = compile_block(random_block(seed, size), attempts=4)
    place = {operation: index for index, operation in enumerate(code.operations)}
    assert place.keys() == set(program.operations)
    graph = dependences(program, CORTEX_M7)
    for index, edges in enumerate(graph.before):
        for first, _, _ in edges:
            assert place[program.operations[first]] < place[program.operations[index]]
    _no_register_holds_two_values(code)


def _no_register_holds_two_values(code: Code) -> None:
    entering = {live.name: live.value for live in code.program.live_ins}
    holds = {register: entering[name] for name, register in code.live_in.items()}
    for operation in code.operations:
        for value in operation.operands:
            assert holds[code.registers[value]] == value
        for value in operation.results:
            holds[code.registers[value]] = value
        for result, operand in operation.code.tied:
            assert code.registers[operation.results[result]] == code.registers[operation.operands[operand]]
    for live in code.program.live_outs:
        assert holds[code.registers[live.value]] == live.value
    for start, end in code.program.carried:
        assert code.registers[start] == code.registers[end]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS, size=st.integers(1, 40))
def test_the_pipeline_model_obeys_its_table(seed: int, size: int) -> None:
    code = compile_block(random_block(seed, size), attempts=2)
    pipeline, cycles = Pipeline(CORTEX_M7), {}
    issued: dict[int, list[Kind]] = {}
    for operation in code.operations:
        cycle = pipeline.issue(operation)
        for position, value in enumerate(operation.operands):
            if value in cycles:
                when, kind = cycles[value]
                forwarded = kind is operation.code.kind and position == operation.code.accumulator
                wait = CORTEX_M7.timings[kind].latency - (CORTEX_M7.timings[kind].forwards if forwarded else 0)
                assert cycle >= when + wait
        issued.setdefault(cycle, []).append(operation.code.kind)
        cycles |= {value: (cycle, operation.code.kind) for value in operation.results}
    for kinds in issued.values():
        assert len(kinds) <= 2
        assert len(kinds) == 1 or CORTEX_M7.pairs[kinds[0], kinds[1]]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(live=st.integers(2, 12), registers=st.integers(2, 12))
def test_a_block_that_does_not_fit_says_where(live: int, registers: int) -> None:
    block = Block("wide")
    base = block.live_in("x", register="sp", keep=True)
    values = [block.load(base, 4 * index) for index in range(live)]
    for index, value in enumerate(values):
        block.live_out(f"value{index}", value)
    file = RegisterFile(core=tuple(f"r{index}" for index in range(registers)))
    if live <= registers:
        code = compile_block(block, registers=file)
        assert len(set(code.live_out.values())) == live + 1
        return
    with pytest.raises(
        MachineError, match=rf"'wide' does not fit .* {registers} may be allocated; live there: .*value0"
    ):
        compile_block(block, registers=file)


def test_results_do_not_depend_on_the_cache_or_the_run() -> None:
    from mcucompiler.machine.compile import _solve
    from mcucompiler.machine.dependences import dependences, legalize

    program = random_block(5, 50).freeze()
    legal = legalize(program)
    graph = dependences(legal, CORTEX_M7)
    first, second = (_solve(legal, graph, CORTEX_M7, RegisterFile(), 6) for _ in range(2))
    assert first == second
    assert compile_block(program, attempts=6).cycles == first.cycles
    assert compile_block(program, attempts=6) is compile_block(random_block(5, 50), attempts=6)
