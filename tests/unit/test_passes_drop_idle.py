# SPDX-License-Identifier: Apache-2.0
"""Channels that never change are left out, and nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Add, Clamp, Conv
from mcucompiler.passes.drop_idle_channels import drop_idle_channels
from tests.support.graphs import GraphMaker, checked, quant

RELU = Clamp(lo=-128, hi=127)


def conv(pads: int = 0, groups: int = 1) -> Conv:
    return Conv(strides=(1, 1), pads=(pads,) * 4, dilations=(1, 1), groups=groups, clamp=RELU)


class Layers:
    """A graph of quantised convolutions on 5x5 pixels; outputs have the zero point -128."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.make = GraphMaker()
        self.last = self.make.input("x", (1, 3, 5, 5), "int8", quant(0.02, 5))

    def add(
        self, shape: tuple[int, ...], dead: Sequence[int] = (), *, pads: int = 0, groups: int = 1, bias: int = -(2**24)
    ) -> str:
        """A convolution with weights of this shape, and a large bias in the ``dead`` channels."""
        weights = self.make.constant(self.rng.integers(-127, 128, shape).astype(np.int8), quant(0.01, 0))
        biases = self.rng.integers(-2000, 2000, shape[0]).astype(np.int32)
        biases[list(dead)] = bias
        given = self.make.constant(biases)
        self.last = self.make.add(conv(pads, groups), self.last, weights, given, dtype="int8", q=quant(0.2, -128))
        return self.last

    def widths(self, result: str | None = None) -> tuple[int, ...]:
        """Channels of each node after the pass, which must compute the same."""
        after = checked(drop_idle_channels, self.make.graph(result or self.last))
        return widths(after)


def widths(graph: Graph) -> tuple[int, ...]:
    return tuple(graph.outs(node)[0].shape[1] for node in graph.nodes)


def test_zero_channels_go_from_the_whole_chain_wherever_they_died() -> None:
    layers = Layers()
    layers.add((16, 3, 1, 1), dead=range(4))
    layers.add((16, 1, 3, 3), dead=range(2, 9), pads=1, groups=16)
    layers.add((6, 16, 1, 1))
    assert layers.widths() == (8, 8, 6)  # 9 of 16 are idle behind the depthwise convolution, and go by fours


def test_a_depthwise_convolution_may_wake_a_channel() -> None:
    layers = Layers()
    layers.add((8, 3, 1, 1), dead=range(4))
    layers.add((8, 1, 3, 3), pads=1, groups=8)
    layers.add((6, 8, 1, 1))
    assert layers.widths() == (4, 4, 6)  # its value is then that of a bias, which the last one adds to its own


@pytest.mark.parametrize(("pads", "left"), [(0, 4), (1, 8)])
def test_other_values_go_where_no_padding_is_read(pads: int, left: int) -> None:
    layers = Layers()
    layers.add((8, 3, 1, 1), dead=(1, 3, 4, 7), bias=2**24)  # 127 everywhere
    layers.add((6, 8, 3, 3), pads=pads)
    assert layers.widths() == (left, 6)


def test_zero_points_go_under_padding_too_and_through_several_layers() -> None:
    layers = Layers()
    layers.add((8, 3, 1, 1), dead=range(5))
    layers.add((8, 8, 3, 3), dead=range(1, 7), pads=1)
    layers.add((4, 8, 3, 3), pads=1)
    assert layers.widths() == (4, 4, 4)


def test_what_others_read_stays() -> None:
    layers = Layers()
    first = layers.add((8, 3, 1, 1), dead=range(4))
    second = layers.add((8, 8, 1, 1), dead=range(4))
    total = layers.make.add(Add(), first, second, dtype="int8", q=quant(0.4, 0))
    assert layers.widths(total) == (8, 8, 8)
    assert Layers().add((8, 3, 1, 1), dead=range(8))
    alone = Layers()
    alone.add((8, 3, 1, 1), dead=range(8))
    assert alone.widths() == (8,)


def test_many_go_by_two_dozen_and_not_all() -> None:
    layers = Layers()
    layers.add((120, 3, 1, 1), dead=range(70))
    layers.add((8, 120, 1, 1), dead=range(8))
    layers.add((4, 8, 1, 1))
    assert layers.widths() == (72, 4, 4)


def test_live_networks_are_left_alone() -> None:
    layers = Layers()
    layers.add((16, 3, 1, 1))
    layers.add((16, 1, 3, 3), pads=1, groups=16)
    layers.add((6, 16, 1, 1))
    graph = layers.make.graph(layers.last)
    after = drop_idle_channels(graph)
    assert after.nodes == graph.nodes
    assert dict(after.tensors) == dict(graph.tensors)
