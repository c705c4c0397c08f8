# SPDX-License-Identifier: Apache-2.0
"""Operators that move, name or join elements without computing."""

from __future__ import annotations

import math

import onnx

from mcucompiler.frontend.builder import ACTIVATION_DTYPES, Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Table, axes_of, axis_of, output_dtype, stated_axes
from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.ops import Cast, Concat, Reshape, Transpose
from mcucompiler.words import counted


def _emit_reshape(b: Builder, node: OnnxNode, x: Tensor, shape: tuple[int, ...]) -> None:
    b.emit(node, Reshape(shape=shape), [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)


def reshape(b: Builder, node: OnnxNode) -> None:
    """Reshape: 0 keeps a size (unless allowzero), one -1 takes what is left."""
    x = b.activation(node)
    wanted = b.integers(node, 1, "target shape")
    if not node.get("allowzero", 0):
        if any(size == 0 and axis >= len(x.shape) for axis, size in enumerate(wanted)):
            raise node.invalid("0 in the target shape beyond the input's axes", found=f"{list(wanted)}")
        wanted = tuple(x.shape[axis] if size == 0 else size for axis, size in enumerate(wanted))
    known = math.prod(size for size in wanted if size != -1)
    message = f"input {list(x.shape)} cannot be reshaped to {list(wanted)}"
    if wanted.count(-1) > 1 or any(size < -1 for size in wanted):
        raise node.invalid(message)
    if -1 in wanted:
        if known == 0 or x.size % known:
            raise node.invalid(message, hint=_RESHAPE_HINT)
        wanted = tuple(x.size // known if size == -1 else size for size in wanted)
    if math.prod(wanted) != x.size:
        raise node.invalid(message, hint=_RESHAPE_HINT)
    _emit_reshape(b, node, x, wanted)


_RESHAPE_HINT = "a target shape fixed at export holds for one input shape only: check --batch and --shape"


def flatten(b: Builder, node: OnnxNode) -> None:
    """Flatten to a matrix: the axes before `axis` and those from it on."""
    x = b.activation(node)
    axis = int(node.get("axis", 1))
    rank = len(x.shape)
    if not -rank <= axis <= rank:
        raise node.invalid("an axis is out of range", found=f"axis {axis}", supported=f"{-rank} to {rank}")
    axis += rank if axis < 0 else 0
    _emit_reshape(b, node, x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def squeeze(b: Builder, node: OnnxNode) -> None:
    """Squeeze: the given axes of size 1, or all of them."""
    x = b.activation(node)
    stated = stated_axes(b, node)
    if stated is None:
        axes = tuple(axis for axis, size in enumerate(x.shape) if size == 1)
    else:
        axes = axes_of(node, stated, len(x.shape))
    if any(x.shape[axis] != 1 for axis in axes):
        raise node.invalid("a squeezed axis is not of size 1", found=f"input {list(x.shape)}, axes {list(axes)}")
    _emit_reshape(b, node, x, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))


def unsqueeze(b: Builder, node: OnnxNode) -> None:
    """Unsqueeze: axes count in the output."""
    x = b.activation(node)
    stated = stated_axes(b, node)
    if stated is None:
        raise node.invalid("the axes are missing")
    rank = len(x.shape) + len(stated)
    axes = axes_of(node, stated, rank)
    sizes = iter(x.shape)
    _emit_reshape(b, node, x, tuple(1 if axis in axes else next(sizes) for axis in range(rank)))


def transpose(b: Builder, node: OnnxNode) -> None:
    """Transpose; without perm it reverses the axes."""
    x = b.activation(node)
    rank = len(x.shape)
    perm = node.ints("perm", tuple(reversed(range(rank))))
    if sorted(perm) != list(range(rank)):
        raise node.invalid("perm is no permutation of the input's axes", found=f"{list(perm)} of rank {rank}")
    b.emit(node, Transpose(perm=perm), [x.name], dtype=x.dtype, output=node.outputs[0], transparent=True)


def depth_to_space(b: Builder, node: OnnxNode) -> None:
    """DepthToSpace, which is PixelShuffle: channels become blocks of pixels; as Reshape, Transpose, Reshape."""
    x, size = _image_and_block(b, node)
    mode = node.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.invalid("unknown mode", found=repr(mode), supported="DCR, CRD")
    batch, channels, height, width = x.shape
    depth, left = divmod(channels, size * size)
    if left:
        raise node.invalid(
            "blocksize does not divide the channels", found=f"{counted(channels, 'channel')}, blocksize {size}"
        )
    if mode == "DCR":
        split, perm = (batch, size, size, depth, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, perm = (batch, depth, size, size, height, width), (0, 1, 4, 2, 5, 3)
    _emit_rearranged(b, node, x, split, perm, (batch, depth, height * size, width * size))


def space_to_depth(b: Builder, node: OnnxNode) -> None:
    """SpaceToDepth: blocks of pixels become channels; as Reshape, Transpose, Reshape."""
    x, size = _image_and_block(b, node)
    batch, channels, height, width = x.shape
    if height % size or width % size:
        raise node.invalid("blocksize does not divide the image", found=f"{height}x{width}, blocksize {size}")
    rows, columns = height // size, width // size
    split = (batch, channels, rows, size, columns, size)
    _emit_rearranged(b, node, x, split, (0, 3, 5, 1, 2, 4), (batch, channels * size * size, rows, columns))


def _image_and_block(b: Builder, node: OnnxNode) -> tuple[Tensor, int]:
    """The input of rank 4 and the attribute blocksize."""
    x = b.activation(node)
    if len(x.shape) != 4:
        raise node.invalid("input is no image", found=str(list(x.shape)), supported="[N, C, H, W]")
    size = int(node.get("blocksize", 0))
    if size < 1:
        raise node.invalid("blocksize is not positive", found=str(size))
    return x, size


def _emit_rearranged(
    b: Builder, node: OnnxNode, x: Tensor, split: tuple[int, ...], perm: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    """Elements in another order: axes split, exchanged and joined again."""
    parts = b.emit(node, Reshape(shape=split), [x.name], dtype=x.dtype, transparent=True)
    moved = b.emit(node, Transpose(perm=perm), [parts], dtype=x.dtype, transparent=True)
    _emit_reshape(b, node, b.tensors[moved], shape)


def identity(b: Builder, node: OnnxNode) -> None:
    """Identity: another name."""
    b.alias(node, node.needs_input(0, "x"), node.outputs[0])


def dropout(b: Builder, node: OnnxNode) -> None:
    """Dropout does nothing at inference."""
    if any(node.outputs[1:]):
        raise node.unsupported("its mask is asked for; supported: inference, so export the model in eval mode")
    training = b.optional_constant(node, 2, "training_mode")
    if training is not None and bool(training.any()):
        raise node.unsupported("training_mode is set; supported: inference, so export the model in eval mode")
    b.alias(node, node.needs_input(0, "x"), node.outputs[0])


def expand(b: Builder, node: OnnxNode) -> None:
    """Expand to the shape that the activation has already."""
    x = b.activation(node)
    wanted = b.integers(node, 1, "shape")
    padded = (1,) * (len(x.shape) - len(wanted)) + wanted
    if len(padded) != len(x.shape) or any(w not in (1, size) for w, size in zip(padded, x.shape, strict=True)):
        raise node.unsupported(
            f"repeats elements of an activation ({list(x.shape)} to {list(wanted)}); supported: constants, "
            "and operators that broadcast by themselves"
        )
    b.alias(node, x.name, node.outputs[0])


def cast(b: Builder, node: OnnxNode) -> None:
    """Cast between float32, int8 and uint8."""
    x = b.activation(node)
    try:
        to = str(onnx.helper.tensor_dtype_to_np_dtype(int(node.get("to", 0))))
    except (KeyError, ValueError):
        raise node.invalid("unknown element type", found=str(node.get("to"))) from None
    if to == x.dtype:
        b.alias(node, x.name, node.outputs[0])
        return
    if to not in ACTIVATION_DTYPES:
        raise node.unsupported(f"to {to}; supported: {', '.join(ACTIVATION_DTYPES)}")
    b.emit(node, Cast(to=to), [x.name], dtype=to, output=node.outputs[0])


def concat(b: Builder, node: OnnxNode) -> None:
    """Concat of real numbers, or of integers as they are."""
    tensors = [b.activation(node, index) for index in range(len(node.inputs))]
    if not tensors:
        raise node.invalid("it has no inputs")
    if len({tensor.dtype for tensor in tensors}) > 1:
        raise node.invalid("inputs differ in type", found=", ".join(tensor.dtype for tensor in tensors))
    if "axis" not in node.attributes:
        raise node.invalid("the attribute axis is missing")
    op = Concat(axis=axis_of(node, int(node.get("axis")), len(tensors[0].shape)))
    names = [tensor.name for tensor in tensors]
    b.emit(node, op, names, dtype=tensors[0].dtype, output=node.outputs[0], transparent=True)


def qlinear_concat(b: Builder, node: OnnxNode) -> None:
    """com.microsoft QLinearConcat: Y's scale and zero point, then (X, scale, zero point) for each input."""
    if len(node.inputs) < 5 or (len(node.inputs) - 2) % 3:
        raise node.invalid("inputs are not scale, zero point, then threes", found=counted(len(node.inputs), "input"))
    positions = range(2, len(node.inputs), 3)
    tensors = [b.activation(node, index, EIGHT_BIT) for index in positions]
    claims: dict[int, QuantParams] = {
        place: b.quant_params(node, index + 1, index + 2, dtype=tensors[place].dtype, what=f"input {place}")
        for place, index in enumerate(positions)
    }
    dtype = output_dtype(b, node, 1, tensors[0].dtype)
    qy = b.quant_params(node, 0, 1, dtype=dtype, what="the output")
    op = Concat(axis=axis_of(node, int(node.get("axis", 0)), len(tensors[0].shape)))
    names = [tensor.name for tensor in tensors]
    b.emit(node, op, names, dtype=dtype, output=node.outputs[0], quant=qy, claims=claims)


CONVERTERS: Table = {
    ("", "Cast"): cast,
    ("", "Concat"): concat,
    ("", "DepthToSpace"): depth_to_space,
    ("", "Dropout"): dropout,
    ("", "Expand"): expand,
    ("", "Flatten"): flatten,
    ("", "Identity"): identity,
    ("", "Reshape"): reshape,
    ("", "SpaceToDepth"): space_to_depth,
    ("", "Squeeze"): squeeze,
    ("", "Transpose"): transpose,
    ("", "Unsqueeze"): unsqueeze,
    ("com.microsoft", "QLinearConcat"): qlinear_concat,
}
