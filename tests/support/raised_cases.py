# SPDX-License-Identifier: Apache-2.0
"""A convolution with channels that only raised sums prove, at the sums where an error would show."""

from __future__ import annotations

import numpy as np

from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.numerics.integer_form import find_requant_form
from mcucompiler.numerics.requantize import conv_multiplier
from mcucompiler.numerics.staircase import float_thresholds
from mcucompiler.ops.conv import Conv
from tests.support.kernels import Case

_INPUTS, _CHANNELS = 24, 96
_X, _Y = np.float32(0.02), np.float32(0.05)


def raised_case(seed: int = 3) -> Case:
    """All channels have the weights (1, 127, 127, ..) and scales of their own; pixels are sums around their steps.

    Outputs are positive only: where both signs count, all steps are symmetrical, and an offset is of no use.
    """
    rng = np.random.default_rng(seed)
    scales = np.exp2(rng.uniform(-12, -10.5, _CHANNELS)).astype(np.float32) * (_Y / _X)
    factor = conv_multiplier(_X, scales, _Y)
    reach = np.full(_CHANNELS, 128 + 127 * 128 * (_INPUTS - 1))
    left = np.flatnonzero(~find_requant_form(factor, -128, -128, 127, -reach, reach).proved)
    steps = float_thresholds(factor[left], -128, -128, 127, -reach[left], reach[left])
    sums = np.unique(np.concatenate([steps - 1, steps]))
    sums = np.append(sums[np.abs(sums) < 127 * 127 * (_INPUTS - 1)], [-300_000, -1, 0])
    conv = Conv(strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1), groups=1)
    weights = np.full((_CHANNELS, _INPUTS, 1, 1), 127, np.int8)
    weights[:, 0] = 1
    quant = QuantParams(scale=tuple(float(s) for s in scales), zero_point=(0,) * _CHANNELS, axis=0)
    x = Tensor(name="x", shape=(1, _INPUTS, 1, len(sums)), dtype="int8", quant=_quant(_X, 0))
    w = Tensor(name="w", shape=weights.shape, dtype="int8", quant=quant, data=weights)
    y = Tensor(name="y", shape=(1, _CHANNELS, 1, len(sums)), dtype="int8", quant=_quant(_Y, -128))
    return Case(op=conv, inputs=[x, w, None], outputs=[y], values=[_pixels(sums).T[None, :, None, :], None, None])


def _pixels(sums: np.ndarray) -> np.ndarray:
    """Inputs [N, 24] that give the sums."""
    rest = (sums + 63) // 127
    inputs = np.empty((len(sums), _INPUTS), np.int64)
    inputs[:, 0] = sums - 127 * rest
    for place in range(1, _INPUTS):
        inputs[:, place] = np.clip(rest, -128, 127)
        rest = rest - inputs[:, place]
    assert not rest.any()
    return inputs.astype(np.int8)


def _quant(scale: np.float32, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(scale),), zero_point=(zero_point,), axis=None)
