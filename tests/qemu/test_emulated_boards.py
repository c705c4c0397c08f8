# SPDX-License-Identifier: Apache-2.0
"""Every emulated board: exact results, instruction counts, faults, and the console's serial port."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime as ort
import pytest

from mcucompiler.boards import list_boards, load_board
from mcucompiler.build import Flavor, build_program
from mcucompiler.errors import ToolError, UsageError
from mcucompiler.manifest import read_manifest
from mcucompiler.run import dequantize, encode_sample, make_bench_runner, make_runner, output_array, seeded_samples
from mcucompiler.run.emulated import qemu_board
from tests.support import ROOT
from tests.support.handmade import make_manifest, make_model, write_program
from tests.support.programs import assert_equal, compiled, run_program, run_reference

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.skipif(
        shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
        reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
    ),
]
BOARDS = ("mps2-an386", "mps2-an500", "netduinoplus2")
APPLICATION = ROOT / "tests" / "support" / "console_application.c"


def program_for(name, tmp_path, **changes):
    board = load_board(name)
    folder, model = write_program(tmp_path, target={"cpu": board.cpu.name, "fpu": board.cpu.fpu}, board=name, **changes)
    return folder, model


def patch(folder, new):
    text = (folder / "net.c").read_text()
    assert "    NET_STEP_HOOK(1);" in text
    (folder / "net.c").write_text(text.replace("    NET_STEP_HOOK(1);", new))


def encoded(folder):
    manifest = read_manifest(folder)
    return [encode_sample(manifest, sample) for sample in seeded_samples(manifest, 1)]


def test_all_emulated_boards_are_tested():
    assert [name for name in list_boards() if load_board(name).qemu] == list(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_network_runs_on_the_board_it_was_compiled_for(name, tmp_path):
    result, manifest = compiled(
        (ROOT / "examples" / "digits" / "digits.onnx").read_bytes(), tmp_path / "net", board=name
    )
    assert qemu_board(manifest).name == name
    samples = seeded_samples(manifest, 4)
    assert_equal(
        run_program(make_runner(manifest, "qemu"), manifest, samples), run_reference(result, manifest, samples)
    )
    assert (tmp_path / "net" / "build" / name / "program" / "firmware.elf").is_file()


@pytest.mark.parametrize(
    ("board", "cpu", "stand_in"),
    [
        ("nucleo-h743zi2", "cortex-m7", "mps2-an500"),
        ("a-board-of-the-users", "cortex-m4", "mps2-an386"),
        ("mps2-an386", "cortex-m7", "mps2-an500"),
        ("", "host", "mps2-an500"),
    ],
)
def test_an_emulated_board_of_the_same_core_stands_for_one_that_is_not(board, cpu, stand_in, tmp_path):
    folder, _ = write_program(tmp_path, target={"cpu": cpu, "fpu": ""}, board=board)
    assert qemu_board(read_manifest(folder)).name == stand_in


def test_a_core_without_emulated_board_is_named(tmp_path):
    folder, _ = write_program(tmp_path, target={"cpu": "cortex-m33", "fpu": ""}, board="mine")
    with pytest.raises(UsageError, match="no emulated board has a cortex-m33"):
        make_runner(read_manifest(folder), "qemu")


@pytest.mark.parametrize("name", BOARDS)
def test_outputs_equal_onnx_runtime(name, tmp_path):
    folder, model = program_for(name, tmp_path)
    manifest = read_manifest(folder)
    samples = seeded_samples(manifest, 100)
    results = make_runner(manifest, "qemu").layers([encode_sample(manifest, sample) for sample in samples])
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for sample, result in zip(samples, results, strict=True):
        got = dequantize(output_array(result.outputs[0], manifest.outputs[0]), manifest.outputs[0])
        assert np.array_equal(got, session.run(None, sample)[0])
        assert [dump.step for dump in result.tensors] == [0, 1]
        assert 0 < result.stack_bytes <= 256


@pytest.mark.parametrize("name", BOARDS)
def test_instructions_are_counted(name, tmp_path):
    folder, _ = program_for(name, tmp_path)
    sample = encoded(folder)[0]
    before = make_bench_runner(read_manifest(folder), "qemu").bench(sample)
    patch(
        folder,
        '    for (uint32_t i = 100000u; i != 0u; --i) { __asm__ volatile("" : "+r"(i)); }\n    NET_STEP_HOOK(1);',
    )
    after = make_bench_runner(read_manifest(folder), "qemu").bench(sample)
    assert before.resolution == (1 if name == "netduinoplus2" else 40)
    assert abs(after.instructions - before.instructions - 200_000) <= 2 * before.resolution + 8
    assert abs(after.steps[1].instructions - before.steps[1].instructions - 200_000) <= 2 * before.resolution + 8


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("*(volatile uint32_t *)0x5f000000u = 1u;", r"FAULT(.|\n)*pc [0-9a-f]{8}(.|\n)*bfar 5f000000"),
        ('__asm__ volatile("udf #0");', r"FAULT, exception 00000006(.|\n)*cfsr 00010000"),
        (
            "volatile uint32_t zero = 0u; a[0] = (uint8_t)(7u / zero);",
            r"FAULT, exception 00000006(.|\n)*cfsr 02000000",
        ),
    ],
)
def test_a_fault_is_reported_with_registers(name, statement, message, tmp_path):
    folder, _ = program_for(name, tmp_path)
    patch(folder, f"    {statement}")
    with pytest.raises(ToolError, match=message):
        make_runner(read_manifest(folder), "qemu").run(encoded(folder))


@pytest.mark.parametrize("name", BOARDS)
def test_a_stack_overflow_is_reported(name, tmp_path):
    memory = {**make_manifest(make_model())["memory"], "stack_bytes": 200000}
    folder, _ = program_for(name, tmp_path, memory=memory)
    patch(
        folder,
        "    volatile uint8_t big[100000]; for (uint32_t i = 0; i < 100000u; ++i) { big[i] = a[0]; } a[0] = big[7];",
    )
    with pytest.raises(ToolError, match=r"FAULT(.|\n)*the stack overflowed"):
        make_runner(read_manifest(folder), "qemu").run(encoded(folder))


@contextmanager
def serial_port(name, folder, tmp_path) -> Iterator[socket.socket]:
    """The console of the test application on a board."""
    board = load_board(name)
    program = build_program(read_manifest(folder), Flavor(board=board, application=APPLICATION))
    path = tmp_path / "console"
    command = [
        *("qemu-system-arm", "-M", board.qemu.machine, "-display", "none", "-monitor", "none"),
        *("-chardev", f"socket,id=console,path={path},server=on,wait=on"),
        *(["-serial", "null"] * board.qemu.console_serial),
        *("-serial", "chardev:console", "-kernel", str(program.path)),
    ]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + 20
        with socket.socket(socket.AF_UNIX) as port:
            port.settimeout(20)
            # The socket is there a little before QEMU listens.
            while port.connect_ex(str(path)) and time.monotonic() < end:
                time.sleep(0.02)
            yield port
    finally:
        process.kill()
        process.wait()


def receive(port, count):
    data = b""
    while len(data) < count:
        part = port.recv(count - len(data))
        assert part, f"the console ended after {data!r}"
        data += part
    return data


@pytest.mark.parametrize("name", BOARDS)
def test_the_console_is_a_serial_port(name, tmp_path):
    folder, model = program_for(name, tmp_path)
    manifest = read_manifest(folder)
    samples = seeded_samples(manifest, 3)
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    board = load_board(name)
    with serial_port(name, folder, tmp_path) as port:
        status, clock_hz, counter_hz, stack_bytes = struct.unpack("<4I", receive(port, 16))
        # QEMU has no clock control for this one: its oscillator never starts.
        expected = (1 | 64, 16_000_000) if name == "netduinoplus2" else (0, board.clock_hz)
        assert (status, clock_hz) == expected
        assert counter_hz == board.qemu.timer_hz
        assert stack_bytes == board.stack_bytes
        port.sendall(bytes([len(samples)]))
        for sample in samples:
            port.sendall(encode_sample(manifest, sample)[0])
            status, ticks, stack_used = struct.unpack("<3I", receive(port, 12))
            assert (status, ticks > 0) == (0, True)
            assert 0 < stack_used < board.stack_bytes
            output = output_array(receive(port, manifest.outputs[0].bytes), manifest.outputs[0])
            assert np.array_equal(dequantize(output, manifest.outputs[0]), session.run(None, sample)[0])


@pytest.mark.parametrize("name", BOARDS)
def test_a_reset_begins_afresh(name, tmp_path):
    folder, _ = program_for(name, tmp_path)
    with serial_port(name, folder, tmp_path) as port:
        first = receive(port, 16)
        port.sendall(b"\xff")
        assert receive(port, 16) == first
        port.sendall(b"\xff")
        assert receive(port, 16) == first


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(
    ("order", "words"),
    [
        (b"\xfe", (b"FAULT, exception 00000006", b"pc ", b"cfsr 00010000")),
        (b"\xfd", (b"FAULT, exception ", b"the stack overflowed: sp ")),
    ],
)
def test_a_fault_is_told_over_the_console(name, order, words, tmp_path):
    folder, _ = program_for(name, tmp_path)
    with serial_port(name, folder, tmp_path) as port:
        receive(port, 16)
        port.sendall(order)
        text = b""
        while b"bfar " not in text or not text.endswith(b"\n"):
            text += receive(port, 1)
    for word in words:
        assert word in text
