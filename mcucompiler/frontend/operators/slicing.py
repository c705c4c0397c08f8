# SPDX-License-Identifier: Apache-2.0
"""Slice, Split, Gather by constant indices, and Pad."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import Table, axes_of, axis_of
from mcucompiler.ir.graph import INTEGER_RANGES, Tensor
from mcucompiler.ops import Pad, Reshape, Slice
from mcucompiler.words import counted


def _slice_op(shape: tuple[int, ...], parts: dict[int, tuple[int, int, int]]) -> Slice:
    """The whole tensor but for the given axes, which are (start, stop, step)."""
    bounds = [parts.get(axis, (0, size, 1)) for axis, size in enumerate(shape)]
    starts, stops, steps = zip(*bounds, strict=True)
    return Slice(starts=starts, stops=stops, steps=steps)


def _normal_part(size: int, start: int, stop: int, step: int) -> tuple[int, int, int]:
    """Bounds as ONNX clamps them: negative ones count from the end, those beyond are cut.

    With a negative step, a stop of -1 means before the first element.
    """
    start += size if start < 0 else 0
    stop += size if stop < 0 else 0
    if step > 0:
        return min(max(start, 0), size), min(max(stop, 0), size), step
    return min(max(start, 0), size - 1), min(max(stop, -1), size - 1), step


def slice_(b: Builder, node: OnnxNode) -> None:
    """Slice: starts, ends, axes and steps are constant inputs."""
    x = b.activation(node)
    starts, ends = b.integers(node, 1, "starts"), b.integers(node, 2, "ends")
    rank = len(x.shape)
    axes = b.integers(node, 3, "axes") if node.input(3) else tuple(range(len(starts)))
    steps = b.integers(node, 4, "steps") if node.input(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.invalid("starts, ends, axes and steps differ in length", found=f"{starts}, {ends}, {axes}, {steps}")
    if 0 in steps:
        raise node.invalid("a step is 0", found=str(list(steps)))
    axes_of(node, axes, rank)
    parts = {
        axis % rank: _normal_part(x.shape[axis % rank], start, end, step)
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True)
    }
    if any(not range(*part) for part in parts.values()):
        raise node.unsupported(f"its output is empty (input {list(x.shape)}, {list(starts)} to {list(ends)})")
    op = _slice_op(x.shape, parts)
    b.emit(node, op, [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)


def split(b: Builder, node: OnnxNode) -> None:
    """Split: one Slice for each output that is used."""
    x = b.activation(node)
    axis = axis_of(node, int(node.get("axis", 0)), len(x.shape))
    size = x.shape[axis]
    sizes = _split_sizes(b, node, size)
    if len(sizes) != len(node.outputs) or sum(sizes) != size or any(s < 0 for s in sizes):
        raise node.invalid(
            "the parts do not add up",
            found=f"sizes {list(sizes)} for {counted(len(node.outputs), 'output')} of an axis of {size}",
        )
    start = 0
    for output, part in zip(node.outputs, sizes, strict=True):
        if output:
            op = _slice_op(x.shape, {axis: (start, start + part, 1)})
            b.emit(node, op, [x.name], dtype=x.dtype, output=output, transparent=True)
        start += part


def _split_sizes(b: Builder, node: OnnxNode, size: int) -> tuple[int, ...]:
    if "split" in node.attributes:
        return node.ints("split", ())
    if node.input(1):
        return b.integers(node, 1, "split")
    count = int(node.get("num_outputs", len(node.outputs)))
    if count < 1:
        raise node.invalid("num_outputs is not positive", found=str(count))
    if "num_outputs" not in node.attributes and size % count:
        raise node.invalid(f"an axis of {size} does not split into {count} equal parts")
    chunk = -(-size // count)
    return tuple(max(min(chunk, size - index * chunk), 0) for index in range(count))


def gather(b: Builder, node: OnnxNode) -> None:
    """Gather by one constant index or by evenly spaced ones: a Slice."""
    x = b.activation(node)
    rank = len(x.shape)
    axis = axis_of(node, int(node.get("axis", 0)), rank)
    indices = b.constant(node, 1, "indices")
    size = x.shape[axis]
    flat = [int(v) for v in indices.reshape(-1)]
    if any(not -size <= v < size for v in flat):
        raise node.invalid("an index is out of range", found=str(flat), supported=f"{-size} to {size - 1}")
    flat = [v % size for v in flat]
    steps = {after - before for before, after in pairwise(flat)}
    if not flat or len(steps) > 1 or 0 in steps:
        raise node.unsupported("indices that are not evenly spaced; supported: one index or an arithmetic sequence")
    step = steps.pop() if steps else 1
    op = _slice_op(x.shape, {axis: (flat[0], flat[-1] + (1 if step > 0 else -1), step)})
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    if indices.ndim == 1:
        b.emit(node, op, [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)
        return
    part = b.emit(node, op, [x.name], dtype=x.dtype, transparent=True)
    b.emit(node, Reshape(shape=shape), [part], dtype=x.dtype, output=node.outputs[0], transparent=True)


def pad(b: Builder, node: OnnxNode) -> None:
    """Pad; negative pads cut, which is a Slice."""
    x = b.activation(node)
    mode = node.get("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise node.unsupported(f"mode {mode!r}; supported: constant, edge, reflect")
    pads = _all_pads(b, node, len(x.shape))
    value = b.scalar(node, 2, "padding value", 0.0)
    if x.dtype != "float32":
        lo, hi = INTEGER_RANGES[x.dtype]
        if not lo <= value <= hi or value != int(value):
            raise node.invalid("the padding value is out of range", found=str(value), supported=f"{lo} to {hi}")
    kept = tuple(max(p, 0) for p in pads)
    if any(p < 0 for p in pads):
        if mode != "constant":
            raise node.unsupported(f"negative pads {list(pads)} in mode {mode!r}; supported: in mode constant")
        x = _crop(b, node, x, pads, last=not any(kept))
    if any(kept):
        op = Pad(pads=kept, mode=mode, value=value)
        b.emit(node, op, [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)
    elif all(p == 0 for p in pads):
        b.alias(node, x.name, node.outputs[0])


def _all_pads(b: Builder, node: OnnxNode, rank: int) -> tuple[int, ...]:
    """Pads for all axes: begins, then ends."""
    stated = b.integers(node, 1, "pads")
    axes = tuple(range(rank))
    if node.input(3):
        given = b.integers(node, 3, "axes")
        axes_of(node, given, rank)
        axes = tuple(axis % rank for axis in given)
    if len(stated) != 2 * len(axes):
        raise node.invalid("pads do not fit the input", found=str(list(stated)), supported=f"{2 * len(axes)} values")
    pads = np.zeros((2, rank), np.int64)
    pads[:, list(axes)] = np.asarray(stated).reshape(2, -1)
    return tuple(int(p) for p in pads.reshape(-1))


def _crop(b: Builder, node: OnnxNode, x: Tensor, pads: tuple[int, ...], *, last: bool) -> Tensor:
    rank = len(x.shape)
    parts = {axis: (max(-pads[axis], 0), size - max(-pads[axis + rank], 0), 1) for axis, size in enumerate(x.shape)}
    if any(start >= stop for start, stop, _ in parts.values()):
        raise node.unsupported(f"negative pads {list(pads)} that leave nothing of {list(x.shape)}")
    output = node.outputs[0] if last else ""
    name = b.emit(node, _slice_op(x.shape, parts), [x.name], dtype=x.dtype, output=output, transparent=True)
    return b.tensors[name]


CONVERTERS: Table = {
    ("", "Gather"): gather,
    ("", "Pad"): pad,
    ("", "Slice"): slice_,
    ("", "Split"): split,
}
