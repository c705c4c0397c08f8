# SPDX-License-Identifier: Apache-2.0
"""Maximum over windows, four channels at a time for 8-bit elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES
from mcucompiler.lower.types import InputArg, KernelCall, NodeContext, OutputArg, Variant, kernel
from mcucompiler.lower.variants.calls import MATH, cycles, label, writes
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.lower.variants.windows import (
    input_param,
    pool_of,
    rows_reason,
    window_overlap,
    windows_of,
    windows_reason,
)

STRIDED_INPUT = True
STRIDED_OUTPUT = True
ROW_POINTERS = frozenset({"max_pool"})
_MAX_UNROLLED_TAPS = 16


@dataclass(frozen=True, slots=True)
class MaxPoolPixels:
    """Pixel by pixel; the taps of inner windows are unrolled, windows at the border loop over what lies inside."""

    name: str = "max_pool"

    def reject(self, context: NodeContext) -> str | None:
        """One or two spatial axes, channels last."""
        dtype = context.outputs[0].tensor.dtype
        if dtype not in CTYPES:
            return f"elements of type {dtype}"
        return windows_reason(context) or rows_reason(context.activation(0), pool_of(context).pads)

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0), context.outputs[0]
        windows = windows_of(context)
        byte = target.tensor.dtype in ("int8", "uint8")
        taps = windows.rows.kernel * windows.columns.kernel
        per_pixel = (windows.channels * (3 * taps + 1)) // (4 if byte else 1)
        instructions = windows.pixels * (per_pixel + (24 if windows.padded else 6)) + 30
        return KernelCall(
            kernel=kernel(
                self.name,
                label(f"max_pool_{windows.rows.kernel}x{windows.columns.kernel}", source),
                (input_param(source.tensor, windows), writes(target.tensor)),
                includes=MATH,
                w=windows,
                unrolled=taps <= _MAX_UNROLLED_TAPS,
                lanes=4 if byte else 1,
                maximum={"int8": "mc_max_s8x4", "uint8": "mc_max_u8x4"}.get(target.tensor.dtype, ""),
                ctype=CTYPES[target.tensor.dtype],
                least=_least(target.tensor.dtype),
                least_word=0x80808080 if target.tensor.dtype == "int8" else 0,
                image=windows.rows.size * windows.columns.size * windows.from_stride,
                row=windows.columns.size * windows.from_stride,
            ),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            reason="four channels a word" if byte else "one element at a time",
            overlaps=window_overlap(windows, source, target),
            stack_bytes=128,
            instructions=instructions,
            cycles=cycles(instructions, self.name),
        )


def _least(dtype: str) -> int | float:
    """What a window without elements gives, and what a NaN does not beat."""
    return float(np.finfo(np.float32).min) if dtype == "float32" else INTEGER_RANGES[dtype][0]


VARIANTS: tuple[Variant, ...] = (MaxPoolPixels(),)
