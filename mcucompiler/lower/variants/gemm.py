# SPDX-License-Identifier: Apache-2.0
"""Fully connected layers: pointwise convolutions whose pixels are the rows of the input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mcucompiler.lower.types import InputArg, KernelCall, NodeContext, OutputArg, Variant, kernel
from mcucompiler.lower.variants._pointwise import PointwiseShape, pointwise_call
from mcucompiler.lower.variants._weighted import integer_refusal, weighted_layer
from mcucompiler.lower.variants.conv_float import (
    FLOAT_PARAMS,
    constant_data,
    float_argument,
    float_bias,
    float_refusal,
)
from mcucompiler.ops.gemm import Gemm

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class IntegerGemm:
    """int8 rows times constant int8 weights, whose columns follow the order of a single row in memory."""

    name: str = "gemm"

    def reject(self, context: NodeContext) -> str | None:
        """Anything in int8 goes."""
        return integer_refusal(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """A pointwise convolution."""
        op = context.node.op
        layer = weighted_layer(context, op.clamp if isinstance(op, Gemm) else None)
        outputs, inputs = layer.weights.shape
        rows = _rows(context)
        return pointwise_call(
            replace(layer, weights=layer.weights[:, _column_order(context)]),
            PointwiseShape(
                rows=rows,
                in_stride=_stride(context.activation(0).pixel_stride, rows, inputs),
                out_stride=_stride(context.outputs[0].pixel_stride, rows, outputs),
            ),
            label="gemm",
            about="Fully connected layer; its rows, here called pixels, {} at a time.",
            variant=self.name,
            optimize=context.options.optimize,
        )


@dataclass(frozen=True, slots=True)
class FloatGemm:
    """float32 rows times constant float32 weights."""

    name: str = "gemm_float"

    def reject(self, context: NodeContext) -> str | None:
        """Only float32."""
        return float_refusal(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """Loops over rows, outputs and inputs; sums in ONNX order, whatever the memory order."""
        weights = constant_data(context, 1)
        outputs, inputs = weights.shape
        rows = _rows(context)
        order = _column_order(context)
        position = None if bool((np.diff(order) == 1).all()) else tuple(int(i) for i in np.argsort(order))
        macs = rows * inputs * outputs
        return KernelCall(
            kernel=kernel(
                "gemm_float",
                f"gemm_float_{inputs}x{outputs}" + (f"_{rows}rows" if rows > 1 else ""),
                FLOAT_PARAMS,
                includes=("mc_math.h",),
                rows=rows,
                inputs=inputs,
                outputs=outputs,
                in_stride=_stride(context.activation(0).pixel_stride, rows, inputs),
                out_stride=_stride(context.outputs[0].pixel_stride, rows, outputs),
                position=_position_terms(context) if position is not None else "k",
            ),
            arguments=(
                InputArg(index=0),
                OutputArg(index=0),
                float_argument("weights", weights, "output, input"),
                float_argument("bias", float_bias(context, outputs), ""),
            ),
            variant=self.name,
            stack_bytes=128,
            instructions=macs * 6,
            cycles=macs * 8,
            float_arithmetic=True,
        )


def _rows(context: NodeContext) -> int:
    shape = context.activation(0).tensor.shape
    return int(np.prod(shape[:-1], dtype=np.int64))


def _stride(pixel_stride: int, rows: int, row: int) -> int:
    """Elements from a row to the next; a single row may be in any order and has no next."""
    return pixel_stride if rows > 1 else row


def _column_order(context: NodeContext) -> npt.NDArray[np.int64]:
    """For each position of a row in memory, which column of the weights it meets."""
    x = context.activation(0)
    if _rows(context) > 1:
        return np.arange(x.tensor.shape[-1])
    return np.asarray(x.layout.order(), np.int64)


def _position_terms(context: NodeContext) -> str:
    """C expression of where input ``k`` in ONNX order lies in memory, for a single row."""
    layout = context.activation(0).layout
    terms, divisor = [], 1
    memory = layout.memory_shape
    for axis in range(len(layout.view) - 1, -1, -1):
        extent = layout.view[axis]
        stride = int(np.prod(memory[layout.perm.index(axis) + 1 :], dtype=np.int64))
        if extent > 1:
            terms.append(f"k / {divisor} % {extent} * {stride}")
        divisor *= extent
    return " + ".join(reversed(terms)) or "k"


VARIANTS: tuple[Variant, ...] = (IntegerGemm(), FloatGemm())
