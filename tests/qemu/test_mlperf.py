# SPDX-License-Identifier: Apache-2.0
"""Firmware for MLPerf Tiny's runner, driven by a client that does what the runner does."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager

import numpy as np
import pytest
import serial

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build.mlperf import Task, task_of
from mcucompiler.build.program import Flavor, build_program
from mcucompiler.errors import UsageError
from mcucompiler.manifest import read_manifest
from mcucompiler.run import make_runner, output_array
from tests.support import models_dir
from tests.support.handmade import make_manifest, make_model, write_program
from tests.support.qemu_serial import emulated, needs_qemu

BOARD = "mps2-an500"
DATA_BYTES = 31  # in a command of the runner
pytestmark = pytest.mark.qemu


class Client:
    """Sends commands and reads lines, as the runner does; a command is answered by the line m-ready."""

    def __init__(self, port):
        self.port = port

    def lines(self, timeout_s=20.0):
        found, until = [], time.monotonic() + timeout_s
        while time.monotonic() < until:
            line = self.port.readline()
            if line:
                assert line.endswith(b"\r\n"), line
                found.append(line.decode("ascii").rstrip("\r\n"))
                if found[-1] == "m-ready":
                    return found[:-1]
        raise AssertionError(f"no m-ready after {found}")

    def send(self, command):
        self.port.write(command.encode() + b"%")
        return self.lines()

    def load(self, data):
        assert self.send(f"db load {len(data)}") == [f"m-[Expecting {len(data)} bytes]"]
        for at in range(0, len(data), DATA_BYTES):
            result = self.send(f"db {data[at : at + DATA_BYTES].hex()}")
            assert result == (["m-load-done"] if at + DATA_BYTES >= len(data) else [])

    def infer(self, count, warmups):
        """Microseconds and results."""
        lines = self.send(f"infer {count} {warmups}")
        told = [re.sub(r"\d+$", "N", line) for line in lines[:6]]
        assert told == [
            "m-warmup-start-N",
            "m-warmup-done",
            "m-infer-start-N",
            "m-lap-us-N",
            "m-lap-us-N",
            "m-infer-done",
        ]
        assert (lines[0], lines[2]) == (f"m-warmup-start-{warmups}", f"m-infer-start-{count}")
        start, end = (int(line.rpartition("-")[2]) for line in lines[3:5])
        match = re.match(r"^m-results-\[([^]]+)\]$", lines[6])
        assert match is not None
        assert len(lines) == 7
        return end - start, [float(text) for text in match[1].split(",")]


@contextmanager
def client_of(folder, *, icount=False):
    with (
        emulated(folder, BOARD, "mlperf", icount=icount) as url,
        serial.serial_for_url(url, baudrate=115200, timeout=0.2) as port,
    ):
        client = Client(port)
        # What it says at its start may be over before anyone listens; this command ends what was half-sent.
        port.write(b"%name%")
        while f"m-name-dut-[{BOARD}]" not in client.lines():
            pass
        yield client


def host_outputs(folder, data):
    manifest = read_manifest(folder)
    result = make_runner(manifest, "host").run([(data,)])[0]
    tensor = manifest.outputs[0]
    stored = output_array(result.outputs[0], tensor).reshape(-1).astype(np.float32)
    return (stored - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


@needs_qemu
def test_a_network_of_ones_own(tmp_path):
    folder, _ = write_program(tmp_path)
    data = bytes(range(100, 132))
    with client_of(folder) as client:
        assert client.send("name") == [f"m-name-dut-[{BOARD}]"]
        assert client.send("profile") == ["m-profile-[ULPMark for tinyML Firmware V0.0.1]", "m-model-[net]"]
        first, second = (int(client.send("timestamp")[0].removeprefix("m-lap-us-")) for _ in range(2))
        assert second > first
        client.load(data)
        assert client.send("db print")[0] == "m-buffer-64-65-66-67-68-69-6a-6b"
        for count, warmups in ((1, 0), (5, 3)):
            # The network overwrites nothing of its input here; in general it may, and is loaded each time.
            _, results = client.infer(count, warmups)
            assert results == pytest.approx(host_outputs(folder, data), abs=0.00051)
        assert client.send("results") == ["m-results-[" + ",".join(f"{value:.3f}" for value in results) + "]"]
        assert "infer N [W=10]" in client.send("help")
        client.port.write(b"\r\nname\r\n%")
        assert client.lines() == [f"m-name-dut-[{BOARD}]"]
        assert client.send("infer") != []


@needs_qemu
def test_the_time_that_a_loop_takes_is_told(tmp_path):
    folder, _ = write_program(tmp_path)
    source = folder / "net.c"
    loop = 'for (uint32_t i = 100000u; i != 0u; --i) { __asm__ volatile("" : "+r"(i)); }'
    source.write_text(source.read_text().replace("    NET_STEP_HOOK(0);", f"    {loop}\n    NET_STEP_HOOK(0);"))
    with client_of(folder, icount=True) as client:
        client.load(bytes(32))
        elapsed, _ = client.infer(50, 1)
        # Two instructions a round, a nanosecond each.
        assert elapsed == pytest.approx(50 * 200, rel=0.05)


@needs_qemu
def test_what_makes_no_sense_is_refused(tmp_path):
    folder, _ = write_program(tmp_path)
    with client_of(folder) as client:
        for command, answer in (
            ("", []),
            ("   ", []),
            ("frobnicate now", ["e-[Unknown command: frobnicate]"]),
            ("x" * 200, ["e-[Command is too long]"]),
            ("db", ["e-[Command 'db' requires a subcommand]"]),
            ("db 00", ["e-[Command 'db load' comes before the bytes]"]),
            ("db load", ["e-[Command 'db load' must be >0 bytes]"]),
            ("db load 0", ["e-[Command 'db load' must be >0 bytes]"]),
            ("db load -1", ["e-[Command 'db load' must be >0 bytes]"]),
            ("db load 33", ["e-[Supplied buffer size 33 exceeds maximum of 32]"]),
            ("db load 9999999999", ["e-[Command 'db load' must be >0 bytes]"]),
            ("infer 1 0", ["e-[Input has 0 bytes, expected 32]"]),
            ("db load 32", ["m-[Expecting 32 bytes]"]),
            ("db 0", ["e-[Insufficient number of hex digits]"]),
            ("db 0g", ["e-[Invalid hex digit]"]),
            ("db 010203", []),
            ("infer 1 0", ["e-[Input has 3 bytes, expected 32]"]),
            ("infer 0", ["e-[Inference iterations must be >0]"]),
            ("infer 1 x", ["e-[Inference warmup must be >=0]"]),
            ("name", [f"m-name-dut-[{BOARD}]"]),
        ):
            assert client.send(command) == answer, command
        client.load(bytes(32))
        # Digits beyond the end are left out.
        assert client.send("db ff") == []
        assert client.send("db print")[-1] == "m-buffer-" + "-".join(["00"] * 8)


@needs_qemu
def test_it_says_that_it_is_ready_when_it_starts(tmp_path):
    folder, _ = write_program(tmp_path)
    board = load_board(BOARD)
    program = build_program(read_manifest(folder), Flavor(board=board, protocol="mlperf"))
    console = tmp_path / "console.txt"
    machine = ("qemu-system-arm", "-M", BOARD, "-display", "none", "-monitor", "none")
    process = subprocess.Popen([*machine, "-serial", f"file:{console}", "-kernel", str(program.path)])
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until and not (console.exists() and b"m-ready\r\n" in console.read_bytes()):
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    lines = console.read_text().splitlines()
    assert re.match(r"^m-lap-us-\d+$", lines.pop(1))
    assert lines == ["m-timestamp-mode-performance", "m-init-done", "m-ready"]


def sent_by_the_runner(model, manifest):
    """What the runner sends for a sample, and the bytes of the input's C buffer that this means."""
    generator = np.random.Generator(np.random.PCG64(7))
    tensor = manifest.inputs[0]
    if model == "ad01":
        reals = generator.normal(-10, 3, 640).astype(np.float32)
        grid = np.clip(np.rint(reals / np.float32(tensor.scale)) + tensor.zero_point, -128, 127).astype(np.int8)
        return reals.tobytes(), grid.tobytes()
    raw = generator.integers(0, 256, tensor.bytes).astype(np.uint8)
    return raw.tobytes(), (raw ^ (0x80 if model in ("vww01", "ic01") else 0)).tobytes()


@needs_qemu
@pytest.mark.parametrize(
    ("file", "model"), [("mlperf_kws_dscnn", "kws01"), ("mlperf_ad01", "ad01"), ("mlperf_vww96", "vww01")]
)
def test_networks_of_the_benchmark(tmp_path, file, model):
    source = models_dir() / file / f"{file}.qop.onnx"
    if not source.is_file():
        pytest.skip(f"no {source.name}")
    compile_model(source, CompileOptions(name="net", board=BOARD)).write(tmp_path / "net")
    manifest = read_manifest(tmp_path / "net")
    sent, meant = sent_by_the_runner(model, manifest)
    expected = host_outputs(tmp_path / "net", meant)
    if model == "ad01":
        expected = [float(np.mean((expected - np.frombuffer(sent, np.float32)) ** 2))]
    with client_of(tmp_path / "net") as client:
        assert f"m-model-[{model}]" in client.send("profile")
        client.load(sent)
        _, results = client.infer(2, 1)
    assert results == pytest.approx(expected, abs=0.00051, rel=2e-3 if model == "ad01" else None)


@needs_qemu
@pytest.mark.parametrize("pixels", ["", "rgb888"])
def test_a_network_of_the_benchmark_that_is_fed_by_rows(tmp_path, pixels):
    source = models_dir() / "mlperf_vww96" / "mlperf_vww96.qop.onnx"
    for name, options in (
        ("resident", CompileOptions(name="net", board=BOARD)),
        ("rows", CompileOptions(name="net", board=BOARD, input_mode="rows", pixel_format=pixels)),
    ):
        compile_model(source, options).write(tmp_path / name)
    sent, meant = sent_by_the_runner("vww01", read_manifest(tmp_path / "resident"))
    with client_of(tmp_path / "rows") as client:
        assert "m-model-[vww01]" in client.send("profile")
        client.load(sent)
        for _ in range(2):
            _, results = client.infer(2, 1)
            assert results == pytest.approx(host_outputs(tmp_path / "resident", meant), abs=0.00051)


@pytest.mark.parametrize(
    ("c_shape", "dtype", "outputs", "task"),
    [
        ([1, 32, 32, 3], "int8", 10, Task(model="ic01", pixels=True)),
        ([1, 32, 32, 3], "uint8", 10, Task(model="ic01")),
        ([1, 96, 96, 3], "int8", 2, Task(model="vww01", pixels=True)),
        ([1, 96, 96, 3], "int8", 3, Task(model="net")),
        ([1, 49, 10, 1], "int8", 12, Task(model="kws01")),
        ([1, 640], "int8", 640, Task(model="ad01", reals=True, autoencoder=True)),
        ([1, 640], "float32", 640, Task(model="ad01", reals=True, autoencoder=True)),
        ([1, 7], "float32", 2, Task(model="net", reals=True)),
    ],
)
def test_tasks_are_told_apart_by_their_shapes(tmp_path, c_shape, dtype, outputs, task):
    manifest = make_manifest(make_model())
    item = 4 if dtype == "float32" else 1
    plain = {"onnx_shape": c_shape, "c_shape": c_shape, "onnx_to_c": list(range(len(c_shape)))}
    source = {**manifest["inputs"][0], **plain, "dtype": dtype, "bytes": item * int(np.prod(c_shape))}
    shape = {"onnx_shape": [1, outputs], "c_shape": [1, outputs], "onnx_to_c": [0, 1]}
    result = {**manifest["outputs"][0], **shape, "bytes": outputs}
    folder, _ = write_program(tmp_path, inputs=[source], outputs=[result])
    assert task_of(read_manifest(folder)) == task


def test_a_network_with_two_inputs_is_refused(tmp_path):
    source = make_manifest(make_model())["inputs"][0]
    folder, _ = write_program(tmp_path, inputs=[source, {**source, "index": 1, "name": "other"}])
    with pytest.raises(UsageError, match="2 inputs and 1 output; the runner of MLPerf Tiny feeds one"):
        task_of(read_manifest(folder))
