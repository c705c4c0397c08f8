# SPDX-License-Identifier: Apache-2.0
"""An input that arrives row by row: what a row is, where it goes, and the state between two rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcucompiler.emit.constants import ConstantPool
from mcucompiler.errors import UsageError
from mcucompiler.ir.graph import Graph, Tensor
from mcucompiler.lower.types import ConstantArray, Kernel, Param, Stored, item_bytes, kernel
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.pixels import Conversion, Pixels, conversion
from mcucompiler.schedule.types import Schedule

STATE_BYTES = 8
"""How many rows have come, and a mark that tells an arena that was begun from any other."""

PUSH_STACK_BYTES = 64
"""Stack beyond that of a run: a row is pushed through one function more; what converts it needs no more than this."""

USER = "the rows of the input"
"""What kernel and constants serve."""

_RANKS = (3, 4)
_MARK_DIGITS = 8  # of the model's digest: the marks of two networks differ


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowInput:
    """The input of a network that is fed by rows.

    Attributes:
        count: rows of the image.
        bytes: of a row as the caller has it.
        tensor_bytes: of a row of the network's input.
        state: offset of the state in the arena.
        mark: what the count is combined with in the state.
        worst_cycles: estimated cycles of the push that does most.
        worst_runs: most runs of layers, a few rows each, that a push causes in a stream; 0 where rows are only kept.
        conversion: of a camera's pixels; None where rows are of the network's type.
        kernel: what converts a row, None for a copy.
        table: the constants that it is given, if any.
    """

    count: int
    bytes: int
    tensor_bytes: int
    state: int
    mark: int
    worst_cycles: int
    worst_runs: int
    conversion: Conversion | None
    kernel: Kernel | None
    table: ConstantArray | None

    @property
    def about(self) -> str:
        """What a row holds, for the header."""
        if self.conversion is None:
            return "elements as in the shape above"
        pixels = self.conversion.pixels
        meaning = f", real value {pixels.meaning}" if pixels.meaning else ", the whole range of the input's type"
        return f"pixels {pixels.format.name}: {pixels.format.about}{meaning}"

    def call(self, functions: Mapping[Kernel, str], pool: ConstantPool, target: str) -> str:
        """The C statement that takes the row at ``row`` to its place.

        Args:
            functions: names of the kernels.
            pool: what prints the constants.
            target: C expression of that place's offset in the arena.
        """
        if self.kernel is None:
            return f"memcpy(AT(void *, {target}), row, {self.bytes}u);"
        table = "" if self.table is None else f", {pool.add(self.table, None, USER)}"
        return f"{functions[self.kernel]}(AT({self.kernel.params[0].ctype}, {target}), row{table});"


def check_row_graph(graph: Graph) -> None:
    """Refuse a network that cannot be fed by rows.

    Raises:
        UsageError: it has several inputs, or one that is no image; says what can be.
    """
    supported = "--input rows needs one input of rank 3 or 4 with batch 1, whose second axis in C is that of the rows"
    if len(graph.inputs) != 1:
        names = ", ".join(map(repr, graph.inputs))
        raise UsageError(f"{supported}; the network has {len(graph.inputs)} inputs: {names}")
    tensor = graph.tensors[graph.inputs[0]]
    if len(tensor.shape) not in _RANKS or tensor.shape[0] != 1:
        raise UsageError(f"{supported}; {tensor.name!r} is {_shape(tensor.shape)}")


def resident_rows(schedule: Schedule, plan: MemoryPlan, pixels: Pixels | None) -> RowInput:
    """The input by rows where it is kept in the arena: the push of the last row runs all steps.

    Args:
        schedule: the steps.
        plan: where everything lies.
        pixels: a camera's format; None where rows are of the network's own type.

    Raises:
        UsageError: the network cannot be fed by rows, or not with such pixels.
    """
    graph = schedule.lowered.graph
    check_row_graph(graph)
    return row_input(
        graph,
        schedule.lowered.stored[graph.inputs[0]],
        arena_bytes=plan.arena_bytes,
        worst_cycles=sum(step.call.cycles for step in schedule.lowered.steps),
        pixels=pixels,
    )


def row_input(
    graph: Graph, stored: Stored, *, arena_bytes: int, worst_cycles: int, worst_runs: int = 0, pixels: Pixels | None
) -> RowInput:
    """How the network's input arrives.

    Args:
        graph: of the network.
        stored: its input.
        arena_bytes: what the plan needs; the state comes after it.
        worst_cycles: estimate for the most that a push does.
        worst_runs: most runs of layers that a push causes in a stream.
        pixels: a camera's format; None where rows are of the network's own type.

    Raises:
        UsageError: the network cannot be fed by rows, or not with such pixels.
    """
    shape, tensor = stored.memory_shape, stored.tensor
    if shape[0] != 1 or not stored.place.dense:
        raise UsageError(f"--input rows: the rows of {tensor.name!r} do not follow one another in C ({_shape(shape)})")
    tensor_bytes = math.prod(shape[2:]) * item_bytes(tensor)
    how = None if pixels is None else _conversion(pixels, tensor, shape)
    table = None if how is None else _table(how)
    return RowInput(
        count=shape[1],
        bytes=tensor_bytes if how is None else shape[2] * how.pixels.format.bytes,
        tensor_bytes=tensor_bytes,
        state=-(-arena_bytes // 4) * 4,
        mark=int(graph.digest[:_MARK_DIGITS] or "0", 16),
        worst_cycles=worst_cycles,
        worst_runs=worst_runs,
        conversion=how,
        kernel=None if how is None else _kernel(how, shape[2]),
        table=table,
    )


def _conversion(pixels: Pixels, tensor: Tensor, shape: tuple[int, ...]) -> Conversion:
    quant = tensor.quant
    return conversion(
        pixels,
        name=tensor.name,
        shape=shape,
        dtype=tensor.dtype,
        scale=float(quant.s) if quant is not None else None,
        zero_point=quant.z if quant is not None else None,
    )


def _table(how: Conversion) -> ConstantArray | None:
    """One row of 256 for all channels that agree, or one for each."""
    if how.table is None:
        return None
    rows = how.table[:1] if (how.table == how.table[0]).all() else how.table
    return ConstantArray(
        label="pixel_table",
        ctype=f"{how.dtype}_t",
        given=np.ascontiguousarray(rows.reshape(-1)),
        weights=False,
        comment="of each value of a pixel's component, the network's",
    )


def _kernel(how: Conversion, width: int) -> Kernel:
    layout, table = how.pixels.format, _table(how)
    element = f"{how.dtype}_t"
    params = [Param(ctype=f"{element} *", name="to"), Param(ctype="const uint8_t *", name="from")]
    if table is not None:
        params.append(Param(ctype=f"const {element} *", name="table"))
    return kernel(
        "pixels",
        f"pixels_{layout.name}_{width}x{how.channels}",
        tuple(params),
        width=width,
        channels=how.channels,
        element=element,
        bytes=layout.bytes,
        components=layout.components,
        big_endian=layout.big_endian,
        grey=layout.grey,
        tables=0 if table is None else table.values.size // 256,
        straight=table is None and layout.components == tuple(range(how.channels)),
        format=layout.name,
    )


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a scalar"
