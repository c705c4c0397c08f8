# SPDX-License-Identifier: Apache-2.0
"""Resize: sizes and scales for all axes."""

from __future__ import annotations

import math

import numpy as np

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import Table, axes_of, channels_first, emit_image
from mcucompiler.ir.graph import Tensor
from mcucompiler.ops import Resize
from mcucompiler.words import counted

_COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
)
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize(b: Builder, node: OnnxNode) -> None:
    """Resize by nearest or linear interpolation; of integers, the result is cut toward zero."""
    x = b.activation(node)
    mode = node.get("mode", "nearest")
    coordinates = node.get("coordinate_transformation_mode", "half_pixel")
    nearest = node.get("nearest_mode", "round_prefer_floor")
    for what, found, supported in (
        ("mode", mode, ("nearest", "linear")),
        ("coordinate_transformation_mode", coordinates, _COORDINATES),
        ("nearest_mode", nearest, _NEAREST),
    ):
        if found not in supported:
            raise node.unsupported(f"{what} {found!r}; supported: {', '.join(supported)}")
    if node.get("antialias", 0) or node.get("exclude_outside", 0):
        raise node.unsupported("antialias or exclude_outside; supported: neither")
    sizes, scales = _geometry(b, node, x)
    if sizes == x.shape and all(scale == 1 for scale in scales):
        b.alias(node, x.name, node.outputs[0])
        return
    last = sizes[:2] != x.shape[:2]
    if last:  # an optimizer has moved a Transpose past it
        if (sizes[0], sizes[-1]) != (x.shape[0], x.shape[-1]) or (mode == "linear" and x.dtype != "float32"):
            raise node.unsupported(
                f"{list(x.shape)} to {list(sizes)}; supported: the spatial axes of [N, C, *S], or of [N, *S, C] "
                "unless it interpolates integers"
            )
        sizes, scales = (sizes[0], sizes[-1], *sizes[1:-1]), (scales[0], scales[-1], *scales[1:-1])
    x = channels_first(b, node, x, last=last)
    op = Resize(
        sizes=sizes,
        scales=scales,
        mode=mode,
        coordinates=coordinates,
        nearest=nearest,
        truncate=mode == "linear" and x.dtype != "float32",
    )
    emit_image(b, node, op, [x.name], last=last, dtype=x.dtype, transparent=True)


def _geometry(b: Builder, node: OnnxNode, x: Tensor) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Output sizes and float32 scales of all axes, from whichever the node gives."""
    rank = len(x.shape)
    stated = node.ints("axes", tuple(range(rank)))
    axes_of(node, stated, rank)
    axes = [axis % rank for axis in stated]
    given_scales = b.optional_constant(node, 2, "scales")
    given_sizes = b.optional_constant(node, 3, "sizes")
    sizes, scales = list(x.shape), [np.float32(1)] * rank
    if given_sizes is not None and given_sizes.size:
        wanted = [int(v) for v in given_sizes.reshape(-1)]
        _check_count(node, "sizes", wanted, axes)
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        for axis, size, scale in zip(axes, *_fit(node, policy, x, axes, wanted), strict=True):
            sizes[axis], scales[axis] = size, scale
    elif given_scales is not None and given_scales.size:
        factors = [np.float32(v) for v in given_scales.reshape(-1)]
        _check_count(node, "scales", factors, axes)
        for axis, factor in zip(axes, factors, strict=True):
            sizes[axis], scales[axis] = math.floor(np.float32(x.shape[axis]) * factor), factor
    else:
        raise node.invalid("neither scales nor sizes are given")
    return tuple(sizes), tuple(float(scale) for scale in scales)


def _check_count(node: OnnxNode, what: str, values: list[int] | list[np.float32], axes: list[int]) -> None:
    if len(values) != len(axes) or any(not (np.isfinite(v) and v > 0) for v in values):
        raise node.invalid(
            f"{what} do not fit the input",
            found=str([float(v) for v in values]),
            supported=counted(len(axes), "positive value"),
        )


def _fit(
    node: OnnxNode, policy: str, x: Tensor, axes: list[int], wanted: list[int]
) -> tuple[list[int], list[np.float32]]:
    """Sizes and scales under the aspect ratio policy."""
    scales = [np.float32(size) / np.float32(x.shape[axis]) for axis, size in zip(axes, wanted, strict=True)]
    if policy == "stretch":
        return wanted, scales
    if policy not in ("not_larger", "not_smaller"):
        raise node.invalid("unknown keep_aspect_ratio_policy", found=repr(policy))
    scale = min(scales) if policy == "not_larger" else max(scales)
    return [math.floor(float(scale) * x.shape[axis] + 0.5) for axis in axes], [scale] * len(axes)


CONVERTERS: Table = {("", "Resize"): resize}
