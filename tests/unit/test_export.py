# SPDX-License-Identifier: Apache-2.0
"""Exported projects: complete, buildable where the tools are here, with the network's own results."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess

import pytest

from mcucompiler.cli import main
from mcucompiler.commands.export import _KINDS
from mcucompiler.errors import UsageError
from mcucompiler.export import KINDS, export_project
from mcucompiler.manifest import read_manifest
from mcucompiler.run import make_runner, output_array
from tests.support import ROOT
from tests.support.handmade import write_program
from tests.support.programs import compiled

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
SOURCES = {"cmake": "net", "arduino": "src", "platformio": "lib/net/src", "zephyr": "net"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network's folder, and what it prints for an input of zeros."""
    folder = tmp_path_factory.mktemp("network") / "net"
    _, manifest = compiled((ROOT / "examples" / "digits" / "digits.onnx").read_bytes(), folder, board="nucleo-h743zi2")
    zeros = tuple(bytes([(tensor.zero_point or 0) & 0xFF]) * tensor.bytes for tensor in manifest.inputs)
    result = make_runner(manifest, "host").run([zeros])[0]
    lines = []
    for tensor, data in zip(manifest.outputs, result.outputs, strict=True):
        flat = output_array(data, tensor).transpose(tensor.onnx_to_c).reshape(-1)
        lines += [f"output {tensor.index} [{index}] = {value}" for index, value in enumerate(flat)]
    assert len(set(line.split("=")[1] for line in lines)) > 1, "the outputs differ from one another"
    return folder, lines


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_takes_every_kind():
    assert _KINDS == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_project_holds_the_same_generated_c_and_nothing_unfilled(kind, network, tmp_path):
    folder, _ = network
    files = export_project(folder, kind, tmp_path / "project")
    manifest = read_manifest(folder)
    for name in (*manifest.sources, *manifest.headers):
        assert (tmp_path / "project" / SOURCES[kind] / name).read_bytes() == (folder / name).read_bytes()
    written = sorted(
        path.relative_to(tmp_path / "project") for path in (tmp_path / "project").rglob("*") if path.is_file()
    )
    assert written == sorted(files)
    for path in files:
        text = (tmp_path / "project" / path).read_text()
        if path.name.startswith(("net", "mc_")):
            continue
        assert not re.search(r"{[{%]|[%}]}", text), path
        assert "None" not in text
    readme = (tmp_path / "project" / "README.md").read_text()
    assert str(manifest.memory.arena_bytes) in readme


@needs_cmake
def test_the_cmake_project_builds_and_runs(network, tmp_path):
    folder, expected = network
    export_project(folder, "cmake", tmp_path / "project")
    run("cmake", "-S", tmp_path / "project", "-B", tmp_path / "build", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "net_run").splitlines() == expected


@needs_cmake
def test_the_cmake_project_is_a_library_of_another(network, tmp_path):
    folder, expected = network
    export_project(folder, "cmake", tmp_path / "outer" / "network")
    (tmp_path / "outer" / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(outer C)\nadd_subdirectory(network)\n"
        "add_executable(outer network/main.c)\ntarget_link_libraries(outer net)\n"
    )
    run("cmake", "-S", tmp_path / "outer", "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "outer").splitlines() == expected
    assert not list((tmp_path / "build").rglob("net_run"))


@needs_cmake
def test_the_zephyr_application_builds_where_zephyr_is_stood_in_for(network, tmp_path):
    folder, expected = network
    export_project(folder, "zephyr", tmp_path / "project")
    package = tmp_path / "zephyr"
    package.mkdir()
    # All that the application uses of Zephyr's package: it makes a target named app.
    (package / "ZephyrConfig.cmake").write_text(
        "project(zephyr C)\nadd_executable(app)\ntarget_link_libraries(app m)\n"
    )
    run("cmake", "-S", tmp_path / "project", "-B", tmp_path / "build", f"-DZephyr_DIR={package}", "-Wno-dev")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build" / "app").splitlines() == expected
    options = dict(
        line.split("=") for line in (tmp_path / "project" / "prj.conf").read_text().splitlines() if "CONFIG" in line
    )
    stack = read_manifest(folder).memory.stack_bytes
    assert stack + 2048 <= int(options["CONFIG_MAIN_STACK_SIZE"]) < stack + 3072 + 1
    assert options["CONFIG_FPU"] == "y"
    text = (tmp_path / "project" / "sample.yaml").read_text()
    assert "- nucleo_h743zi" in text
    pattern = re.search(r'- "(output.*)"', text)[1].replace("\\\\", "\\")
    assert re.fullmatch(pattern, expected[0])


def test_the_platformio_project(network, tmp_path):
    folder, expected = network
    export_project(folder, "platformio", tmp_path)
    settings = configparser.ConfigParser(comment_prefixes=(";",))
    settings.read(tmp_path / "platformio.ini")
    assert settings.sections() == ["env", "env:native", "env:nucleo_h743zi"]
    library = json.loads((tmp_path / "lib" / "net" / "library.json").read_text())
    assert (library["name"], library["build"]["srcDir"]) == ("net", "src")
    flags = settings["env"]["build_flags"].split()
    source = tmp_path / "lib" / "net" / library["build"]["srcDir"]
    files = [tmp_path / "src" / "main.c", *sorted(source.glob("*.c"))]
    compile_flags = [flag for flag in flags if flag != "-lm"]
    run("gcc", *compile_flags, f"-I{source}", *files, "-lm", "-o", tmp_path / "program")
    assert run(tmp_path / "program").splitlines() == expected


ARDUINO = """
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
using std::uint8_t;
struct Port {
    void begin(long) {}
    void print(const char *text) { if (std::strcmp(text, "status ") != 0) { std::printf("%s", text); } }
    void print(int value) { std::printf("%d", value); }
    void println(unsigned long) { std::printf("?\\n"); }
    void println(int value) { std::printf("%d\\n", value); }
};
extern Port Serial;
inline unsigned long micros() { return 0; }
inline void delay(int) { std::exit(0); }
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_arduino_library(network, tmp_path):
    folder, expected = network
    export_project(folder, "arduino", tmp_path / "library")
    lines = (tmp_path / "library" / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert (properties["name"], properties["includes"], properties["architectures"]) == ("net", "net.h", "*")
    assert {"version", "author", "maintainer", "sentence", "paragraph", "category", "url"} <= set(properties)
    # The sketch against a stand-in of Arduino's core, as the IDE builds it: C as C, the sketch as C++.
    (tmp_path / "Arduino.h").write_text(ARDUINO)
    sketch = (tmp_path / "library" / "examples" / "run" / "run.ino").read_text()
    (tmp_path / "run.cpp").write_text(
        '#include "Arduino.h"\nPort Serial;\n' + sketch + "\nint main() { setup(); for (;;) { loop(); } }\n"
    )
    source = tmp_path / "library" / "src"
    objects = []
    for path in sorted(source.glob("*.c")):
        objects.append(tmp_path / f"{path.stem}.o")
        run("gcc", "-Os", "-c", path, "-o", objects[-1])
    run(
        "g++",
        "-std=c++17",
        f"-I{source}",
        f"-I{tmp_path}",
        tmp_path / "run.cpp",
        *objects,
        "-lm",
        "-o",
        tmp_path / "run",
    )
    printed = run(tmp_path / "run").splitlines()
    assert printed[0].startswith("0, microseconds ")
    assert printed[1:] == [line.split("= ")[1] for line in expected]


def test_several_types_at_the_boundary_compile(tmp_path):
    folder, _ = write_program(tmp_path)
    values = json.loads((folder / "manifest.json").read_text())
    values["outputs"][0] |= {"dtype": "int16", "onnx_shape": [1, 1, 1, 1], "c_shape": [1, 1, 1, 1]}
    (folder / "manifest.json").write_text(json.dumps(values))
    export_project(folder, "cmake", tmp_path / "project")
    assert "const int16_t *const output" in (tmp_path / "project" / "main.c").read_text()
    run("gcc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{folder}", tmp_path / "project" / "main.c")


def test_a_folder_with_other_content_is_left_alone(network, tmp_path, capsys):
    folder, _ = network
    other = tmp_path / "other.txt"
    other.write_text("mine")
    assert main(["export", str(folder), "--as", "cmake", "-o", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]
    assert main(["export", str(folder), "--as", "cmake", "-o", str(tmp_path), "--force", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert "CMakeLists.txt" in written["files"]
    assert other.read_text() == "mine"
    assert not [path for path in tmp_path.parent.iterdir() if path.name.startswith(f".{tmp_path.name}-")]


def test_what_is_no_network_and_no_folder_is_refused(network, tmp_path):
    folder, _ = network
    with pytest.raises(UsageError, match="no export as 'make'; there are cmake"):
        export_project(folder, "make", tmp_path / "a")
    with pytest.raises(UsageError, match=r"has no manifest\.json"):
        export_project(tmp_path, "cmake", tmp_path / "b")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="exists and is not a folder"):
        export_project(folder, "cmake", tmp_path / "file")
    incomplete, _ = write_program(tmp_path)
    (incomplete / "net.c").unlink()
    with pytest.raises(UsageError, match=r"names 'net\.c', which is not in"):
        export_project(incomplete, "cmake", tmp_path / "d")
    assert not [path for path in tmp_path.iterdir() if path.name in "abcd"]
