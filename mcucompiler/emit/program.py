# SPDX-License-Identifier: Apache-2.0
"""The program as data: everything that templates and manifest say, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.emit.constants import ConstantPool, PrintedArray, constant_bytes
from mcucompiler.emit.environment import c_float, c_int, c_size
from mcucompiler.emit.kernels import Function, function_names, render
from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.lower.layout import row_major
from mcucompiler.lower.types import (
    Argument,
    ConstantArg,
    InputArg,
    Lowered,
    LoweredStep,
    OutputArg,
    ScalarArg,
    ScratchArg,
    Stored,
    item_bytes,
)
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.types import Schedule

_ARENA_ALIGN = 32
_RUN_STACK_BYTES = 64  # the run function's own frame: saved registers and outgoing arguments


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaRow:
    """A line of the arena map."""

    symbol: str
    offset: int
    size_bytes: int
    first: int
    last: int
    holds: str

    @property
    def interval(self) -> str:
        """The steps between which it is live."""
        return f"[{self.first}, {self.last}]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProgramStep:
    """A step as it is printed."""

    index: int
    step: LoweredStep
    function: str
    title: str
    call: str
    live_bytes: int


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


def build_program(schedule: Schedule, plan: MemoryPlan, *, name: str, version: str, command: str) -> Program:
    """Everything that will be printed.

    Args:
        schedule: the steps in their order.
        plan: where everything lies.
        name: C prefix.
        version: the compiler's.
        command: the options as the user gave them, without folders.
    """
    lowered = schedule.lowered
    graph = lowered.graph
    order = [lowered.steps[index] for index in schedule.order]
    names = function_names((step.call.kernel for step in order), name)
    pool = ConstantPool(name)
    symbols = _Symbols(schedule, plan)
    live = _live_bytes(schedule, plan)
    steps = tuple(
        ProgramStep(
            index=position,
            step=step,
            function=names[step.call.kernel],
            title=describe(graph, step.node),
            call=_call(step, position, names[step.call.kernel], lowered.stored, symbols, pool),
            live_bytes=live[position],
        )
        for position, step in enumerate(order)
    )
    functions = tuple(
        render(kernel, function, [s.title for s in steps if s.step.call.kernel == kernel])
        for kernel, function in names.items()
    )
    return Program(
        name=name,
        title=graph.name,
        version=version,
        command=command,
        digest=graph.digest,
        arena_bytes=plan.arena_bytes,
        arena_align=_ARENA_ALIGN,
        lower_bound_bytes=plan.lower_bound_bytes,
        stack_bytes=stack_bound(schedule),
        macs=sum(step.macs for step in order),
        recomputed_macs=0,
        estimated_cycles=sum(step.call.cycles for step in order),
        inputs=_boundary(lowered, graph.inputs, symbols),
        outputs=_boundary(lowered, graph.outputs, symbols),
        buffers=symbols.rows,
        steps=steps,
        functions=functions,
        headers=tuple(sorted({header for kernel in names for header in kernel.includes})),
        arrays=pool.arrays,
    )


def _boundary(lowered: Lowered, tensors: Sequence[str], symbols: _Symbols) -> tuple[Boundary, ...]:
    onnx_names = {tensor: onnx for onnx, tensor in lowered.graph.float_boundary.items()}
    return tuple(
        Boundary(
            index=index,
            name=onnx_names.get(tensor, tensor),
            float_in_onnx=tensor in onnx_names,
            stored=lowered.stored[tensor],
            address=symbols.place(lowered.stored[tensor]),
        )
        for index, tensor in enumerate(tensors)
    )


def stack_bound(schedule: Schedule) -> int:
    """Upper bound, in bytes, on the stack of the network's own functions."""
    return _RUN_STACK_BYTES + max((step.call.stack_bytes for step in schedule.lowered.steps), default=0)


def describe(graph: Graph, node: Node) -> str:
    """A node in one line: operator, ONNX nodes, shapes."""
    shapes = [
        "x".join(map(str, graph.tensors[name].shape)) or "scalar"
        for name in (*node.inputs, *node.outputs)
        if name and not graph.tensors[name].is_constant
    ]
    inputs, outputs = shapes[: len(shapes) - len(node.outputs)], shapes[len(shapes) - len(node.outputs) :]
    sources = ", ".join(repr(source) for source in node.sources) or repr(node.name)
    return f"{node.op.kind} {sources} {' + '.join(inputs)} -> {' + '.join(outputs)}"


class _Symbols:
    """Names of buffers and scratch in the arena map."""

    def __init__(self, schedule: Schedule, plan: MemoryPlan) -> None:
        holds: dict[str, list[str]] = {}
        for tensor, stored in schedule.lowered.stored.items():
            holds.setdefault(stored.place.buffer, []).append(tensor)
        blocks = {block.name: block for block in plan.problem.blocks}
        offsets = dict(plan.offsets)
        self.names: dict[str, str] = {}
        rows = []
        for name, offset in offsets.items():
            block = blocks[name]
            scratch = name.startswith("scratch@")
            symbol = f"SCRATCH_{name.removeprefix('scratch@')}" if scratch else f"BUFFER_{len(self.names)}"
            self.names[name] = symbol
            rows.append(
                ArenaRow(
                    symbol=symbol,
                    offset=offset,
                    size_bytes=block.size_bytes,
                    first=block.first,
                    last=block.last,
                    holds="scratch" if scratch else ", ".join(map(repr, holds.get(name, [name]))),
                )
            )
        self.rows = tuple(sorted(rows, key=lambda row: (row.offset, row.first, row.symbol)))

    def place(self, stored: Stored) -> str:
        """C expression of the byte offset of an activation."""
        offset = stored.place.offset * item_bytes(stored.tensor)
        symbol = self.names[stored.place.buffer]
        return f"{symbol} + {offset}" if offset else symbol

    def scratch(self, position: int) -> str:
        """C expression of the byte offset of a step's scratch."""
        return self.names[f"scratch@{position}"]


def _call(
    step: LoweredStep, position: int, function: str, stored: Mapping[str, Stored], symbols: _Symbols, pool: ConstantPool
) -> str:
    texts = []
    for param, argument in zip(step.call.kernel.params, step.call.arguments, strict=True):
        texts.append(_argument(step, position, param.ctype, argument, stored, symbols, pool))
    lines, line = [], f"{function}("
    for index, text in enumerate(texts):
        piece = text + (", " if index + 1 < len(texts) else ");")
        if len(line) + len(piece.rstrip()) > 106 and not line.endswith("("):
            lines.append(line.rstrip())
            line = " " * (len(function) + 1)
        line += piece
    return "\n".join([*lines, line if texts else f"{function}();"])


def _argument(
    step: LoweredStep,
    position: int,
    ctype: str,
    argument: Argument,
    stored: Mapping[str, Stored],
    symbols: _Symbols,
    pool: ConstantPool,
) -> str:
    match argument:
        case InputArg(index=index):
            return f"AT({ctype.strip()}, {symbols.place(stored[step.reads[index]])})"
        case OutputArg(index=index):
            return f"AT({ctype.strip()}, {symbols.place(stored[step.writes[index]])})"
        case ScratchArg():
            return f"AT({ctype.strip()}, {symbols.scratch(position)})"
        case ConstantArg(array=array):
            return pool.add(array, position, f"{step.node.op.kind} {', '.join(map(repr, step.node.sources))}")
        case ScalarArg(ctype="float", value=value):
            return c_float(value)
        case ScalarArg(ctype=scalar, value=value):
            return c_size(int(value)) if scalar.startswith("uint") else c_int(int(value))
    raise TypeError(f"no such argument: {argument!r}")


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
