# SPDX-License-Identifier: Apache-2.0
"""The geometry of transposed convolutions, 1-D ones as 2-D of height 1."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.ir.graph import Tensor
from mcucompiler.lower.types import NodeContext, Stored
from mcucompiler.lower.variants.windows import windows_reason
from mcucompiler.ops.conv_transpose import ConvTranspose


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedShape:
    """Extents, with H = 1 in front of one-dimensional ones.

    Attributes:
        batch: images.
        groups: independent convolutions.
        size: of the input.
        out: of the output.
        kernel: taps.
        strides: pixels of the output from one input pixel's taps to the next one's.
        pads: what is cut off above and to the left.
        dilations: between taps.
        channels_in: of a group.
        channels_out: of a group.
    """

    batch: int
    groups: int
    size: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int]
    dilations: tuple[int, int]
    channels_in: int
    channels_out: int

    def taps(self, axis: int) -> tuple[list[int], list[tuple[int, int]]]:
        """For each output where its taps begin (and one end), and the taps as (input index, kernel index)."""
        begins, taps = [0], []
        for o in range(self.out[axis]):
            for k in range(self.kernel[axis]):
                index, rest = divmod(o + self.pads[axis] - k * self.dilations[axis], self.strides[axis])
                if rest == 0 and 0 <= index < self.size[axis]:
                    taps.append((index, k))
            begins.append(len(taps))
        return begins, taps


def constant_of(context: NodeContext, index: int) -> Tensor | None:
    """Input ``index`` where it is a constant."""
    return context.constant(index) if index < len(context.inputs) else None


def _pair(values: tuple[int, ...], fill: int) -> tuple[int, int]:
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def shape_of(context: NodeContext) -> TransposedShape:
    """The geometry of a ConvTranspose node.

    Raises:
        TypeError: for another operator, or weights that are not constant.
    """
    op = context.node.op
    source, target = context.activation(0).tensor, context.outputs[0].tensor
    w = constant_of(context, 1)
    if not isinstance(op, ConvTranspose) or w is None:
        raise TypeError("no transposed convolution by constant weights")
    rank = len(source.shape) - 2
    return TransposedShape(
        batch=source.shape[0],
        groups=op.groups,
        size=_pair(source.shape[2:], 1),
        out=_pair(target.shape[2:], 1),
        kernel=_pair(w.shape[2:], 1),
        strides=_pair(op.strides, 1),
        pads=_pair(op.pads[:rank], 0),
        dilations=_pair(op.dilations, 1),
        channels_in=source.shape[1] // op.groups,
        channels_out=target.shape[1] // op.groups,
    )


def refusal(context: NodeContext) -> str | None:
    """What no kernel does; None where there is nothing."""
    w = constant_of(context, 1)
    if w is None or w.data is None:
        return "the weights are not constant"
    if len(context.inputs) > 2 and isinstance(context.inputs[2], Stored):
        return "the bias is not constant"
    shape_reason = windows_reason(context)
    if shape_reason is not None:
        return shape_reason
    shape = shape_of(context)
    if max(len(shape.taps(axis)[1]) for axis in (0, 1)) > 65535:
        return "more taps than 16-bit tables can count"
    return None
