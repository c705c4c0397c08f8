# SPDX-License-Identifier: Apache-2.0
"""Shape rules and receptive fields that several operators share."""

from __future__ import annotations

from collections.abc import Sequence

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import Tensor
from mcucompiler.ops.base import MaybeTensors, Shape
from mcucompiler.words import counted


def operand(inputs: MaybeTensors, index: int, what: str) -> Tensor:
    """The input at ``index``.

    Raises:
        ModelError: where it is absent.
    """
    tensor = inputs[index] if index < len(inputs) else None
    if tensor is None:
        raise ModelError(f"input {index} ({what}) is missing")
    return tensor


def present(inputs: MaybeTensors) -> tuple[Tensor, ...]:
    """The inputs that are not absent."""
    return tuple(tensor for tensor in inputs if tensor is not None)


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """The common shape under ONNX (numpy) broadcasting.

    Raises:
        ModelError: where there is none.
    """
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    result = []
    for dims in zip(*padded, strict=True):
        sizes = {dim for dim in dims if dim != 1}
        if len(sizes) > 1:
            raise ModelError(
                "shapes cannot be broadcast together",
                found=" and ".join(str(list(shape)) for shape in shapes),
                supported="along each axis, counted from the last, equal sizes or 1",
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def broadcast_range(source: Shape, result: Shape, axis: int, start: int, stop: int) -> tuple[int, int] | None:
    """Receptive field of an elementwise operator: the same indices, or the only one where the operand is repeated.

    Args:
        source: shape of the operand.
        result: shape of the output.
        axis: axis of the output; the operand's is counted from the last, as broadcasting does.
        start: first output index.
        stop: one past the last.

    Returns:
        The range along the operand's axis; (0, 1) where it has size 1 or is missing.
    """
    own = axis - (len(result) - len(source))
    if own < 0 or (source[own] == 1 and result[axis] != 1):
        return (0, 1)
    return (start, stop)


def check_axis(axis: int, rank: int, what: str = "axis") -> None:
    """Refuse an axis that a tensor of this rank does not have.

    Raises:
        ModelError: where ``axis`` is not in [0, rank).
    """
    if not 0 <= axis < rank:
        raise ModelError(f"{what} is out of range", found=str(axis), supported=f"0 to {rank - 1}")


def check_spatial(rank: int, **attributes: tuple[int, ...]) -> None:
    """Refuse window attributes of the wrong length: one entry for each spatial axis, or two for pads.

    Raises:
        ModelError: naming the attribute.
    """
    for name, values in attributes.items():
        wanted = 2 * rank if name == "pads" else rank
        if len(values) != wanted:
            raise ModelError(
                f"{name} has the wrong length", found=str(list(values)), supported=counted(wanted, "value")
            )
        least = 0 if name in ("pads", "output_padding") else 1
        if any(value < least for value in values):
            raise ModelError(f"{name} is out of range", found=str(list(values)), supported=f"at least {least} each")


def windows(dim: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int, *, ceil_mode: bool = False) -> int:
    """How many windows there are along one axis.

    In ceil mode a last window may hang over the end; one that would start in the padding at the end is dropped, as
    ONNX defines and ONNX Runtime does.

    Raises:
        ModelError: where not a single window fits.
    """
    span = dilation * (kernel - 1) + 1
    free = dim + pad[0] + pad[1] - span
    if free < 0:
        raise ModelError(
            "the window is larger than its padded input",
            found=f"window {span} (dilation {dilation}), input {dim} with padding {pad[0]} + {pad[1]}",
        )
    if not ceil_mode:
        return free // stride + 1
    count = -(-free // stride) + 1
    return count - 1 if (count - 1) * stride >= dim + pad[0] else count


def pad_pairs(pads: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """ONNX pads (all begins, then all ends) as (begin, end) for each axis."""
    half = len(pads) // 2
    return tuple(zip(pads[:half], pads[half:], strict=True))


def window_shape(
    spatial: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    *,
    ceil_mode: bool = False,
) -> Shape:
    """Spatial shape of the output of a convolution or pool."""
    return tuple(
        windows(dim, k, stride, pad, dilation, ceil_mode=ceil_mode)
        for dim, k, stride, pad, dilation in zip(spatial, kernel, strides, pad_pairs(pads), dilations, strict=True)
    )


def window_range(kernel: int, stride: int, pad: int, dilation: int, start: int, stop: int) -> tuple[int, int]:
    """Receptive field of output indices [start, stop) of a convolution or pool along one axis, not clipped."""
    first = start * stride - pad
    last = (stop - 1) * stride - pad + dilation * (kernel - 1)
    return (first, last + 1)


def check_groups(channels: int, weight_channels: int, out_channels: int, groups: int) -> None:
    """Refuse weights that do not go with the input's channels or with the groups.

    Raises:
        ModelError: naming the sizes.
    """
    if groups < 1 or channels % groups or out_channels % groups or channels != weight_channels:
        raise ModelError(
            "channels and groups do not go together",
            found=f"{counted(channels, 'input channel')}, weights for {weight_channels}, "
            f"{counted(out_channels, 'output')}, {counted(groups, 'group')}",
            supported="weights for exactly the input's channels, both channel counts multiples of the groups",
        )


def check_bias(inputs: MaybeTensors, channels: int) -> None:
    """Refuse a bias, the third input, that is not one value for each output channel.

    Raises:
        ModelError: naming the shape.
    """
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and bias.shape != (channels,):
        raise ModelError("the bias has the wrong shape", found=str(list(bias.shape)), supported=f"[{channels}]")
