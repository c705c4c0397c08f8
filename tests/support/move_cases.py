# SPDX-License-Identifier: Apache-2.0
"""Random cases for the kernels that move elements."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.layout import Layout, channels_last
from mcucompiler.ops import Concat, FlipSign, Lookup, Pad, Reshape, Resize, Slice, Transpose
from mcucompiler.ops.resize import COORDINATES, NEAREST
from tests.support.kernels import Case
from tests.support.random_cases import (
    Rng,
    a_layout,
    constant,
    gap,
    quant,
    tensor,
    unary_case,
    values,
)

MOVED = ("int8", "uint8", "int16", "int32", "float32")
Q = quant(0.25, 3)


def shape_of(rng: Rng, rank: int, most: int = 7) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(1, most, rank))


def kind(rng: Rng) -> str:
    return str(rng.choice(MOVED))


def like(name: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    return tensor(name, shape, dtype, None if dtype == "float32" else Q)


def a_copy(rng: Rng) -> Case:
    shape, dtype = shape_of(rng, int(rng.integers(1, 5))), kind(rng)
    x, y = like("x", shape, dtype), like("y", shape, dtype)
    return unary_case(rng, Reshape(shape=shape), x, y, layout=a_layout(rng, shape), out_layout=a_layout(rng, shape))


def a_transpose(rng: Rng) -> Case:
    rank = int(rng.integers(2, 5))
    shape, dtype, perm = shape_of(rng, rank), kind(rng), tuple(int(p) for p in rng.permutation(rank))
    result = tuple(shape[p] for p in perm)
    x, y = like("x", shape, dtype), like("y", result, dtype)
    return unary_case(rng, Transpose(perm=perm), x, y, layout=a_layout(rng, shape), out_layout=a_layout(rng, result))


def a_slice(rng: Rng) -> Case:
    shape, dtype = shape_of(rng, int(rng.integers(1, 5)), 9), kind(rng)
    starts, stops, steps, result = [], [], [], []
    for extent in shape:
        first, last = sorted(int(n) for n in rng.integers(0, extent, 2))
        step = int(rng.integers(1, 4))
        taken = len(range(first, last + 1, step))
        if rng.random() < 0.4:
            starts.append(last), stops.append(first - 1), steps.append(-step)
        else:
            starts.append(first), stops.append(last + 1), steps.append(step)
        result.append(taken)
    x, y = like("x", shape, dtype), like("y", tuple(result), dtype)
    op = Slice(starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))
    layout = a_layout(rng, shape)
    return unary_case(rng, op, x, y, layout=layout, out_layout=Layout(view=y.shape, perm=layout.perm))


def a_concat(rng: Rng) -> Case:
    rank = int(rng.integers(1, 5))
    shape, axis = shape_of(rng, rank), int(rng.integers(0, rank))
    dtype = str(rng.choice(["int8", "uint8", "float32"]))
    operands = []
    for number in range(int(rng.integers(1, 4))):
        part = (*shape[:axis], int(rng.integers(1, 6)), *shape[axis + 1 :])
        own = quant(float(rng.uniform(0.05, 0.5)), int(rng.integers(0, 100))) if rng.random() < 0.5 else Q
        operand = tensor(f"x{number}", part, dtype, None if dtype == "float32" else own)
        operands.append(constant(rng, operand) if rng.random() < 0.25 and number else operand)
    op = Concat(axis=axis)
    result = like("y", op.output_shapes(operands)[0], dtype)
    layout = channels_last(shape).perm if rng.random() < 0.6 else tuple(range(rank))
    layouts = {n: Layout(view=t.shape, perm=layout) for n, t in enumerate(operands)}
    strides = {n: gap(rng, t.shape, layouts[n]) for n, t in enumerate(operands) if t.data is None}
    out_layout = Layout(view=result.shape, perm=layout)
    return Case(
        op=op,
        inputs=tuple(operands),
        outputs=(result,),
        values=tuple(values(rng, t) if t.data is None else None for t in operands),
        in_layouts=layouts,
        in_strides={n: stride for n, stride in strides.items() if stride is not None},
        out_layout=out_layout,
        out_stride=gap(rng, result.shape, out_layout),
    )


def a_lookup(rng: Rng) -> Case:
    shape = shape_of(rng, int(rng.integers(1, 5)), 9)
    source, target = str(rng.choice(["int8", "uint8"])), str(rng.choice(["int8", "uint8", "int32", "float32"]))
    layout = a_layout(rng, shape)
    axis = None if rng.random() < 0.5 else int(rng.integers(0, len(shape)))
    innermost = axis is None or layout.perm[-1] == axis
    table = constant(rng, tensor("table", (256,) if axis is None else (shape[axis], 256), target))
    return unary_case(
        rng,
        Lookup(axis=axis),
        tensor("x", shape, source, Q),
        tensor("y", shape, target, Q if target in ("int8", "uint8") else None),
        constants=(table,),
        layout=layout,
        out_layout=layout,
        strided=innermost,
    )


def a_flip(rng: Rng) -> Case:
    shape = shape_of(rng, int(rng.integers(1, 5)), 9)
    kinds = ["int8", "uint8"] if rng.random() < 0.5 else ["uint8", "int8"]
    zero = {"int8": 0, "uint8": 128}
    x, y = (tensor(n, shape, d, quant(0.1, zero[d])) for n, d in zip("xy", kinds, strict=True))
    layout = a_layout(rng, shape)
    return unary_case(rng, FlipSign(), x, y, layout=layout, out_layout=layout)


def a_pad(rng: Rng) -> Case:
    rank, mode, dtype = int(rng.integers(1, 5)), str(rng.choice(["constant", "edge", "reflect"])), kind(rng)
    shape = shape_of(rng, rank)
    most = [max(1, extent) if mode == "reflect" else 4 for extent in shape]
    pads = tuple(int(rng.integers(0, m)) for m in (*most, *most))
    op = Pad(pads=pads, mode=mode, value=5.0)
    x = like("x", shape, dtype)
    y = like("y", op.output_shapes((x,))[0], dtype)
    layout = a_layout(rng, shape)
    return unary_case(rng, op, x, y, layout=layout, out_layout=Layout(view=y.shape, perm=layout.perm))


def a_nearest(rng: Rng) -> Case:
    spatial = int(rng.integers(1, 3))
    shape, dtype = shape_of(rng, 2 + spatial, 8), kind(rng)
    sizes = (*shape[:2], *(int(n) for n in rng.integers(1, 12, spatial)))
    op = Resize(
        sizes=sizes,
        scales=tuple(float(np.float32(new / old)) for new, old in zip(sizes, shape, strict=True)),
        mode="nearest",
        coordinates=str(rng.choice(COORDINATES)),
        nearest=str(rng.choice(NEAREST)),
    )
    return unary_case(rng, op, like("x", shape, dtype), like("y", sizes, dtype))
