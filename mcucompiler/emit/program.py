# SPDX-License-Identifier: Apache-2.0
"""The program as data: everything that templates and manifest say, computed once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.emit.arena import ArenaRow, Symbols
from mcucompiler.emit.borders import border_arrays
from mcucompiler.emit.calls import describe, layer_call
from mcucompiler.emit.constants import ConstantPool, PrintedArray, constant_bytes
from mcucompiler.emit.kernels import Function, function_names, render
from mcucompiler.emit.printed_streams import PrintedStream
from mcucompiler.emit.rows import PUSH_STACK_BYTES, STATE_BYTES, USER, RowInput, resident_rows, row_input
from mcucompiler.emit.streams import print_stream
from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.lower.layout import row_major
from mcucompiler.lower.types import ConstantArray, Kernel, KernelCall, Lowered, LoweredStep, Stored
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.pixels import Pixels
from mcucompiler.schedule.types import Schedule
from mcucompiler.stream.plans import stack_bound
from mcucompiler.stream.two_pass import repeated_macs
from mcucompiler.stream.types import StreamCall, kernel_call_of
from mcucompiler.words import counted

_ARENA_ALIGN = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boundary:
    """An input or output as the caller sees it.

    Attributes:
        index: its number.
        name: the ONNX graph's name for it.
        tensor: the tensor that stands for it inside.
        stored: its memory order and place.
        address: C expression of its offset in the arena.
        float_in_onnx: whether the ONNX graph has it as float32, quantised by the caller.
    """

    index: int
    name: str
    float_in_onnx: bool
    stored: Stored
    address: str

    @property
    def tensor(self) -> Tensor:
        """The tensor."""
        return self.stored.tensor

    @property
    def title(self) -> str:
        """Its name as a quoted string."""
        return repr(self.name)

    @property
    def bytes(self) -> int:
        """Size in the arena."""
        return self.tensor.size_bytes

    @property
    def onnx_to_c(self) -> tuple[int, ...]:
        """For each axis in C, its index in ONNX."""
        return self.stored.layout.perm

    @property
    def c_shape(self) -> tuple[int, ...]:
        """Extents in C order."""
        return self.stored.memory_shape

    @property
    def layout_name(self) -> str:
        """The order's name for people."""
        rank = len(self.tensor.shape)
        letters = {3: "NCL", 4: "NCHW"}.get(rank)
        if self.onnx_to_c == row_major(self.tensor.shape).perm or letters is None:
            return "row-major" if rank < 3 or letters is None else letters
        return "".join(letters[axis] for axis in self.onnx_to_c)

    @property
    def scale(self) -> str | None:
        """The scale as a C literal, None for tensors that are not quantised."""
        return f"{self._decimal()}f" if self.tensor.quant is not None else None

    @property
    def zero_point(self) -> int | None:
        """The zero point."""
        return self.tensor.quant.z if self.tensor.quant is not None else None

    def _decimal(self) -> str:
        """Nine significant digits identify a float32; hexadecimal floats are not C++ before C++17."""
        text = f"{float(self.tensor.quant.s):.9g}" if self.tensor.quant is not None else "1.0"
        return text if any(ch in text for ch in ".en") else f"{text}.0"

    @property
    def about(self) -> str:
        """One line for the header's comment."""
        shape = "x".join(map(str, self.c_shape)) or "scalar"
        text = f"{self.title} {self.tensor.dtype} [{shape}] {self.layout_name}"
        if self.tensor.quant is not None:
            text += f", scale {self._decimal()}, zero point {self.zero_point}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramStep:
    """A step as it is printed.

    Attributes:
        index: its number.
        step: what it does.
        function: C function that it calls.
        title: one line for its comment.
        call: the C statement.
        live_bytes: bytes of the arena in use while it runs.
        stream: the function itself, where it is a stream.
    """

    index: int
    step: LoweredStep
    function: str
    title: str
    call: str
    live_bytes: int
    stream: PrintedStream | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """All that the generated files say; see the templates for where."""

    name: str
    title: str
    version: str
    command: str
    digest: str
    arena_bytes: int
    arena_align: int
    lower_bound_bytes: int
    stack_bytes: int
    macs: int
    recomputed_macs: int
    estimated_cycles: int
    inputs: tuple[Boundary, ...]
    outputs: tuple[Boundary, ...]
    rows: RowInput | None
    take_row: str
    buffers: tuple[ArenaRow, ...]
    steps: tuple[ProgramStep, ...]
    functions: tuple[Function, ...]
    headers: tuple[str, ...]
    arrays: tuple[PrintedArray, ...]

    @property
    def macro(self) -> str:
        """Prefix of macros."""
        return self.name.upper()

    @property
    def weights_bytes(self) -> int:
        """Bytes of weights in flash."""
        return constant_bytes(self.arrays, weights=True)

    @property
    def const_bytes(self) -> int:
        """Bytes of other constants in flash."""
        return constant_bytes(self.arrays, weights=False)


def build_program(
    schedule: Schedule,
    plan: MemoryPlan,
    *,
    name: str,
    version: str,
    command: str,
    by_rows: bool = False,
    pixels: Pixels | None = None,
) -> Program:
    """Everything that will be printed.

    Args:
        schedule: the steps in their order.
        plan: where everything lies.
        name: C prefix.
        version: the compiler's.
        command: the options as the user gave them, without folders.
        by_rows: whether the input arrives row by row.
        pixels: a camera's pixels as rows; None for rows of the network's own type.

    Raises:
        UsageError: the input cannot arrive by rows, or not as such pixels.
    """
    lowered = schedule.lowered
    graph = lowered.graph
    order = [lowered.steps[index] for index in schedule.order]
    served = _served(graph, order)
    rows = _row_input(schedule, plan, pixels) if by_rows else None
    if rows is not None and rows.kernel is not None:
        served[rows.kernel] = [USER]
    names = function_names(served, name)
    pool = ConstantPool(name)
    symbols = Symbols(schedule, plan)
    printer = _StepPrinter(name, lowered, symbols, names, pool, border_arrays(order))
    live = _live_bytes(schedule, plan)
    steps = tuple(printer.print(step, position, live[position]) for position, step in enumerate(order))
    functions = tuple(render(kernel, function, served[kernel]) for kernel, function in names.items())
    repeated = sum(repeated_macs(graph, step.nodes) for step in order)
    return Program(
        name=name,
        title=graph.name,
        version=version,
        command=command,
        digest=graph.digest,
        arena_bytes=plan.arena_bytes if rows is None else rows.state + STATE_BYTES,
        arena_align=_ARENA_ALIGN,
        lower_bound_bytes=plan.lower_bound_bytes + (0 if rows is None else STATE_BYTES),
        stack_bytes=stack_bound(schedule) + (0 if rows is None else PUSH_STACK_BYTES),
        macs=sum(step.macs for step in order) - repeated,
        recomputed_macs=repeated
        + sum(step.call.recomputed_macs for step in order if isinstance(step.call, StreamCall)),
        estimated_cycles=sum(step.call.cycles for step in order),
        inputs=_boundary(lowered, graph.inputs, symbols),
        outputs=_boundary(lowered, graph.outputs, symbols),
        rows=rows,
        take_row="" if rows is None else rows.call(names, pool, _row_place(rows, lowered, steps[0], symbols)),
        buffers=symbols.rows,
        steps=steps,
        functions=functions,
        headers=_headers(names, steps),
        arrays=pool.arrays,
    )


def _headers(kernels: Iterable[Kernel], steps: Sequence[ProgramStep]) -> tuple[str, ...]:
    """Runtime headers that the functions need, sorted."""
    streams = {"mc_stream.h"} if any(step.stream for step in steps) else set()
    return tuple(sorted(streams.union(*(kernel.includes for kernel in kernels))))


def _row_input(schedule: Schedule, plan: MemoryPlan, pixels: Pixels | None) -> RowInput:
    """How rows arrive: in the ring of the first stream, or where the whole input is kept."""
    lowered = schedule.lowered
    if lowered.fed is None:
        return resident_rows(schedule, plan, pixels)
    first, *others = (lowered.steps[index].call for index in schedule.order)
    if not isinstance(first, StreamCall):
        raise TypeError("the rows of the input go into no stream")
    rest = first.last_cycles + sum(call.cycles for call in others)
    return row_input(
        lowered.graph,
        lowered.stored[lowered.fed],
        arena_bytes=plan.arena_bytes,
        worst_cycles=max(first.most_cycles, rest),
        worst_runs=first.most_runs,
        pixels=pixels,
    )


def _row_place(rows: RowInput, lowered: Lowered, first: ProgramStep, symbols: Symbols) -> str:
    """C expression of the offset in the arena of row ``index``."""
    if lowered.fed is not None and first.stream is not None:
        return first.stream.fed_row
    return f"{symbols.place(lowered.stored[lowered.graph.inputs[0]])} + index * {rows.tensor_bytes}u"


def _served(graph: Graph, steps: Sequence[LoweredStep]) -> dict[Kernel, list[str]]:
    """The kernels in the order of their first use, each with a line for every node that it serves."""
    served: dict[Kernel, list[str]] = {}
    for step in steps:
        for node, call in kernels_of(step):
            lines, line = served.setdefault(call.kernel, []), describe(graph, node)
            if line not in lines:
                lines.append(line)
    return served


def kernels_of(step: LoweredStep) -> tuple[tuple[Node, KernelCall], ...]:
    """The kernel calls of a step, each with its node."""
    if isinstance(step.call, StreamCall):
        return tuple(kernel for band in step.call.bands for kernel in band.kernels)
    return ((step.node, kernel_call_of(step.call)),)


class _StepPrinter:
    """Prints steps; collects their constants."""

    def __init__(
        self,
        name: str,
        lowered: Lowered,
        symbols: Symbols,
        names: Mapping[Kernel, str],
        pool: ConstantPool,
        borders: Mapping[int, ConstantArray],
    ) -> None:
        self.name, self.lowered, self.symbols = name, lowered, symbols
        self.names, self.pool, self.borders = names, pool, borders

    def print(self, step: LoweredStep, position: int, live_bytes: int) -> ProgramStep:
        """A step at its position in the program."""
        graph = self.lowered.graph
        if isinstance(step.call, StreamCall):
            function = f"{self.name}_stream_{position}"
            stream = print_stream(
                step.call, position, function, self.names, self.lowered, self.symbols, self.pool, self.borders
            )
            way = "row by row" if step.call.turned is None else "column by column"
            title = f"{counted(len(step.nodes), 'layer')} {way}, from {describe(graph, step.nodes[0])}"
            call = "" if step.call.fed is not None else f"{function}(base);"
        else:
            kernel = kernel_call_of(step.call)
            function, title, stream = self.names[kernel.kernel], describe(graph, step.node), None
            call = layer_call(step, kernel, position, function, self.lowered, self.symbols, self.pool)
        return ProgramStep(
            index=position,
            step=step,
            function=function,
            title=title,
            call=call,
            live_bytes=live_bytes,
            stream=stream,
        )


def _boundary(lowered: Lowered, tensors: Sequence[str], symbols: Symbols) -> tuple[Boundary, ...]:
    onnx_names = {tensor: onnx for onnx, tensor in lowered.graph.float_boundary.items()}
    return tuple(
        Boundary(
            index=index,
            name=onnx_names.get(tensor, tensor),
            float_in_onnx=tensor in onnx_names,
            stored=lowered.stored[tensor],
            address="" if tensor == lowered.fed else symbols.place(lowered.stored[tensor]),
        )
        for index, tensor in enumerate(tensors)
    )


def _live_bytes(schedule: Schedule, plan: MemoryPlan) -> list[int]:
    """Extent of what is live at each position: bytes of the arena covered by at least one live block."""
    offsets = dict(plan.offsets)
    live = []
    for position in range(len(schedule.order)):
        covered = np.zeros(plan.arena_bytes, bool)
        for block in plan.problem.blocks:
            if block.first <= position <= block.last:
                covered[offsets[block.name] : offsets[block.name] + block.size_bytes] = True
        live.append(int(covered.sum()))
    return live
