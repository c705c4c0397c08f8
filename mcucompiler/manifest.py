# SPDX-License-Identifier: Apache-2.0
"""Reading manifest.json: what the generated folder says of itself."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mcucompiler.cost import ConstantRead
from mcucompiler.errors import UsageError
from mcucompiler.fields import Fields
from mcucompiler.ir.graph import ITEM_BYTES
from mcucompiler.lower.layout import Layout
from mcucompiler.manifest_parts import BoundaryTensor, Memory, Rows, Step, StepTensor
from mcucompiler.manifest_streams import ManifestPlan, read_plan, read_stream
from mcucompiler.pixels import Conversion, conversion, parse_pixels

__all__ = ["MANIFEST_NAME", "BoundaryTensor", "Manifest", "Memory", "Rows", "Step", "StepTensor", "read_manifest"]

MANIFEST_NAME = "manifest.json"
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_BOUNDARY_TYPES = ("int8", "uint8", "int16", "int32", "float32")
_TENSOR_TYPES = tuple(ITEM_BYTES)
_FLAG = re.compile(r"-[A-Za-z][A-Za-z0-9_=,.+-]*")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """manifest.json of a generated folder.

    Attributes:
        directory: the folder.
        raw: the whole table, for reports and for keys that are not read here.
        float_nodes: nodes computed in float32 since they could not be fused.
        plan: what was chosen over what; None where the manifest does not say.
        optimal: whether the arena is proved to be the smallest for its program.

    The others are the keys of the same names.
    """

    directory: Path
    raw: Mapping[str, Any]
    name: str
    compiler_version: str
    model_sha256: str
    command: str
    cpu: str
    fpu: str
    board: str
    sources: tuple[str, ...]
    headers: tuple[str, ...]
    cflags: tuple[str, ...]
    inputs: tuple[BoundaryTensor, ...]
    outputs: tuple[BoundaryTensor, ...]
    rows: Rows | None
    memory: Memory
    macs: int
    recomputed_macs: int
    estimated_cycles: int
    channels_proved: int
    channels_float: int
    float_nodes: tuple[str, ...]
    steps: tuple[Step, ...]
    plan: ManifestPlan | None = None
    optimal: bool = False

    @property
    def io(self) -> str:
        """The ``--io`` of the compilation: "int8" where a real-valued tensor is quantised by the caller."""
        boundary = (*self.inputs, *self.outputs)
        return "int8" if any(tensor.float_in_onnx and tensor.dtype != "float32" for tensor in boundary) else "float"

    @property
    def input_mode(self) -> str:
        """The ``--input`` of the compilation."""
        return "resident" if self.rows is None else "rows"

    @property
    def conversion(self) -> Conversion | None:
        """What the program makes of a camera's pixels; None where samples are the network's inputs."""
        if self.rows is None or self.rows.pixels is None:
            return None
        image = self.inputs[0]
        return conversion(
            self.rows.pixels,
            name=image.name,
            shape=image.c_shape,
            dtype=image.dtype,
            scale=image.scale,
            zero_point=image.zero_point,
        )

    @property
    def sample_inputs(self) -> tuple[BoundaryTensor, ...]:
        """What a sample consists of: the inputs, or for a camera the bytes [height, width, bytes of a pixel]."""
        how = self.conversion
        if self.rows is None or how is None:
            return self.inputs
        size = how.pixels.format.bytes
        shape = (self.rows.count, self.rows.bytes // size, size)
        frame = dataclasses.replace(
            self.inputs[0],
            onnx_shape=shape,
            c_shape=shape,
            onnx_to_c=(0, 1, 2),
            dtype="uint8",
            float_in_onnx=False,
            scale=None,
            zero_point=None,
            bytes=self.rows.count * self.rows.bytes,
        )
        return (frame,)

    @property
    def input_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the inputs by ONNX name, dynamic axes fixed as they were when compiling."""
        return {tensor.name: tensor.onnx_shape for tensor in self.inputs}

    @property
    def prefix(self) -> str:
        """What the network's macros start with."""
        return self.name.upper()


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a folder that ``compile`` wrote.

    Raises:
        UsageError: no such folder, no manifest in it, or one that is truncated or wrong; the
            message names the key.
    """
    path = directory / MANIFEST_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        what = f"has no {MANIFEST_NAME}" if directory.is_dir() else "does not exist"
        raise UsageError(
            f"folder {str(directory)!r} {what}; give the folder that `mcucompiler compile ... -o DIR` wrote"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{str(path)!r} is damaged (line {error.lineno}: {error.msg}); compile the model again"
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{str(path)!r} does not hold a table; compile the model again")
    # Absolute, since tools are run with the folder as their working directory.
    return _manifest(directory.resolve(), Fields(values, str(path), UsageError))


def _manifest(directory: Path, fields: Fields) -> Manifest:
    name = fields.get("name", str)
    if not _IDENTIFIER.fullmatch(name):
        raise fields.fail("name", f"is {name!r}, which is not a C identifier")
    target, compute = fields.table("target"), fields.table("compute")
    exactness = fields.table("exactness")
    return Manifest(
        directory=directory,
        raw=fields.values,
        name=name,
        compiler_version=fields.get("compiler_version", str),
        model_sha256=fields.get("model_sha256", str),
        command=fields.get("command", str),
        cpu=target.get("cpu", str),
        fpu=target.get("fpu", str),
        board=fields.get("board", str, "") if fields.values.get("board") is not None else "",
        sources=_paths(fields, "sources"),
        headers=_paths(fields, "headers"),
        cflags=_flags(fields),
        inputs=tuple(_boundary(entry) for entry in fields.tables("inputs")),
        outputs=tuple(_boundary(entry) for entry in fields.tables("outputs")),
        rows=_rows(fields),
        memory=_memory(fields.table("memory")),
        macs=compute.natural("macs"),
        recomputed_macs=compute.natural("recomputed_macs"),
        estimated_cycles=compute.natural("estimated_cycles"),
        channels_proved=exactness.natural("channels_proved"),
        channels_float=exactness.natural("channels_float"),
        float_nodes=exactness.texts("float_nodes"),
        steps=_steps(fields),
        plan=read_plan(fields),
        optimal=fields.table("memory").get("optimal", bool, False),
    )


def _rows(fields: Fields) -> Rows | None:
    if fields.choice("input_mode", ("resident", "rows")) == "resident":
        return None
    table = fields.table("rows")
    scale, mean, std = (",".join(table.texts(f"pixel_{what}")) for what in ("scale", "mean", "std"))
    has_format = table.values.get("pixel_format") is not None
    rows = Rows(
        bytes=fields.natural("row_bytes"),
        count=table.natural("count"),
        worst_cycles=table.natural("worst_cycles"),
        pixels=parse_pixels(table.get("pixel_format", str) if has_format else "", scale=scale, mean=mean, std=std),
    )
    inputs = tuple(_boundary(entry) for entry in fields.tables("inputs"))
    if len(inputs) != 1 or len(inputs[0].c_shape) < 3 or inputs[0].c_shape[:2] != (1, rows.count):
        raise fields.fail("input_mode", "is 'rows', which is not what 'inputs' and 'rows' hold")
    size = inputs[0].bytes if rows.pixels is None else rows.count * inputs[0].c_shape[2] * rows.pixels.format.bytes
    if rows.count * rows.bytes != size:
        raise fields.fail("row_bytes", f"is {rows.bytes}, which is not what 'inputs' and 'rows' make")
    return rows


def _memory(fields: Fields) -> Memory:
    return Memory(
        arena_bytes=fields.natural("arena_bytes"),
        lower_bound_bytes=fields.natural("lower_bound_bytes"),
        peak_step=fields.natural("peak_step"),
        stack_bytes=fields.natural("stack_bytes"),
        weights_bytes=fields.natural("weights_bytes"),
        const_bytes=fields.natural("const_bytes"),
        estimated_code_bytes=fields.natural("estimated_code_bytes", 0),
    )


def _paths(fields: Fields, key: str) -> tuple[str, ...]:
    names = fields.texts(key)
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name.startswith("-"):
            raise fields.fail(key, f"names {name!r}, which is not a path inside the folder")
    return names


def _flags(fields: Fields) -> tuple[str, ...]:
    flags = fields.texts("cflags")
    for flag in flags:
        # Single words only: what follows an option such as -o or -include would be a path.
        if (
            not _FLAG.fullmatch(flag)
            or flag in ("-o", "-c", "-x")
            or flag.startswith(("-I", "-B", "-fplugin", "-specs"))
        ):
            raise fields.fail("cflags", f"holds {flag!r}, which is not an option for code generation or warnings")
    return flags


def _boundary(fields: Fields) -> BoundaryTensor:
    dtype = fields.choice("dtype", _BOUNDARY_TYPES)
    has_scale = fields.values.get("scale") is not None
    tensor = BoundaryTensor(
        index=fields.natural("index"),
        name=fields.get("name", str),
        onnx_shape=fields.integers("onnx_shape"),
        c_shape=fields.integers("c_shape"),
        onnx_to_c=fields.integers("onnx_to_c"),
        dtype=dtype,
        float_in_onnx=fields.get("float_in_onnx", bool, dtype == "float32"),
        scale=fields.get("scale", float) if has_scale else None,
        zero_point=fields.get("zero_point", int) if has_scale else None,
        bytes=fields.natural("bytes"),
    )
    if sorted(tensor.onnx_to_c) != list(range(len(tensor.onnx_shape))):
        raise fields.fail("onnx_to_c", f"is {list(tensor.onnx_to_c)}, not a permutation of the axes of 'onnx_shape'")
    if int(np.prod(tensor.onnx_shape, dtype=np.int64)) * ITEM_BYTES[dtype] != tensor.bytes:
        raise fields.fail("bytes", f"is {tensor.bytes}, which is not what 'onnx_shape' and 'dtype' make")
    return tensor


def _steps(fields: Fields) -> tuple[Step, ...]:
    steps = tuple(_step(entry) for entry in fields.tables("steps"))
    if [step.index for step in steps] != list(range(len(steps))):
        raise fields.fail("steps", "are not numbered from 0 in order")
    return steps


def _step(fields: Fields) -> Step:
    return Step(
        index=fields.natural("index"),
        kind=fields.get("kind", str),
        onnx_nodes=fields.texts("onnx_nodes"),
        kernel=fields.get("kernel", str),
        macs=fields.natural("macs"),
        estimated_cycles=fields.natural("estimated_cycles"),
        arena_bytes=fields.natural("arena_bytes"),
        variant=fields.get("variant", str, ""),
        reason=fields.get("reason", str, ""),
        rejected=_pairs(fields, "rejected"),
        outputs=tuple(_step_tensor(entry) for entry in fields.tables("outputs", ())),
        estimated_instructions=fields.natural("estimated_instructions", 0),
        constant_reads=_reads(fields),
        stream=read_stream(fields),
    )


def _pairs(fields: Fields, key: str) -> tuple[tuple[str, str], ...]:
    pairs = fields.get(key, list, [])
    for pair in pairs:
        if not isinstance(pair, list) or [type(item) for item in pair] != [str, str]:
            raise fields.fail(key, f"holds {pair!r}; each item must be a pair of texts")
    return tuple((first, second) for first, second in pairs)


def _reads(fields: Fields) -> tuple[ConstantRead, ...]:
    reads = fields.get("constant_reads", list, [])
    for read in reads:
        if not isinstance(read, list) or [type(item) for item in read] != [int, int] or min(read) < 0:
            raise fields.fail("constant_reads", f"holds {read!r}; each item must be a pair of natural numbers")
    return tuple(ConstantRead(bytes=size, times=times) for size, times in reads)


def _step_tensor(fields: Fields) -> StepTensor:
    shape, dtype = fields.integers("onnx_shape"), fields.choice("dtype", _TENSOR_TYPES)
    item = ITEM_BYTES[dtype]
    tensor = StepTensor(
        name=fields.get("tensor", str),
        shape=shape,
        dtype=dtype,
        layout=Layout(view=fields.integers("view"), perm=fields.integers("perm")),
        offset=fields.natural("offset"),
        rows=fields.natural("rows"),
        row=fields.natural("row_bytes") // item,
        stride=fields.natural("stride_bytes") // item,
        onnx_offset=fields.get("onnx_offset", int, 0),
    )
    if tensor.rows * tensor.row != int(np.prod(shape, dtype=np.int64)):
        raise fields.fail("row_bytes", "times 'rows' is not the size that 'onnx_shape' and 'dtype' make")
    return tensor
