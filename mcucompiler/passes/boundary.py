# SPDX-License-Identifier: Apache-2.0
"""Leaves a leading Quantize and a trailing Dequantize to the caller."""

from __future__ import annotations

from mcucompiler.ir.graph import Graph
from mcucompiler.ops import Dequantize, Quantize
from mcucompiler.passes.edit import Edit


def leave_quantization_to_caller(graph: Graph) -> Graph:
    """Makes float inputs and outputs of the graph integer where only their quantised values matter.

    A float32 input that is read by one Quantize only gives way to the integer tensor behind it, a float32 output that
    a Dequantize computes to the integer tensor before it. ``Graph.float_boundary`` maps the ONNX names to them.
    """
    edit = Edit(graph)
    edit.inputs = tuple(_integer_input(edit, name) for name in graph.inputs)
    for name in graph.outputs:
        integer = _integer_output(edit, name)
        edit.outputs = tuple(integer if output == name else output for output in edit.outputs)
    return edit.finish()


def _integer_input(edit: Edit, name: str) -> str:
    quantize = edit.sole_user(name)
    if quantize is None or not isinstance(quantize.op, Quantize) or quantize.outputs[0] in edit.outputs:
        return name
    edit.remove(quantize)
    edit.float_boundary[name] = quantize.outputs[0]
    return quantize.outputs[0]


def _integer_output(edit: Edit, name: str) -> str:
    dequantize = edit.producer(name)
    if dequantize is None or not isinstance(dequantize.op, Dequantize) or edit.users(name):
        return name
    integer = dequantize.inputs[0]
    if edit.producer(integer) is None or integer in edit.outputs:
        return name
    edit.remove(dequantize)
    edit.float_boundary[name] = integer
    return integer
