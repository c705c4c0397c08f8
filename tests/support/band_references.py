# SPDX-License-Identifier: Apache-2.0
"""What operators mean on a few rows, or a few columns of these, of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.ops import AveragePool, Conv, MaxPool


def apply(
    node: Node,
    tensors: list[Tensor | None],
    target: Tensor,
    values: list[Array | None],
    sides: tuple[int, int] | None = None,
) -> tuple[Array, ...]:
    """The operator on a band, which has all its rows and so no padding above or below.

    Args:
        node: the layer.
        tensors: its inputs, as the band has them.
        target: what the band makes.
        values: of the inputs.
        sides: columns of padding at the left and at the right; None for those of the layer.
    """
    op = node.op
    if isinstance(op, Conv | MaxPool | AveragePool):
        left, right = (op.pads[1], op.pads[3]) if sides is None else sides
        op = replace(op, pads=(0, left, 0, right))
    return op.reference(tensors, (target,), values)


def upsampled(
    graph: Graph, node: Node, rows: Mapping[int, Array], first: int, count: int, rng: np.random.Generator
) -> Array:
    """``count`` rows of what a layer makes of an image of which only the given rows are there, the others garbage."""
    source, *constants = graph.ins(node)
    assert source is not None
    image = rng.integers(0, 127, source.shape).astype(source.dtype)
    for row, value in rows.items():
        image[:, :, row : row + 1] = value
    values = [image, *(c and c.data for c in constants)]
    (result,) = node.op.reference(graph.ins(node), graph.outs(node), values)
    return np.asarray(result[:, :, first : first + count])
