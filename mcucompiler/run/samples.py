# SPDX-License-Identifier: Apache-2.0
"""Samples: seeded ones that reach the whole input range, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mcucompiler.errors import UsageError
from mcucompiler.ir.graph import Array
from mcucompiler.manifest import BoundaryTensor, Manifest
from mcucompiler.run.boundary import check_names

SEED = 20240229
_WIDE_INTEGERS = 1000  # int32 inputs are indices or counts, not the whole range


def seeded_samples(manifest: Manifest, count: int) -> tuple[dict[str, Array], ...]:
    """Inputs by ONNX name, of the ONNX types and shapes; the same at every call.

    In turn: noise over the whole range, a smooth field (which survives pooling), blocks of the
    two extremes, and faint noise around the zero point. Of a camera's pixels where the program takes those.
    """
    generator = np.random.Generator(np.random.PCG64(SEED))
    return tuple(
        {tensor.name: _as_onnx(_integers(generator, tensor, index), tensor) for tensor in manifest.sample_inputs}
        for index in range(count)
    )


def user_samples(manifest: Manifest, arrays: Mapping[str, Array], count: int | None) -> tuple[dict[str, Array], ...]:
    """Samples from arrays with a leading axis of samples.

    Raises:
        UsageError: wrong names, different numbers of samples, or none.
    """
    check_names(manifest, arrays)
    for name, array in arrays.items():
        if array.ndim == 0:
            raise UsageError(f"{name!r} is a single number; a leading axis of samples is expected")
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1:
        told = ", ".join(f"{name!r} {len(array)}" for name, array in arrays.items())
        raise UsageError(f"the inputs have different numbers of samples: {told}")
    available = lengths.pop()
    if available == 0:
        raise UsageError("the file holds no samples")
    taken = available if count is None else min(count, available)
    return tuple({name: array[index] for name, array in arrays.items()} for index in range(taken))


def _integers(generator: np.random.Generator, tensor: BoundaryTensor, index: int) -> Array:
    """Values on the integer grid of the input, float64, in ONNX order."""
    if tensor.dtype == "float32":
        return generator.standard_normal(tensor.onnx_shape) * float(10.0 ** (index % 3 - 1))
    if tensor.dtype == "int32":
        return generator.integers(0, _WIDE_INTEGERS, tensor.onnx_shape).astype(np.float64)
    lo, hi = float(np.iinfo(tensor.dtype).min), float(np.iinfo(tensor.dtype).max)
    noise = generator.integers(int(lo), int(hi) + 1, tensor.onnx_shape).astype(np.float64)
    if index % 4 == 0:
        return noise
    if index % 4 == 1:
        return np.clip(np.rint(0.9 * _smooth(generator, tensor.onnx_shape, lo, hi) + 0.1 * noise), lo, hi)
    if index % 4 == 2:
        return np.where(_smooth(generator, tensor.onnx_shape, -1.0, 1.0) + 0.05 * (noise - lo) / (hi - lo) > 0, hi, lo)
    zero = float(tensor.zero_point or 0)
    return np.clip(np.rint(zero + generator.standard_normal(tensor.onnx_shape) * (hi - lo) / 32), lo, hi)


def _smooth(generator: np.random.Generator, shape: tuple[int, ...], lo: float, hi: float) -> Array:
    """A sum of waves along all axes, from lo to hi."""
    phase = np.zeros(shape)
    for axis, extent in enumerate(shape):
        ramp = np.arange(extent) * generator.uniform(0.05, 0.5)
        phase = phase + ramp.reshape([-1 if position == axis else 1 for position in range(len(shape))])
    return lo + (hi - lo) * (0.5 + 0.5 * np.sin(phase + generator.uniform(0, 6.28)))


def _as_onnx(values: Array, tensor: BoundaryTensor) -> Array:
    if tensor.onnx_dtype == "float32" and tensor.dtype != "float32":
        centered = values - (tensor.zero_point or 0)
        return (centered.astype(np.float32) * np.float32(tensor.scale or 1.0)).reshape(tensor.onnx_shape)
    return np.asarray(values).astype(tensor.onnx_dtype).reshape(tensor.onnx_shape)
