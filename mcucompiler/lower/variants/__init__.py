# SPDX-License-Identifier: Apache-2.0
"""The kernel variants of every operator, best first.

Each module gives ``VARIANTS`` and says with ``STRIDED_INPUT`` and ``STRIDED_OUTPUT`` whether all of
them read or write activations whose pixels are apart (channel slices of a larger buffer).
``ROW_POINTERS`` names the variants that can read an image whose rows are given by pointers.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType

from mcucompiler import ops
from mcucompiler.lower.types import Variant
from mcucompiler.ops.base import Operator

_MODULES: Mapping[type[Operator], str] = MappingProxyType(
    {
        ops.Add: "add",
        ops.AveragePool: "average_pool",
        ops.Cast: "cast",
        ops.Concat: "concat",
        ops.Conv: "conv",
        ops.ConvTranspose: "conv_transpose",
        ops.Dequantize: "dequantize",
        ops.Div: "mul",
        ops.FlipSign: "flip_sign",
        ops.Gemm: "gemm",
        ops.Lookup: "lookup",
        ops.MaxPool: "max_pool",
        ops.Mul: "mul",
        ops.Pad: "pad",
        ops.Quantize: "quantize",
        ops.ReduceMean: "reduce_mean",
        ops.Reshape: "copy",
        ops.Resize: "resize",
        ops.Slice: "slice",
        ops.Softmax: "softmax",
        ops.Sub: "add",
        ops.Transpose: "copy",
        ops.Unary: "unary",
    }
)


def _module(op: Operator | type[Operator]) -> ModuleType:
    kind = op if isinstance(op, type) else type(op)
    return import_module(f"{__name__}.{_MODULES[kind]}")


def variants_of(op: Operator | type[Operator]) -> tuple[Variant, ...]:
    """The variants that may compute an operator, in order of preference."""
    variants: tuple[Variant, ...] = _module(op).VARIANTS
    return variants


def accepts_strided_input(op: Operator) -> bool:
    """Whether every variant of the operator reads activations with pixels apart."""
    return bool(getattr(_module(op), "STRIDED_INPUT", False))


def accepts_strided_output(op: Operator) -> bool:
    """Whether every variant of the operator writes activations with pixels apart."""
    return bool(getattr(_module(op), "STRIDED_OUTPUT", False))


def row_pointer_variants(op: Operator) -> tuple[Variant, ...]:
    """The variants of the operator that can read an image through an array of pointers to its rows."""
    names: frozenset[str] = getattr(_module(op), "ROW_POINTERS", frozenset())
    return tuple(variant for variant in variants_of(op) if variant.name in names)
