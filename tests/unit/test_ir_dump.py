# SPDX-License-Identifier: Apache-2.0
"""Text and dot forms of a graph."""

from __future__ import annotations

import re

import numpy as np

from mcucompiler.ir.dump import dump_dot, dump_text
from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Clamp, Conv, Reshape
from tests.support.graphs import GraphMaker, channel_quant, quant


def network(name: str = "y") -> Graph:
    make = GraphMaker()
    x = make.input("x", (1, 2, 4, 4), "int8", quant(0.5, 3))
    w = make.constant(np.ones((4, 2, 1, 1), np.int8), channel_quant([0.5, 0.25, 1, 2]))
    conv = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), clamp=Clamp(lo=-1, hi=20))
    y = make.add(conv, x, w, "", dtype="int8", q=quant(0.25, -1), name=name)
    z = make.add(Reshape(shape=(1, 64)), y, dtype="int8", q=quant(0.25, -1), name="z")
    return make.graph(z).replace(float_boundary={"image": "x"}, digest="ab" * 32)


def test_text_shows_everything() -> None:
    assert re.sub(r"sha256:\w{12}", "sha256:#", dump_text(network())) == (
        'graph "test"\n'
        f"  digest {'ab' * 32}\n"
        '  input "x": int8[1, 2, 4, 4] scale=0.5 zero=3\n'
        '  output "z": int8[1, 64] scale=0.25 zero=-1\n'
        '  "image" is left to the caller as "x"\n'
        '  constant "c1": int8[4, 2, 1, 1] scale=0.5, 0.25, 1, ... zero=0, 0, 0, ... axis=0 sha256:#\n'
        '  "y": int8[1, 4, 4, 4] scale=0.25 zero=-1 = Conv(strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], '
        'groups=1, clamp=-1..20) "x", "c1", -  # "n0" from "n0"\n'
        '  "z": int8[1, 64] scale=0.25 zero=-1 = Reshape(shape=[1, 64]) "y"  # "n1" from "n1"\n'
    )


def test_text_is_stable_and_tells_constants_apart() -> None:
    assert dump_text(network()) == dump_text(network())
    graph = network()
    changed = graph.tensors["c1"].replace(data=np.zeros((4, 2, 1, 1), np.int8))
    assert dump_text(graph.replace(tensors={**graph.tensors, "c1": changed})) != dump_text(graph)


def test_names_cannot_break_lines() -> None:
    graph = network('evil"\n// */ ]; {{ x }}')
    assert len(dump_text(graph).splitlines()) == len(dump_text(network()).splitlines())
    assert len(dump_dot(graph).splitlines()) == len(dump_dot(network()).splitlines())


def test_dot_has_a_box_for_each_node_and_an_edge_for_each_activation() -> None:
    text = dump_dot(network())
    assert text.splitlines()[0] == "digraph {"
    assert text.splitlines()[-1] == "}"
    assert text.count('[label="Conv(') == 1
    assert text.count('[label="Reshape(') == 1
    assert re.findall(r"(\w+) -> (\w+)", text) == [("i0", "n0"), ("n0", "n1"), ("n1", "o0")]
