# SPDX-License-Identifier: Apache-2.0
"""Finding compilers and running tools."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mcucompiler.errors import ToolError
from mcucompiler.lower.types import Cpu

STANDARD = "-std=c11"
WARNINGS = (
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wcast-qual",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wundef",
    "-Wdouble-promotion",
    "-Wvla",
)
SANITIZE_FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g",
)
_TIMEOUT_S = 600.0
_HINTS = {
    "arm-none-eabi-gcc": "install the Arm embedded GCC: `apt install gcc-arm-none-eabi libnewlib-arm-none-eabi`, "
    "`brew install --cask gcc-arm-embedded`, or developer.arm.com",
    "gcc": "install a C compiler: `apt install gcc`, or Xcode's command line tools",
    "qemu-system-arm": "install QEMU: `apt install qemu-system-arm` or `brew install qemu`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A C compiler with the flags that select its target.

    Attributes:
        compiler: its path.
        version: first line of what it says of itself.
        target_flags: core, FPU and ABI; () for the host.
        call_graph: whether it writes call graphs with stack usage (-fcallgraph-info).
    """

    compiler: str
    version: str
    target_flags: tuple[str, ...]
    call_graph: bool


def find_tool(*names: str) -> str:
    """The path of the first of these programs that is installed.

    Raises:
        ToolError: none is; says how to install the first.
    """
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    hint = _HINTS.get(names[0], f"install {names[0]}")
    raise ToolError(f"{' or '.join(names)} not found on the PATH; {hint}")


def run_tool(command: Sequence[str], *, what: str, cwd: Path | None = None) -> str:
    """Standard output and standard error of a program that must succeed.

    Args:
        command: program and arguments.
        what: what is being done, for the message.
        cwd: working folder.

    Raises:
        ToolError: it cannot be started, fails, or takes longer than ten minutes.
    """
    try:
        done = subprocess.run(
            list(command), cwd=cwd, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
        )
    except OSError as error:
        raise ToolError(f"{what} failed: {error}", command=command) from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{what} did not end within {_TIMEOUT_S:.0f} s", command=command) from error
    if done.returncode:
        raise ToolError(
            f"{what} failed", command=command, returncode=done.returncode, stderr=done.stderr or done.stdout
        )
    return done.stdout + done.stderr


def find_toolchain(cpu: Cpu, *, compiler: str = "") -> Toolchain:
    """The compiler for a core: arm-none-eabi-gcc, or for the host gcc, clang or cc, the first that is there.

    Args:
        cpu: the core.
        compiler: a program to take instead.

    Raises:
        ToolError: it is not installed.
    """
    is_host = cpu.name == "host"
    usual = ("gcc", "clang", "cc") if is_host else ("arm-none-eabi-gcc",)
    path = find_tool(*((compiler,) if compiler else usual))
    version = _version(path)
    return Toolchain(
        compiler=path,
        version=version,
        target_flags=() if is_host else target_flags(cpu),
        call_graph="clang" not in version.lower(),
    )


def target_flags(cpu: Cpu) -> tuple[str, ...]:
    """GCC's flags for a core."""
    floating_point = (f"-mfpu={cpu.fpu}", "-mfloat-abi=hard") if cpu.fpu else ("-mfloat-abi=soft",)
    return (f"-mcpu={cpu.name}", "-mthumb", *floating_point)


def optimization_flags(cflags: Sequence[str]) -> tuple[str, ...]:
    """A manifest's flags without those for a target or a standard, which the toolchain sets."""
    kept = tuple(flag for flag in cflags if not flag.startswith(("-m", "-std=")))
    return kept if any(flag.startswith("-O") for flag in kept) else ("-O2", *kept)


@lru_cache(maxsize=16)
def _version(compiler: str) -> str:
    lines = run_tool([compiler, "--version"], what="asking the compiler for its version").splitlines()
    return lines[0].strip() if lines else "unknown"
