# SPDX-License-Identifier: Apache-2.0
"""Lowered form: calls of specialised kernels on tensors that have a place in a buffer.

A ``Kernel`` is one C function: a template and its literals. Kernels are equal exactly when their C is, so equal shapes
share one function; whatever differs from node to node (weights, bias, multipliers) is an argument of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, Graph, Node, Tensor
from mcucompiler.lower.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """A target core.

    Attributes:
        name: as in ``-mcpu``; "host" for the portable forms.
        fpu: as in ``-mfpu``; "" without one.
        dsp: whether the Armv7E-M DSP instructions exist.
    """

    name: str = "cortex-m7"
    fpu: str = "fpv5-sp-d16"
    dsp: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweringOptions:
    """What the user asked for, as far as kernels are concerned.

    Attributes:
        cpu: the core that kernels are chosen for.
        exact: "proved" to use integer requantisation where it is proved equal, "float" never to.
        optimize: "speed", "ram" or "size".
        small: names of nodes whose kernels are chosen for size all the same.
    """

    cpu: Cpu = Cpu()
    exact: str = "proved"
    optimize: str = "speed"
    small: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an activation lies: rows of contiguous elements in a buffer.

    A dense tensor is one row. A channel slice has a row for each pixel, ``stride`` elements apart.

    Attributes:
        buffer: name of the buffer.
        offset: element offset of the first element in the buffer.
        rows: number of rows.
        row: elements in a row.
        stride: elements from the start of a row to that of the next; equal to ``row`` when dense.
        row_pointers: whether a kernel is given an array of pointers to rows (bands of streams); the rest describes one.
    """

    buffer: str
    offset: int
    rows: int
    row: int
    stride: int
    row_pointers: bool = False

    @property
    def dense(self) -> bool:
        """Whether the elements are contiguous."""
        return self.rows == 1 or self.row == self.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An activation with its memory order and its place."""

    tensor: Tensor
    layout: Layout
    place: Place

    @property
    def memory_shape(self) -> tuple[int, ...]:
        """Extents in memory order, outermost first."""
        return self.layout.memory_shape

    @property
    def pixel_stride(self) -> int:
        """Elements between neighbours along the last but one axis in memory."""
        return self.memory_shape[-1] if self.place.dense else self.place.stride


@dataclass(frozen=True, kw_only=True, eq=False)
class ConstantArray:
    """Constant data of one node, for flash.

    Most kernels that planning considers are never emitted, so what takes time to pack is packed when it is asked for.

    Attributes:
        label: what it is, as part of a C identifier ("weights", "bias", "table").
        ctype: element type in C ("int8_t", "int32_t", "uint32_t", "float").
        given: the values, one-dimensional, or what makes them; float32 arrays are printed exactly.
        comment: packing, for the reader of the C.
        align: alignment in bytes.
        weights: whether its bytes count as the network's weights rather than as its constants.
    """

    label: str
    ctype: str
    given: Array | Callable[[], Array]
    comment: str = ""
    align: int = 4
    weights: bool = True

    @cached_property
    def values(self) -> Array:
        """The values, one-dimensional."""
        return self.given() if callable(self.given) else self.given


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """A parameter of a kernel's C function, as printed: ``{ctype} {name}``, ctype with its ``*`` or space."""

    ctype: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One specialised C function.

    Attributes:
        template: file in templates/kernels without ".c.j2".
        label: readable stem of the function's name; made unique at emission.
        literals: what the template is specialised to, sorted by name; hashable values.
        params: the C parameters, in order.
        includes: runtime headers that the function needs, e.g. "mc_simd.h".
    """

    template: str
    label: str
    literals: tuple[tuple[str, Any], ...]
    params: tuple[Param, ...]
    includes: tuple[str, ...] = ()


def kernel(
    template: str, label: str, params: tuple[Param, ...], *, includes: tuple[str, ...] = (), **literals: Any
) -> Kernel:
    """A kernel from keyword literals."""
    return Kernel(
        template=template, label=label, literals=tuple(sorted(literals.items())), params=params, includes=includes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InputArg:
    """Pointer to the first element of input ``index`` of the node (const)."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputArg:
    """Pointer to the first element of output ``index`` of the node."""

    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchArg:
    """Pointer to the call's scratch memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConstantArg:
    """Pointer to constant data."""

    array: ConstantArray


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarArg:
    """A literal value that differs from node to node; float values are printed exactly."""

    ctype: str
    value: int | float


Argument = InputArg | OutputArg | ScratchArg | ConstantArg | ScalarArg


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Leave for an output to lie over a dense input that nobody reads afterwards.

    ``same``: both may start at the same address (and only there). Otherwise the output may lie anywhere with
    ``output_start + distance <= input_start``, in bytes; a distance of 0 includes the same address.
    """

    input: int
    output: int
    same: bool = True
    distance: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """How the output channels of a call are requantised: counts of channels."""

    proved: int = 0
    float_tail: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """What a step of the program needs, whatever it does.

    Attributes:
        variant: name of the variant.
        reason: why it was chosen, for the report.
        overlaps: which outputs may lie over which inputs.
        scratch_bytes: scratch in the arena, live during the call only.
        scratch_align: its alignment.
        stack_bytes: upper bound on the stack of the function and what it calls.
        instructions: estimated instructions of the call.
        cycles: estimated cycles of the call, its code and constants in memory without wait states.
        passes: how often the call reads its constants from beginning to end.
        exactness: how its channels are requantised.
        float_arithmetic: whether it computes in float32 what could not be fused to integers.
    """

    variant: str
    reason: str = ""
    overlaps: tuple[Overlap, ...] = ()
    scratch_bytes: int = 0
    scratch_align: int = 4
    stack_bytes: int = 128
    instructions: int = 0
    cycles: int = 0
    passes: int = 1
    exactness: Exactness = Exactness()
    float_arithmetic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelCall(Call):
    """What a variant returns for a node: the function, its arguments and its needs.

    Attributes:
        kernel: the C function.
        arguments: one for each of ``kernel.params``.
    """

    kernel: Kernel
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NodeContext:
    """A node as a variant sees it.

    Attributes:
        node: the node; ``node.op`` holds the attributes.
        inputs: activations with their place; constants as ``Tensor``; None where absent.
        outputs: activations with their place.
        options: what the user asked for.
    """

    node: Node
    inputs: tuple[Stored | Tensor | None, ...]
    outputs: tuple[Stored, ...]
    options: LoweringOptions

    def activation(self, index: int) -> Stored:
        """Input ``index``, which must be an activation."""
        value = self.inputs[index]
        if not isinstance(value, Stored):
            raise TypeError(f"input {index} of {self.node.name!r} is not an activation")
        return value

    def constant(self, index: int) -> Tensor | None:
        """Input ``index`` as a constant, None where it is absent or an activation."""
        value = self.inputs[index] if index < len(self.inputs) else None
        return value if isinstance(value, Tensor) else None

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The input tensors."""
        return tuple(value.tensor if isinstance(value, Stored) else value for value in self.inputs)


class Variant(Protocol):
    """One way to compute an operator: a template with the rules of its use."""

    @property
    def name(self) -> str:
        """The variant's name, which is also its template's."""
        ...

    def reject(self, context: NodeContext) -> str | None:
        """Why the variant cannot serve the node, None when it can."""
        ...

    def lower(self, context: NodeContext) -> KernelCall:
        """The call for a node that ``reject`` lets pass."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoweredStep:
    """One step of the program: a layer, or layers that run together.

    Attributes:
        nodes: what it computes, in graph order.
        call: the kernel and its arguments, or how the layers run together.
        reads: names of the activations it reads, by input index.
        writes: names of the activations it writes, by output index.
        macs: multiply-accumulates of the nodes.
        rejected: variants that were tried and why they were not taken.
    """

    nodes: tuple[Node, ...]
    call: Call
    reads: Mapping[int, str]
    writes: tuple[str, ...]
    macs: int
    rejected: tuple[tuple[str, str], ...] = ()

    @property
    def node(self) -> Node:
        """The node of a layer; the last one of several."""
        return self.nodes[-1]

    @property
    def kind(self) -> str:
        """What the step does, in a word."""
        return self.node.op.kind if len(self.nodes) == 1 else "Stream"

    @property
    def title(self) -> str:
        """The step for messages."""
        first = f"{self.nodes[0].name!r} to " if len(self.nodes) > 1 else ""
        return f"{self.kind} {first}{self.node.name!r}"

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the ONNX nodes that the step stands for."""
        return tuple(dict.fromkeys(source for node in self.nodes for source in node.sources))


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferSpec:
    """Memory for one or more activations that share it by construction (views, slices)."""

    name: str
    size_bytes: int
    align: int = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Lowered:
    """A graph whose every remaining node is a kernel call.

    Attributes:
        graph: the graph that was lowered.
        steps: calls in graph order, which is a topological one.
        stored: memory order and place of every activation, by name; views included.
        buffers: by name.
        options: what was asked for.
        fed: name of the graph input whose rows go straight into a stream; it has no buffer.
    """

    graph: Graph
    steps: tuple[LoweredStep, ...]
    stored: Mapping[str, Stored]
    buffers: Mapping[str, BufferSpec]
    options: LoweringOptions = field(default_factory=LoweringOptions)
    fed: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """The graph inputs that lie in buffers."""
        return tuple(name for name in self.graph.inputs if name != self.fed)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stored", MappingProxyType(dict(self.stored)))
        object.__setattr__(self, "buffers", MappingProxyType(dict(self.buffers)))


def dense_place(buffer: str, tensor: Tensor) -> Place:
    """The place of a tensor that fills its buffer."""
    size = int(np.prod(tensor.shape, dtype=np.int64))
    return Place(buffer=buffer, offset=0, rows=1, row=size, stride=size)


def item_bytes(tensor: Tensor) -> int:
    """Bytes of an element."""
    return ITEM_BYTES[tensor.dtype]
