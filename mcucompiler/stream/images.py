# SPDX-License-Identifier: Apache-2.0
"""Images as streams see them, and the layers that make them row by row or column by column."""

from __future__ import annotations

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.types import Stored, dense_place, item_bytes
from mcucompiler.ops import (
    Add,
    AveragePool,
    Cast,
    Concat,
    Conv,
    Dequantize,
    Div,
    FlipSign,
    Lookup,
    MaxPool,
    Mul,
    Quantize,
    Softmax,
    Sub,
    Unary,
)

IMAGE_RANK = 4
ROW_AXIS, COLUMN_AXIS = 2, 3
WINDOWS = (Conv, MaxPool, AveragePool)
"""Operators that read rows and columns around those that they make."""
PIXELWISE = (Add, Sub, Mul, Div, Lookup, Unary, FlipSign, Quantize, Dequantize, Cast, Concat, Softmax)
"""Operators that make a pixel of the pixels at its place."""


def is_image(stored: Stored) -> bool:
    """Whether a tensor is one image whose rows are contiguous: [1, C, H, W] in NHWC order."""
    tensor = stored.tensor
    return (
        len(tensor.shape) == IMAGE_RANK
        and tensor.shape[0] == 1
        and stored.layout.equivalent(channels_last(tensor.shape))
        and stored.place.dense
    )


def row_bytes(tensor: Tensor) -> int:
    """Bytes of a row of an image."""
    return tensor.shape[COLUMN_AXIS] * column_bytes(tensor)


def column_bytes(tensor: Tensor) -> int:
    """Bytes of a column within a row of an image: one pixel."""
    return tensor.shape[1] * item_bytes(tensor)


def dense_image(tensor: Tensor) -> Stored:
    """An image in NHWC order that fills a buffer of its own."""
    return Stored(tensor=tensor, layout=channels_last(tensor.shape), place=dense_place(tensor.name, tensor))
