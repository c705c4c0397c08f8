# SPDX-License-Identifier: Apache-2.0
"""Runs single kernels on the host: many cases in one program, compared with their operators' references.

A case is an operator between tensors whose activations have a memory order and a place. All cases of
a batch become one C program with a buffer of exact size for each activation; it reads the
inputs from its standard input and writes whole output buffers, gaps included, to its output.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mcucompiler.emit.environment import c_float, c_int, c_rows
from mcucompiler.emit.kernels import render
from mcucompiler.ir.graph import ITEM_BYTES, Array, Node, QuantParams, Tensor
from mcucompiler.lower.layout import Layout, channels_last, row_major
from mcucompiler.lower.types import (
    ConstantArg,
    InputArg,
    KernelCall,
    LoweringOptions,
    NodeContext,
    OutputArg,
    Overlap,
    Place,
    ScalarArg,
    Stored,
)
from mcucompiler.lower.variants import variants_of
from mcucompiler.ops.base import Operator
from mcucompiler.resources import runtime_dir

GAP = 0x5A
WARNINGS = [
    "-std=c11",
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
    "-Werror",
]
SANITIZERS = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


def tensor(name: str, shape: Sequence[int], dtype: str = "int8", q: QuantParams | None = None) -> Tensor:
    return Tensor(name=name, shape=tuple(shape), dtype=dtype, quant=q)


def stored(value: Tensor, *, layout: Layout | None = None, gap: int = 0, nhwc: bool = False) -> Stored:
    """An activation: dense, or with ``gap`` foreign elements behind each pixel."""
    order = layout or (channels_last(value.shape) if nhwc else row_major(value.shape))
    size = value.size
    row = order.memory_shape[-1] if order.memory_shape else 1
    if gap:
        place = Place(buffer=value.name, offset=0, rows=size // row, row=row, stride=row + gap)
    else:
        place = Place(buffer=value.name, offset=0, rows=1, row=size, stride=size)
    return Stored(tensor=value, layout=order, place=place)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    op: Operator
    inputs: tuple[Stored | Tensor | None, ...]
    output: Stored
    values: tuple[Array | None, ...]
    options: LoweringOptions = field(default_factory=LoweringOptions)
    variant: str | None = None

    @property
    def context(self) -> NodeContext:
        names = tuple("" if v is None else (v.tensor if isinstance(v, Stored) else v).name for v in self.inputs)
        node = Node(name="node", op=self.op, inputs=names, outputs=(self.output.tensor.name,))
        return NodeContext(node=node, inputs=self.inputs, outputs=(self.output,), options=self.options)

    def call(self) -> KernelCall:
        reasons = []
        for variant in variants_of(self.op):
            reason = variant.reject(self.context)
            if self.variant is not None and variant.name != self.variant:
                continue
            if reason is None:
                return variant.lower(self.context)
            reasons.append(f"{variant.name}: {reason}")
        raise AssertionError(f"no variant for {self.op}: {reasons}")

    def expected(self) -> Array:
        tensors = self.context.tensors
        values = [v if t is None or t.data is None else t.data for v, t in zip(self.values, tensors, strict=True)]
        return self.op.reference(tensors, (self.output.tensor,), values)[0]


def random_values(rng: np.random.Generator, value: Tensor) -> Array:
    """Values over the whole range, extremes often."""
    if value.dtype == "float32":
        return (rng.standard_normal(value.shape) * 4).astype(np.float32)
    info = np.iinfo(value.dtype)
    wide = rng.integers(info.min, info.max, value.shape, endpoint=True)
    edge = rng.choice(np.array([info.min, info.max]), value.shape)
    return np.where(rng.random(value.shape) < 0.15, edge, wide).astype(value.dtype)


def _buffer_elements(place: Place) -> int:
    return (place.rows - 1) * place.stride + place.row


def _to_buffer(item: Stored, value: Array | None) -> bytes:
    size = ITEM_BYTES[item.tensor.dtype]
    buffer = np.full((_buffer_elements(item.place) * size,), GAP, dtype=np.uint8)
    if value is not None:
        cells = buffer.view(item.tensor.dtype)
        flat = item.layout.to_memory(value).reshape(item.place.rows, item.place.row)
        for row in range(item.place.rows):
            cells[row * item.place.stride : row * item.place.stride + item.place.row] = flat[row]
    return buffer.tobytes()


def _from_buffer(item: Stored, data: bytes) -> Array:
    cells = np.frombuffer(data, dtype=item.tensor.dtype)
    rows = [cells[r * item.place.stride : r * item.place.stride + item.place.row] for r in range(item.place.rows)]
    raw = np.frombuffer(data, dtype=np.uint8)
    size = ITEM_BYTES[item.tensor.dtype]
    for r in range(item.place.rows - 1):
        gap = raw[(r * item.place.stride + item.place.row) * size : (r + 1) * item.place.stride * size]
        assert (gap == GAP).all(), "wrote between the pixels"
    return item.layout.from_memory(np.concatenate(rows), item.tensor.shape)


def overlapped(case: Case, call: KernelCall, overlap: Overlap) -> tuple[int, int, int]:
    """Byte offsets of the input and the output in a common buffer, and its size: as close as is permitted."""
    source = case.context.activation(overlap.input)
    in_bytes, out_bytes = source.tensor.size_bytes, case.output.tensor.size_bytes
    start = 0 if overlap.same else -(-overlap.distance // 4) * 4
    return start, 0, max(start + in_bytes, out_bytes)


def program(cases: Sequence[Case], overlaps: Sequence[Overlap | None]) -> str:
    """The C of a batch; ``overlaps`` says which permission to use for each case."""
    text = ["#include <stdio.h>", "#include <stdint.h>", "#include <stdlib.h>", "#include <string.h>"]
    includes = {header for case in cases for header in case.call().kernel.includes}
    text += [f'#include "{header}"' for header in sorted(includes)]
    names: dict[object, str] = {}
    main: list[str] = []
    for number, (case, overlap) in enumerate(zip(cases, overlaps, strict=True)):
        call = case.call()
        if call.kernel not in names:
            names[call.kernel] = f"k{len(names)}_{call.kernel.label}"
            function = render(call.kernel, names[call.kernel], [str(case.op)])
            text += [f"{function.signature};", function.text]
        shared = overlapped(case, call, overlap) if overlap else None
        declarations, body = _case(case, call, number, names[call.kernel], overlap, shared)
        text += declarations
        main += [f"static void case{number}(void)", "{", *(f"    {line}" for line in body), "}"]
    calls = [f"    case{number}();" for number in range(len(cases))]
    return "\n".join([*text, *main, "int main(void)", "{", *calls, "    return 0;", "}", ""])


def _case(
    case: Case, call: KernelCall, number: int, name: str, overlap: Overlap | None, shared: tuple[int, int, int] | None
) -> tuple[list[str], list[str]]:
    declarations: list[str] = []
    body: list[str] = []
    pointers: dict[int, str] = {}
    out = f"c{number}_out"
    if shared:
        declarations.append(f"static _Alignas(4) uint8_t c{number}_both[{max(shared[2], 1)}];")
    for index, value in enumerate(case.inputs):
        if not isinstance(value, Stored):
            continue
        size = _buffer_elements(value.place) * ITEM_BYTES[value.tensor.dtype]
        pointers[index] = f"c{number}_in{index}"
        if shared and overlap is not None and index == overlap.input:
            pointers[index] = f"(c{number}_both + {shared[0]})"
        else:
            declarations.append(f"static _Alignas(4) uint8_t {pointers[index]}[{size}];")
        body.append(f"if (fread({pointers[index]}, 1, {size}, stdin) != {size}) {{ exit(3); }}")
    out_bytes = _buffer_elements(case.output.place) * ITEM_BYTES[case.output.tensor.dtype]
    if shared:
        out = f"(c{number}_both + {shared[1]})"
    else:
        declarations.append(f"static _Alignas(4) uint8_t {out}[{out_bytes}];")
        body.append(f"memset({out}, {GAP}, {out_bytes});")
    if call.scratch_bytes:
        align = max(call.scratch_align, 4)
        declarations.append(f"static _Alignas({align}) uint8_t c{number}_scratch[{call.scratch_bytes}];")
        body.append(f"memset(c{number}_scratch, {GAP}, {call.scratch_bytes});")
    arguments = []
    for position, (argument, param) in enumerate(zip(call.arguments, call.kernel.params, strict=True)):
        if isinstance(argument, InputArg):
            arguments.append(f"({param.ctype})(const void *){pointers[argument.index]}")
        elif isinstance(argument, OutputArg):
            arguments.append(f"({param.ctype})(void *){out}")
        elif isinstance(argument, ConstantArg):
            array = f"c{number}_const{position}"
            values = ",\n    ".join(c_rows(argument.array.values, argument.array.ctype))
            declarations.append(
                f"static _Alignas({argument.array.align}) const {argument.array.ctype} {array}"
                f"[{argument.array.values.size}] = {{\n    {values}}};"
            )
            arguments.append(array)
        elif isinstance(argument, ScalarArg):
            is_float = argument.ctype == "float"
            arguments.append(c_float(argument.value) if is_float else c_int(int(argument.value)))
        else:
            arguments.append(f"({param.ctype})(void *)c{number}_scratch")
    body.append(f"{name}({', '.join(arguments)});")
    body.append(f"fwrite({out}, 1, {out_bytes}, stdout);")
    return declarations, body


def run(
    cases: Sequence[Case],
    folder: Path,
    *,
    compiler: Sequence[str] = ("gcc",),
    flags: Sequence[str] = ("-O1",),
    overlaps: Sequence[Overlap | None] | None = None,
    runner: Sequence[str] = (),
) -> list[Array]:
    """Compiles and runs a batch; the outputs in ONNX order."""
    chosen = list(overlaps) if overlaps is not None else [None] * len(cases)
    source, binary = folder / "batch.c", folder / "batch"
    source.write_text(program(cases, chosen), encoding="utf-8")
    include = f"-I{runtime_dir() / 'include'}"
    command = [*compiler, *WARNINGS, *flags, include, str(source), "-o", str(binary), "-lm"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[:4000]
    data = b"".join(
        _to_buffer(item, value)
        for case in cases
        for item, value in zip(case.inputs, case.values, strict=True)
        if isinstance(item, Stored)
    )
    ran = subprocess.run([*runner, str(binary)], input=data, capture_output=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr.decode()[:4000]
    results, position = [], 0
    for case in cases:
        size = _buffer_elements(case.output.place) * ITEM_BYTES[case.output.tensor.dtype]
        results.append(_from_buffer(case.output, ran.stdout[position : position + size]))
        position += size
    assert position == len(ran.stdout)
    return results


def check(cases: Sequence[Case], folder: Path, *, flags: Sequence[str] = ("-O1",), **options: object) -> None:
    """Every case equals its reference, apart and, where it is permitted, over its input."""
    for case, result in zip(cases, run(cases, folder, flags=flags, **options), strict=True):  # type: ignore[arg-type]
        _compare(case, result, "apart")
    placed = [(case, overlap) for case in cases for overlap in case.call().overlaps]
    if placed:
        chosen = [overlap for _, overlap in placed]
        results = run([case for case, _ in placed], folder, flags=flags, overlaps=chosen, **options)  # type: ignore[arg-type]
        for (case, overlap), result in zip(placed, results, strict=True):
            _compare(case, result, f"with {overlap}")


def _compare(case: Case, result: Array, how: str) -> None:
    expected = case.expected()
    same = result.view(np.uint32) == expected.view(np.uint32) if result.dtype == np.float32 else result == expected
    if not same.all():
        where = np.argwhere(~same)[:4].tolist()
        got = [result[tuple(i)] for i in where]
        want = [expected[tuple(i)] for i in where]
        raise AssertionError(
            f"{case.op} {how}: {int((~same).sum())} of {same.size} differ, at {where}: {got} instead of {want}; "
            f"{case.inputs} -> {case.output}"
        )


__all__ = ["SANITIZERS", "Case", "check", "quant", "random_values", "replace", "run", "stored", "tensor"]
