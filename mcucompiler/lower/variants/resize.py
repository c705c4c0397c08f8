# SPDX-License-Identifier: Apache-2.0
"""Resizing: nearest by index tables, linear in integers where weights are small binary fractions, else in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array
from mcucompiler.lower.row_taps import InterpolatedBand
from mcucompiler.lower.types import (
    Argument,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Param,
    Stored,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, constant, cycles, label, reads, writes
from mcucompiler.lower.variants.gather import gather_call
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.lower.variants.windows import windows_reason
from mcucompiler.ops.resize import Resize

STRIDED_INPUT = True
STRIDED_OUTPUT = True
ROW_POINTERS = frozenset({"resize_linear_integer"})
_MAX_LANE_BITS = 8  # so much finer than bytes may the elements in 16-bit lanes be
_MAX_AXIS_BITS = 7  # weights of an axis in 1/128 at finest: products of two with a byte stay exact in float32


def _op(context: NodeContext) -> Resize:
    op = context.node.op
    if not isinstance(op, Resize):
        raise TypeError(f"{op.kind} is no Resize")
    return op


def _too_long(context: NodeContext) -> bool:
    return max(context.activation(0).tensor.shape, default=0) > 65536


@dataclass(frozen=True, slots=True)
class ResizeNearest:
    """Copies pixels; the indices are tables."""

    name: str = "resize_nearest"

    def reject(self, context: NodeContext) -> str | None:
        """Nearest mode, or no change of size at all."""
        op, source, target = _op(context), context.activation(0), context.outputs[0]
        if op.mode != "nearest" and op.sizes != source.tensor.shape:
            return "not nearest"
        for stored in (source, target):
            if stored.layout.view != stored.tensor.shape:
                return "the memory order does not follow the axes"
        if source.layout.perm != target.layout.perm or target.tensor.dtype not in CTYPES:
            return "input and output differ in memory order, or the type has no C type"
        return "an axis of more than 65,536 elements" if _too_long(context) else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        op, source = _op(context), context.activation(0)
        shape = source.tensor.shape
        unchanged = op.sizes == shape
        maps = {} if unchanged else {axis: op.nearest_sources(shape[axis], axis) for axis in range(2, len(shape))}
        sizes = "x".join(map(str, source.memory_shape))
        return gather_call(
            source,
            context.outputs[0],
            maps,
            variant=self.name,
            about=f"Nearest-neighbor resize of {sizes} in memory order.",
            reason="copies pixels",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Neighbors and weights along one axis; bits is None where the weights are no small binary fractions."""

    lower: Array
    upper: Array
    weight_lower: Array
    weight_upper: Array
    bits: int | None


def _axis(op: Resize, size: int, axis: int) -> _Axis:
    return _axis_of(*op.linear_sources(size, axis))


def _axis_of(lower: Array, upper: Array, weight_lower: Array, weight_upper: Array) -> _Axis:
    bits = None
    for candidate in range(_MAX_AXIS_BITS + 1):
        scaled = (weight_lower.astype(np.float64) * 2**candidate, weight_upper.astype(np.float64) * 2**candidate)
        if all(np.array_equal(part, np.rint(part)) for part in scaled) and bool((sum(scaled) == 2**candidate).all()):
            bits = candidate
            break
    return _Axis(lower=lower, upper=upper, weight_lower=weight_lower, weight_upper=weight_upper, bits=bits)


def _axes(context: NodeContext) -> tuple[_Axis | None, _Axis]:
    """Rows (None for one spatial axis) and columns."""
    op, shape = _op(context), context.activation(0).tensor.shape
    if isinstance(context, InterpolatedBand):
        taps = context.row_taps
        return _axis_of(taps.lower, taps.upper, taps.weight_lower, taps.weight_upper), _axis(op, shape[3], 3)
    axes = [_axis(op, shape[axis], axis) for axis in range(2, len(shape))]
    return (None, axes[0]) if len(axes) == 1 else (axes[0], axes[1])


def _linear_reason(context: NodeContext) -> str | None:
    if _op(context).mode != "linear":
        return "not linear"
    if _too_long(context):
        return "an axis of more than 65,536 elements"
    return windows_reason(context)


@dataclass(frozen=True, slots=True)
class ResizeLinearInteger:
    """8-bit elements, weights that are binary fractions: float32 computes no rounding, so neither do integers.

    The rows of the input may be given by pointers.
    """

    name: str = "resize_linear_integer"

    def reject(self, context: NodeContext) -> str | None:
        """Such weights along both axes."""
        if context.outputs[0].tensor.dtype not in ("int8", "uint8"):
            return "not 8-bit elements"
        reason = _linear_reason(context)
        if reason is not None:
            return reason
        if context.activation(0).place.row_pointers and not isinstance(context, InterpolatedBand):
            return "it is not said between which rows those of the output lie"
        rows, columns = _axes(context)
        return "the weights are no small binary fractions" if None in (_bits(rows), columns.bits) else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        return _linear_call(context, self.name, integer=True)


@dataclass(frozen=True, slots=True)
class ResizeLinearFloat:
    """Any weights: the definition's float32 operations."""

    name: str = "resize_linear"

    def reject(self, context: NodeContext) -> str | None:
        """One or two spatial axes, channels last."""
        if context.outputs[0].tensor.dtype not in ("int8", "uint8", "float32"):
            return "neither 8-bit nor float32 elements"
        return _linear_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        return _linear_call(context, self.name, integer=False)


def _bits(axis: _Axis | None) -> int | None:
    return 0 if axis is None else axis.bits


def _tables(axis: _Axis, word: str, integer: bool) -> tuple[list[Param], list[Argument]]:
    """Neighbors and weights of an axis: (lower, upper) for each output."""
    pairs = np.stack([axis.lower, axis.upper], axis=1)
    weight_pairs = np.stack([axis.weight_lower, axis.weight_upper], axis=1)
    ctype = "uint8_t" if integer else "float"
    if integer:
        weight_pairs = np.rint(weight_pairs.astype(np.float64) * 2 ** (axis.bits or 0)).astype(np.int64)
    note = f"of the lower and upper neighbor of each output {word}"
    params = [Param(ctype="const uint16_t *", name=f"{word}s"), Param(ctype=f"const {ctype} *", name=f"{word}_weights")]
    arguments: list[Argument] = [
        constant(f"{word}s", "uint16_t", pairs, f"indices {note}"),
        constant(f"{word}_weights", ctype, weight_pairs, f"weights {note}"),
    ]
    return params, arguments


def _linear_call(context: NodeContext, name: str, *, integer: bool) -> KernelCall:
    source, target = context.activation(0), context.outputs[0]
    rows, columns = _axes(context)
    params, arguments = _tables(columns, "column", integer)
    if rows is not None:
        row_params, row_arguments = _tables(rows, "row", integer)
        params, arguments = row_params + params, row_arguments + arguments
    literals = _literals(context, rows, columns)
    channels, pixels = source.tensor.shape[1], target.tensor.size // source.tensor.shape[1]
    literals["whole"] = whole = channels // 4 * 4 if integer and literals["bits"] <= _MAX_LANE_BITS else 0
    per_pixel = whole * (12.0 if rows is not None else 8.5) + (channels - whole) * (16 if integer else 38) + 40
    instructions = round(pixels * per_pixel)
    return KernelCall(
        kernel=kernel(
            "resize_linear",
            label(name, target) + "_band" * source.place.row_pointers,
            (_input(source), *params, writes(target.tensor)),
            includes=MATH,
            integer=integer,
            row_pointers=source.place.row_pointers,
            **literals,
        ),
        arguments=(InputArg(index=0), *arguments, OutputArg(index=0)),
        variant=name,
        reason="weights are binary fractions" if integer else "float32 weights",
        stack_bytes=160,
        instructions=instructions,
        cycles=cycles(instructions, name if whole or not integer else ""),
        float_arithmetic=target.tensor.dtype == "float32",
    )


def _input(source: Stored) -> Param:
    """The image, or pointers to its rows."""
    if source.place.row_pointers:
        return Param(ctype=f"const {CTYPES[source.tensor.dtype]} *const *", name="lines")
    return reads(source.tensor)


def _literals(context: NodeContext, rows: _Axis | None, columns: _Axis) -> dict[str, Any]:
    op, source, target = _op(context), context.activation(0), context.outputs[0]
    shape, sizes = source.tensor.shape, target.tensor.shape
    quant = source.tensor.quant
    centered = not op.truncate and quant is not None
    lo, hi = INTEGER_RANGES.get(target.tensor.dtype, (0, 0))
    height = shape[2] if rows is not None else 1
    return {
        "batch": shape[0],
        "channels": shape[1],
        "height": sizes[2] if rows is not None else 1,
        "width": sizes[-1],
        "planar": rows is not None,
        "from_size": "x".join(map(str, shape[2:])),
        "from_stride": source.pixel_stride,
        "from_row": shape[-1] * source.pixel_stride,
        "from_image": height * shape[-1] * source.pixel_stride,
        "to_stride": target.pixel_stride,
        "bits": (_bits(rows) or 0) + (columns.bits or 0),
        "zero": quant.z if quant is not None and centered else 0,
        "rounding": "none" if target.tensor.dtype == "float32" else ("even" if centered else "truncate"),
        "lo": lo,
        "hi": hi,
        "ctype": CTYPES[target.tensor.dtype],
    }


VARIANTS: tuple[Variant, ...] = (ResizeNearest(), ResizeLinearInteger(), ResizeLinearFloat())
