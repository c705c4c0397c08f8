# SPDX-License-Identifier: Apache-2.0
"""Runs single kernels on the host: lowers a node, compiles its C strictly, and fences its buffers.

``run_node`` is for one case, ``run_cases`` compiles many into one program, which is what keeps tests with
random shapes quick. Buffers are filled with 0x5A and lie between canaries, or, under the sanitizers,
in allocations of exactly their size. Whatever a kernel changes besides its output's elements is an error.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Array, Node, Tensor
from mcucompiler.lower.layout import Layout, channels_last, row_major
from mcucompiler.lower.types import (
    InputArg,
    KernelCall,
    LoweringOptions,
    NodeContext,
    OutputArg,
    Place,
    ScratchArg,
    Stored,
    Variant,
    dense_place,
)
from mcucompiler.lower.variants import variants_of
from mcucompiler.ops.base import LayoutRule, Operator
from tests.support.kernel_program import FENCE, FILL, SANITIZE, STRICT, Prepared, compile_program, program_text

LayoutOf = Callable[[tuple[int, ...]], Layout]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One node with its inputs' values.

    Attributes:
        op: the operator.
        inputs: in ONNX order; tensors with ``data`` are constants, None is an absent input.
        outputs: in ONNX order.
        values: arrays of the inputs' shapes and dtypes, ONNX axis order; ignored for constants.
        variant: name of the kernel variant; None takes the first that accepts the node.
        in_place: lay output 0 over an input, as the call's first ``Overlap`` permits.
        out_stride: pixel stride of output 0 in elements (a channel slice of a larger buffer).
        in_strides: pixel strides of inputs by index.
        row_pointers: give input 0 as pointers to its image rows, which lie last one first in memory.
        in_layouts: memory orders of inputs by index; default: channels last from rank 3 on for
            operators that want it, else ONNX order.
        out_layout: memory order of the outputs, likewise.
        options: lowering options.
    """

    op: Operator
    inputs: Sequence[Tensor | None]
    outputs: Sequence[Tensor]
    values: Sequence[Array | None]
    variant: str | None = None
    in_place: bool = False
    out_stride: int | None = None
    in_strides: Mapping[int, int] = field(default_factory=dict)
    row_pointers: bool = False
    in_layouts: Mapping[int, Layout] = field(default_factory=dict)
    out_layout: Layout | None = None
    options: LoweringOptions = field(default_factory=LoweringOptions)


def run_node(
    op: Operator,
    inputs: Sequence[Tensor | None],
    outputs: Sequence[Tensor],
    values: Sequence[Array | None],
    *,
    variant: str | None = None,
    in_place: bool = False,
    out_stride: int | None = None,
    in_strides: Mapping[int, int] | None = None,
    in_layouts: Mapping[int, Layout] | None = None,
    out_layout: Layout | None = None,
    sanitize: bool = False,
    compiler: str = "gcc",
    cflags: Sequence[str] = ("-std=c11", "-O2"),
    options: LoweringOptions | None = None,
) -> tuple[Array, ...]:
    """The outputs that the node's kernel computes, in ONNX order and axes. See :class:`Case`."""
    case = Case(
        op=op,
        inputs=inputs,
        outputs=outputs,
        values=values,
        variant=variant,
        in_place=in_place,
        out_stride=out_stride,
        in_strides=in_strides or {},
        in_layouts=in_layouts or {},
        out_layout=out_layout,
        options=options or LoweringOptions(),
    )
    return run_cases([case], sanitize=sanitize, compiler=compiler, cflags=cflags)[0]


def run_cases(
    cases: Sequence[Case],
    *,
    sanitize: bool = False,
    compiler: str = "gcc",
    cflags: Sequence[str] = ("-std=c11", "-O2"),
) -> list[tuple[Array, ...]]:
    """The outputs of many cases, compiled into one program and run once.

    Args:
        cases: what to run.
        sanitize: under the address and undefined behavior sanitizers.
        compiler: host compiler.
        cflags: language standard and optimization; the strict warnings are always added.
    """
    prepared = [prepare(case) for case in cases]
    flags = (*cflags, *STRICT, *(SANITIZE if sanitize else ()), f"-DFENCE={0 if sanitize else FENCE}u")
    program = compile_program(program_text(prepared), compiler, flags)
    feed = b"".join(buffer for item in prepared for buffer in item.buffers)
    result = subprocess.run([program], input=feed, capture_output=True, timeout=120, check=False)
    if result.returncode:
        raise AssertionError(f"kernel program failed ({result.returncode}):\n{result.stderr.decode()[-4000:]}")
    answers, position = [], 0
    for item in prepared:
        after = []
        for buffer in item.buffers:
            after.append(result.stdout[position : position + len(buffer)])
            position += len(buffer)
        answers.append(outputs_after(item, after))
    assert position == len(result.stdout)
    return answers


def reference_of(case: Case) -> tuple[Array, ...]:
    """What the operator's definition gives for a case."""
    values = [t.data if t is not None and t.is_constant else v for t, v in zip(case.inputs, case.values, strict=True)]
    return case.op.reference(case.inputs, case.outputs, values)


def check_cases(cases: Sequence[Case], **how: object) -> None:
    """Asserts that every case's kernel gives exactly what its definition gives."""
    for number, (case, got) in enumerate(zip(cases, run_cases(cases, **how), strict=True)):  # type: ignore[arg-type]
        for have, want in zip(got, reference_of(case), strict=True):
            bad = np.argwhere((have != want) & ~((have != have) & (want != want)))
            if len(bad):
                where = tuple(int(i) for i in bad[0])
                raise AssertionError(
                    f"case {number}: {len(bad)} of {want.size} elements differ, first at {where}: "
                    f"{have[where]} instead of {want[where]}\n{case.op}\n"
                    f"{[t and (t.shape, t.dtype, t.quant) for t in (*case.inputs, *case.outputs)]}"
                )


def lowered(case: Case) -> tuple[NodeContext, KernelCall]:
    """The context of a case and the call that its variant returns for it."""
    rule_last = case.op.layout is LayoutRule.CHANNELS_LAST
    default: LayoutOf = channels_last if rule_last else row_major
    stored: list[Stored | Tensor | None] = []
    for index, tensor in enumerate(case.inputs):
        if tensor is None or tensor.is_constant:
            stored.append(tensor)
        else:
            layout = case.in_layouts.get(index) or default(tensor.shape)
            stored.append(_stored(tensor, layout, case.in_strides.get(index), rows=case.row_pointers and index == 0))
    outs = tuple(
        _stored(t, case.out_layout or default(t.shape), case.out_stride if i == 0 else None)
        for i, t in enumerate(case.outputs)
    )
    node = Node(
        name="node",
        op=case.op,
        inputs=tuple(t.name if t else "" for t in case.inputs),
        outputs=tuple(t.name for t in case.outputs),
    )
    context = NodeContext(node=node, inputs=tuple(stored), outputs=outs, options=case.options)
    return context, _variant(case, context).lower(context)


def prepare(case: Case) -> Prepared:
    """Lowers a case and lays out its buffers."""
    context, call = lowered(case)
    assert len(call.arguments) == len(call.kernel.params)
    buffers: list[bytearray] = []
    spots: dict[tuple[str, int], tuple[int, int]] = {}
    for index, value in enumerate(context.inputs):
        if isinstance(value, Stored):
            spots["in", index] = (len(buffers), 0)
            given = case.values[index]
            if value.place.row_pointers and given is not None:
                given = np.flip(given, -2)
            buffers.append(_image(value, given))
    for index, target in enumerate(context.outputs):
        if index == 0 and case.in_place:
            spots["out", 0] = _overlay(call, target, spots, buffers)
        else:
            spots["out", index] = (len(buffers), 0)
            buffers.append(_image(target, None))
    if call.scratch_bytes:
        spots["scratch", 0] = (len(buffers), 0)
        buffers.append(bytearray([FILL]) * call.scratch_bytes)
    pointers = []
    for argument in call.arguments:
        if isinstance(argument, InputArg):
            pointers.append(spots["in", argument.index])
        elif isinstance(argument, OutputArg):
            pointers.append(spots["out", argument.index])
        elif isinstance(argument, ScratchArg):
            pointers.append(spots["scratch", 0])
    return Prepared(
        context=context,
        call=call,
        buffers=tuple(bytes(b) for b in buffers),
        pointers=tuple(pointers),
        outputs=tuple(spots["out", i] for i in range(len(context.outputs))),
        in_place=case.in_place,
        row_offsets=_row_offsets(context) if case.row_pointers else (),
    )


def _row_offsets(context: NodeContext) -> tuple[int, ...]:
    """Where the image rows of input 0 begin in its buffer, in bytes: the last one first."""
    stored = context.activation(0)
    height, width = stored.memory_shape[-3:-1]
    row_bytes = width * stored.pixel_stride * ITEM_BYTES[stored.tensor.dtype]
    return tuple(row_bytes * (height - 1 - row) for row in range(height))


def _variant(case: Case, context: NodeContext) -> Variant:
    reasons = []
    for variant in variants_of(case.op):
        if case.variant is not None and variant.name != case.variant:
            continue
        reason = variant.reject(context)
        if reason is None:
            return variant
        reasons.append(f"{variant.name}: {reason}")
    raise AssertionError(f"no variant {case.variant or ''} accepts {case.op}: {reasons}")


def _stored(tensor: Tensor, layout: Layout, stride: int | None, *, rows: bool = False) -> Stored:
    place = dense_place(tensor.name, tensor)
    if stride is not None:
        row = layout.memory_shape[-1]
        place = Place(buffer=tensor.name, offset=0, rows=tensor.size // max(row, 1), row=row, stride=stride)
    return Stored(tensor=tensor, layout=layout, place=replace(place, row_pointers=rows))


def _extent_bytes(stored: Stored) -> int:
    place = stored.place
    return ((place.rows - 1) * place.stride + place.row) * ITEM_BYTES[stored.tensor.dtype]


def _elements(stored: Stored) -> Array:
    """Offsets of the elements in memory order, in elements."""
    place = stored.place
    return (np.arange(place.rows)[:, None] * place.stride + np.arange(place.row)[None]).reshape(-1)


def _image(stored: Stored, value: Array | None) -> bytearray:
    content = np.full(_extent_bytes(stored), FILL, np.uint8)
    if value is not None:
        assert value.shape == stored.tensor.shape
        assert str(value.dtype) == stored.tensor.dtype
        size = ITEM_BYTES[stored.tensor.dtype]
        memory = stored.layout.to_memory(value).reshape(-1).view(np.uint8).reshape(-1, size)
        content[_elements(stored)[:, None] * size + np.arange(size)] = memory
    return bytearray(content.tobytes())


def _overlay(
    call: KernelCall, target: Stored, spots: dict[tuple[str, int], tuple[int, int]], buffers: list[bytearray]
) -> tuple[int, int]:
    """Lays output 0 over an input as the first permission says; moves the input up where there is a distance."""
    assert call.overlaps, "the call permits no overlap"
    permission = call.overlaps[0]
    buffer, _ = spots["in", permission.input]
    lift = 0 if permission.same else permission.distance
    below = bytearray([FILL]) * lift
    missing = max(0, _extent_bytes(target) - lift - len(buffers[buffer]))
    buffers[buffer] = below + buffers[buffer] + bytearray([FILL]) * missing
    spots["in", permission.input] = (buffer, lift)
    return buffer, 0


def outputs_after(item: Prepared, after: Sequence[bytes]) -> tuple[Array, ...]:
    """The outputs' arrays, after a look at everything that must not have changed."""
    written = [np.zeros(len(buffer), bool) for buffer in item.buffers]
    arrays = []
    for stored, (buffer, offset) in zip(item.context.outputs, item.outputs, strict=True):
        size = ITEM_BYTES[stored.tensor.dtype]
        where = offset + _elements(stored)[:, None] * size + np.arange(size)
        written[buffer][where] = True
        memory = np.frombuffer(after[buffer], np.uint8)[where].reshape(-1).view(stored.tensor.dtype)
        arrays.append(stored.layout.from_memory(memory, stored.tensor.shape))
    scratch = len(item.buffers) - 1 if item.call.scratch_bytes else -1
    for index, (before, now) in enumerate(zip(item.buffers, after, strict=True)):
        if index == scratch:
            continue
        changed = (np.frombuffer(before, np.uint8) != np.frombuffer(now, np.uint8)) & ~written[index]
        if item.in_place and index == item.outputs[0][0]:
            continue  # the kernel may destroy the input it overwrites
        assert not changed.any(), f"buffer {index} changed outside the output, first at byte {int(changed.argmax())}"
    return tuple(arrays)
