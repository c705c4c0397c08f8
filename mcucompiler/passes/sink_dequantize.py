# SPDX-License-Identifier: Apache-2.0
"""Moves Dequantize behind operators that only pick elements, so that these work on integers."""

from __future__ import annotations

from mcucompiler.ir.graph import INTEGER_RANGES, Graph, Node, Tensor
from mcucompiler.ops import Cast, Dequantize, MaxPool, Operator, Pad, Reshape, Slice, Transpose, Unary
from mcucompiler.passes.edit import Edit
from mcucompiler.passes.movement import (
    ELEMENTWISE,
    clip_bounds,
    is_exact,
    is_movement,
    moved_quant,
    on_integers,
    quantized_value,
)


def sink_dequantize(graph: Graph) -> Graph:
    """``f(dequantize(q))`` becomes ``dequantize(f(q))`` where both are equal for all values.

    * Movements (Reshape, Transpose, Slice, Concat of equally quantised operands, MaxPool, nearest Resize, Pad by a
      value that the tensor can hold).
    * Relu, and Clip with bounds that the tensor can hold, as ``clip_int``: but only in front of operators that are not
      elementwise, since islands of elementwise operators become a table of the value they start from.
    * A Cast of 8-bit integers to float32, as stands in front of image normalisation, moves likewise.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if edit.out(node).dtype != "float32":
            continue
        if is_movement(node.op):
            _sink_movement(edit, node)
        elif clip_bounds(node.op) is not None:
            _sink_clip(edit, node)
    return edit.finish()


def _sources(edit: Edit, node: Node, kind: type[Operator]) -> tuple[Node, ...] | None:
    """The producers of all inputs, if all are of one kind."""
    producers = tuple(edit.producer(name) for name in node.inputs)
    found = tuple(p for p in producers if p is not None and isinstance(p.op, kind))
    return found if found and len(found) == len(node.inputs) else None


def _sink_movement(edit: Edit, node: Node) -> None:
    sources = _sources(edit, node, Dequantize)
    if sources is None:
        casts = _sources(edit, node, Cast)
        if casts is not None and isinstance(node.op, Reshape | Transpose | Slice):
            source = edit.tensor(casts[0].inputs[0])
            if source.dtype in ("int8", "uint8"):
                _rebuild(edit, node, node.op, casts, source.replace(data=None, shape=edit.out(node).shape))
        return
    integers = [edit.tensor(source.inputs[0]) for source in sources]
    first = integers[0]
    if any((other.dtype, other.quant) != (first.dtype, first.quant) for other in integers):
        return
    if isinstance(node.op, Pad) and node.op.mode == "constant" and not _can_hold(first, node.op.value):
        return
    if isinstance(node.op, MaxPool) and first.quant is not None and not first.quant.per_tensor:
        return
    shape = edit.out(node).shape
    quant = first.quant if len(integers) > 1 else moved_quant(node.op, first, shape)
    if quant is None or (len(integers) > 1 and quant.axis is not None):
        return
    _rebuild(edit, node, on_integers(node.op, first), sources, first.replace(data=None, shape=shape, quant=quant))


def _can_hold(tensor: Tensor, value: float) -> bool:
    return tensor.quant is not None and tensor.quant.per_tensor and is_exact(value, tensor)


def _sink_clip(edit: Edit, node: Node) -> None:
    sources, bounds = _sources(edit, node, Dequantize), clip_bounds(node.op)
    if (
        sources is None
        or bounds is None
        or any(isinstance(user.op, ELEMENTWISE) for user in edit.users(node.outputs[0]))
    ):
        return
    tensor = edit.tensor(sources[0].inputs[0])
    if tensor.quant is None or not tensor.quant.per_tensor:
        return
    if not all(abs(bound) == float("inf") or is_exact(bound, tensor) for bound in bounds):
        return
    lo, hi = (quantized_value(bound, tensor) for bound in bounds)
    least, greatest = INTEGER_RANGES[tensor.dtype]
    op = Unary(function="clip_int", params=(float(max(lo, least)), float(min(hi, greatest))))
    _rebuild(edit, node, op, sources, tensor.replace(data=None))


def _rebuild(edit: Edit, node: Node, op: Operator, sources: tuple[Node, ...], result: Tensor) -> None:
    """``node`` on the integers behind ``sources``, and one of these behind it."""
    output = node.outputs[0]
    integer = edit.add_tensor(result, f"{output}@integer")
    edit.change(node, op=op, inputs=[source.inputs[0] for source in sources], output=integer.name)
    names = [name for source in sources for name in source.sources]
    edit.add_node(f"{node.name}@dequantize", sources[0].op, (integer.name,), output, names)
