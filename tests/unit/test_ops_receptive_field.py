# SPDX-License-Identifier: Apache-2.0
"""Receptive fields, checked by perturbation: what lies outside `input_range` never changes the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.ir.graph import Array, Tensor
from mcucompiler.ops import (
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    Gemm,
    Lookup,
    MaxPool,
    Mul,
    Operator,
    Pad,
    ReduceMean,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    Unary,
)
from tests.support.ops_onnxruntime import integers, plain, quantized

WINDOW: dict[str, Any] = {"strides": (2, 1), "pads": (1, 2, 0, 1), "dilations": (1, 2)}
POOL: dict[str, Any] = {"kernel": (3, 2), **WINDOW}


def _resize(**changes: Any) -> Resize:
    defaults = {"sizes": (1, 2, 11, 5), "mode": "linear", "coordinates": "half_pixel"}
    sizes = {**defaults, **changes}["sizes"]
    factors = tuple(float(np.float32(s) / np.float32(d)) for s, d in zip(sizes, (1, 2, 7, 9), strict=True))
    return Resize(**{**defaults, "scales": factors, **changes})


CASES: list[tuple[Operator, list[tuple[int, ...]]]] = [
    (Conv(**WINDOW), [(2, 4, 9, 10), (6, 4, 3, 2)]),
    (Conv(**WINDOW, groups=2), [(1, 4, 9, 10), (6, 2, 3, 2)]),
    (Conv(**WINDOW, groups=4), [(1, 4, 9, 10), (8, 1, 3, 2)]),
    (
        ConvTranspose(strides=(3, 2), pads=(1, 0, 2, 1), dilations=(1, 2), output_padding=(1, 0)),
        [(1, 4, 5, 6), (4, 3, 3, 2)],
    ),
    (
        ConvTranspose(strides=(1, 2), pads=(0, 1, 0, 0), dilations=(2, 1), output_padding=(0, 1), groups=2),
        [(1, 4, 5, 6), (4, 3, 2, 3)],
    ),
    (Gemm(), [(3, 4, 5), (6, 5)]),
    (Add(), [(2, 3, 4), (3, 1)]),
    (Mul(), [(1, 3, 1, 1), (2, 3, 4, 5)]),
    (AveragePool(**POOL), [(1, 2, 9, 10)]),
    (AveragePool(**POOL, ceil_mode=True, count_include_pad=True), [(1, 2, 9, 10)]),
    (MaxPool(**POOL, ceil_mode=True), [(1, 2, 9, 10)]),
    (ReduceMean(axes=(2, 3)), [(2, 3, 4, 5)]),
    (ReduceMean(axes=(2,), keepdims=False), [(2, 3, 4, 5)]),
    (Concat(axis=1), [(2, 3, 4), (2, 1, 4), (2, 5, 4)]),
    (Pad(pads=(0, 1, 2, 0, 0, 3)), [(2, 3, 4)]),
    (Pad(pads=(0, 1, 2, 0, 0, 3), mode="edge"), [(2, 3, 4)]),
    (Pad(pads=(0, 1, 2, 0, 0, 3), mode="reflect"), [(2, 3, 4)]),
    (Reshape(shape=(2, 12)), [(2, 3, 4)]),
    (Reshape(shape=(2, 3, 2, 2)), [(2, 3, 4)]),
    (Transpose(perm=(0, 2, 1)), [(2, 3, 4)]),
    (_resize(), [(1, 2, 7, 9)]),
    (_resize(coordinates="align_corners"), [(1, 2, 7, 9)]),
    (_resize(mode="nearest", coordinates="asymmetric", nearest="floor"), [(1, 2, 7, 9)]),
    (Slice(starts=(0, 2), stops=(5, 9), steps=(2, 3)), [(6, 9)]),
    (Slice(starts=(5, 8), stops=(-1, 1), steps=(-1, -2)), [(6, 9)]),
    (Softmax(axis=1), [(2, 3, 4)]),
    (Unary(function="tanh"), [(2, 3)]),
]
IDS = [f"{index}-{case[0].kind}" for index, case in enumerate(CASES)]


def _tensors(op: Operator, shapes: list[tuple[int, ...]]) -> tuple[list[Tensor], Tensor]:
    inputs = [quantized(f"x{i}", shape, "int8", 0.1, 3) for i, shape in enumerate(shapes)]
    if isinstance(op, Conv | ConvTranspose | Gemm):
        inputs[1] = quantized("w", shapes[1], "int8", 0.1, 1)
    (shape,) = op.output_shapes(inputs)
    return inputs, quantized("y", shape, "int8", 0.1, 3)


def _part(y: Array, axis: int, start: int, stop: int) -> Array:
    return np.take(y, range(start, stop), axis=axis)


def _own_axis(source: Tensor, output: Tensor, op: Operator, axis: int) -> int | None:
    """The operand's axis that an axis of the output stands for; None where a broadcast operand has none."""
    own = axis - (len(output.shape) - len(source.shape)) if isinstance(op, Add | Mul) else axis
    return own if 0 <= own < len(source.shape) else None


@pytest.mark.parametrize(("op", "shapes"), CASES, ids=IDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_inputs_outside_the_range_do_not_matter(op: Operator, shapes: list[tuple[int, ...]], data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    inputs, y = _tensors(op, shapes)
    values = [integers(rng, "int8", shape) for shape in shapes]
    axis = data.draw(st.integers(0, len(y.shape) - 1))
    start = data.draw(st.integers(0, y.shape[axis] - 1))
    stop = data.draw(st.integers(start + 1, y.shape[axis]))
    before = _part(op.reference(inputs, [y], values)[0], axis, start, stop)
    for index, tensor in enumerate(inputs):
        span = op.input_range(inputs, [y], index, axis, start, stop)
        own = _own_axis(tensor, y, op, axis)
        if span is None or own is None:
            continue
        outside = [i for i in range(tensor.shape[own]) if not span[0] <= i < span[1]]
        changed = values[index].copy()
        selection: list[Any] = [slice(None)] * changed.ndim
        selection[own] = outside
        changed[tuple(selection)] = ~changed[tuple(selection)]
        after = op.reference(inputs, [y], [*values[:index], changed, *values[index + 1 :]])[0]
        np.testing.assert_array_equal(_part(after, axis, start, stop), before)


TIGHT = [case for case in CASES if isinstance(case[0], Conv | ConvTranspose | MaxPool | Pad | Slice | Concat)]


@pytest.mark.parametrize(("op", "shapes"), TIGHT, ids=[case[0].kind for case in TIGHT])
def test_the_ends_of_the_range_do_matter(op: Operator, shapes: list[tuple[int, ...]]) -> None:
    """For one output index on a spatial axis, the first and last element of the range (clipped) are read."""
    inputs, y = _tensors(op, shapes)
    y = y.replace(quant=quantized("y", y.shape, "int8", 30.0, 3).quant) if isinstance(op, Conv | ConvTranspose) else y
    axis = len(y.shape) - 1
    dim = inputs[0].shape[axis]
    values = [np.full(shape, 100 if index else -128, np.int8) for index, shape in enumerate(shapes)]
    read = 0
    for o in range(y.shape[axis]):
        span = op.input_range(inputs, [y], 0, axis, o, o + 1)
        assert span is not None
        before = _part(op.reference(inputs, [y], values)[0], axis, o, o + 1)
        for end in {span[0], span[1] - 1}:
            if not (span[0] < span[1] and 0 <= end < dim):
                continue
            changed = values[0].copy()
            changed[..., end] = 127
            after = _part(op.reference(inputs, [y], [changed, *values[1:]])[0], axis, o, o + 1)
            # A stride larger than 1 leaves inputs of a transposed convolution without a tap.
            assert isinstance(op, ConvTranspose) or not np.array_equal(before, after)
            read += not np.array_equal(before, after)
    assert read


def test_constants_and_tables_are_read_whole() -> None:
    x, w, y = plain("x", np.zeros((1, 2, 4, 4), np.float32)), plain("w", np.zeros((3, 2, 1, 1), np.float32)), None
    op = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    y = Tensor(name="y", shape=(1, 3, 4, 4), dtype="float32")
    assert op.input_range([x, w], [y], 1, 1, 0, 1) is None
    assert op.input_range([x, w], [y], 0, 1, 0, 1) is None
    table = Tensor(name="t", shape=(256,), dtype="int8")
    assert Lookup().input_range([x, table], [y], 1, 0, 0, 1) is None
    assert Lookup().input_range([x, table], [y], 0, 2, 1, 3) == (1, 3)


def test_ranges_are_not_clipped_to_the_input() -> None:
    x, w = plain("x", np.zeros((1, 1, 5, 5), np.float32)), plain("w", np.zeros((1, 1, 3, 3), np.float32))
    y = Tensor(name="y", shape=(1, 1, 5, 5), dtype="float32")
    op = Conv(strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1))
    assert op.input_range([x, w], [y], 0, 2, 0, 5) == (-1, 6)
