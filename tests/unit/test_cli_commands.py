# SPDX-License-Identifier: Apache-2.0
"""The command line: output, exit codes, and one clear message for each way to get it wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mcucompiler import __version__
from mcucompiler.boards import list_boards
from mcucompiler.cli import main
from mcucompiler.commands import boards as boards_command
from mcucompiler.ops import OPERATORS
from tests.support.handmade import make_manifest, make_model, write_program

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)


@pytest.fixture
def program(tmp_path):
    return write_program(tmp_path)


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse ends the process itself
        code = error.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys, *arguments, code=0):
    """The one JSON object on standard output."""
    got, out, err = run(capsys, *arguments, "--json")
    assert got == code, err
    return json.loads(out)


def fails(capsys, code, message, *arguments):
    """The command ends with this code and says this on standard error, and nothing on standard output."""
    got, out, err = run(capsys, *arguments)
    assert got == code, err
    assert message in err
    assert out == ""
    assert "Traceback" not in err


def test_version_and_help(capsys):
    assert run(capsys, "--version") == (0, f"mcucompiler {__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("compile", "build", "run", "validate", "bench", "report", "boards", "ops"):
        assert command in out
        assert run(capsys, command, "--help")[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("compile",),
        ("compile", "m.onnx"),
        ("compile", "m.onnx", "-o", "d", "--ram-limit", "64Q"),
        ("compile", "m.onnx", "-o", "d", "--batch", "0"),
        ("compile", "m.onnx", "-o", "d", "--shape", "x"),
        ("compile", "m.onnx", "-o", "d", "--shape", "x=1x-3"),
        ("compile", "m.onnx", "-o", "d", "--input", "columns"),
        ("compile", "m.onnx", "-o", "d", "--io", "int4"),
        ("compile", "m.onnx", "-o", "d", "--board", "host", "--cpu", "host"),
        ("run", "d"),
        ("run", "d", "--on", "toaster"),
        ("run", "d", "--on", "host", "--timeout", "0"),
        ("run", "d", "--on", "host", "--timeout", "nan"),
        ("bench", "d", "--on", "host"),
        ("validate", "d", "--on", "host"),
        ("validate", "d", "--on", "host", "--model", "m", "--count", "-1"),
        ("build", "d"),
    ],
)
def test_wrong_options_are_usage_errors(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert "usage: mcucompiler" in err


def test_boards(capsys):
    code, out, err = run(capsys, "boards")
    assert (code, err) == (0, "")
    assert [board["name"] for board in run_json(capsys, "boards")["boards"]] == list(list_boards())
    assert all(name in out for name in list_boards())
    lines = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "8,192 KiB SDRAM, 16,384 KiB QSPI flash" in lines["stm32f746g-disco"]
    assert "32,768 KiB SDRAM" in lines["openmv-h7-plus"]
    assert "SDRAM" not in lines["nucleo-h743zi2"]


def test_ops_lists_every_operator(capsys):
    listed = run_json(capsys, "ops")["operators"]
    assert [entry["name"] for entry in listed] == [operator.__name__ for operator in OPERATORS]
    assert all(entry["description"] for entry in listed)
    assert "Softmax" in run(capsys, "ops")[1]


def test_run_writes_what_onnx_would(capsys, program, tmp_path):
    folder, _ = program
    image = np.linspace(-60, 60, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    np.savez(tmp_path / "x.npz", image=image)
    paths = ("--input", tmp_path / "x.npz", "--output", tmp_path / "y.npz")
    told = run_json(capsys, "run", folder, "--on", "host", *paths)
    with np.load(tmp_path / "y.npz") as archive:
        scores = archive["scores"]
    assert (scores.dtype, scores.shape) == (np.float32, (1, 2, 1, 1))
    output = told["outputs"][0]
    assert (output["name"], output["shape"], output["dtype"]) == ("scores", [1, 2, 1, 1], "int8")
    assert np.array_equal(np.array(output["real_values"], np.float32), scores)
    assert np.array_equal((np.array(output["values"]) - 5) * 0.25, scores)


def test_run_without_input_takes_a_seeded_sample(capsys, program):
    first = run_json(capsys, "run", program[0], "--on", "host")
    assert run_json(capsys, "run", program[0], "--on", "host", "--sanitize") == first
    code, out, err = run(capsys, "run", program[0], "--on", "host")
    assert (code, err) == (0, "")
    assert "scores" in out


@pytest.mark.qemu
@needs_qemu
def test_build_bench_and_report(capsys, program):
    folder, _ = program
    built = run_json(capsys, "build", folder, "--board", "mps2-an500")
    assert json.loads((folder / "build" / "mps2-an500" / "build.json").read_text()) == built
    measured = run_json(capsys, "bench", folder, "--on", "qemu")
    assert measured["instructions_per_mac"] == round(measured["instructions"] / 8, 4)
    assert [step["kernel"] for step in measured["steps"]] == ["net_max_pool", "net_depthwise"]
    assert measured["steps"][0]["instructions_per_mac"] is None
    report = run_json(capsys, "report", folder)
    assert report["memory"] == make_manifest(make_model())["memory"]
    assert report["builds"]["mps2-an500"] == built
    for command, words in (
        (("build", folder, "--board", "mps2-an500"), ("code", "16 bytes", "worst chain")),
        (("bench", folder, "--on", "qemu"), ("net_depthwise", "whole run", "exact to 40")),
        (("report", folder), ("arena", "proved exact for 2 of 2 channels", "built for mps2-an500", "MaxPool")),
    ):
        code, out, err = run(capsys, *command)
        assert (code, err) == (0, "")
        assert all(word in out for word in words)


def test_report_forgets_builds_of_another_model(capsys, program):
    folder, _ = program
    (folder / "build" / "host").mkdir(parents=True)
    (folder / "build" / "host" / "build.json").write_text('{"model_sha256": "other"}')
    (folder / "build" / "mine").mkdir()
    (folder / "build" / "mine" / "build.json").write_text("{trunc")
    assert run_json(capsys, "report", folder)["builds"] == {}


def test_validate_passes_and_fails_with_5(capsys, program):
    folder, model = program
    arguments = ("validate", folder, "--model", model, "--on", "host")
    told = run_json(capsys, *arguments, "--layers")
    assert (told["passed"], told["samples"], told["first_differing_step"]) == (True, 8, None)
    assert "passed: equal" in run(capsys, *arguments, "--count", "2")[1]
    kernels = folder / "net_kernels.c"
    kernels.write_text(kernels.read_text().replace("quotient += 5;", "quotient += 4;"))
    code, out, err = run(capsys, *arguments, "--layers")
    assert code == 5
    assert "first differing step: 1" in out
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 5
    assert json.loads(out)["passed"] is False
    assert "FAILED" in err


def test_validate_takes_the_users_samples(capsys, program, tmp_path):
    folder, model = program
    np.savez(tmp_path / "x.npz", image=np.random.default_rng(0).normal(0, 20, (5, 1, 2, 4, 4)).astype(np.float32))
    arguments = ("validate", folder, "--model", model, "--on", "host", "--data", tmp_path / "x.npz")
    assert run_json(capsys, *arguments)["samples"] == 5
    assert run_json(capsys, *arguments, "--count", "3")["samples"] == 3
    np.savez(tmp_path / "x.npz", image=np.zeros((5, 2, 4, 4), np.float32))
    fails(capsys, 2, "has shape 2x4x4; expected is int8 or float32 of shape 1x2x4x4", *arguments)


@pytest.mark.parametrize("command", [("run", "--on", "host"), ("bench", "--on", "qemu"), ("report",)])
def test_folders_that_were_not_compiled(capsys, tmp_path, command):
    name, *options = command
    fails(capsys, 2, "does not exist", name, tmp_path / "none", *options)
    fails(capsys, 2, "has no manifest.json", name, tmp_path, *options)
    (tmp_path / "manifest.json").write_text('{"name": "net",')
    fails(capsys, 2, "is damaged", name, tmp_path, *options)


def test_wrong_input_files(capsys, program, tmp_path):
    folder, _ = program
    path = tmp_path / "x.npz"
    arguments = ("run", folder, "--on", "host", "--input", path)
    fails(capsys, 2, "does not exist", *arguments)
    for arrays, message in (
        ({"picture": np.zeros(3)}, "no input 'image' in the file (found: 'picture')"),
        ({"image": np.zeros((4, 4, 2))}, "shape 4x4x2; expected is int8 or float32 of shape 1x2x4x4"),
        ({"image": np.full((1, 2, 4, 4), 300)}, "out of range"),
        ({"image": np.full((1, 2, 4, 4), "a")}, "has type <U1"),
    ):
        np.savez(path, **arrays)
        fails(capsys, 2, message, *arguments)


def test_unknown_board(capsys, program, tmp_path):
    fails(capsys, 2, "unknown board 'mps3'", "build", program[0], "--board", "mps3")
    fails(capsys, 2, "cannot be read", "build", program[0], "--board", tmp_path / "none.toml")


def test_missing_tools(capsys, program, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    fails(capsys, 4, "arm-none-eabi-gcc not found", "build", program[0], "--board", "mps2-an500")
    fails(capsys, 4, "gcc or clang or cc not found", "run", program[0], "--on", "host")


@needs_qemu
def test_missing_emulator(capsys, program, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for tool in ("arm-none-eabi-gcc", "arm-none-eabi-as", "arm-none-eabi-ld"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    fails(capsys, 4, "qemu-system-arm not found on the PATH; install QEMU", "run", program[0], "--on", "qemu")


def test_folder_that_cannot_be_written(capsys, program):
    (program[0] / "build").write_text("in the way")
    fails(capsys, 4, str(program[0] / "build"), "run", program[0], "--on", "host")


def test_output_that_cannot_be_written(capsys, program, tmp_path):
    fails(capsys, 4, "No such file", "run", program[0], "--on", "host", "--output", tmp_path / "no" / "y.npz")


def test_compile_refuses_an_occupied_folder_before_the_work(capsys, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    fails(capsys, 2, "is not empty", "compile", tmp_path / "none.onnx", "-o", tmp_path)
    fails(capsys, 2, "is not a folder", "compile", tmp_path / "none.onnx", "-o", tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_compile_missing_model_leaves_no_folder(capsys, tmp_path):
    fails(capsys, 1, "none.onnx", "compile", tmp_path / "none.onnx", "-o", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_compile_an_input_named_twice(capsys, tmp_path):
    shapes = ("--shape", "a=1x2", "--shape", "a=1x3")
    fails(capsys, 2, "names an input twice", "compile", tmp_path / "m.onnx", "-o", tmp_path / "out", *shapes)


@needs_qemu
@pytest.mark.qemu
def test_compile_validate_and_bench_a_model(capsys, tmp_path):
    model, folder, dumps = tmp_path / "tiny.onnx", tmp_path / "out", tmp_path / "dumps"
    model.write_bytes(make_model())
    code, out, err = run(capsys, "compile", model, "-o", folder, "--explain", "--dump-dir", dumps)
    assert (code, err) == (0, "")
    assert "arena" in out
    assert "Kernel choice" in out
    assert any(dumps.iterdir())
    for machine in ("host", "qemu"):
        told = run_json(capsys, "validate", folder, "--model", model, "--on", machine, "--layers")
        assert told["passed"]
        assert told["integer_graph"]
        assert all(layer["onnx_runtime"]["exact"] for layer in told["layers"] if layer["onnx_runtime"])
    assert run_json(capsys, "bench", folder, "--on", "qemu")["instructions"] > 0
    assert run_json(capsys, "build", folder, "--board", "mps2-an500")["code_bytes"] > 0
    fails(capsys, 2, "is not empty", "compile", model, "-o", folder)
    assert run_json(capsys, "compile", model, "-o", folder, "--force")["name"] == "tiny"


def test_names_cannot_upset_the_terminal(capsys, tmp_path):
    tree = make_manifest(make_model())
    evil = "\x1b[2Jevil\r\n[bold]x[/bold]\u202e"
    tree["steps"][0]["onnx_nodes"] = [evil]
    tree["inputs"][0]["name"] = evil
    folder, _ = write_program(tmp_path, **tree)
    code, out, err = run(capsys, "report", folder)
    assert code == 0
    assert "\x1b" not in out
    assert "\r" not in out
    assert "\u202e" not in out
    assert "\\x1b[2Jevil" in out
    assert "[bold]x[/bold]" in out
    np.savez(tmp_path / "x.npz", image=np.zeros(3))
    code, _, err = run(capsys, "run", folder, "--on", "host", "--input", tmp_path / "x.npz")
    assert code == 2
    assert "\x1b" not in err


def test_interrupt(capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(boards_command, "run", interrupt)
    fails(capsys, 130, "interrupted", "boards")


def test_a_defect_of_ours_asks_for_a_report(capsys, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("ouch")

    monkeypatch.setattr(boards_command, "run", fail)
    fails(capsys, 70, "please report it", "boards")
    code, out, err = run(capsys, "boards", "--verbose")
    assert (code, out) == (70, "")
    assert "Traceback" in err
    assert "ZeroDivisionError: ouch" in err


def test_a_reader_that_has_gone(tmp_path):
    command = f"{sys.executable} -m mcucompiler boards --json | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # 0 where the reader went too late


def test_a_full_disk(program):
    if not os.path.exists("/dev/full"):
        pytest.skip("the system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mcucompiler", "boards"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr == "mcucompiler: No space left on device\n"
