# SPDX-License-Identifier: Apache-2.0
"""Strides, pads and dilations of windowed operators, with `auto_pad` resolved to explicit pads."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.ir.graph import Tensor
from mcucompiler.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One entry for each spatial axis; `pads` holds all begins, then all ends."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]


def spatial_dims(node: OnnxNode, tensor: Tensor) -> tuple[int, ...]:
    """The spatial sizes of an activation [N, C, *S] with one or two spatial axes."""
    if len(tensor.shape) not in (3, 4):
        raise node.unsupported(f"input of shape {list(tensor.shape)}; supported: [N, C, L] and [N, C, H, W]")
    return tensor.shape[2:]


def read_window(node: OnnxNode, spatial: tuple[int, ...], kernel: tuple[int, ...] | None = None) -> Window:
    """The window attributes of a node.

    Args:
        node: a convolution or a pool.
        spatial: its input's spatial sizes.
        kernel: the weights' spatial sizes; None for pools, which state it as `kernel_shape`.

    Raises:
        ModelError: for attributes that contradict each other.
    """
    rank = len(spatial)
    stated = node.ints("kernel_shape", kernel or ())
    if kernel is not None and stated != kernel:
        raise node.invalid(
            "the attribute kernel_shape contradicts the weights",
            found=f"kernel_shape {list(stated)}, weights {list(kernel)}",
        )
    strides = node.ints("strides", (1,) * rank)
    dilations = node.ints("dilations", (1,) * rank)
    for name, values in (("kernel_shape", stated), ("strides", strides), ("dilations", dilations)):
        if len(values) != rank or any(v < 1 for v in values):
            raise node.invalid(
                f"attribute {name} does not fit the input",
                found=str(list(values)),
                supported=counted(rank, "positive value"),
            )
    pads = _pads(node, spatial, stated, strides, dilations)
    return Window(kernel=stated, strides=strides, pads=pads, dilations=dilations)


def _pads(
    node: OnnxNode,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[int, ...]:
    mode = node.get("auto_pad", "NOTSET")
    rank = len(spatial)
    if mode == "NOTSET":
        return explicit_pads(node, rank)
    if mode == "VALID":
        return (0,) * (2 * rank)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.invalid("unknown auto_pad", found=repr(mode), supported="NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    begins, ends = [], []
    for size, taps, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        reach = (taps - 1) * dilation + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
        begins.append(begin)
        ends.append(total - begin)
    return (*begins, *ends)


def explicit_pads(node: OnnxNode, rank: int) -> tuple[int, ...]:
    """The attribute `pads`, checked."""
    pads = node.ints("pads", (0,) * (2 * rank))
    if len(pads) != 2 * rank:
        raise node.invalid(
            "attribute pads does not fit the input", found=str(list(pads)), supported=f"{2 * rank} values"
        )
    if any(p < 0 for p in pads):
        raise node.unsupported(f"negative pads {list(pads)}; supported: pads >= 0")
    return pads
