# SPDX-License-Identifier: Apache-2.0
"""Sums and differences: proved integers, else float32 with the roundings of the definition; floats as they are."""

from __future__ import annotations

from dataclasses import dataclass
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
from mcucompiler.numerics.pair_form import find_add_form
from mcucompiler.numerics.requantize import add_constants
from mcucompiler.ops.add import Sub

STRIDED_INPUT = True
STRIDED_OUTPUT = True

# Asked by reject() and again by lower(), and by every node with the same parameters.
_add_form = lru_cache(maxsize=256)(find_add_form)


def _symbol(context: NodeContext) -> str:
    return "-" if isinstance(context.node.op, Sub) else "+"


@dataclass(frozen=True, slots=True)
class AddInteger:
    """The integer form that equals the float form on all 65,536 pairs."""

    name: str = "add_integer"

    def reject(self, context: NodeContext) -> str | None:
        """int8 operands for which such a form exists."""
        return integer_reason(context, self._form)

    def _form(self, context: NodeContext) -> PairForm | None:
        lo, hi = output_clamp(context)
        found = _add_form(*quants_of(context), lo, hi, subtract=isinstance(context.node.op, Sub))
        if found is None:
            return None
        return form(
            "add",
            (9.0 if found.half_even else 7.0) + (2.0 if (lo, hi) != (-128, 127) else 0.0),
            shift=found.shift,
            addend=found.addend,
            multiplier_a=found.multiplier_a,
            multiplier_b=found.multiplier_b,
            half_even=found.half_even,
            lo=found.lo,
            hi=found.hi,
        )

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        pair = self._form(context)
        if pair is None:
            raise ValueError("no integer form is exact on all pairs")
        return binary_call(context, pair, self.name, _symbol(context))


@dataclass(frozen=True, slots=True)
class AddFloatTail:
    """The definition itself: two fused multiply-adds and a rounding."""

    name: str = "add_float"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized operands."""
        return quantized_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        ratio_a, ratio_b, offset = add_constants(*quants_of(context), subtract=isinstance(context.node.op, Sub))
        lo, hi = output_clamp(context)
        pair = form(
            "add_float",
            13.0,
            ratio_a=float(ratio_a),
            ratio_b=float(ratio_b),
            offset=float(offset),
            lo=lo,
            hi=hi,
        )
        return binary_call(context, pair, self.name, _symbol(context))


@dataclass(frozen=True, slots=True)
class AddFloats:
    """float32 operands."""

    name: str = "add_float32"

    def reject(self, context: NodeContext) -> str | None:
        """float32 throughout."""
        if not all_of(context, "float32"):
            return "not float32 throughout"
        return binary_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        return binary_call(context, form("float", 5.0, operator=_symbol(context)), self.name, _symbol(context))


VARIANTS: tuple[Variant, ...] = (ScalarTable(name="add_table"), AddInteger(), AddFloatTail(), AddFloats())
