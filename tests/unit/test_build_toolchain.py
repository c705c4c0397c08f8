# SPDX-License-Identifier: Apache-2.0
"""Toolchains: flags, missing tools, failing tools."""

from __future__ import annotations

import sys

import pytest

from mcucompiler.build.toolchain import (
    find_tool,
    find_toolchain,
    optimization_flags,
    run_tool,
    target_flags,
)
from mcucompiler.errors import ToolError
from mcucompiler.lower.types import Cpu

HOST = Cpu(name="host", fpu="", dsp=False)


def test_target_flags():
    assert target_flags(Cpu()) == ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")
    assert target_flags(Cpu(name="cortex-m3", fpu="", dsp=False)) == (
        "-mcpu=cortex-m3",
        "-mthumb",
        "-mfloat-abi=soft",
    )


@pytest.mark.parametrize(
    ("cflags", "kept"),
    [
        ((), ("-O2",)),
        (("-O3", "-mcpu=cortex-m7", "-std=c99", "-fno-unroll-loops"), ("-O3", "-fno-unroll-loops")),
        (("-fwrapv",), ("-O2", "-fwrapv")),
    ],
)
def test_target_and_standard_are_not_taken_from_the_manifest(cflags, kept):
    assert optimization_flags(cflags) == kept


def test_host_toolchain_needs_no_target_flags():
    toolchain = find_toolchain(HOST)
    assert toolchain.target_flags == ()
    assert toolchain.version


@pytest.mark.parametrize(
    ("cpu", "message"), [(Cpu(), "arm-none-eabi-gcc not found.*install"), (HOST, "gcc or clang or cc not found")]
)
def test_missing_compiler_says_what_to_install(monkeypatch, tmp_path, cpu, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match=message) as caught:
        find_toolchain(cpu)
    assert caught.value.exit_code == 4


def test_missing_tool_without_a_recipe_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="no-such-tool not found"):
        find_tool("no-such-tool")


def test_failing_tool_reports_command_code_and_last_lines():
    command = [sys.executable, "-c", "import sys; print('one', file=sys.stderr); sys.exit(3)"]
    with pytest.raises(ToolError, match="trying failed") as caught:
        run_tool(command, what="trying")
    assert "exit code: 3" in str(caught.value)
    assert "| one" in str(caught.value)


def test_tool_that_cannot_be_started(tmp_path):
    script = tmp_path / "script"
    script.write_text("not a program")
    with pytest.raises(ToolError, match="trying failed"):
        run_tool([str(script)], what="trying")
