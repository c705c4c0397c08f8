# SPDX-License-Identifier: Apache-2.0
"""Holds uint8 activations and constants as int8 inside the network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import Graph, Node, Tensor
from mcucompiler.ops import (
    Add,
    AveragePool,
    Cast,
    Clamp,
    Conv,
    ConvTranspose,
    Div,
    FlipSign,
    Gemm,
    Lookup,
    Mul,
    Operator,
    Pad,
    ReduceMean,
    Resize,
    Sub,
)
from mcucompiler.passes.edit import Edit

_SHIFT = 128
_CLAMPED = (Add, AveragePool, Conv, ConvTranspose, Div, Gemm, Mul, ReduceMean, Sub)


def make_signed(graph: Graph) -> Graph:
    """Shifts quantised uint8 tensors by -128, zero points included, so that kernels need to know int8 only.

    The graph's own inputs and outputs keep their type: a FlipSign stands behind a uint8 input and in front of a uint8
    output, except where a Lookup is there anyway, which reads or writes uint8 as well. Shifted tensors keep their
    names and say ``onnx_offset=128``.

    Some operators work on the integers as they are, not on what they stand for: Cast, Resize that truncates toward
    zero, and those Add and Mul in which some pair of elements is rounded otherwise 128 lower, where float32 has other
    neighbors. They stay uint8, between FlipSigns.
    """
    edit = Edit(graph)
    kept = _settled(graph)
    on_bits = {node.name for node in graph.nodes if works_on_bits(graph, node)}
    for name in graph.inputs:
        if _is_unsigned(graph.tensors[name]):
            _flip_input(edit, name, on_bits)
    for name in graph.outputs:
        if _is_unsigned(graph.tensors[name]) and name not in graph.inputs:
            _flip_output(edit, name, on_bits)
    for node in edit.nodes:
        if node.name in on_bits:
            kept |= _surround(edit, node, kept)
    names = dict.fromkeys(name for node in edit.nodes for name in (*node.inputs, *node.outputs) if name)
    shifted = [name for name in names if name not in kept and _is_unsigned(edit.tensor(name))]
    for name in shifted:
        edit.set_tensor(_shifted(edit.tensor(name)))
    for node in edit.nodes:
        if node.outputs[0] in shifted:
            _adapt(edit, node)
    return edit.finish()


def _settled(graph: Graph) -> set[str]:
    """Tensors that keep their type: those of the boundary, and those next to a FlipSign that is there already."""
    flips = [node for node in graph.nodes if isinstance(node.op, FlipSign)]
    return {*graph.inputs, *graph.outputs, *(name for node in flips for name in (*node.inputs, *node.outputs))}


def works_on_bits(graph: Graph, node: Node) -> bool:
    """Whether a node depends on integers as they are, not only on what they stand for."""
    op = node.op
    if isinstance(op, Cast) or (isinstance(op, Resize) and op.truncate and op.mode == "linear"):
        return True
    return isinstance(op, Add | Mul) and _is_rounded_otherwise(graph, node)


def _is_rounded_otherwise(graph: Graph, node: Node) -> bool:
    """Whether a sum or product of uint8 tensors has a pair of elements with another result once all are int8."""
    tensors = [graph.tensors[name] for name in (*node.inputs, *node.outputs)]
    if not all(_is_unsigned(tensor) for tensor in tensors):
        return False
    pairs = np.divmod(np.arange(1 << 16), 1 << 8)
    probes = [tensor.replace(name=f"probe{i}", shape=(1 << 16,), data=None) for i, tensor in enumerate(tensors)]
    (unsigned,) = node.op.reference(probes[:2], probes[2:], [x.astype(np.uint8) for x in pairs])
    op, probes = _shifted_operator(node.op), [_shifted(probe) for probe in probes]
    (signed,) = op.reference(probes[:2], probes[2:], [(x - _SHIFT).astype(np.int8) for x in pairs])
    return not np.array_equal(unsigned, signed.astype(np.int16) + _SHIFT)


def _takes_unsigned(node: Node, on_bits: set[str]) -> bool:
    return isinstance(node.op, Lookup | FlipSign) or node.name in on_bits


def _is_unsigned(tensor: Tensor) -> bool:
    return tensor.dtype == "uint8" and tensor.quant is not None


def _flip_input(edit: Edit, name: str, on_bits: set[str]) -> None:
    """Puts a FlipSign between a uint8 input and all readers but those that take uint8."""
    readers = [node for node in edit.users(name) if not _takes_unsigned(node, on_bits)]
    if not readers:
        return
    signed = edit.add_tensor(_shifted(edit.tensor(name)), f"{name}@int8")
    for node in readers:
        edit.read_instead(node, name, signed.name)
    edit.add_node(f"{name}@flip_sign", FlipSign(), (name,), signed.name)


def _flip_output(edit: Edit, name: str, on_bits: set[str]) -> None:
    """Puts a FlipSign in front of a uint8 output, unless its producer can write it and nothing else reads it."""
    producer = edit.producer(name)
    readers = [node for node in edit.users(name) if not _takes_unsigned(node, on_bits)]
    if producer is None or (_takes_unsigned(producer, on_bits) and not readers):
        return
    inner = edit.add_tensor(edit.tensor(name), f"{name}@int8")
    edit.change(producer, output=inner.name)
    for node in readers:
        edit.read_instead(node, name, inner.name)
    edit.add_node(f"{name}@flip_sign", FlipSign(), (inner.name,), name)


def _shifted(tensor: Tensor) -> Tensor:
    quant = tensor.quant
    if quant is not None:
        quant = replace(quant, zero_point=tuple(zero - _SHIFT for zero in quant.zero_point))
    data = tensor.data
    if data is not None:
        data = (data.astype(np.int16) - _SHIFT).astype(np.int8)
    return tensor.replace(dtype="int8", quant=quant, data=data, onnx_offset=_SHIFT)


def _surround(edit: Edit, node: Node, kept: set[str]) -> set[str]:
    """Gives a node uint8 copies of its inner tensors that are to be shifted; the names of these copies."""
    copies: set[str] = set()
    output = node.outputs[0]
    for source in dict.fromkeys(name for name in node.inputs if name and name not in kept):
        if not _is_unsigned(edit.tensor(source)):
            continue
        copy = edit.add_tensor(edit.tensor(source), f"{source}@uint8")
        if not copy.is_constant:
            edit.add_node(f"{source}@flip_sign", FlipSign(), (source,), copy.name)
        node = edit.read_instead(node, source, copy.name)
        copies.add(copy.name)
    if output not in kept and _is_unsigned(edit.tensor(output)):
        copy = edit.add_tensor(edit.tensor(output), f"{output}@uint8")
        edit.change(node, output=copy.name)
        edit.add_node(f"{output}@flip_sign", FlipSign(), (copy.name,), output)
        copies.add(copy.name)
    return copies


def _adapt(edit: Edit, node: Node) -> None:
    """Brings what an operator with a shifted output holds in units of its tensors to the shifted units."""
    if isinstance(node.op, Lookup):
        table = edit.tensor(node.inputs[1])
        moved = edit.add_tensor(_shifted(table).replace(onnx_offset=0), f"{node.name}@table")
        edit.change(node, inputs=(node.inputs[0], moved.name))
    else:
        edit.change(node, op=_shifted_operator(node.op))


def _shifted_operator(op: Operator) -> Operator:
    if isinstance(op, _CLAMPED) and op.clamp is not None:
        return replace(op, clamp=Clamp(lo=op.clamp.lo - _SHIFT, hi=op.clamp.hi - _SHIFT))
    if isinstance(op, Pad) and op.mode == "constant":
        return replace(op, value=op.value - _SHIFT)
    return op
