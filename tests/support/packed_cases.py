# SPDX-License-Identifier: Apache-2.0
"""Random dense 3x3 convolutions of stride 1, whole images and bands, for the kernel with packed sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcucompiler.ops.base import Clamp
from mcucompiler.ops.conv import Conv
from tests.support.conv_cases import Numbers, integer_case
from tests.support.kernels import Case, lowered

VARIANT = "conv_packed"


def packed_case(
    ifmap: tuple[int, int, int],
    channels: int,
    numbers: Numbers,
    *,
    pads: tuple[int, int, int, int] = (1, 1, 1, 1),
    batch: int = 1,
    band: bool = False,
) -> Case:
    """A convolution of C, H, W; ``band``: from pointers to the input rows."""
    op = Conv(strides=(1, 1), pads=pads, dilations=(1, 1), groups=1)
    case = integer_case(op, (batch, *ifmap), (channels, ifmap[0], 3, 3), numbers)
    return replace(case, variant=VARIANT, row_pointers=band)


def packed_cases(rng: np.random.Generator, count: int) -> list[Case]:
    """Cases that take every path: rows of each length, one and several sections, sums of either tail, in place."""
    return [_random_case(rng) for _ in range(count)]


def _random_case(rng: np.random.Generator) -> Case:
    numbers = Numbers(
        seed=int(rng.integers(2**32)),
        gain=float(rng.choice([1.0, 1.0, 0.3, 30.0, 1e8])),
        extreme=bool(rng.integers(2)),
        exact=str(rng.choice(["proved", "proved", "float"])),
        clamp=[None, None, Clamp(lo=-128, hi=40), Clamp(lo=-11, hi=127)][int(rng.integers(4))],
    )
    band = bool(rng.integers(3) == 0)
    left, right = int(rng.integers(0, 3)), int(rng.integers(0, 3))
    above, below = (0, 0) if band else (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
    height = int(rng.integers(max(1, 3 - above - below), 6))
    outputs = int(rng.choice([rng.integers(2, 20), rng.choice([22, 23, 32, 36, 39, 60, 80])]))
    width = max(1, outputs + 2 - left - right)
    ifmap = (int(rng.integers(1, 22)), height, width)
    batch = 1 if band else int(rng.integers(1, 3))
    case = packed_case(
        ifmap, int(rng.integers(1, 6)), numbers, pads=(above, left, below, right), batch=batch, band=band
    )
    where = int(rng.integers(3))
    if where == 1:
        stride = int(rng.integers(0, 4))
        return replace(case, in_strides={0: ifmap[0] + stride}, out_stride=case.outputs[0].shape[1] + 3 - stride)
    if where == 2 and lowered(case)[1].overlaps:
        return replace(case, in_place=True)
    return case
