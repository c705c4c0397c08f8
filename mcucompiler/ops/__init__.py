# SPDX-License-Identifier: Apache-2.0
"""The operators: one file each, listed here."""

from __future__ import annotations

from mcucompiler.ops.add import Add, Sub
from mcucompiler.ops.average_pool import AveragePool
from mcucompiler.ops.base import Clamp, LayoutRule, Operator
from mcucompiler.ops.cast import Cast
from mcucompiler.ops.concat import Concat
from mcucompiler.ops.conv import Conv
from mcucompiler.ops.conv_transpose import ConvTranspose
from mcucompiler.ops.dequantize import Dequantize
from mcucompiler.ops.flip_sign import FlipSign
from mcucompiler.ops.gemm import Gemm
from mcucompiler.ops.lookup import Lookup
from mcucompiler.ops.max_pool import MaxPool
from mcucompiler.ops.mul import Div, Mul
from mcucompiler.ops.pad import Pad
from mcucompiler.ops.quantize import Quantize
from mcucompiler.ops.reduce_mean import ReduceMean
from mcucompiler.ops.reshape import Reshape
from mcucompiler.ops.resize import Resize
from mcucompiler.ops.slice import Slice
from mcucompiler.ops.softmax import Softmax
from mcucompiler.ops.transpose import Transpose
from mcucompiler.ops.unary import Unary

OPERATORS: tuple[type[Operator], ...] = (
    Add,
    AveragePool,
    Cast,
    Concat,
    Conv,
    ConvTranspose,
    Dequantize,
    Div,
    FlipSign,
    Gemm,
    Lookup,
    MaxPool,
    Mul,
    Pad,
    Quantize,
    ReduceMean,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Sub,
    Transpose,
    Unary,
)

__all__ = [
    "OPERATORS",
    "Add",
    "AveragePool",
    "Cast",
    "Clamp",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dequantize",
    "Div",
    "FlipSign",
    "Gemm",
    "LayoutRule",
    "Lookup",
    "MaxPool",
    "Mul",
    "Operator",
    "Pad",
    "Quantize",
    "ReduceMean",
    "Reshape",
    "Resize",
    "Slice",
    "Softmax",
    "Sub",
    "Transpose",
    "Unary",
]
