# SPDX-License-Identifier: Apache-2.0
"""Small helpers that every variant uses: parameters, labels, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.lower.types import ConstantArg, ConstantArray, Param, Stored
from mcucompiler.lower.variants.geometry import CTYPES
from mcucompiler.ops.base import Clamp

CYCLES_PER_INSTRUCTION = 0.85  # compiled C on a dual-issue core: loads and stores pair badly
COMPILED_LOOPS: Mapping[str, float] = MappingProxyType(
    {
        "average_pool": 0.9,
        "average_pool_float": 1.38,
        "binary_float": 1.36,
        "binary_float32": 1.08,
        "dequantize": 1.38,
        "flip_sign": 0.8,
        "max_pool": 0.9,
        "quantize": 1.14,
        "reduce_mean": 0.83,
        "resize_linear": 1.31,
        "resize_linear_integer": 0.57,
        "softmax": 1.28,
    }
)
"""Cycles an instruction of the innermost loop of some kernels in compiled C: what the model of the Cortex-M7 gives for
the instructions that GCC 12 makes of it at -O2. A test compares them with the compiler's output."""
MATH = ("mc_math.h",)


def reads(tensor: Tensor, name: str = "input") -> Param:
    """A parameter that points to an activation to be read."""
    return Param(ctype=f"const {CTYPES[tensor.dtype]} *", name=name)


def writes(tensor: Tensor, name: str = "output") -> Param:
    """A parameter that points to an activation to be written."""
    return Param(ctype=f"{CTYPES[tensor.dtype]} *", name=name)


def extent_label(shape: Sequence[int]) -> str:
    """A shape as part of an identifier, leading ones left out: 8x8x16."""
    kept = list(shape)
    while len(kept) > 1 and kept[0] == 1:
        kept.pop(0)
    return "x".join(str(extent) for extent in kept) or "1"


def label(stem: str, stored: Stored) -> str:
    """The readable stem of a kernel's name: what it does, and the memory shape it works on."""
    return f"{stem}_{extent_label(stored.memory_shape)}"


def cycles(instructions: int, loop: str = "") -> int:
    """Cycles of that many instructions of compiled C; an estimate.

    Args:
        instructions: how many.
        loop: which of ``COMPILED_LOOPS`` they are spent in, where it is among them.
    """
    return round(instructions * COMPILED_LOOPS.get(loop, CYCLES_PER_INSTRUCTION))


def constant(name: str, ctype: str, values: Array, comment: str = "", *, align: int = 4) -> ConstantArg:
    """An argument that points to constants which are no weights: tables, indices."""
    return ConstantArg(
        array=ConstantArray(
            label=name,
            ctype=ctype,
            given=np.ascontiguousarray(values).reshape(-1),
            comment=comment,
            align=align,
            weights=False,
        )
    )


def weights(name: str, ctype: str, values: Array, comment: str = "") -> ConstantArg:
    """An argument that points to trained constants."""
    return ConstantArg(
        array=ConstantArray(label=name, ctype=ctype, given=np.ascontiguousarray(values).reshape(-1), comment=comment)
    )


def output_bounds(dtype: str, clamp: Clamp | None) -> tuple[int, int]:
    """Least and greatest output: those of an integer type, narrowed by a folded activation; (0, 0) for float32."""
    lo, hi = INTEGER_RANGES.get(dtype, (0, 0))
    return (lo, hi) if clamp is None else (min(max(lo, clamp.lo), hi), max(min(hi, clamp.hi), lo))
