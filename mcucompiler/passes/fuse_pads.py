# SPDX-License-Identifier: Apache-2.0
"""Makes a Pad part of the window operator that reads it."""

from __future__ import annotations

from dataclasses import replace

from mcucompiler.ir.graph import INTEGER_RANGES, Graph, Node, Tensor
from mcucompiler.ops import AveragePool, Conv, MaxPool, Operator, Pad
from mcucompiler.passes.edit import Edit, merged_sources


def fuse_pads(graph: Graph) -> Graph:
    """Adds the widths of a constant Pad of spatial axes to the pads of a Conv, AveragePool or MaxPool behind it.

    * Conv: where the value is the zero point (zero for float32), which is what its own padding reads.
    * AveragePool: likewise, if padding counts as elements there, or it has none so far and then does. Not where the
      window may cover the whole unpadded input, since a mean of everything has another rounding.
    * MaxPool: where the value is the least of its type, or no greater than what the clamp in front lets pass, so that
      padding never wins, and every window reaches into the input.
    """
    edit = Edit(graph)
    for node in edit.nodes:
        if isinstance(node.op, Conv | AveragePool | MaxPool):
            pad = edit.producer(node.inputs[0])
            while pad is not None and isinstance(pad.op, Pad):
                op = _fused(edit, node, pad, pad.op)
                if op is None:
                    break
                inputs = (pad.inputs[0], *node.inputs[1:])
                node = edit.change(node, op=op, inputs=inputs, sources=merged_sources(pad, node))
                pad = edit.producer(node.inputs[0])
    return edit.finish()


def _fused(edit: Edit, node: Node, pad: Node, pad_op: Pad) -> Operator | None:
    """The window operator with the Pad's widths, None where the meaning would change."""
    source = edit.tensor(pad.inputs[0])
    rank = len(source.shape)
    begins, ends = pad_op.pads[:rank], pad_op.pads[rank:]
    if pad_op.mode != "constant" or any((*begins[:2], *ends[:2])):
        return None
    widths = (*begins[2:], *ends[2:])
    is_zero = pad_op.value == (0 if source.quant is None else source.quant.z)
    match node.op:
        case Conv(pads=pads) if is_zero:
            return replace(node.op, pads=_sum(pads, widths))
        case AveragePool() if is_zero:
            return _fused_mean(node.op, source, widths)
        case MaxPool() if pad_op.value <= _least(edit, pad, source):
            return _fused_maximum(node.op, widths)
        case _:
            return None


def _fused_mean(op: AveragePool, source: Tensor, widths: tuple[int, ...]) -> AveragePool | None:
    if op.ceil_mode or (any(op.pads) and not op.count_include_pad):
        return None
    if all(kernel >= dim for kernel, dim in zip(op.kernel, source.shape[2:], strict=True)):
        return None
    pads = _sum(op.pads, widths)
    return replace(op, pads=pads, count_include_pad=True) if _reaches_input(op, pads) else None


def _fused_maximum(op: MaxPool, widths: tuple[int, ...]) -> MaxPool | None:
    pads = _sum(op.pads, widths)
    return replace(op, pads=pads) if not op.ceil_mode and _reaches_input(op, pads) else None


def _least(edit: Edit, pad: Node, source: Tensor) -> float:
    """A lower bound of the values that are padded."""
    if source.dtype not in INTEGER_RANGES:
        return float("-inf")
    producer = edit.producer(pad.inputs[0])
    clamp = getattr(producer.op, "clamp", None) if producer is not None else None
    return float(INTEGER_RANGES[source.dtype][0] if clamp is None else clamp.lo)


def _reaches_input(op: AveragePool | MaxPool, pads: tuple[int, ...]) -> bool:
    """Whether no window lies in the padding alone: the condition of ONNX Runtime, pads below the kernel."""
    return all(pad < kernel for pad, kernel in zip(pads, (*op.kernel, *op.kernel), strict=True)) and all(
        dilation == 1 for dilation in op.dilations
    )


def _sum(pads: tuple[int, ...], widths: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(pads, widths, strict=True))
