# SPDX-License-Identifier: Apache-2.0
"""The executor of the graph: runs every operator's numpy reference, and so is the oracle of the generated program."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Array, Graph, Node, Tensor


def execute(graph: Graph, feeds: Mapping[str, Array], *, keep: bool = False) -> dict[str, Array]:
    """Run a graph.

    Args:
        graph: the graph, nodes in topological order.
        feeds: a value for each graph input, of the Graph's dtype and ONNX shape.
        keep: whether to return every activation instead of only the outputs.

    Returns:
        Values by tensor name: those of ``graph.outputs``, or with ``keep`` of all inputs and node outputs. Constants
        are only among them where they are outputs of the graph.

    Raises:
        ModelError: where a feed is missing, unknown, or of another type or shape; or from an operator.
    """
    values = _checked_feeds(graph, feeds)
    constants = {name: t.data for name, t in graph.tensors.items() if t.data is not None}
    last_use = {} if keep else _last_uses(graph)
    for position, node in enumerate(graph.nodes):
        arrays = [values.get(name, constants.get(name)) if name else None for name in node.inputs]
        values.update(zip(node.outputs, _run(graph, node, arrays), strict=True))
        for name in node.inputs:
            if last_use.get(name) == position:
                values.pop(name, None)
    if keep:
        return values
    return {name: values[name] if name in values else np.asarray(constants[name]) for name in graph.outputs}


def _checked_feeds(graph: Graph, feeds: Mapping[str, Array]) -> dict[str, Array]:
    wrong = sorted(set(graph.inputs) ^ set(feeds))
    if wrong:
        raise ModelError(
            "the feeds are not the graph's inputs",
            found=", ".join(sorted(feeds)) or "none",
            supported=", ".join(graph.inputs) or "none",
        )
    values = {}
    for name in graph.inputs:
        tensor, array = graph.tensors[name], np.asarray(feeds[name])
        if (array.dtype.name, array.shape) != (tensor.dtype, tensor.shape):
            raise ModelError(
                f"the value of input {name!r} is of the wrong kind",
                found=f"{array.dtype.name} {list(array.shape)}",
                supported=f"{tensor.dtype} {list(tensor.shape)}",
            )
        values[name] = array
    return values


def _last_uses(graph: Graph) -> dict[str, int]:
    """The position of the last node that reads each tensor, for those that are not outputs of the graph."""
    uses = {name: position for position, node in enumerate(graph.nodes) for name in node.inputs}
    return {name: position for name, position in uses.items() if name not in graph.outputs}


def _run(graph: Graph, node: Node, arrays: list[Array | None]) -> tuple[Array, ...]:
    outputs = graph.outs(node)
    try:
        results = node.op.reference(graph.ins(node), outputs, arrays)
    except ModelError as error:
        if error.node:
            raise
        raise ModelError(
            error.message,
            node=node.name,
            op_type=node.op.kind,
            found=error.found,
            supported=error.supported,
            hint=error.hint,
        ) from error
    for tensor, result in zip(outputs, results, strict=True):
        _check_result(node, tensor, result)
    return results


def _check_result(node: Node, tensor: Tensor, result: Array) -> None:
    if (result.dtype.name, result.shape) != (tensor.dtype, tensor.shape):
        raise ModelError(
            f"output {tensor.name!r} does not have the declared kind",
            node=node.name,
            op_type=node.op.kind,
            found=f"{result.dtype.name} {list(result.shape)}",
            supported=f"{tensor.dtype} {list(tensor.shape)}",
        )
