# SPDX-License-Identifier: Apache-2.0
"""What the generated C promises to every compiler: no warning, no libc, no writable data, names that cannot inject."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from mcucompiler.api import CompileOptions, compile_model
from tests.support import ROOT
from tests.support.compilers import ARM, STRICT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_model(DIGITS, CompileOptions(name="net")).write(tmp_path_factory.mktemp("c") / "net")


def run(*command: str | Path) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("compiler", [("gcc",), ("clang",), ARM], ids=lambda c: c[0])
def test_silent_under_strict_warnings(compiler: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    for source in folder.glob("*.c"):
        run(*compiler, *STRICT, source, "-o", tmp_path / f"{source.stem}.o")


def test_header_is_valid_cplusplus(folder: Path) -> None:
    run(
        "g++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++", folder / "net.h"
    )


@pytest.mark.qemu
def test_needs_nothing_but_memory_functions_and_writes_nothing_static(folder: Path, tmp_path: Path) -> None:
    undefined, sections = set(), []
    for source in sorted(folder.glob("*.c")):
        target = tmp_path / f"{source.stem}.o"
        run(*ARM, "-std=c11", "-O2", "-c", source, "-o", target)
        undefined |= set(re.findall(r"U (\S+)", run("arm-none-eabi-nm", "-u", target)))
        sections.append(run("arm-none-eabi-size", "-A", target))
    assert not {name for name in undefined if not name.startswith("net_")} - {"memcpy", "memset"}
    assert all(int(size) == 0 for text in sections for size in re.findall(r"^\.(?:data|bss)\s+(\d+)", text, re.M))


def test_two_networks_link_together(folder: Path, tmp_path: Path) -> None:
    other = compile_model(DIGITS, CompileOptions(name="other")).write(tmp_path / "other")
    (tmp_path / "main.c").write_text(
        '#include "net.h"\n#include "other.h"\nint main(void) { return net_run(NULL, 0) != NET_ERR_NULL; }\n'
    )
    sources = [tmp_path / "main.c", *folder.glob("*.c"), *other.glob("*.c")]
    run("gcc", "-std=c11", f"-I{folder}", f"-I{other}", *sources, "-o", tmp_path / "both")
    run(tmp_path / "both")


def test_misuse_is_answered_by_a_status(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(
        """#include "net.h"
        static _Alignas(NET_ARENA_ALIGN) unsigned char arena[NET_ARENA_BYTES + 1];
        int main(void)
        {
            if (net_run(NULL, NET_ARENA_BYTES) != NET_ERR_NULL) return 1;
            if (net_run(arena, NET_ARENA_BYTES - 1u) != NET_ERR_ARENA) return 2;
            if (net_run(arena + 1, NET_ARENA_BYTES) != NET_ERR_ALIGN) return 3;
            if (net_input(arena, NET_INPUT_COUNT) || net_output(arena, NET_OUTPUT_COUNT)) return 4;
            if (net_input(NULL, 0) || net_output(NULL, 0)) return 5;
            return net_run(arena, NET_ARENA_BYTES) == NET_OK ? 0 : 6;
        }
        """
    )
    run("gcc", "-std=c11", f"-I{folder}", tmp_path / "main.c", *folder.glob("*.c"), "-o", tmp_path / "main")
    run(tmp_path / "main")


def test_names_from_the_model_cannot_inject(tmp_path: Path) -> None:
    model = onnx.load(DIGITS)
    evil = '*/ int injected; /* "\n#define EVIL {{ 7 * 7 }} {% if %} \\ ??/ \u202e'
    renamed = {"image": f"image{evil}", "logits": f"logits{evil}"}
    model.graph.name += evil
    for node in model.graph.node:
        node.name += evil
        node.input[:] = [renamed.get(name, name + evil if name else "") for name in node.input]
        node.output[:] = [renamed.get(name, name + evil) for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        value.name = renamed.get(value.name, value.name + evil)
    path = tmp_path / "a*b; rm.onnx"
    onnx.save(model, path)
    compiled = compile_model(path)
    folder = compiled.write(tmp_path / "out")
    for source in folder.glob("*.c"):
        run("gcc", *STRICT, "-Wtrigraphs", source, "-o", tmp_path / "o.o")
    text = "".join(path.read_text() for path in folder.glob("*.[ch]"))
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    assert "injected" not in code
    assert "EVIL" not in code
    assert "49" not in re.findall(r"EVIL (\S+)", text)
    assert json.loads((folder / "manifest.json").read_text())["inputs"][0]["name"] == f"image{evil}"


def test_same_bytes_whatever_the_hash_seed_and_the_folder(folder: Path, tmp_path: Path) -> None:
    for seed in ("1", "4242"):
        elsewhere = tmp_path / seed / "deep" / "er"
        elsewhere.mkdir(parents=True)
        shutil.copy(DIGITS, elsewhere / "digits.onnx")
        subprocess.run(
            [sys.executable, "-m", "mcucompiler", "compile", "digits.onnx", "-o", "out", "--name", "net"],
            cwd=elsewhere,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        for path in sorted(folder.iterdir()):
            if path.is_file():
                assert (elsewhere / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def test_no_path_or_date_in_the_output(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            text = path.read_text()
            assert str(ROOT) not in text
            assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text)
