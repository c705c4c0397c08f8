# SPDX-License-Identifier: Apache-2.0
"""Random tensors and cases for the kernels that are not products of matrices, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, QuantParams, Tensor
from mcucompiler.lower.layout import Layout, channels_last, row_major
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops.base import Operator
from tests.support.kernels import Case, check_cases, lowered

Rng = np.random.Generator
FLOAT_OPTIONS = LoweringOptions(exact="float")


def quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


def random_quant(rng: Rng, dtype: str) -> QuantParams | None:
    if dtype == "float32":
        return None
    lo, hi = INTEGER_RANGES[dtype] if dtype != "int32" else (0, 0)
    zero = int(rng.choice([lo, hi, 0 if lo <= 0 <= hi else lo, rng.integers(lo, hi, endpoint=True)]))
    return quant(float(rng.choice([0.5, 0.0625, rng.uniform(0.004, 0.2)])), zero)


def tensor(name: str, shape: Sequence[int], dtype: str = "int8", q: QuantParams | None = None) -> Tensor:
    return Tensor(name=name, shape=tuple(int(n) for n in shape), dtype=dtype, quant=q)


def values(rng: Rng, value: Tensor) -> Array:
    """Elements over the whole range, extremes often."""
    if value.dtype == "float32":
        return (rng.standard_normal(value.shape) * rng.choice([0.1, 4.0, 30.0])).astype(np.float32)
    lo, hi = INTEGER_RANGES[value.dtype]
    wide = rng.integers(lo, hi, value.shape, endpoint=True)
    return np.where(rng.random(value.shape) < 0.15, rng.choice([lo, hi], value.shape), wide).astype(value.dtype)


def constant(rng: Rng, value: Tensor) -> Tensor:
    return value.replace(data=values(rng, value))


def a_layout(rng: Rng, shape: tuple[int, ...]) -> Layout:
    return channels_last(shape) if rng.random() < 0.6 else row_major(shape)


def gap(rng: Rng, shape: tuple[int, ...], layout: Layout | None = None) -> int | None:
    """A pixel stride beyond the row, now and then."""
    if not shape or rng.random() < 0.6:
        return None
    order = layout or channels_last(shape)
    return int(order.memory_shape[-1] + rng.integers(1, 5))


def unary_case(
    rng: Rng,
    op: Operator,
    source: Tensor,
    target: Tensor,
    *,
    constants: Sequence[Tensor | None] = (),
    value: Array | None = None,
    layout: Layout | None = None,
    out_layout: Layout | None = None,
    strided: bool = True,
    options: LoweringOptions | None = None,
) -> Case:
    """A case of one activation and constants, channels last unless layouts are given."""
    order = layout or channels_last(source.shape)
    out_order = out_layout or channels_last(target.shape)
    in_stride = gap(rng, source.shape, order) if strided else None
    return Case(
        op=op,
        inputs=(source, *constants),
        outputs=(target,),
        values=(values(rng, source) if value is None else value, *(None for _ in constants)),
        in_layouts={0: order},
        out_layout=out_order,
        in_strides={} if in_stride is None else {0: in_stride},
        out_stride=gap(rng, target.shape, out_order) if strided else None,
        options=options or LoweringOptions(),
    )


def check(cases: Sequence[Case], **how: object) -> None:
    """Every kernel equals its operator's definition, and again over its input where that is permitted."""
    over = [replace(case, in_place=True) for case in cases if lowered(case)[1].overlaps]
    check_cases([*cases, *over], **{"sanitize": True, "cflags": ("-std=c11", "-O1"), **how})


def batch(make: Callable[[Rng], Case], seed: int, count: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    return [make(rng) for _ in range(count)]


def variants_used(cases: Sequence[Case]) -> set[str]:
    return {lowered(case)[1].variant for case in cases}
