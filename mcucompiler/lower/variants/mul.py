# SPDX-License-Identifier: Apache-2.0
"""Products and quotients: proved integers, else float32 with the roundings of the definition; floats as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from mcucompiler.lower.types import KernelCall, NodeContext, Variant
from mcucompiler.lower.variants._pairs import PairForm, form
from mcucompiler.lower.variants.binary import (
    ScalarTable,
    all_of,
    binary_call,
    binary_reason,
    integer_reason,
    output_clamp,
    quantized_reason,
    quants_of,
)
from mcucompiler.numerics.pair_form import find_mul_form
from mcucompiler.numerics.requantize import mul_multiplier
from mcucompiler.ops.mul import Div, Mul

STRIDED_INPUT = True
STRIDED_OUTPUT = True

# Asked by reject() and again by lower(), and by every node with the same parameters.
_mul_form = lru_cache(maxsize=256)(find_mul_form)


@dataclass(frozen=True, slots=True)
class MulInteger:
    """The integer form that equals the float form on all 65,536 pairs."""

    name: str = "mul_integer"

    def reject(self, context: NodeContext) -> str | None:
        """int8 operands for which such a form exists."""
        if not isinstance(context.node.op, Mul):
            return "not a product"
        return integer_reason(context, self._form)

    def _form(self, context: NodeContext) -> PairForm | None:
        lo, hi = output_clamp(context)
        found = _mul_form(*quants_of(context), lo, hi)
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
        return quantized_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        qa, qb, qy = quants_of(context)
        lo, hi = output_clamp(context)
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
        return quantized_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        qa, qb, qy = quants_of(context)
        lo, hi = output_clamp(context)
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


VARIANTS: tuple[Variant, ...] = (ScalarTable(name="mul_table"), MulInteger(), MulFloatTail(), DivDoubles(), MulFloats())
