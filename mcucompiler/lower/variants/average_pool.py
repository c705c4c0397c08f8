# SPDX-License-Identifier: Apache-2.0
"""Mean over windows.

The definition is a sequential float32 sum whose last bits depend on its order. The integer sum S of a window decides
the output all the same, unless S lies next to a step: the float32 result differs from the real one by at most
``_error(...)`` units of the output. So the kernel computes ``v = S * m + A`` with many fraction bits, takes
``v >> shift`` where v is further from a step than that bound, and the definition's loop where it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log2, prod

from mcucompiler.ir.graph import QuantParams
from mcucompiler.lower.types import (
    Exactness,
    InputArg,
    KernelCall,
    NodeContext,
    OutputArg,
    Stored,
    Variant,
    kernel,
)
from mcucompiler.lower.variants.calls import MATH, cycles, label, output_bounds, writes
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.lower.variants.reduce_mean import MeanLoops, mean_call, mean_loops
from mcucompiler.lower.variants.windows import (
    Windows,
    input_param,
    rows_reason,
    window_overlap,
    windows_of,
    windows_reason,
)
from mcucompiler.ops.average_pool import AveragePool

STRIDED_INPUT = True
STRIDED_OUTPUT = True
ROW_POINTERS = frozenset({"average_pool", "average_pool_float"})
_LANE_SUMS = 255  # so many bytes added to a 16-bit lane cannot overflow it
_MAX_UNROLLED_TAPS = 64
_UNIT = 2.0**-24  # half a unit in the last place of float32, relative
_LIMIT = 2**29


def _op(context: NodeContext) -> AveragePool:
    op = context.node.op
    if not isinstance(op, AveragePool):
        raise TypeError(f"{op.kind} is no AveragePool")
    return op


def _rows_reason(context: NodeContext) -> str | None:
    """Why rows given by pointers would not do, None where they would.

    A row of zero points adds nothing to a sum, but must not be left out of its count of elements either. And a few
    rows as large as the window look like the whole image, whose mean is defined otherwise.
    """
    source, op = context.activation(0), _op(context)
    refusal = rows_reason(source, op.pads)
    if refusal is not None or not source.place.row_pointers:
        return refusal
    if op.is_global(source.tensor.shape[2:]):
        return "the window is as large as the rows, which may be the whole image"
    if windows_of(context).padded and not op.count_include_pad:
        return "windows in the padding have fewer elements"
    return None


def _bounds(context: NodeContext) -> tuple[int, int]:
    return output_bounds(context.outputs[0].tensor.dtype, _op(context).clamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowForm:
    """``v = S * multiplier + addend``; the output is ``v >> shift`` unless v lies within ``margin`` of a step.

    Attributes:
        multiplier: about ``sx / (n * sy) * 2^shift``.
        addend: the zero point and a half.
        shift: fraction bits of v.
        margin: distance from a step below which the float32 sum decides.
        lo: least output.
        hi: greatest output.
    """

    multiplier: int
    addend: int
    shift: int
    margin: int
    lo: int
    hi: int


def _error(ratio: float, count: int, spread: int) -> float:
    """Bound on the difference of the float32 result from the real one, in units of the output.

    Args:
        ratio: sx / sy.
        count: n, the number of terms and the divisor.
        spread: greatest size of x - zx.

    Each of the n terms is rounded once and each of the n sums once, so the sum is off by at most
    ``((1 + u)^(n + 1) - 1)`` of ``n * spread * sx`` (Higham, Accuracy and Stability of Numerical Algorithms, 4.2); the
    two divisions and the addition of the zero point round once each.
    """
    largest = spread * ratio
    growth = (1 + _UNIT) ** (count + 1) - 1
    return largest * growth + (largest * (1 + growth)) * 2.1 * _UNIT + (largest * 1.001 + 256) * 1.1 * _UNIT


def window_form(count: int, qx: QuantParams, qy: QuantParams, lo: int, hi: int) -> WindowForm | None:
    """The integer decision for int8 windows of ``count`` elements; None where float32 might under- or overflow."""
    sx, sy = float(qx.s), float(qy.s)
    if not all(2.0**-40 < value < 2.0**40 for value in (sx, sy)):
        return None
    ratio, spread = sx / sy, max(127 - qx.z, qx.z + 128)
    shift = min(24, floor(log2(_LIMIT / (spread * ratio + 256))))
    if shift < 8:
        return None
    multiplier = round(ratio / count * 2**shift)
    inexact = count * spread * abs(multiplier - ratio / count * 2**shift) * (1 + 1e-9)
    margin = ceil(_error(ratio, count, spread) * 2**shift + inexact) + 2
    if 4 * margin >= 2**shift:
        return None
    return WindowForm(
        multiplier=multiplier, addend=(qy.z << shift) + (1 << (shift - 1)), shift=shift, margin=margin, lo=lo, hi=hi
    )


@dataclass(frozen=True, slots=True)
class AveragePoolGlobal:
    """The window is the whole unpadded image: the mean's own form."""

    name: str = "average_pool_global"

    def reject(self, context: NodeContext) -> str | None:
        """Quantized, and the window is the image."""
        source = context.activation(0)
        op = _op(context)
        if source.tensor.quant is None or not op.is_global(source.tensor.shape[2:]):
            return "the window is not the whole unpadded image"
        if prod(op.kernel) >= 2**22:
            return "the sum may leave 32 bits"
        return "the memory order does not follow the axes" if _image_loops(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        loops = _image_loops(context)
        if loops is None:
            raise ValueError("the memory order does not follow the axes")
        return mean_call(context, loops, _op(context).clamp, self.name)


def _whole_image(context: NodeContext) -> str | None:
    """Why sums of windows would not do: the mean of a quantized image is defined by its integer sum."""
    refused = AveragePoolGlobal().reject(context)
    return None if refused is not None else "the window is the whole image, whose mean is defined otherwise"


def _image_loops(context: NodeContext) -> MeanLoops | None:
    source = context.activation(0)
    return mean_loops(source, context.outputs[0], tuple(range(2, len(source.tensor.shape))))


@dataclass(frozen=True, slots=True)
class AveragePoolWindows:
    """Integer sums of four channels at a time, and the float32 sum where it has to decide."""

    name: str = "average_pool"

    def reject(self, context: NodeContext) -> str | None:
        """int8, one or two spatial axes, channels last."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        if source.dtype != "int8" or target.dtype != "int8" or source.quant is None or target.quant is None:
            return "not int8"
        if context.options.exact == "float":
            return "float arithmetic was asked for"
        taps = prod(_op(context).kernel)
        if taps > min(_LANE_SUMS, _MAX_UNROLLED_TAPS):
            return f"windows of {taps} elements; up to {_MAX_UNROLLED_TAPS} are unrolled"
        if window_form(taps, source.quant, target.quant, *_bounds(context)) is None:
            return "the integer sum does not decide the float32 one"
        return _whole_image(context) or windows_reason(context) or _rows_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        if source.quant is None or target.quant is None:
            raise ValueError("not quantized")
        windows = windows_of(context)
        taps = windows.rows.kernel * windows.columns.kernel
        form = window_form(taps, source.quant, target.quant, *_bounds(context))
        instructions = windows.pixels * (16 + windows.channels * (3 * taps + 56) // 4)
        return _call(context, windows, form, self.name, instructions)


@dataclass(frozen=True, slots=True)
class AveragePoolLoop:
    """The definition's float32 sum for every window; float32 and 8-bit elements."""

    name: str = "average_pool_float"

    def reject(self, context: NodeContext) -> str | None:
        """One or two spatial axes, channels last."""
        source, target = context.activation(0).tensor, context.outputs[0].tensor
        quantized = source.quant is not None and target.quant is not None
        if not quantized and (source.dtype != "float32" or target.dtype != "float32"):
            return "neither quantized nor float32 on both sides"
        return _whole_image(context) or windows_reason(context) or _rows_reason(context)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        windows = windows_of(context)
        taps = windows.rows.kernel * windows.columns.kernel
        instructions = windows.pixels * (16 + windows.channels * (9 * taps + 40))
        return _call(context, windows, None, self.name, instructions)


def _call(context: NodeContext, windows: Windows, form: WindowForm | None, name: str, instructions: int) -> KernelCall:
    source, target = context.activation(0), context.outputs[0]
    qx, qy = source.tensor.quant, target.tensor.quant
    lo, hi = _bounds(context)
    exactness = Exactness(proved=int(form is not None), float_tail=int(form is None)) if qx is not None else Exactness()
    return KernelCall(
        kernel=kernel(
            "average_pool",
            label(f"average_pool_{windows.rows.kernel}x{windows.columns.kernel}", source),
            (input_param(source.tensor, windows), writes(target.tensor)),
            includes=MATH,
            w=windows,
            form=form,
            quantized=qx is not None,
            scale_in=float(qx.s) if qx is not None else 0.0,
            zero_in=qx.z if qx is not None else 0,
            scale_out=float(qy.s) if qy is not None else 0.0,
            zero_out=qy.z if qy is not None else 0,
            lo=lo,
            hi=hi,
            fixed_count=_op(context).count_include_pad or not windows.padded,
            may_be_empty=windows.rows.empty or windows.columns.empty,
            count=windows.rows.kernel * windows.columns.kernel,
            **_strides(source, target, windows),
        ),
        arguments=(InputArg(index=0), OutputArg(index=0)),
        variant=name,
        reason="integer sums decide all but a few windows" if form else "the float32 sum of the definition",
        overlaps=window_overlap(windows, source, target),
        stack_bytes=192,
        instructions=instructions,
        cycles=cycles(instructions, name),
        exactness=exactness,
        float_arithmetic=qx is None,
    )


def _strides(source: Stored, target: Stored, windows: Windows) -> dict[str, int | str]:
    return {
        "ctype": CTYPES[source.tensor.dtype],
        "otype": CTYPES[target.tensor.dtype],
        "row": windows.columns.size * windows.from_stride,
        "image": windows.rows.size * windows.columns.size * windows.from_stride,
        "tap_row": windows.rows.dilation * windows.columns.size * windows.from_stride,
        "tap_column": windows.columns.dilation * windows.from_stride,
    }


VARIANTS: tuple[Variant, ...] = (AveragePoolGlobal(), AveragePoolWindows(), AveragePoolLoop())
