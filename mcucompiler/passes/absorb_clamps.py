# SPDX-License-Identifier: Apache-2.0
"""Takes tables that only bound a value into the operator that computes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Graph, Node, Tensor
from mcucompiler.ops import (
    Add,
    AveragePool,
    Clamp,
    Conv,
    ConvTranspose,
    Div,
    Gemm,
    Lookup,
    MaxPool,
    Mul,
    Operator,
    ReduceMean,
    Reshape,
    Slice,
    Sub,
    Transpose,
)
from mcucompiler.passes.edit import Edit, merged_sources
from mcucompiler.passes.tables import all_values

_Clamped = Add | AveragePool | Conv | ConvTranspose | Div | Gemm | Mul | ReduceMean | Sub
_CLAMPED = (Add, AveragePool, Conv, ConvTranspose, Div, Gemm, Mul, ReduceMean, Sub)
_PASSED = (MaxPool, Reshape, Slice, Transpose)  # maxima and choices of bounded values


def absorb_clamps(graph: Graph) -> Graph:
    """Bounds on a quantised output become its operator's clamp, whether Relu, Clip or an int8 Clip put them there.

    A Lookup that is ``min(max(q, lo), hi)`` between equal types and parameters is dropped and its bounds join the
    clamp of the operator in front, if nothing reads the unbounded value. Between them there may be movements and
    maxima, which bounds commute with. A clamp that excludes no value of the type becomes none.
    """
    edit = Edit(graph)
    for old in edit.nodes:
        node = edit.current(old.name)
        if node is not None and isinstance(node.op, Lookup):
            _absorb(edit, node)
    for node in edit.nodes:
        if isinstance(node.op, _CLAMPED) and node.op.clamp is not None:
            _normalize(edit, node, node.op)
    return edit.finish()


def _absorb(edit: Edit, node: Node) -> None:
    bounds = _bounds(edit, node)
    if bounds is None:
        return
    between: list[Node] = []
    value = node.inputs[0]
    reader = node
    while True:
        before = edit.producer(value)
        if before is None or edit.sole_user(value) is not reader:
            return
        if isinstance(before.op, _CLAMPED):
            break
        if not isinstance(before.op, _PASSED):
            return
        between.append(before)
        value, reader = before.inputs[0], before
    clamped = _joined(before.op, bounds, edit.out(before))
    edit.change(before, op=clamped, sources=merged_sources(before, node))
    edit.take_over(node)
    for moved in between:  # their inputs hold bounded values now, not those of the ONNX tensors of their names
        source = edit.tensor(moved.inputs[0])
        edit.rename(source.name, edit.add_tensor(source, f"{source.name}@bounded").name)


def _bounds(edit: Edit, node: Node) -> tuple[int, int] | None:
    """The bounds that a table imposes; None where it does anything else."""
    source, result = edit.tensor(node.inputs[0]), edit.out(node)
    table = edit.tensor(node.inputs[1]).data
    if table is None or table.ndim != 1 or (source.dtype, source.quant) != (result.dtype, result.quant):
        return None
    lo, hi = int(table.min()), int(table.max())
    return (lo, hi) if np.array_equal(table, np.clip(all_values(source), lo, hi)) else None


def _joined(op: _Clamped, bounds: tuple[int, int], output: Tensor) -> Operator:
    least, greatest = INTEGER_RANGES[output.dtype]
    own = op.clamp or Clamp(lo=least, hi=greatest)
    lo, hi = bounds
    return replace(op, clamp=Clamp(lo=min(max(own.lo, lo), hi), hi=min(max(own.hi, lo), hi)))


def _normalize(edit: Edit, node: Node, op: _Clamped) -> None:
    output = edit.out(node)
    if op.clamp is not None and output.is_quantized and (op.clamp.lo, op.clamp.hi) == INTEGER_RANGES[output.dtype]:
        edit.change(node, op=replace(op, clamp=None))
