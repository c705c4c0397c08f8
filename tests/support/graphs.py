# SPDX-License-Identifier: Apache-2.0
"""Graphs made by hand, a node at a time, for tests of passes and verifiers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Graph, Node, QuantParams, Tensor
from mcucompiler.ir.verify import verify_graph
from mcucompiler.ops import Dequantize, Operator, Quantize
from mcucompiler.reference import execute


def quant(scale: float, zero_point: int = 0) -> QuantParams:
    """Per-tensor parameters; the scale is rounded to float32."""
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


def channel_quant(scales: list[float], axis: int = 0) -> QuantParams:
    """Symmetric per-channel parameters."""
    return QuantParams(scale=tuple(float(np.float32(s)) for s in scales), zero_point=(0,) * len(scales), axis=axis)


class GraphMaker:
    """Collects nodes and tensors; every method returns the name of the tensor that it adds."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, name: str, shape: tuple[int, ...], dtype: str = "float32", q: QuantParams | None = None) -> str:
        self.inputs.append(name)
        self.tensors[name] = Tensor(name=name, shape=shape, dtype=dtype, quant=q)
        return name

    def constant(self, data: Array, q: QuantParams | None = None) -> str:
        name = f"c{len(self.tensors)}"
        self.tensors[name] = Tensor(name=name, shape=data.shape, dtype=str(data.dtype), quant=q, data=data)
        return name

    def add(
        self, op: Operator, *inputs: str, dtype: str = "float32", q: QuantParams | None = None, name: str = ""
    ) -> str:
        name = name or f"t{len(self.tensors)}"
        (shape,) = op.output_shapes([self.tensors[i] if i else None for i in inputs])
        self.tensors[name] = Tensor(name=name, shape=shape, dtype=dtype, quant=q)
        node = f"n{len(self.nodes)}"
        self.nodes.append(Node(name=node, op=op, inputs=inputs, outputs=(name,), sources=(node,)))
        return name

    def quantize(self, value: str, q: QuantParams, dtype: str = "int8", name: str = "") -> str:
        return self.add(Quantize(), value, dtype=dtype, q=q, name=name)

    def dequantize(self, value: str, name: str = "") -> str:
        return self.add(Dequantize(), value, name=name)

    def weights(self, data: Array, q: QuantParams) -> str:
        """A dequantised constant."""
        return self.dequantize(self.constant(data, q))

    def graph(self, *outputs: str) -> Graph:
        graph = Graph(
            name="test", nodes=tuple(self.nodes), tensors=self.tensors, inputs=tuple(self.inputs), outputs=outputs
        )
        verify_graph(graph)
        return graph


def random_feeds(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Values of the whole range for integer inputs, of about [-4, 4] for float ones."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        if tensor.dtype == "float32":
            feeds[name] = rng.normal(scale=1.5, size=tensor.shape).astype(np.float32)
        else:
            lo, hi = INTEGER_RANGES[tensor.dtype]
            feeds[name] = rng.integers(lo, hi + 1, tensor.shape).astype(tensor.dtype)
    return feeds


def onnx_values(graph: Graph, feeds: dict[str, Array]) -> dict[str, Array]:
    """Outputs of a graph under their ONNX names and in ONNX types, whatever its boundary is now.

    Args:
        graph: the graph.
        feeds: values by ONNX name, float32 where the ONNX input is.
    """
    behind = dict(graph.float_boundary)
    own = {}
    for onnx, value in feeds.items():
        name = behind.get(onnx, onnx)
        tensor = graph.tensors[name]
        if name in graph.inputs:
            own[name] = _quantized(value, tensor) if value.dtype == np.float32 != np.dtype(tensor.dtype) else value
    results = execute(graph, own)
    onnx_of = {name: onnx for onnx, name in behind.items() if name in graph.outputs}
    return {
        onnx_of.get(name, name): _dequantized(value, graph.tensors[name]) if name in onnx_of else value
        for name, value in results.items()
    }


def _quantized(value: Array, tensor: Tensor) -> Array:
    (result,) = Quantize().reference((Tensor(name="x", shape=value.shape, dtype="float32"),), (tensor,), (value,))
    return result


def _dequantized(value: Array, tensor: Tensor) -> Array:
    real = Tensor(name="y", shape=value.shape, dtype="float32")
    (result,) = Dequantize().reference((tensor,), (real,), (value,))
    return result


def assert_same(before: Graph, after: Graph, seeds: int = 3) -> None:
    """Both graphs verify and give identical outputs for random inputs."""
    verify_graph(after)
    for seed in range(seeds):
        feeds = random_feeds(before, seed)
        expected, got = execute(before, feeds), onnx_values(after, feeds)
        assert list(got) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value, err_msg=name, strict=True)


def kinds(graph: Graph) -> list[str]:
    """The operators of a graph, in order."""
    return [node.op.kind for node in graph.nodes]


def checked(step: Callable[[Graph], Graph], graph: Graph) -> Graph:
    """The result of a pass, which must compute the same as the graph before, and be stable under the pass."""
    result = step(graph)
    assert_same(graph, result)
    assert kinds(step(result)) == kinds(result)
    return result
