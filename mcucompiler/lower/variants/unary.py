# SPDX-License-Identifier: Apache-2.0
"""Functions of one element: a table for 8-bit elements, float32 arithmetic for float32 ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES
from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants.elementwise import elementwise_call
from mcucompiler.lower.variants.lookup import table_call
from mcucompiler.ops.unary import Unary

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class CFunction:
    """A C function: its name, its header, ONNX's default parameters, and instructions for an element."""

    name: str
    header: str
    defaults: tuple[float, ...] = ()
    instructions: int = 8


_PLAIN, _LIBM = "mc_unary.h", "mc_libm.h"

FUNCTIONS: Mapping[str, CFunction] = MappingProxyType(
    {
        "abs": CFunction("mc_abs", _PLAIN),
        "ceil": CFunction("mc_ceil", _PLAIN, instructions=16),
        "celu": CFunction("mc_libm_celu", _LIBM, (1.0,), 1500),
        "cos": CFunction("mc_libm_cos", _LIBM, instructions=1000),
        "elu": CFunction("mc_libm_elu", _LIBM, (1.0,), 1000),
        "erf": CFunction("mc_libm_erf", _LIBM, instructions=1500),
        "exp": CFunction("mc_libm_exp", _LIBM, instructions=1000),
        "floor": CFunction("mc_floor", _PLAIN, instructions=14),
        "gelu": CFunction("mc_libm_gelu", _LIBM, (0.0,), 2000),
        "hardsigmoid": CFunction("mc_hard_sigmoid", _PLAIN, (float(np.float32(0.2)), 0.5), 14),
        "hardswish": CFunction("mc_hard_swish", _PLAIN, instructions=16),
        "identity": CFunction("mc_identity", _PLAIN),
        "leakyrelu": CFunction("mc_leaky_relu", _PLAIN, (float(np.float32(0.01)),), 10),
        "log": CFunction("mc_libm_log", _LIBM, instructions=1000),
        "mish": CFunction("mc_libm_mish", _LIBM, instructions=3000),
        "neg": CFunction("mc_negative", _PLAIN),
        "reciprocal": CFunction("mc_reciprocal", _PLAIN, instructions=8),
        "round": CFunction("mc_round", _PLAIN, instructions=12),
        "selu": CFunction(
            "mc_libm_selu",
            _LIBM,
            (float(np.float32(1.67326319217681884765625)), float(np.float32(1.05070102214813232421875))),
            1000,
        ),
        "sigmoid": CFunction("mc_logistic", "mc_elementary.h", instructions=40),
        "sign": CFunction("mc_sign", _PLAIN, instructions=10),
        "sin": CFunction("mc_libm_sin", _LIBM, instructions=1000),
        "softplus": CFunction("mc_libm_softplus", _LIBM, instructions=2000),
        "softsign": CFunction("mc_softsign", _PLAIN, instructions=500),
        "sqrt": CFunction("mc_sqrt", _PLAIN),
        "swish": CFunction("mc_libm_swish", _LIBM, (1.0,), 1500),
        "tanh": CFunction("mc_tanh", "mc_elementary.h", instructions=36),
        "thresholdedrelu": CFunction("mc_thresholded_relu", _PLAIN, (1.0,), 9),
    }
)


def c_function(op: Unary) -> tuple[CFunction, tuple[float, ...]] | None:
    """The C function of a float32 operator and its parameters, None where there is none.

    Bounds of Clip that are infinite do nothing and have no literal in C, so they choose another function.
    """
    if op.function == "relu":
        return CFunction("mc_at_least", _PLAIN), (0.0,)
    if op.function == "clip":
        lo, hi = (*op.params, *(-math.inf, math.inf)[len(op.params) :])
        if math.isinf(lo) or math.isinf(hi):
            if math.isinf(lo) and math.isinf(hi):
                return FUNCTIONS["identity"], ()
            return (
                (CFunction("mc_at_least", _PLAIN), (lo,))
                if math.isinf(hi)
                else (CFunction("mc_at_most", _PLAIN), (hi,))
            )
        return CFunction("mc_clip", _PLAIN, instructions=12), (lo, hi)
    found = FUNCTIONS.get(op.function)
    return None if found is None else (found, (*op.params, *found.defaults[len(op.params) :]))


@dataclass(frozen=True, slots=True)
class UnaryTable:
    """8-bit elements: all 256 results in a table."""

    name: str = "unary_table"

    def reject(self, context: NodeContext) -> str | None:
        """8-bit elements on both sides."""
        for tensor in (context.activation(0).tensor, context.outputs[0].tensor):
            if tensor.dtype not in ("int8", "uint8"):
                return f"elements of type {tensor.dtype}"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """A lookup in the operator's results."""
        source, target = context.activation(0), context.outputs[0]
        lo, hi = INTEGER_RANGES[source.tensor.dtype]
        values = np.arange(lo, hi + 1).astype(source.tensor.dtype)
        probe = source.tensor.replace(name="probe", shape=(256,))
        result = target.tensor.replace(name="result", shape=(256,))
        table = context.node.op.reference((probe,), (result,), (values,))[0]
        return table_call(source, target, table, variant=self.name, reason="all results in a table")


@dataclass(frozen=True, slots=True)
class UnaryIntegers:
    """Clip of wider integers."""

    name: str = "clip_int"

    def reject(self, context: NodeContext) -> str | None:
        """clip_int of 16 or 32 bits."""
        op, dtype = context.node.op, context.activation(0).tensor.dtype
        if not isinstance(op, Unary) or op.function != "clip_int":
            return "no clip of integers"
        return None if dtype in ("int16", "int32") else f"elements of type {dtype}"

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op = context.node.op
        if not isinstance(op, Unary):
            raise ValueError("rejected")
        lo, hi = (int(p) for p in op.params)
        return elementwise_call(context, self.name, self.name, per_element=7.0, reason="two comparisons", lo=lo, hi=hi)


@dataclass(frozen=True, slots=True)
class UnaryFloats:
    """float32 elements, one call of an inline function each."""

    name: str = "unary"

    def reject(self, context: NodeContext) -> str | None:
        """float32 on both sides, a function that C has."""
        op = context.node.op
        for tensor in (context.activation(0).tensor, context.outputs[0].tensor):
            if tensor.dtype != "float32":
                return f"elements of type {tensor.dtype}"
        if not isinstance(op, Unary) or c_function(op) is None:
            return "no such function of float32 elements"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op = context.node.op
        found = c_function(op) if isinstance(op, Unary) else None
        if found is None or not isinstance(op, Unary):
            raise ValueError("rejected")
        function, params = found
        call = elementwise_call(
            context,
            self.name,
            self.name,
            per_element=function.instructions + 4.0,
            reason="mathematics library" if function.header == _LIBM else "float32 elements",
            stem=op.function,
            includes=tuple(sorted({"mc_math.h", function.header})),
            float_arithmetic=True,
            function=function.name,
            constants=tuple(float(p) for p in params),
        )
        return replace(call, stack_bytes=512) if function.header == _LIBM else call


VARIANTS: tuple[Variant, ...] = (UnaryTable(), UnaryIntegers(), UnaryFloats())
