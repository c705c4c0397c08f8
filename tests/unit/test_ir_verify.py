# SPDX-License-Identifier: Apache-2.0
"""The graph verifier refuses every kind of damage, and says what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import Array, Graph, QuantParams, Tensor
from mcucompiler.ir.verify import verify_graph
from mcucompiler.ops import Add, Concat, Conv, Reshape, Transpose
from tests.support.graphs import GraphMaker, channel_quant, quant


def network() -> Graph:
    """x -> conv -> y -> reshape -> z, quantised, with everything that can be damaged."""
    make = GraphMaker()
    x = make.input("x", (1, 2, 4, 4), "int8", quant(0.5, 3))
    w = make.constant(np.ones((3, 2, 1, 1), np.int8), channel_quant([0.1, 0.2, 0.3]))
    bias = make.constant(np.arange(3, dtype=np.int32))
    conv = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1))
    y = make.add(conv, x, w, bias, dtype="int8", q=quant(0.25, -1), name="y")
    z = make.add(Reshape(shape=(1, 48)), y, dtype="int8", q=quant(0.25, -1), name="z")
    return make.graph(z)


def with_tensor(graph: Graph, name: str, **changes: object) -> Graph:
    return graph.replace(tensors={**graph.tensors, name: graph.tensors[name].replace(**changes)})


def unsafe_data(graph: Graph, name: str, data: Array) -> Graph:
    """A constant with data that Tensor itself would not accept unchanged."""
    tensor = graph.tensors[name].replace()
    object.__setattr__(tensor, "data", data)
    return graph.replace(tensors={**graph.tensors, name: tensor})


def with_node(graph: Graph, index: int, **changes: object) -> Graph:
    nodes = list(graph.nodes)
    nodes[index] = nodes[index].replace(**changes)
    return graph.replace(nodes=tuple(nodes))


def with_quant(graph: Graph, name: str, **changes: object) -> Graph:
    q = graph.tensors[name].quant
    assert q is not None
    return with_tensor(graph, name, quant=replace(q, **changes))


Damage = Callable[[Graph], Graph]

DAMAGES: dict[str, tuple[Damage, str]] = {
    "order": (lambda g: g.replace(nodes=g.nodes[::-1]), "nothing before it writes"),
    "cycle": (lambda g: with_node(g, 0, inputs=("z", "c1", "c2")), "nothing before it writes"),
    "missing producer": (lambda g: g.replace(nodes=g.nodes[1:]), "nothing before it writes"),
    "unknown input": (lambda g: with_node(g, 1, inputs=("nobody",)), "no tensor of the graph"),
    "unknown output": (lambda g: with_node(g, 1, outputs=("nobody",)), "no tensor of the graph"),
    "no output": (lambda g: with_node(g, 1, outputs=()), "has no output"),
    "two producers": (lambda g: with_node(g, 1, outputs=("y",)), "already written"),
    "writes constant": (lambda g: with_node(g, 1, outputs=("c2",)), "already written, an input or a constant"),
    "writes input": (lambda g: with_node(g, 1, outputs=("x",)), "already written, an input or a constant"),
    "same node name": (lambda g: with_node(g, 1, name=g.nodes[0].name), "2 nodes are called 'n0'"),
    "no node name": (lambda g: with_node(g, 1, name=""), "1 nodes are called ''"),
    "misnamed": (
        lambda g: g.replace(tensors={**g.tensors, "y": g.tensors["y"].replace(name="other")}),
        "is called 'other'",
    ),
    "shape": (lambda g: with_tensor(g, "z", shape=(1, 47)), "(1, 47) is declared"),
    "zero dimension": (lambda g: with_tensor(g, "x", shape=(0, 2, 4, 4)), "has the shape (0, 2, 4, 4)"),
    "negative dimension": (lambda g: with_tensor(g, "x", shape=(1, -2, 4, 4)), "has the shape"),
    "dtype": (lambda g: with_tensor(g, "y", dtype="float16"), "unknown element type 'float16'"),
    "float quantised": (lambda g: with_tensor(g, "y", dtype="float32"), "is float32 and has quantisation"),
    "zero scale": (lambda g: with_quant(g, "y", scale=(0.0,)), "not positive, finite"),
    "negative scale": (lambda g: with_quant(g, "y", scale=(-1.0,)), "not positive, finite"),
    "infinite scale": (lambda g: with_quant(g, "y", scale=(float("inf"),)), "not positive, finite"),
    "nan scale": (lambda g: with_quant(g, "y", scale=(float("nan"),)), "not positive, finite"),
    "double scale": (lambda g: with_quant(g, "y", scale=(0.1,)), "not positive, finite float32"),
    "zero point": (lambda g: with_quant(g, "y", zero_point=(128,)), "zero points outside int8: 128"),
    "zero points": (lambda g: with_quant(g, "y", zero_point=(0, 0)), "1 scales and 2 zero points"),
    "no axis": (lambda g: with_quant(g, "c1", axis=None), "3 scales and no axis"),
    "wrong axis": (lambda g: with_quant(g, "c1", axis=4), "along axis 4 of 4"),
    "short axis": (lambda g: with_quant(g, "c1", axis=1), "3 scales along an axis of 2"),
    "channel activation": (
        lambda g: with_tensor(g, "x", quant=channel_quant([0.5, 0.5], axis=1)),
        "activation quantised per channel",
    ),
    "offset": (lambda g: with_tensor(g, "y", onnx_offset=64), "the offset 64"),
    "data shape": (lambda g: unsafe_data(g, "c2", np.zeros(4, np.int32)), "holds data of shape (4,)"),
    "data type": (lambda g: unsafe_data(g, "c2", np.zeros(3, np.int64)), "holds int64 data"),
    "writeable": (lambda g: unsafe_data(g, "c2", np.zeros(3, np.int32)), "can be written to"),
    "no inputs": (lambda g: g.replace(inputs=()), "the graph has no inputs"),
    "no outputs": (lambda g: g.replace(outputs=()), "the graph has no outputs"),
    "unknown graph output": (lambda g: g.replace(outputs=("nobody",)), "'nobody' of the graph's outputs is no tensor"),
    "unwritten output": (
        lambda g: g.replace(
            outputs=("z", "loose"), tensors={**g.tensors, "loose": Tensor(name="loose", shape=(1,), dtype="int8")}
        ),
        "nothing writes the graph's output 'loose'",
    ),
    "twice an output": (lambda g: g.replace(outputs=("z", "z")), "'z' is 2 times"),
    "constant input": (lambda g: g.replace(inputs=("x", "c2")), "'c2' of the graph's inputs is a constant"),
    "operator's own condition": (lambda g: with_tensor(g, "y", quant=None), "not quantized"),
    "bias": (lambda g: unsafe_bias(g), "bias"),
    "attributes": (lambda g: with_node(g, 1, op=Reshape(shape=(1, 47))), "node 'n1' (Reshape)"),
    "operator": (lambda g: with_node(g, 1, op=Transpose(perm=(0, 1))), "node 'n1' (Transpose)"),
    "axis": (lambda g: with_node(g, 1, op=Concat(axis=9)), "node 'n1' (Concat)"),
    "boundary elsewhere": (lambda g: g.replace(float_boundary={"f": "y"}), "neither input nor output"),
    "boundary not quantised": (
        lambda g: with_tensor(g, "x", quant=None).replace(float_boundary={"f": "x"}),
        "is not quantised",
    ),
    "boundary still there": (lambda g: g.replace(float_boundary={"y": "x"}), "still a tensor of the graph"),
    "boundary twice": (lambda g: g.replace(float_boundary={"f": "x", "g": "x"}), "stands for 2 float tensors"),
}


def unsafe_bias(graph: Graph) -> Graph:
    return with_tensor(graph, "c2", dtype="float32", data=np.zeros(3, np.float32))


def test_sound_graph_passes() -> None:
    verify_graph(network())
    verify_graph(network().replace(float_boundary={"image": "x", "scores": "z"}))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused(damage: str) -> None:
    change, cause = DAMAGES[damage]
    with pytest.raises(VerificationError) as caught:
        verify_graph(change(network()), "pass under test")
    assert any(cause in text for text in caught.value.causes), caught.value.causes
    assert caught.value.stage == "pass under test"
    assert caught.value.exit_code == 70


def test_all_causes_are_named() -> None:
    graph = with_quant(with_tensor(network(), "x", shape=(1, 0)), "y", scale=(0.0,))
    with pytest.raises(VerificationError) as caught:
        verify_graph(graph)
    assert len(caught.value.causes) == 2


def test_dequantised_constants_count_as_constants() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 2, 4, 4))
    w = make.weights(np.ones((3, 2, 1, 1), np.int8), channel_quant([0.1, 0.2, 0.3]))
    y = make.add(Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1)), x, w)
    verify_graph(make.graph(y))


def test_quant_of_int32_constant_may_be_per_channel() -> None:
    make = GraphMaker()
    x = make.input("x", (1, 3))
    bias = make.weights(np.arange(3, dtype=np.int32), QuantParams(scale=(0.5, 0.25, 1.0), zero_point=(0, 0, 0), axis=0))
    verify_graph(make.graph(make.add(Add(), x, bias)))
