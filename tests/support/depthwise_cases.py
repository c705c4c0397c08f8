# SPDX-License-Identifier: Apache-2.0
"""Random depthwise convolutions of whole planes and of bands, whose rows are given by pointers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcucompiler.ops.base import Clamp
from mcucompiler.ops.conv import Conv
from tests.support.conv_cases import Numbers, integer_case
from tests.support.kernels import Case, lowered

CLAMPS = (None, None, Clamp(lo=-128, hi=40), Clamp(lo=-11, hi=127), Clamp(lo=-3, hi=3))


def random_numbers(rng: np.random.Generator) -> Numbers:
    """Plain numbers mostly; wide weights, extreme values, float tails and clamps sometimes."""
    return Numbers(
        seed=int(rng.integers(2**32)),
        weight_zero=int(rng.choice([0, 0, 0, 0, 9])),
        gain=float(rng.choice([1.0, 1.0, 0.3, 30.0, 1e8])),
        extreme=bool(rng.integers(4) == 0),
        bias=bool(rng.integers(4)),
        exact=str(rng.choice(["proved", "proved", "proved", "float"])),
        clamp=CLAMPS[int(rng.integers(len(CLAMPS)))],
    )


def depthwise_case(
    kernel: tuple[int, int],
    ifmap: tuple[int, int, int],
    numbers: Numbers,
    *,
    stride: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] | None = None,
    multiplier: int = 1,
    batch: int = 1,
) -> Case:
    """A depthwise convolution of C, H, W; ``pads`` (top, left, bottom, right) keep its size unless given."""
    channels = ifmap[0]
    around = (kernel[0] // 2, kernel[1] // 2) * 2 if pads is None else pads
    op = Conv(strides=stride, pads=around, dilations=(1, 1), groups=channels)
    return integer_case(op, (batch, *ifmap), (channels * multiplier, 1, *kernel), numbers)


def band_case(
    kernel: int, width: int, channels: int, numbers: Numbers, *, rows: int = 1, stride: int = 1, in_place: bool = False
) -> Case:
    """``rows`` output rows of a depthwise convolution from pointers to as many input rows as they need."""
    border = kernel // 2
    height = (rows - 1) * stride + kernel
    case = depthwise_case(
        (kernel, kernel), (channels, height, width), numbers, stride=(stride, stride), pads=(0, border, 0, border)
    )
    return replace(case, row_pointers=True, in_place=in_place)


def random_case(rng: np.random.Generator) -> Case:
    """A plane or a band of any small shape, dense, in place or with pixels apart."""
    numbers, channels = random_numbers(rng), int(rng.integers(2, 6))
    if rng.integers(3) == 0:
        size, stride = int(rng.choice([1, 2, 3, 3, 4, 5, 7])), int(rng.choice([1, 1, 2]))
        width = int(rng.integers(max(1, size - 2), 24))
        case = band_case(size, width, channels, numbers, rows=int(rng.integers(1, 4)), stride=stride)
    else:
        kernel = (int(rng.integers(1, 8)), int(rng.integers(1, 8)))
        if rng.integers(2):
            kernel = (kernel[0], kernel[0])
        stride = int(rng.choice([1, 1, 1, 2, 2, 3]))
        pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        size = tuple(
            int(rng.integers(max(1, k - a - b), 20)) for k, a, b in zip(kernel, pads[:2], pads[2:], strict=True)
        )
        case = depthwise_case(
            kernel,
            (channels, size[0], size[1]),
            numbers,
            stride=(stride, stride) if rng.integers(4) else (1, 2),
            pads=(pads[0], pads[1], pads[2], pads[3]),
            multiplier=int(rng.choice([1, 1, 1, 2])),
            batch=int(rng.choice([1, 1, 2])),
        )
    return placed(rng, case)


def placed(rng: np.random.Generator, case: Case) -> Case:
    """The case in place where its kernel permits that, or with pixels apart, or as it is."""
    where = rng.integers(3)
    if where == 0 and lowered(case)[1].overlaps:
        return replace(case, in_place=True)
    if where == 1:
        x, y = case.inputs[0], case.outputs[0]
        assert x is not None
        apart = int(rng.integers(1, 4))
        return replace(case, in_strides={0: x.shape[1] + apart}, out_stride=y.shape[1] + apart)
    return case
