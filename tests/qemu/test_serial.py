# SPDX-License-Identifier: Apache-2.0
"""The serial protocol on emulated boards, through the very code that real ones use."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import threading
import time

import numpy as np
import pytest
import serial

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build.program import Flavor, build_program
from mcucompiler.cli import main
from mcucompiler.errors import UsageError
from mcucompiler.link import DeviceError, FaultError, LinkError, port
from mcucompiler.manifest import read_manifest
from mcucompiler.run import encode_sample, make_runner, seeded_samples
from tests.support import models_dir
from tests.support.handmade import write_program
from tests.support.qemu_serial import emulated, free_port, needs_qemu, running

BOARDS = ["mps2-an500", "mps2-an386", "netduinoplus2"]
M7 = "mps2-an500"
LAST_STEP = "    NET_STEP_HOOK(1);"
pytestmark = pytest.mark.qemu


def program_for(directory, board, statement=""):
    """The handmade program for a board; the statement is executed where the greatest of the first square is 99."""
    cpu = load_board(board).cpu
    folder, model = write_program(directory, target={"cpu": cpu.name, "fpu": cpu.fpu})
    if statement:
        source = folder / "net.c"
        text = source.read_text().replace(LAST_STEP, f"{LAST_STEP}\n    if (a[32] == 99) {{ {statement} }}")
        source.write_text(text)
    return folder, model


def encoded(folder, count=1):
    manifest = read_manifest(folder)
    return [encode_sample(manifest, sample) for sample in seeded_samples(manifest, count)]


def runner_at(folder, url, **options):
    return make_runner(read_manifest(folder), f"serial:{url}", **options)


def cli(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@needs_qemu
@pytest.mark.parametrize("board", BOARDS)
def test_validate_prints_device_duration_steps_and_outputs(tmp_path, capsys, board):
    folder, model = program_for(tmp_path, board)
    assert cli(capsys, "build", folder, "--board", board, "--protocol", "serial")[0] == 0
    with emulated(folder, board) as url:
        told = ("validate", folder, "--model", model, "--on", f"serial:{url}")
        code, out, err = cli(capsys, *told)
        assert (code, err) == (0, "")
        for words in (
            rf"device +{board}",
            r"clock +\d+ MHz",
            r"RAM +\d+ bytes",
            r"flash +[\d,]+ bytes",
            r"stack +\d+ bytes used, 256 declared, [\d,]+ in the firmware",
            r"average +min +max +std",
            r"cycles per MAC",
            r"net_depthwise +8 .* %",
            r"!= reference +!= ONNX Runtime +max +rmse +mae +l2r +cosine",
            r"scores +16 +0 +0 +0 +0 +0 +0 +1\.0",
            r"acc: the class is ONNX Runtime's in 100\.00 % \(8 of 8\)",
            r"passed: equal to the reference and to ONNX Runtime",
        ):
            assert re.search(words, out), words
        told_json = json.loads(cli(capsys, *told, "--json")[1])
        assert told_json["device"]["board"] == board
        assert told_json["timing"]["cycles"]["min"] <= told_json["timing"]["cycles"]["mean"]
        assert len(told_json["timing"]["steps"]) == 2
        layers = json.loads(cli(capsys, *told, "--layers", "--json")[1])
        assert [layer["name"] for layer in layers["layers"]] == ["pooled", "scores_q"]
        assert all(layer["reference"]["mismatches"] == 0 for layer in layers["layers"])


@needs_qemu
@pytest.mark.parametrize("board", BOARDS)
def test_a_real_network(tmp_path, capsys, board):
    model = models_dir() / "mlperf_kws_dscnn" / "mlperf_kws_dscnn.qop.onnx"
    if not model.is_file():
        pytest.skip(f"no {model.name}")
    folder = tmp_path / "kws"
    compile_model(model, CompileOptions(name="kws", board=board)).write(folder)
    with emulated(folder, board) as url:
        told = ("validate", folder, "--model", model, "--on", f"serial:{url}", "--count", "3")
        result = json.loads(cli(capsys, *told, "--json")[1])
        layers = json.loads(cli(capsys, *told, "--layers", "--json")[1])
    assert result["passed"]
    assert layers["passed"]
    assert result["stack_bytes"] <= read_manifest(folder).memory.stack_bytes
    assert len(layers["layers"]) == sum(len(step.outputs) for step in read_manifest(folder).steps)


@needs_qemu
def test_run_and_bench(tmp_path, capsys):
    folder, _ = program_for(tmp_path, M7)
    with emulated(folder, M7, icount=True) as url:
        outputs = json.loads(cli(capsys, "run", folder, "--on", f"serial:{url}", "--json")[1])["outputs"]
        measured = json.loads(cli(capsys, "bench", folder, "--on", f"serial:{url}", "--json")[1])
        text = cli(capsys, "bench", folder, "--on", f"serial:{url}")[1]
    assert outputs == json.loads(cli(capsys, "run", folder, "--on", "host", "--json")[1])["outputs"]
    assert measured["device"]["board"] == M7
    assert len(measured["repeats"]) == 10
    assert 0 < measured["cycles"] < 100
    assert "Mean of 10 runs" in text
    assert "say nothing about the board" in text


@needs_qemu
def test_stack_and_all_layers(tmp_path):
    folder, _ = program_for(tmp_path, M7, "volatile uint8_t big[4096]; big[0] = a[0]; a[0] = big[0];")
    host = make_runner(read_manifest(folder), "host").layers(encoded(folder))
    with emulated(folder, M7) as url:
        runner = runner_at(folder, url)
        assert 4096 <= runner.run(encoded(folder))[0].stack_bytes <= 4096 + 128
        dumps = runner.layers(encoded(folder))[0].tensors
    assert [(dump.step, dump.tensor.name) for dump in dumps] == [(0, "pooled"), (1, "scores_q")]
    for dump, expected in zip(dumps, host[0].tensors, strict=True):
        assert np.array_equal(dump.value, expected.value)


@needs_qemu
def test_the_first_differing_step_is_found_on_the_device(tmp_path, capsys):
    folder, model = program_for(tmp_path, M7)
    kernels = folder / "net_kernels.c"
    text = kernels.read_text()
    assert "return a > b ? a : b;" in text
    kernels.write_text(text.replace("return a > b ? a : b;", "return a < b ? a : b;"))
    with emulated(folder, M7) as url:
        code, out, _ = cli(capsys, "validate", folder, "--model", model, "--on", f"serial:{url}", "--layers")
    assert code == 5
    assert "first differing step: 0, MaxPool by net_max_pool" in out


@needs_qemu
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("*(volatile uint32_t *)0xf0000000u = 1u;", r"bus error|memory management|bus fault"),
        (
            '__asm__ volatile("udf #0");',
            r"usage fault: an undefined instruction(.|\n)*pc [0-9a-f]{8}(.|\n)*cfsr 00010000",
        ),
    ],
)
@pytest.mark.parametrize("board", [M7, "netduinoplus2"])
def test_a_fault_is_reported_and_the_device_goes_on(tmp_path, board, statement, message):
    folder, _ = program_for(tmp_path, board, statement)
    faulty = (bytes([99]) * 32,)
    with emulated(folder, board) as url:
        runner = runner_at(folder, url)
        before = runner.run(encoded(folder))[0]
        with pytest.raises(FaultError, match=message) as caught:
            runner.run([faulty])
        assert "after 2 of 2 steps" in str(caught.value)
        assert runner.run(encoded(folder))[0].outputs == before.outputs


@needs_qemu
def test_a_stack_overflow_is_reported(tmp_path):
    overflow = "volatile uint8_t big[100000]; for (uint32_t i = 0; i < 100000u; ++i) { big[i] = a[0]; } a[0] = big[7];"
    folder, _ = program_for(tmp_path, M7, overflow)
    with emulated(folder, M7) as url:
        with pytest.raises(FaultError, match=r"the stack overflowed(.|\n)*stack_bytes"):
            runner_at(folder, url).run([(bytes([99]) * 32,)])
        assert runner_at(folder, url).device.board == M7


@needs_qemu
def test_a_network_that_does_not_end(tmp_path):
    folder, _ = program_for(tmp_path, M7, "for (volatile unsigned i = 0;; ++i) { }")
    with emulated(folder, M7) as url:
        runner = runner_at(folder, url, timeout_s=0.5)
        with pytest.raises(LinkError, match=r"stopped answering(.|\n)*--timeout(.|\n)*reset button"):
            runner.run([(bytes([99]) * 32,)])


@needs_qemu
def test_unplugging_in_the_middle(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    program = build_program(read_manifest(folder), Flavor(board=load_board(M7), protocol="serial"))
    samples = encoded(folder) * 1000
    with running(program.path, load_board(M7)) as (url, process):

        def unplug(done, count):
            if done == 3:
                process.kill()

        with pytest.raises(LinkError, match=r"connection to .* was lost(.|\n)*check the cable"):
            runner_at(folder, url).run(samples, unplug)


@needs_qemu
def test_another_network_is_on_the_board(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    other = tmp_path / "other"
    other.mkdir()
    changed, _ = program_for(other, M7)
    source = changed / "net.c"
    source.write_text(source.read_text() + "/* another compilation */\n")
    with (
        emulated(folder, M7) as url,
        pytest.raises(DeviceError, match=r"holds another compilation(.|\n)*flash .*net --board mps2-an500"),
    ):
        runner_at(changed, url).run(encoded(changed))


def test_the_host_has_no_serial_port(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    with pytest.raises(UsageError, match="board 'host' has no serial port"):
        build_program(read_manifest(folder), Flavor(board=load_board("host"), protocol="serial"))


def test_a_port_that_nothing_listens_at(tmp_path, capsys):
    folder, _ = program_for(tmp_path, M7)
    code, out, err = cli(capsys, "run", folder, "--on", f"serial:socket://127.0.0.1:{free_port()}")
    assert (code, out) == (4, "")
    assert "cannot be opened" in err
    assert "start what listens there" in err


def test_a_port_that_does_not_exist(tmp_path, capsys):
    folder, _ = program_for(tmp_path, M7)
    code, _, err = cli(capsys, "run", folder, "--on", f"serial:{tmp_path / 'ttyNONE'}")
    assert code == 4
    assert "check the cable and the name; ports found:" in err


def test_a_port_that_is_no_url(tmp_path, capsys):
    folder, _ = program_for(tmp_path, M7)
    code, _, err = cli(capsys, "run", folder, "--on", "serial:nonsense://x")
    assert code == 4
    assert "cannot be opened" in err


def test_a_busy_port(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    controller, device = pty.openpty()
    try:
        with (
            serial.Serial(os.ttyname(device), exclusive=True),
            pytest.raises(LinkError, match=r"another program holds the port: close the terminal"),
        ):
            runner_at(folder, os.ttyname(device)).run(encoded(folder))
    finally:
        os.close(controller)
        os.close(device)


def test_a_port_without_permission(tmp_path, monkeypatch):
    folder, _ = program_for(tmp_path, M7)

    def refuse(*args, **options):
        raise serial.SerialException(13, "could not open port /dev/ttyACM0: Permission denied")

    monkeypatch.setattr(port.serial, "serial_for_url", refuse)
    with pytest.raises(LinkError, match=r"usermod -aG dialout"):
        runner_at(folder, "/dev/ttyACM0").run(encoded(folder))


def test_a_silent_board_on_a_real_terminal(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    controller, device = pty.openpty()
    try:
        started = time.monotonic()
        with pytest.raises(LinkError, match=r"is silent(.|\n)*RX and TX"):
            runner_at(folder, os.ttyname(device)).run(encoded(folder))
        assert time.monotonic() - started < 15
    finally:
        os.close(controller)
        os.close(device)


def test_a_board_with_other_firmware(tmp_path):
    folder, _ = program_for(tmp_path, M7)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def chatter():
            connection, _ = server.accept()
            with connection:
                # What it says before it is asked may be lost while the port is opened.
                while connection.recv(4096):
                    connection.sendall(b"Hello from another firmware\r\n")

        thread = threading.Thread(target=chatter)
        thread.start()
        with pytest.raises(LinkError, match=r"not of this protocol: '.*another firmware'(.|\n)*--baud"):
            runner_at(folder, f"socket://127.0.0.1:{server.getsockname()[1]}").run(encoded(folder))
        thread.join()


@pytest.mark.parametrize("option", [("--on", "serial:"), ("--on", "serial"), ("--on", "serial:x", "--baud", "fast")])
@pytest.mark.parametrize("command", ["run", "bench"])
def test_options_that_name_no_port(capsys, command, option):
    with pytest.raises(SystemExit) as caught:
        main([command, "d", *option])
    assert caught.value.code == 2
    assert "usage: mcucompiler" in capsys.readouterr().err
