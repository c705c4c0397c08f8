# SPDX-License-Identifier: Apache-2.0
"""Sums and differences: proved integers, else float32 with the roundings of the definition; floats as they are."""

from __future__ import annotations

from dataclasses import dataclass
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
from mcucompiler.numerics.pair_form import find_add_form
from mcucompiler.numerics.requantize import add_constants
from mcucompiler.ops.add import Add, Sub

STRIDED_INPUT = True
STRIDED_OUTPUT = True


# Asked by reject() and again by lower(), and by every node with the same parameters.
_add_form = lru_cache(maxsize=256)(find_add_form)


def _clamp(context: NodeContext) -> tuple[int, int]:
    op = context.node.op
    return output_bounds(context.outputs[0].tensor.dtype, op.clamp if isinstance(op, Add | Sub) else None)


def _symbol(context: NodeContext) -> str:
    return "-" if isinstance(context.node.op, Sub) else "+"


@dataclass(frozen=True, slots=True)
class AddTable:
    """One operand is a constant of one element: a table of the 256 results."""

    name: str = "add_table"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized 8-bit operands, one a single constant element."""
        if quants(context) is None:
            return "not quantized"
        return "no operand is a single constant" if constant_operand(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """A lookup."""
        return scalar_call(context, constant_operand(context) or 0, self.name)


@dataclass(frozen=True, slots=True)
class AddInteger:
    """The integer form that equals the float form on all 65,536 pairs."""

    name: str = "add_integer"

    def reject(self, context: NodeContext) -> str | None:
        """int8 operands for which such a form exists."""
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
        if found_quants is None:
            return None
        found = _add_form(*found_quants, lo, hi, subtract=isinstance(context.node.op, Sub))
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
        return "not quantized per tensor" if quants(context) is None else binary_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        found_quants = quants(context)
        if found_quants is None:
            raise ValueError("not quantized per tensor")
        ratio_a, ratio_b, offset = add_constants(*found_quants, subtract=isinstance(context.node.op, Sub))
        lo, hi = _clamp(context)
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


VARIANTS: tuple[Variant, ...] = (AddTable(), AddInteger(), AddFloatTail(), AddFloats())
