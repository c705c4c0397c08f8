# SPDX-License-Identifier: Apache-2.0
"""Maximum over windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._pool import Pool
from mcucompiler.ops._quantized import check_activations, check_same_quantization, value
from mcucompiler.ops._taps import tap_slices
from mcucompiler.ops.base import MaybeTensors


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Pool):
    """Maximum over windows, of the elements as they are: the output has the input's quantization.

    inputs: x [N, C, *S]. Padding never wins; a window that lies in the padding altogether gives the least value of
    the type (-FLT_MAX for float32). A NaN never wins either.
    """

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The maxima of the windows."""
        x, y = value(values, 0, "x"), outputs[0]
        least = np.finfo(np.float32).min if y.dtype == "float32" else INTEGER_RANGES[y.dtype][0]
        result = np.full(y.shape, least, dtype=x.dtype)
        every = (slice(None), slice(None))
        for _, out, src in tap_slices(x.shape[2:], y.shape[2:], self.kernel, self.strides, self.pads, self.dilations):
            so_far = result[(*every, *out)]
            tap = x[(*every, *src)]
            result[(*every, *out)] = np.where(tap > so_far, tap, so_far)
        return (result,)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """float32 or 8-bit integers, the output of the input's quantization."""
        return (*check_activations(inputs, outputs), *check_same_quantization(inputs, outputs))
