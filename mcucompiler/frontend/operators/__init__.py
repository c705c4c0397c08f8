# SPDX-License-Identifier: Apache-2.0
"""Converters: one small function for each ONNX operator, found by domain and type."""

from __future__ import annotations

from mcucompiler.frontend.operators import (
    conv,
    elementwise,
    gemm,
    layout,
    pool,
    quantize,
    resize,
    slicing,
    softmax,
    unary,
)
from mcucompiler.frontend.operators.common import Converter, Table

CONVERTERS: Table = {
    **conv.CONVERTERS,
    **elementwise.CONVERTERS,
    **gemm.CONVERTERS,
    **layout.CONVERTERS,
    **pool.CONVERTERS,
    **quantize.CONVERTERS,
    **resize.CONVERTERS,
    **slicing.CONVERTERS,
    **softmax.CONVERTERS,
    **unary.CONVERTERS,
}
"""All converters by (domain, op type); the domain of ONNX's own operators is ""."""

__all__ = ["CONVERTERS", "Converter", "Table"]
