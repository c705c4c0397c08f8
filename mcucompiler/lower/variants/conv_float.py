# SPDX-License-Identifier: Apache-2.0
"""Convolutions in float32, for what could not be fused to integers: plain loops in the order of the definition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.types import (
    ConstantArg,
    ConstantArray,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    Stored,
    kernel,
)
from mcucompiler.lower.variants._window import window_of

FLOAT_PARAMS = (
    Param(ctype="const float *", name="ifmap"),
    Param(ctype="float *", name="ofmap"),
    Param(ctype="const float *", name="weights"),
    Param(ctype="const float *", name="bias"),
)
_INSTRUCTIONS_PER_MAC = 7
_CYCLES_PER_MAC = 9


@dataclass(frozen=True, slots=True)
class FloatConv:
    """Sums in the order kernel row, column, channel, each step a fused multiply-add; padding is skipped."""

    name: str = "conv_float"

    def reject(self, context: NodeContext) -> str | None:
        """Only float32."""
        return float_refusal(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """Loops over images, pixels, groups and channels."""
        window = window_of(context)
        weights = constant_data(context, 1).reshape(window.channels_out, window.group_in, -1).transpose(0, 2, 1)
        return KernelCall(
            kernel=kernel(
                "conv_float",
                f"conv_float{window.label}_{window.channels_out}ch",
                FLOAT_PARAMS,
                includes=("mc_math.h",),
                window=window,
            ),
            arguments=(
                InputArg(index=0),
                OutputArg(index=0),
                float_argument("weights", weights, "output channel, kernel row, kernel column, input channel"),
                float_argument("bias", float_bias(context, window.channels_out), ""),
            ),
            variant=self.name,
            stack_bytes=160,
            instructions=window.macs * _INSTRUCTIONS_PER_MAC,
            cycles=window.macs * _CYCLES_PER_MAC,
            float_arithmetic=True,
        )


def float_refusal(context: NodeContext) -> str | None:
    """Why a convolution or matrix product is not one of float32 activations with constant weights; None if it is."""
    x, constants = context.inputs[0], context.inputs[1:]
    if not isinstance(x, Stored) or any(isinstance(value, Stored) for value in constants):
        return "the activation is constant, or weights or bias are not"
    tensors = (x.tensor, *constants, context.outputs[0].tensor)
    other = next((t for t in tensors if isinstance(t, Tensor) and t.dtype != "float32"), None)
    return None if other is None else f"{other.name!r} is {other.dtype}, not float32"


def constant_data(context: NodeContext, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The values of a constant float32 input.

    Raises:
        ValueError: where there is none.
    """
    tensor = context.constant(index)
    if tensor is None or tensor.data is None:
        raise ValueError(f"input {index} of {context.node.name!r} is not a constant")
    return np.asarray(tensor.data, np.float32)


def float_bias(context: NodeContext, channels: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The bias, zeros where it is absent."""
    return np.zeros(channels, np.float32) if context.constant(2) is None else constant_data(context, 2)


def float_argument(label: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], comment: str) -> ConstantArg:
    """An argument that points to float32 constants."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return ConstantArg(array=ConstantArray(label=label, ctype="float", given=flat, comment=comment))
