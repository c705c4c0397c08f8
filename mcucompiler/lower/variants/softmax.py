# SPDX-License-Identifier: Apache-2.0
"""Softmax along the innermost axis: exponentials from a table for 8-bit elements, computed for float32 ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, QuantParams
from mcucompiler.lower.types import (
    Exactness,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Overlap,
    Param,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, constant, cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.ops.softmax import Softmax

STRIDED_INPUT = True
STRIDED_OUTPUT = True


def _reason(context: NodeContext) -> str | None:
    op, source, target = context.node.op, context.activation(0), context.outputs[0]
    if not isinstance(op, Softmax):
        return "not a softmax"
    for stored in (source, target):
        if stored.layout.view != stored.tensor.shape or not stored.layout.perm or stored.layout.perm[-1] != op.axis:
            return "the axis is not innermost in memory"
    return None if source.layout == target.layout else "input and output differ in memory order"


def _rows(context: NodeContext) -> dict[str, int]:
    source, target = context.activation(0), context.outputs[0]
    length = source.memory_shape[-1]
    return {
        "rows": source.tensor.size // length,
        "length": length,
        "from_stride": source.pixel_stride,
        "to_stride": target.pixel_stride,
    }


def _overlaps(context: NodeContext) -> tuple[Overlap, ...]:
    dense = context.activation(0).place.dense and context.outputs[0].place.dense
    return (Overlap(input=0, output=0),) if dense else ()


def exponentials(scale: float, count: int) -> Array:
    """For d = 0..255 the exponential of an element d steps below the greatest of its row.

    All are scaled up by the same power, so far that ``count`` of them stay within float32, as ONNX Runtime's kernel
    does: ``exp((shift - d) * scale)`` with ``shift * scale = log(FLT_MAX / count) - 5``.

    Args:
        scale: scale of the input.
        count: elements of a row.

    Returns:
        float32 [256].
    """
    ceiling = float(np.float32(math.log(np.float32(np.finfo(np.float32).max) / np.float32(count))))
    shift = max(0.0, ceiling - 5.0) / scale
    return np.array([math.exp((shift - d) * scale) for d in range(256)]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class SoftmaxTable:
    """8-bit elements: a table of exponentials, a float32 sum in the order of the row, one division each."""

    name: str = "softmax"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized 8-bit elements, the axis innermost."""
        for tensor in (context.activation(0).tensor, context.outputs[0].tensor):
            if tensor.quant is None or tensor.dtype not in ("int8", "uint8"):
                return "not quantized to 8 bits"
        return _reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0), context.outputs[0]
        qx, qy = source.tensor.quant, target.tensor.quant
        if qx is None or qy is None:
            raise ValueError("not quantized")
        table = exponentials(float(qx.s), source.memory_shape[-1])
        lo, hi = INTEGER_RANGES[target.tensor.dtype]
        instructions = source.tensor.size * 31 + 30
        return KernelCall(
            kernel=kernel(
                self.name,
                label(self.name, source),
                (reads(source.tensor), Param(ctype="const float *", name="table"), writes(target.tensor)),
                includes=MATH,
                ctype=CTYPES[source.tensor.dtype],
                otype=CTYPES[target.tensor.dtype],
                factor=_factor(qy),
                zero=qy.z,
                lo=lo,
                hi=hi,
                **_rows(context),
            ),
            arguments=(
                InputArg(index=0),
                constant("exponentials", "float", table, "by distance from the greatest element of the row"),
                OutputArg(index=0),
            ),
            variant=self.name,
            reason="exponentials from a table",
            overlaps=_overlaps(context),
            stack_bytes=96,
            instructions=instructions,
            cycles=cycles(instructions, self.name) + source.tensor.size * 14,
            exactness=Exactness(float_tail=1),
        )


def _factor(quant: QuantParams) -> float:
    """The reciprocal of the output's scale, whole."""
    return float(np.floor(np.float32(1) / quant.s))


@dataclass(frozen=True, slots=True)
class SoftmaxFloat:
    """float32 elements."""

    name: str = "softmax_float32"

    def reject(self, context: NodeContext) -> str | None:
        """float32 on both sides, the axis innermost."""
        if any(tensor.dtype != "float32" for tensor in (context.activation(0).tensor, context.outputs[0].tensor)):
            return "not float32"
        return _reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0), context.outputs[0]
        instructions = source.tensor.size * 50 + 30
        return KernelCall(
            kernel=kernel(
                self.name,
                label(self.name, source),
                (reads(source.tensor), writes(target.tensor)),
                includes=("mc_elementary.h", "mc_math.h"),
                **_rows(context),
            ),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            reason="float32 elements",
            overlaps=_overlaps(context),
            stack_bytes=112,
            instructions=instructions,
            cycles=cycles(instructions),
            float_arithmetic=True,
        )


VARIANTS: tuple[Variant, ...] = (SoftmaxTable(), SoftmaxFloat())
