# SPDX-License-Identifier: Apache-2.0
"""Squeeze-excite in two passes: what is scaled is computed twice, so that it need not be kept until its scale is known.

A squeeze-excite block multiplies an image by a scale for each channel that depends on the mean of that
very image. Layer by layer the image waits for its mean. With its layers repeated in front of the
product, a first stream makes the mean alone, and a second one makes the image again and scales it row
by row.
"""

from __future__ import annotations

from collections.abc import Iterable

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import AveragePool, Mul, ReduceMean
from mcucompiler.stream.images import IMAGE_RANK, ROW_AXIS

AGAIN = "@again"
"""Suffix of the names of tensors and nodes that are repeated."""

_MOST_REPEATED = 4


def in_two_passes(graph: Graph) -> Graph | None:
    """The graph with the layers in front of each squeeze-excite product repeated; None where there is no such product.

    Every product is computed from equal values as before, so the graph means the same.
    """
    nodes: list[Node] = []
    tensors: list[Tensor] = []
    for node in graph.nodes:
        image = _scaled_image(graph, node)
        chain = _chain(graph, image) if image is not None else ()
        for repeated in chain:
            tensors.append(graph.tensors[repeated.outputs[0]].replace(name=repeated.outputs[0] + AGAIN))
            nodes.append(_again(repeated, {earlier.outputs[0] for earlier in chain}))
        nodes.append(_reading(node, {earlier.outputs[0] for earlier in chain}) if chain else node)
    return graph.with_nodes(nodes, tensors) if tensors else None


def repeated_macs(graph: Graph, nodes: Iterable[Node]) -> int:
    """Multiply-accumulates of those nodes that are repetitions."""
    return sum(n.op.macs(graph.ins(n), graph.outs(n)) for n in nodes if n.name.endswith(AGAIN))


def _scaled_image(graph: Graph, node: Node) -> str | None:
    """The image that a node multiplies by scales that follow from the mean of the image; None for other nodes."""
    if not isinstance(node.op, Mul) or len(node.inputs) != 2:
        return None
    for image, scale in (node.inputs, node.inputs[::-1]):
        shape, extents = graph.tensors[image].shape, graph.tensors[scale].shape
        channels = len(shape) == len(extents) == IMAGE_RANK and extents[ROW_AXIS:] == (1, 1) != shape[ROW_AXIS:]
        if channels and any(_is_mean(user) for user in graph.consumers[image]) and _follows(graph, scale, image):
            return image
    return None


def _is_mean(node: Node) -> bool:
    return isinstance(node.op, ReduceMean | AveragePool)


def _follows(graph: Graph, name: str, image: str) -> bool:
    """Whether a tensor is computed from an image through its mean, by nodes with one activation each."""
    while name in graph.producer:
        node = graph.producer[name]
        sources = _activations(graph, node)
        if len(sources) != 1:
            return False
        (name,) = sources
        if name == image:
            return _is_mean(node)
    return False


def _activations(graph: Graph, node: Node) -> list[str]:
    """The inputs of a node that are computed."""
    return [name for name in node.inputs if name and not graph.tensors[name].is_constant]


def _chain(graph: Graph, image: str) -> tuple[Node, ...]:
    """The layers to repeat: back to the smallest tensor from which a few layers with one input each make the image."""
    found: list[Node] = []
    best: tuple[int, int] = (graph.tensors[image].size_bytes, 0)
    name = image
    while name in graph.producer and len(found) < _MOST_REPEATED:
        node = graph.producer[name]
        sources = _activations(graph, node)
        if len(sources) != 1 or len(node.outputs) != 1 or len(graph.tensors[sources[0]].shape) != IMAGE_RANK:
            break
        found.append(node)
        (name,) = sources
        best = min(best, (graph.tensors[name].size_bytes, len(found)))
    return tuple(reversed(found[: best[1]]))


def _again(node: Node, repeated: set[str]) -> Node:
    return _reading(node, repeated).replace(
        name=node.name + AGAIN, outputs=tuple(name + AGAIN for name in node.outputs)
    )


def _reading(node: Node, repeated: set[str]) -> Node:
    """A node that reads repeated tensors in place of the first ones."""
    return node.replace(inputs=tuple(name + AGAIN if name in repeated else name for name in node.inputs))
