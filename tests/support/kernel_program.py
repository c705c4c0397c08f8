# SPDX-License-Identifier: Apache-2.0
"""C programs around single kernels: text and compilation, for ``tests/support/kernels.py``."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mcucompiler.emit.environment import c_float, c_int, c_rows, c_size
from mcucompiler.emit.kernels import function_names, render
from mcucompiler.lower.types import ConstantArg, Kernel, KernelCall, NodeContext, ScalarArg
from mcucompiler.resources import runtime_dir

STRICT = (
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wcast-qual"),
    *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Wundef", "-Wdouble-promotion", "-Wvla", "-Werror"),
)
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
FILL = 0x5A
FENCE = 60  # keeps buffers aligned to 4 bytes and to nothing more


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A call and the buffers it works on.

    Attributes:
        context: the node as its variant saw it.
        call: what the variant returned.
        buffers: contents before the call.
        pointers: buffer and byte offset of each argument that points into one.
        outputs: buffer and byte offset of each output.
        in_place: whether output 0 lies over an input.
        row_offsets: where the image rows of input 0 begin in its buffer, where it is given by pointers to them.
    """

    context: NodeContext
    call: KernelCall
    buffers: tuple[bytes, ...]
    pointers: tuple[tuple[int, int], ...]
    outputs: tuple[tuple[int, int], ...]
    in_place: bool
    row_offsets: tuple[int, ...] = ()


def program_text(prepared: Sequence[Prepared], main: str = "") -> str:
    """A C program with all kernels, constants, and ``run_N(unsigned char **buffers)`` for each case.

    Args:
        prepared: the cases.
        main: text to end with instead of the host's main function, which pipes buffers through.
    """
    names = function_names([item.call.kernel for item in prepared], "k")
    headers = sorted({header for kernel in names for header in kernel.includes})
    parts = ["#include <stdint.h>", "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    parts += [f'#include "{header}"' for header in headers]
    for kernel, name in names.items():
        parts.append(_static(render(kernel, name, ["a test"]).text, kernel, name))
    for number, item in enumerate(prepared):
        parts += _case_text(number, item, names[item.call.kernel])
    return "\n".join([*parts, main or _main_text(prepared)]) + "\n"


def compile_program(text: str, compiler: str, flags: Sequence[str]) -> Path:
    """Compiles a C program against the runtime headers; equal programs are compiled once.

    Raises:
        AssertionError: with the compiler's messages, if it is not silent.
    """
    key = hashlib.sha256("\0".join([text, compiler, *flags]).encode()).hexdigest()[:24]
    program = scratch_folder() / key
    if not program.exists():
        source = program.with_suffix(".c")
        source.write_text(text)
        command = [compiler, *flags, "-I", str(runtime_dir() / "include"), str(source), "-o", str(program)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if result.returncode or result.stderr.strip():
            raise AssertionError(f"{' '.join(command)}\n{result.stderr[:6000]}")
    return program


@cache
def scratch_folder() -> Path:
    """A folder for programs that vanishes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="mcucompiler-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _static(text: str, kernel: Kernel, name: str) -> str:
    """The kernel as a static function: a test's program declares no prototypes."""
    head = f"void {name}("
    assert text.count(f"\n{head}") == 1, f"{kernel.template} does not print its signature once"
    return text.replace(f"\n{head}", f"\nstatic {head}")


def _case_text(number: int, item: Prepared, function: str) -> list[str]:
    lines, first, actual, pointers = [], [], [], list(item.pointers)
    for index, (argument, param) in enumerate(zip(item.call.arguments, item.call.kernel.params, strict=True)):
        if isinstance(argument, ConstantArg):
            array, name = argument.array, f"c{number}_{index}"
            rows = ",\n    ".join(c_rows(array.values.reshape(-1).tolist(), array.ctype))
            align = f"_Alignas({array.align}) "
            lines.append(f"static {align}const {array.ctype} {name}[{array.values.size}] = {{\n    {rows}\n}};")
            actual.append(name)
        elif isinstance(argument, ScalarArg):
            actual.append(_scalar(argument))
        else:
            buffer, offset = pointers.pop(0)
            if param.ctype.endswith("*const *"):
                rows = ", ".join(f"(void *)(buffers[{buffer}] + {offset + row})" for row in item.row_offsets)
                first.append(f"    {param.ctype[:-1]}rows[] = {{ {rows} }};")
                actual.append("rows")
                continue
            actual.append(f"({param.ctype.strip()})(void *)(buffers[{buffer}] + {offset})")
    call = f"{function}({', '.join(actual)});"
    return [*lines, f"static void run_{number}(unsigned char **buffers)", "{", *first, f"    {call}", "}"]


def _scalar(argument: ScalarArg) -> str:
    if argument.ctype == "float":
        return c_float(float(argument.value))
    value = int(argument.value)
    return c_size(value) if argument.ctype.startswith(("uint", "size")) else c_int(value)


def _main_text(prepared: Sequence[Prepared]) -> str:
    """Reads all buffers of each case, calls it, checks the fences, writes the buffers out."""
    sizes = ", ".join(f"{len(buffer)}u" for item in prepared for buffer in item.buffers)
    counts = ", ".join(f"{len(item.buffers)}u" for item in prepared)
    runs = ", ".join(f"run_{number}" for number in range(len(prepared)))
    return f"""
static const size_t sizes[] = {{ {sizes} }};
static const size_t counts[] = {{ {counts} }};
static void (*const runs[])(unsigned char **) = {{ {runs} }};

int main(void)
{{
    const size_t fence = FENCE;
    const size_t *size = sizes;
    for (size_t number = 0; number < {len(prepared)}u; ++number) {{
        unsigned char *whole[16];
        unsigned char *buffers[16];
        for (size_t i = 0; i < counts[number]; ++i) {{
            whole[i] = malloc(size[i] + 2u * fence);
            if (whole[i] == NULL) {{
                return 2;
            }}
            memset(whole[i], {FILL}, size[i] + 2u * fence);
            buffers[i] = whole[i] + fence;
            if (fread(buffers[i], 1, size[i], stdin) != size[i]) {{
                return 3;
            }}
        }}
        runs[number](buffers);
        for (size_t i = 0; i < counts[number]; ++i) {{
            for (size_t byte = 0; byte < fence; ++byte) {{
                if (whole[i][byte] != {FILL} || whole[i][fence + size[i] + byte] != {FILL}) {{
                    fprintf(stderr, "case %zu: buffer %zu overrun\\n", number, i);
                    return 4;
                }}
            }}
            if (fwrite(buffers[i], 1, size[i], stdout) != size[i]) {{
                return 5;
            }}
            free(whole[i]);
        }}
        size += counts[number];
    }}
    return 0;
}}
"""
