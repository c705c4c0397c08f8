# SPDX-License-Identifier: Apache-2.0
"""Lowered programs made of nothing but names, sizes and permissions, for tests of schedule and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from mcucompiler.ir.graph import ITEM_BYTES, Array, Graph, Node, Tensor
from mcucompiler.lower.layout import row_major
from mcucompiler.lower.types import BufferSpec, Kernel, KernelCall, Lowered, LoweredStep, Overlap, Place, Stored
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.ops.base import MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque(Operator):
    """An operator that is never computed."""

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        return ()

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        return ()


def whole(buffer: str, size: int, offset: int = 0) -> Place:
    """A dense place."""
    return Place(buffer=buffer, offset=offset, rows=1, row=size, stride=size)


class Program:
    """Builds a ``Lowered`` step by step; tensors are int8 unless said otherwise, so sizes are bytes."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.places: dict[str, Place] = {}
        self.inputs: list[str] = []
        self.nodes: list[Node] = []
        self.steps: list[LoweredStep] = []
        self.overwritten: set[str] = set()

    def input(self, name: str, size: int) -> str:
        self.inputs.append(name)
        return self.tensor(name, whole(name, size))

    def tensor(self, name: str, place: Place, dtype: str = "int8") -> str:
        self.tensors[name] = Tensor(name=name, shape=(place.rows * place.row,), dtype=dtype)
        self.places[name] = place
        return name

    def step(
        self,
        reads: Sequence[str],
        writes: Mapping[str, int | Place],
        *,
        overlaps: Sequence[Overlap] = (),
        scratch: int = 0,
        scratch_align: int = 4,
        dtype: str = "int8",
    ) -> tuple[str, ...]:
        """A kernel call; ``writes`` maps new tensors to their size or place."""
        for name, place in writes.items():
            self.tensor(name, whole(name, place) if isinstance(place, int) else place, dtype)
        node = Node(name=f"n{len(self.nodes)}", op=Opaque(), inputs=tuple(reads), outputs=tuple(writes))
        self.nodes.append(node)
        call = KernelCall(
            kernel=Kernel(template="opaque", label="opaque", literals=(), params=()),
            arguments=(),
            variant="opaque",
            overlaps=tuple(overlaps),
            scratch_bytes=scratch,
            scratch_align=scratch_align,
        )
        self.steps.append(
            LoweredStep(nodes=(node,), call=call, reads=dict(enumerate(reads)), writes=tuple(writes), macs=0)
        )
        return tuple(writes)

    def view(self, name: str, sources: Sequence[str], place: Place) -> str:
        """A tensor that costs no step: a reshape or slice of a source, a concatenation of several."""
        self.nodes.append(Node(name=f"n{len(self.nodes)}", op=Opaque(), inputs=tuple(sources), outputs=(name,)))
        return self.tensor(name, place)

    def lowered(self, outputs: Sequence[str]) -> Lowered:
        sizes: dict[str, int] = {}
        for name, place in self.places.items():
            end = (place.offset + (place.rows - 1) * place.stride + place.row) * ITEM_BYTES[self.tensors[name].dtype]
            sizes[place.buffer] = max(sizes.get(place.buffer, 0), end)
        roots = {self.places[name].buffer for name in self.inputs}
        graph = Graph(
            name="program",
            nodes=tuple(self.nodes),
            tensors=self.tensors,
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
        )
        return Lowered(
            graph=graph,
            steps=tuple(self.steps),
            stored={
                name: Stored(tensor=tensor, layout=row_major(tensor.shape), place=self.places[name])
                for name, tensor in self.tensors.items()
            },
            buffers={
                name: BufferSpec(name=name, size_bytes=size, align=32 if name in roots else 4)
                for name, size in sizes.items()
            },
        )


IN_PLACE = (Overlap(input=0, output=0), Overlap(input=1, output=0))


@st.composite
def programs(draw: st.DrawFn, *, most_steps: int = 9, shared: bool = True, most_bytes: int = 60) -> Lowered:
    """Random programs: branches, several inputs and outputs, scratch, permissions; views and slices if ``shared``."""
    program = Program()
    sizes = st.integers(1, most_bytes)
    for index in range(draw(st.integers(1, 2))):
        program.input(f"in{index}", draw(sizes))
    for index in range(draw(st.integers(1, most_steps))):
        known = [name for name in program.tensors if name not in program.overwritten]
        reads = draw(st.lists(st.sampled_from(known[-5:]), min_size=1, max_size=3))
        kind = draw(
            st.sampled_from(("plain", "plain", "plain", "two", "slices", "view") if shared else ("plain", "two"))
        )
        overlaps = tuple(draw(_overlaps(len(reads), 2 if kind == "two" else 1)))
        scratch = draw(st.sampled_from((0, 0, 0, 5, 30)))
        name = f"t{index}"
        if kind == "slices":
            _sliced(draw, program, name, reads)
        elif kind == "view":
            program.step(reads, {name: draw(sizes)}, overlaps=overlaps, scratch=scratch)
            _viewed(draw, program, name)
        elif kind == "two":
            program.step(reads, {f"{name}a": draw(sizes), f"{name}b": draw(sizes)}, overlaps=overlaps, scratch=scratch)
        else:
            program.step(reads, {name: draw(sizes)}, overlaps=overlaps, scratch=scratch)
    read = {name for node in program.nodes for name in node.inputs}
    inner = {*program.inputs, *program.overwritten}
    sinks = [name for name in program.tensors if name not in read and name not in inner]
    others = [name for name in program.tensors if name in read and name not in inner]
    extra = draw(st.lists(st.sampled_from(others), max_size=1)) if others else []
    kept = [name for name in sinks if draw(st.integers(0, 5))] or sinks[-1:]
    return program.lowered([*kept, *extra])


@st.composite
def _overlaps(draw: st.DrawFn, inputs: int, outputs: int) -> list[Overlap]:
    return [
        Overlap(input=i, output=o, same=same, distance=0 if same else draw(st.integers(0, 12)))
        for i in range(inputs)
        for o in range(outputs)
        if draw(st.booleans())
        for same in [draw(st.booleans())]
    ]


def _sliced(draw: st.DrawFn, program: Program, name: str, reads: list[str]) -> None:
    """Two steps that write channel slices of one buffer, perhaps one that rewrites a slice, and the whole."""
    rows, left, right = draw(st.integers(1, 4)), draw(st.integers(1, 6)), draw(st.integers(1, 6))
    stride = left + right
    first = Place(buffer=name, offset=0, rows=rows, row=left, stride=stride)
    second = Place(buffer=name, offset=left, rows=rows, row=right, stride=stride)
    parts = [f"{name}l", f"{name}r"]
    program.step(reads, {parts[0]: first})
    program.step(draw(st.sampled_from((reads, [program.inputs[0]], [parts[0]]))), {parts[1]: second})
    if draw(st.booleans()):
        program.step([parts[0]], {f"{name}l2": first}, overlaps=IN_PLACE)
        program.overwritten.add(parts[0])
        parts[0] = f"{name}l2"
    program.view(name, parts, whole(name, rows * stride))


def _viewed(draw: st.DrawFn, program: Program, name: str) -> None:
    size = program.places[name].row
    start = draw(st.integers(0, size - 1))
    end = draw(st.integers(start + 1, size))
    program.view(f"{name}v", [name], whole(name, end - start, offset=start))


def moved(plan: MemoryPlan, name: str, offset: int) -> MemoryPlan:
    """A plan with one block elsewhere, and an arena that holds it."""
    sizes = {block.name: block.size_bytes for block in plan.problem.blocks}
    offsets = tuple((n, offset if n == name else o) for n, o in plan.offsets)
    arena = -(-max(o + sizes[n] for n, o in offsets) // 4) * 4
    return MemoryPlan(
        problem=plan.problem,
        offsets=offsets,
        arena_bytes=max(arena, plan.lower_bound_bytes),
        lower_bound_bytes=plan.lower_bound_bytes,
        optimal=False,
        peak_position=plan.peak_position,
    )


@st.composite
def branched(draw: st.DrawFn, *, most_bytes: int = 60) -> Lowered:
    """Parallel chains between a fork and a join, where the order of the chains' steps decides the peak."""
    program = Program()
    sizes = st.integers(1, most_bytes)
    program.input("in", draw(sizes))
    ends = []
    for branch in range(draw(st.integers(2, 3))):
        name = "in"
        for number in range(draw(st.integers(1, 3 if branch < 2 else 2))):
            overlaps = IN_PLACE[:1] if draw(st.integers(0, 3)) == 0 else ()
            (name,) = program.step([name], {f"t{branch}{number}": draw(sizes)}, overlaps=overlaps)
        ends.append(name)
    if draw(st.booleans()):
        (name,) = program.step(ends, {"joined": draw(sizes)})
        ends = [name]
    return program.lowered(ends)
