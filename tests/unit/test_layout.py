# SPDX-License-Identifier: Apache-2.0
"""Memory orders described on other axes, and the copies that meetings of orders cost."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcucompiler.ir.graph import Graph
from mcucompiler.ir.verify import verify_graph
from mcucompiler.lower.assign import assign_layouts
from mcucompiler.lower.layout import Layout, channels_last, row_major
from mcucompiler.ops import Add, Conv, Reshape, Slice, Transpose
from tests.support.graphs import GraphMaker, quant

Q = quant(0.05, 3)


@st.composite
def factorizations(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    shape = []
    while size > 1:
        shape.append(draw(st.sampled_from([d for d in range(2, size + 1) if size % d == 0])))
        size //= shape[-1]
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(data=st.data())
def test_order_on_other_axes_is_found_exactly_where_there_is_one(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([8, 12, 24, 30]))
    view, shape = data.draw(factorizations(size)), data.draw(factorizations(size))
    layout = Layout(view=view, perm=tuple(data.draw(st.permutations(range(len(view))))))
    found = layout.permutation_of(shape)
    candidates = (Layout(view=shape, perm=perm) for perm in permutations(range(len(shape))))
    if found is None:
        assert not any(np.array_equal(candidate.order(), layout.order()) for candidate in candidates)
    else:
        assert found.view == shape
        np.testing.assert_array_equal(found.order(), layout.order())


def test_split_channels_of_an_image() -> None:
    layout = channels_last((1, 8, 5, 4)).permutation_of((1, 2, 4, 5, 4))
    assert layout == Layout(view=(1, 2, 4, 5, 4), perm=(0, 3, 4, 1, 2))


class _Maker(GraphMaker):
    def conv(self, x: str, channels: int) -> str:
        shape = (channels, self.tensors[x].shape[1], 1, 1)
        weights = self.constant(np.ones(shape, np.int8), quant(0.01))
        ones, zeros = (1, 1), (0, 0, 0, 0)
        return self.add(Conv(strides=ones, pads=zeros, dilations=ones), x, weights, dtype="int8", q=Q)

    def move(self, op: Reshape | Transpose | Slice, x: str) -> str:
        return self.add(op, x, dtype="int8", q=Q)

    def shuffle(self, x: str) -> str:
        x = self.move(Reshape(shape=(1, 2, 4, 6, 5)), x)
        return self.move(Reshape(shape=(1, 8, 6, 5)), self.move(Transpose(perm=(0, 2, 1, 3, 4)), x))


def copies(graph: Graph) -> int:
    before = {node.name for node in graph.nodes}
    return sum(node.name not in before for node in assign_layouts(graph).graph.nodes)


def test_channel_shuffle_is_one_copy_also_where_its_halves_are_taken() -> None:
    make = _Maker()
    x = make.shuffle(make.conv(make.input("x", (1, 3, 6, 5), "int8", Q), 8))
    lower = make.move(Slice(starts=(0,) * 4, stops=(1, 4, 6, 5), steps=(1,) * 4), x)
    upper = make.move(Slice(starts=(0, 4, 0, 0), stops=(1, 8, 6, 5), steps=(1,) * 4), x)
    assert copies(make.graph(make.conv(lower, 3), make.conv(upper, 2))) == 1


def test_shuffled_operand_goes_to_the_order_of_the_other() -> None:
    for first in (False, True):
        make = _Maker()
        x = make.conv(make.input("x", (1, 3, 6, 5), "int8", Q), 8)
        operands = (make.shuffle(x), x) if first else (x, make.shuffle(x))
        total = make.add(Add(), *operands, dtype="int8", q=Q)
        laid_out = assign_layouts(make.graph(make.conv(total, 2)))
        assert laid_out.copied_bytes == 8 * 6 * 5
        assert laid_out.layouts[total] == channels_last((1, 8, 6, 5))


def test_equally_shuffled_operands_need_no_copy_of_their_own() -> None:
    make = _Maker()
    x = make.input("x", (1, 3, 6, 5), "int8", Q)
    total = make.add(Add(), make.shuffle(make.conv(x, 8)), make.shuffle(make.conv(x, 8)), dtype="int8", q=Q)
    assert copies(make.graph(make.conv(total, 2))) == 1


def test_shuffled_output_keeps_its_name_and_is_an_image() -> None:
    make = _Maker()
    y = make.shuffle(make.conv(make.input("x", (1, 3, 6, 5), "int8", Q), 8))
    laid_out = assign_layouts(make.graph(y, make.conv(y, 2)))
    assert laid_out.graph.outputs[0] == y
    assert laid_out.layouts[y] == channels_last((1, 8, 6, 5))
    verify_graph(laid_out.graph)


def test_flattened_output_is_in_its_own_order() -> None:
    make = _Maker()
    y = make.move(Reshape(shape=(1, 120, 2)), make.conv(make.input("x", (1, 3, 6, 5), "int8", Q), 8))
    laid_out = assign_layouts(make.graph(y))
    assert laid_out.layouts[y] == row_major((1, 120, 2))
    verify_graph(laid_out.graph)
