# SPDX-License-Identifier: Apache-2.0
"""Emission: a planned network to the text of its C files and manifest; nothing touches the disk here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mcucompiler.emit.code_size import text_bytes
from mcucompiler.emit.environment import environment
from mcucompiler.emit.manifest import manifest
from mcucompiler.emit.manifest_plan import plan_facts
from mcucompiler.emit.program import Program, build_program
from mcucompiler.lower.types import Cpu
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.pixels import Pixels
from mcucompiler.resources import runtime_dir
from mcucompiler.schedule.types import Schedule
from mcucompiler.stream.choice import Choice

__all__ = ["CFLAGS", "SourceTree", "emit"]

# Results do not depend on these. GCC's scheduling before register allocation makes the convolution
# kernels spill and costs a fifth of their speed.
CFLAGS = ("-std=c11", "-O2", "-fno-schedule-insns", "-ffunction-sections", "-fdata-sections")


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceTree:
    """The files of a generated network.

    Attributes:
        name: C prefix of the network.
        files: text by file name.
        program: the facts behind them.
        code_bytes: estimated bytes of code on a Cortex-M.
    """

    name: str
    files: Mapping[str, str]
    program: Program
    code_bytes: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))

    @property
    def flash_bytes(self) -> int:
        """Bytes of weights and constants, and the estimate of the code."""
        return self.program.weights_bytes + self.program.const_bytes + self.code_bytes


def emit(
    schedule: Schedule,
    plan: MemoryPlan,
    *,
    name: str,
    version: str,
    command: str,
    board: str,
    cpu: Cpu,
    by_rows: bool = False,
    pixels: Pixels | None = None,
    choice: Choice | None = None,
) -> SourceTree:
    """The C sources, headers and manifest of a network.

    Args:
        schedule: steps in order.
        plan: offsets of all buffers and scratch.
        name: a C identifier, the prefix of all names.
        version: the compiler's.
        command: options that reproduce these files, without folders.
        board: the board's name, for the manifest.
        cpu: the core that kernels were chosen for.
        by_rows: whether the input arrives row by row.
        pixels: a camera's pixels as rows; None for rows of the network's own type.
        choice: what the plan was chosen over, for the manifest; None to say nothing about it.

    Raises:
        UsageError: the input cannot arrive by rows, or not as such pixels.
    """
    program = build_program(schedule, plan, name=name, version=version, command=command, by_rows=by_rows, pixels=pixels)
    sources, headers, runtime = _sources(program), _headers(program), _runtime_headers(program.headers)
    code_bytes = text_bytes(sources[f"{name}.c"]) + text_bytes(sources[f"{name}_kernels.c"])
    facts = manifest(
        program,
        schedule.lowered,
        dict(plan.offsets),
        board=board,
        cpu=cpu,
        cflags=CFLAGS,
        sources=tuple(sources),
        headers=(*headers, *sorted(runtime)),
        peak_step=max(plan.peak_position, 0),
        optimal=plan.optimal,
        code_bytes=code_bytes,
        plan=None if choice is None else plan_facts(schedule, plan, choice),
        choice=choice,
    )
    files = {**sources, **headers, **runtime, "manifest.json": facts}
    return SourceTree(name=name, files=files, program=program, code_bytes=code_bytes)


def _sources(program: Program) -> dict[str, str]:
    """C sources by file name."""
    name = program.name
    return {
        f"{name}.c": _render("model.c", m=program),
        f"{name}_kernels.c": _render("kernels.c", m=program, functions=program.functions, headers=program.headers),
        f"{name}_weights.c": _render("weights.c", m=program, arrays=program.arrays),
    }


def _headers(program: Program) -> dict[str, str]:
    """The network's own headers by file name."""
    name = program.name
    return {
        f"{name}.h": _render("model.h", m=program),
        f"{name}_kernels.h": _render("kernels.h", m=program, functions=program.functions),
        f"{name}_weights.h": _render("weights.h", m=program, arrays=program.arrays),
    }


def _render(template: str, **context: object) -> str:
    return environment().get_template(f"{template}.j2").render(**context)


def _runtime_headers(names: tuple[str, ...]) -> dict[str, str]:
    """Runtime headers and what they include, by name."""
    found: dict[str, str] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = (runtime_dir() / "include" / name).read_text(encoding="utf-8")
            wanted += re.findall(r'#include "(mc_\w+\.h)"', found[name])
    return found
