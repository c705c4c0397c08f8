# SPDX-License-Identifier: Apache-2.0
"""Nearest or linear interpolation over the spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.ops._quantized import centered, check_like_input, quantization, value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

MODES = ("nearest", "linear")
COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
TIE = np.float32(1e-6)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Operator):
    """Nearest or linear interpolation over the spatial axes; type and quantization stay.

    inputs: x [N, C, *S].

    All coordinates and weights are float32 (:meth:`coordinates_of`, :meth:`nearest_sources`, :meth:`linear_sources`).
    Linear interpolation over H and W of the four neighbors x11 (upper left), x12 (upper right), x21, x22 is, every
    operation rounded to float32 and none fused, with h1, h2 the weights of the upper and lower row and w1, w2 those of
    the left and right column: ``((w1 h1 x11 + w2 h1 x12) + w1 h2 x21) + w2 h2 x22``. Over L alone, with a = w1 x1 and
    b = w2 x2: ``a + b``; but ONNX Runtime interpolates all three axes of [N, C, L], which in the last sample, and in
    the last channel, adds the same terms again: ``(((a + b) + a) + b) / 2`` where one of the two holds, and eight terms
    divided by 4 where both hold.
    Integer tensors then either truncate toward zero, of the elements as they are, or round half to even, of x - zx
    before zx is added; both saturate.

    Attributes:
        sizes: output shape, all axes.
        scales: float32 factors, all axes.
        mode: "nearest" or "linear".
        coordinates: ONNX coordinate_transformation_mode; all but tf_crop_and_resize.
        nearest: ONNX nearest_mode; "simple" is that of operator sets before 11 (truncation, or ceil when shrinking).
        truncate: integer linear interpolation truncates toward zero, as ONNX Runtime does on int8 tensors, instead of
            rounding half to even.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.CHANNELS_LAST
    sizes: tuple[int, ...]
    scales: tuple[float, ...]
    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    truncate: bool = False

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The attribute ``sizes``."""
        x = operand(inputs, 0, "x")
        if len(self.sizes) != len(x.shape) or len(self.scales) != len(x.shape) or min(self.sizes, default=1) < 1:
            raise ModelError(
                "sizes and scales need one positive entry for each axis",
                found=f"sizes {list(self.sizes)}, scales {list(self.scales)}, input {list(x.shape)}",
            )
        if self.sizes[:2] != x.shape[:2]:
            raise ModelError(
                "unsupported axes",
                found=f"{list(x.shape)} to {list(self.sizes)}",
                supported="resizing of the spatial axes (the third and later ones)",
            )
        return (self.sizes,)

    def coordinates_of(self, dim: int, axis: int) -> Float32Array:
        """The position in the input of each output index along an axis, before any clamping.

        Every operation is rounded to float32; half_pixel_symmetric, as in ONNX Runtime, ends in float64.

        Args:
            dim: size of the input's axis.
            axis: the axis.
        """
        size, scale, half = self.sizes[axis], np.float32(self.scales[axis]), np.float32(0.5)
        o = np.arange(size, dtype=np.float32)
        if scale == 1:
            return o
        if self.coordinates == "asymmetric":
            return o / scale
        if self.coordinates == "tf_half_pixel_for_nn":
            return (o + half) / scale
        if self.coordinates == "align_corners":
            return o * np.float32(dim - 1) / np.float32(size - 1) if size > 1 else np.zeros(1, dtype=np.float32)
        if self.coordinates == "pytorch_half_pixel" and size == 1:
            return np.zeros(1, dtype=np.float32)
        if self.coordinates == "half_pixel_symmetric":
            adjustment = np.float32(size) / (scale * np.float32(dim))
            offset = np.float32(dim) / np.float32(2) * (np.float32(1) - adjustment)
            real = float(offset) + (o.astype(np.float64) + 0.5) / float(scale) - 0.5
            return real.astype(np.float32)
        return (o + half) / scale - half

    def nearest_sources(self, dim: int, axis: int) -> Int64Array:
        """The input index that each output index along an axis copies.

        Rounding takes what lies within 1e-6 of a half for a half, as ONNX Runtime does to make up for the rounding of
        the scale.

        Args:
            dim: size of the input's axis.
            axis: the axis.
        """
        at = self.coordinates_of(dim, axis)
        below = np.floor(at)
        if self.nearest == "floor":
            index = below
        elif self.nearest == "ceil" or (self.nearest == "simple" and self.scales[axis] < 1):
            index = np.ceil(at)
        elif self.nearest == "simple":
            index = np.trunc(at)
        else:
            tie = np.abs(at - below - np.float32(0.5)) <= TIE
            upward = np.where(tie, self.nearest == "round_prefer_ceil", at - below > np.float32(0.5))
            index = below + upward
        return np.asarray(np.clip(index.astype(np.int64), 0, dim - 1))

    def linear_sources(self, dim: int, axis: int) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
        """The two neighbors of each output index along an axis and their weights.

        Args:
            dim: size of the input's axis.
            axis: the axis.

        Returns:
            (lower index, upper index, weight of the lower, weight of the upper); both weights are 0.5 where the two
            are the same element.
        """
        at = np.clip(self.coordinates_of(dim, axis), np.float32(0), np.float32(dim - 1))
        lower = np.minimum(at.astype(np.int64), dim - 1)
        upper = np.minimum(lower + 1, dim - 1)
        same = lower == upper
        weight_upper = np.where(same, np.float32(0.5), np.abs(at - lower.astype(np.float32)))
        weight_lower = np.where(same, np.float32(0.5), np.abs(at - upper.astype(np.float32)))
        return lower, upper, weight_lower, weight_upper

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The resized value."""
        x, xv, y = operand(inputs, 0, "x"), value(values, 0, "x"), outputs[0]
        if self.sizes == x.shape:
            return (xv,)
        if self.mode == "nearest":
            for axis in range(2, xv.ndim):
                xv = np.take(xv, self.nearest_sources(x.shape[axis], axis), axis=axis)
            return (xv,)
        if y.dtype == "float32":
            return (self._interpolate(xv),)
        lo, hi = INTEGER_RANGES[y.dtype]
        if self.truncate or not y.is_quantized:
            return (np.clip(np.trunc(self._interpolate(xv.astype(np.float32))), lo, hi).astype(y.dtype),)
        real = self._interpolate(centered(xv, x).astype(np.float32))
        return (np.clip(np.rint(real) + quantization(y).z, lo, hi).astype(y.dtype),)

    def _interpolate(self, x: Float32Array) -> Float32Array:
        sources = [self.linear_sources(x.shape[axis], axis) for axis in range(2, x.ndim)]
        terms = []
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for ends in product((0, 1), repeat=len(sources)):
                term, weight = x, np.ones((1,) * (x.ndim - 2), dtype=np.float32)
                # Last axis first: (w * h) * x, as ONNX Runtime multiplies.
                for position in reversed(range(len(sources))):
                    lower, upper, weight_lower, weight_upper = sources[position]
                    index, factor = (upper, weight_upper) if ends[position] else (lower, weight_lower)
                    term = np.take(term, index, axis=position + 2)
                    shape = [1] * len(sources)
                    shape[position] = -1
                    weight = weight * factor.reshape(shape)
                terms.append(weight * term)
            return _repeated_sum(terms, x.shape) if x.ndim == 3 else _sum(terms)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """Known modes, one or two spatial axes, the input's quantization at the output."""
        causes = list(check_like_input(inputs, outputs))
        for name, found, known in (
            ("mode", self.mode, MODES),
            ("coordinate transformation mode", self.coordinates, COORDINATES),
            ("nearest mode", self.nearest, NEAREST),
        ):
            if found not in known:
                causes.append(f"{name} {found!r}; supported are {', '.join(known)}")
        x = operand(inputs, 0, "x")
        if self.mode == "linear" and len(x.shape) not in (3, 4):
            causes.append(
                f"linear interpolation of an input of rank {len(x.shape)}; one or two spatial axes are supported"
            )
        if self.mode == "linear" and x.dtype not in ("float32", "int8", "uint8"):
            causes.append(f"linear interpolation of {x.dtype}; float32, int8 or uint8 is supported")
        return tuple(causes)

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """From the first to the last neighbor."""
        dim = operand(inputs, 0, "x").shape[axis]
        if axis < 2 or self.sizes == operand(inputs, 0, "x").shape:
            return (start, stop)
        if self.mode == "nearest":
            sources = self.nearest_sources(dim, axis)[start:stop]
            return (int(sources.min()), int(sources.max()) + 1)
        lower, upper, _, _ = self.linear_sources(dim, axis)
        return (int(lower[start:stop].min()), int(upper[start:stop].max()) + 1)


def _sum(terms: Sequence[Float32Array]) -> Float32Array:
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


def _repeated_sum(terms: Sequence[Float32Array], shape: Shape) -> Float32Array:
    """The sum of the terms of an input [N, C, L], taken once, twice or four times over and divided by as many."""
    once = _sum(terms)
    twice = _sum([once, *terms])
    four = _sum([twice, *terms, *terms])
    last_batch = (np.arange(shape[0]) == shape[0] - 1).reshape(-1, 1, 1)
    last_channel = (np.arange(shape[1]) == shape[1] - 1).reshape(1, -1, 1)
    both, either = last_batch & last_channel, last_batch | last_channel
    return np.asarray(np.where(both, four / np.float32(4), np.where(either, twice / np.float32(2), once)))
