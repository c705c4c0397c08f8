# SPDX-License-Identifier: Apache-2.0
"""What converters share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.quantization import EIGHT_BIT as EIGHT_BIT
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.ops import Operator, Transpose

Converter = Callable[[Builder, OnnxNode], None]
"""Emits the IR nodes of one ONNX node; raises ModelError or UnsupportedOperatorError, which name the node."""

Table = Mapping[tuple[str, str], Converter]
"""Converters by (domain, op type)."""


def output_dtype(b: Builder, node: OnnxNode, zero_point: int, default: str) -> str:
    """The type of a quantised output, which is that of its zero point."""
    value = b.optional_constant(node, zero_point, "zero point of the output")
    dtype = default if value is None else str(value.dtype)
    if dtype not in EIGHT_BIT:
        raise node.unsupported(f"{dtype} output; supported: int8 and uint8")
    return dtype


def axes_of(node: OnnxNode, axes: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Axes made non-negative and ascending, each given once."""
    if any(not -rank <= axis < rank for axis in axes):
        raise node.invalid("an axis is out of range", found=f"axes {list(axes)}", supported=f"{-rank} to {rank - 1}")
    normal = tuple(sorted({axis % rank for axis in axes}))
    if len(normal) != len(axes):
        raise node.invalid("an axis is given twice", found=f"axes {list(axes)}")
    return normal


def axis_of(node: OnnxNode, axis: int, rank: int) -> int:
    """One axis made non-negative."""
    return axes_of(node, (axis,), rank)[0]


def scaled_quant(quant: QuantParams, factor: float) -> QuantParams:
    """The parameters of a per-tensor quantised value times a positive number, rounded to float32."""
    return QuantParams(scale=(float(np.float32(factor) * quant.s),), zero_point=quant.zero_point)


def stated_axes(b: Builder, node: OnnxNode, index: int = 1) -> tuple[int, ...] | None:
    """The axes of Squeeze, ReduceMean and the like: an attribute in old opsets, an input in new ones."""
    if "axes" in node.attributes:
        return node.ints("axes", ())
    if node.input(index):
        return b.integers(node, index, "axes")
    return None


def works_on_channels_last(node: OnnxNode) -> bool:
    """Whether a node takes and gives images as [N, *S, C], as ONNX Runtime's own operators may."""
    return node.op_type == "NhwcMaxPool" or bool(node.get("channels_last", 0))


def channels_first(b: Builder, node: OnnxNode, x: Tensor, *, last: bool) -> Tensor:
    """An input in ONNX's order; where ``last`` says so it comes as [N, *S, C]."""
    if not last:
        return x
    rank = len(x.shape)
    perm = (0, rank - 1, *range(1, rank - 1))
    return b.tensors[b.emit(node, Transpose(perm=perm), [x.name], dtype=x.dtype, transparent=True)]


def emit_image(
    b: Builder,
    node: OnnxNode,
    op: Operator,
    inputs: Sequence[str],
    *,
    last: bool,
    dtype: str,
    quant: QuantParams | None = None,
    claims: Mapping[int, QuantParams] | None = None,
    transparent: bool = False,
) -> None:
    """The operator of a node whose image went through ``channels_first``, and the way back.

    Args:
        b: the graph under construction.
        node: the ONNX node; its first output is the result.
        op: its operator in ONNX's order.
        inputs: as for ``Builder.emit``; so are the others.
        last: whether the node gives [N, *S, C].
        dtype: of the output.
        quant: of the output.
        claims: under which parameters inputs are read.
        transparent: whether the output has the input's quantisation parameters.
    """
    output = "" if last else node.outputs[0]
    result = b.emit(node, op, inputs, dtype=dtype, output=output, quant=quant, claims=claims, transparent=transparent)
    if last:
        perm = (0, *range(2, len(b.tensors[result].shape)), 1)
        b.emit(node, Transpose(perm=perm), [result], dtype=dtype, output=node.outputs[0], transparent=True)
