# SPDX-License-Identifier: Apache-2.0
"""Walking over the taps of a kernel: which outputs each tap contributes to, and from which inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from mcucompiler.ops._shapes import pad_pairs

Slices = tuple[slice, ...]


def _axis_slices(dim: int, out: int, offset: int, stride: int, pad: int) -> tuple[slice, slice] | None:
    """Along one axis: outputs o with 0 <= o * stride + offset - pad < dim, and those inputs."""
    shift = pad - offset
    first = max(0, -(-shift // stride))
    last = min(out - 1, (dim - 1 + shift) // stride)
    if first > last:
        return None
    start = first * stride - shift
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)


def tap_slices(
    spatial: Sequence[int],
    outputs: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """For each tap, in row-major order (rows, then columns), the outputs it reaches inside the input.

    Taps that read only padding are left out.

    Args:
        spatial: the input's spatial shape.
        outputs: the output's spatial shape.
        kernel: the kernel's shape.
        strides: step of the window, for each axis.
        pads: ONNX pads, all begins, then all ends.
        dilations: distance of the taps, for each axis.

    Yields:
        The tap's position, slices of the output and the slices of the input that go with them, element by element.
    """
    begins = [begin for begin, _ in pad_pairs(pads)]
    for tap in product(*(range(k) for k in kernel)):
        parts = [
            _axis_slices(dim, out, position * dilation, stride, begin)
            for dim, out, position, dilation, stride, begin in zip(
                spatial, outputs, tap, dilations, strides, begins, strict=True
            )
        ]
        if all(parts):
            pairs = [part for part in parts if part is not None]
            yield tap, tuple(o for o, _ in pairs), tuple(i for _, i in pairs)
