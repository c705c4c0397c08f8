# SPDX-License-Identifier: Apache-2.0
"""What converters share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.quantization import EIGHT_BIT as EIGHT_BIT
from mcucompiler.ir.graph import QuantParams

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
