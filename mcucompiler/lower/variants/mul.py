# SPDX-License-Identifier: Apache-2.0
"""Products and quotients: proved integers, else float32 with the roundings of the definition; floats as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants._pairs import PairForm, form
from mcucompiler.lower.variants.binary import (
    all_of,
    binary_call,
    binary_reason,
    constant_operand,
    quants,
    scalar_call,
)
from mcucompiler.lower.variants.calls import output_bounds
from mcucompiler.numerics.pair_form import find_mul_form
from mcucompiler.numerics.requantize import mul_multiplier
from mcucompiler.ops.mul import Div, Mul

STRIDED_INPUT = True
STRIDED_OUTPUT = True

# Asked by reject() and again by lower(), and by every node with the same parameters.
_mul_form = lru_cache(maxsize=256)(find_mul_form)


def _clamp(context: NodeContext) -> tuple[int, int]:
    op = context.node.op
    return output_bounds(context.outputs[0].tensor.dtype, op.clamp if isinstance(op, Mul | Div) else None)


@dataclass(frozen=True, slots=True)
class MulTable:
    """One operand is a constant of one element: a table of the 256 results. Serves Div too."""

    name: str = "mul_table"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized 8-bit operands, one a single constant element."""
        if quants(context) is None:
            return "not quantized"
        return "no operand is a single constant" if constant_operand(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """A lookup."""
        return scalar_call(context, constant_operand(context) or 0, self.name)


@dataclass(frozen=True, slots=True)
class MulInteger:
    """The integer form that equals the float form on all 65,536 pairs."""

    name: str = "mul_integer"

    def reject(self, context: NodeContext) -> str | None:
        """int8 operands for which such a form exists."""
        if not isinstance(context.node.op, Mul):
            return "not a product"
        if not all_of(context, "int8") or quants(context) is None:
            return "not int8 throughout"
        if context.options.exact == "float":
            return "float requantization was asked for"
        if self._form(context) is None:
            return "no integer form is exact on all pairs"
        return binary_reason(context)

    def _form(self, context: NodeContext) -> PairForm | None:
        found_quants = quants(context)
        lo, hi = _clamp(context)
        found = None if found_quants is None else _mul_form(*found_quants, lo, hi)
        if found is None:
            return None
        return form(
            "mul",
            7.0 + (2.0 if (lo, hi) != (-128, 127) else 0.0),
            zero_a=found.zero_a,
            zero_b=found.zero_b,
            shift=found.shift,
            multiplier=found.multiplier,
            addend=found.addend,
            lo=found.lo,
            hi=found.hi,
        )

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        pair = self._form(context)
        if pair is None:
            raise ValueError("no integer form is exact on all pairs")
        return binary_call(context, pair, self.name, "*")


@dataclass(frozen=True, slots=True)
class MulFloatTail:
    """The definition itself: the exact product, scaled and rounded in float32."""

    name: str = "mul_float"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized operands."""
        if not isinstance(context.node.op, Mul):
            return "not a product"
        return "not quantized per tensor" if quants(context) is None else binary_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        found_quants = quants(context)
        if found_quants is None:
            raise ValueError("not quantized per tensor")
        qa, qb, qy = found_quants
        lo, hi = _clamp(context)
        pair = form(
            "mul_float",
            14.0,
            multiplier=float(mul_multiplier(qa, qb, qy)),
            zero=float(qy.z),
            zero_a=qa.z,
            zero_b=qb.z,
            lo=lo,
            hi=hi,
        )
        return binary_call(context, pair, self.name, "*")


@dataclass(frozen=True, slots=True)
class DivDoubles:
    """Quotients of quantized tensors: the definition in float64, which the core computes in software."""

    name: str = "div_double"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized operands."""
        if not isinstance(context.node.op, Div):
            return "not a quotient"
        return "not quantized per tensor" if quants(context) is None else binary_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        found_quants = quants(context)
        if found_quants is None:
            raise ValueError("not quantized per tensor")
        qa, qb, qy = found_quants
        lo, hi = _clamp(context)
        pair = form(
            "div_double",
            900.0,
            scale_a=float(qa.s),
            scale_b=float(qb.s),
            scale=float(qy.s),
            zero_a=qa.z,
            zero_b=qb.z,
            zero=qy.z,
            lo=lo,
            hi=hi,
        )
        call = binary_call(context, pair, self.name, "/")
        return replace(call, stack_bytes=call.stack_bytes + 128)  # the library's float64 arithmetic


@dataclass(frozen=True, slots=True)
class MulFloats:
    """float32 operands; quotients too."""

    name: str = "mul_float32"

    def reject(self, context: NodeContext) -> str | None:
        """float32 throughout."""
        return binary_reason(context) if all_of(context, "float32") else "not float32 throughout"

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        symbol = "/" if isinstance(context.node.op, Div) else "*"
        return binary_call(context, form("float", 18.0 if symbol == "/" else 5.0, operator=symbol), self.name, symbol)


VARIANTS: tuple[Variant, ...] = (MulTable(), MulInteger(), MulFloatTail(), DivDoubles(), MulFloats())
