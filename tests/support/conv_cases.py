# SPDX-License-Identifier: Apache-2.0
"""Random convolutions and fully connected layers, with values that reach the ends of every range."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

from mcucompiler.ir.graph import Array, QuantParams, Tensor
from mcucompiler.lower.layout import channels_last
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops.base import Clamp
from mcucompiler.ops.conv import Conv
from mcucompiler.ops.gemm import Gemm
from tests.support.kernels import Case, lowered

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What the numbers of an integer layer are like.

    Attributes:
        seed: of the values.
        weight_zero: zero point of the weights; others than 0 make them wide.
        gain: the output's scale is this much finer than one that just holds the outputs.
        extreme: biases at the ends of int32, activations and weights at the ends of int8.
        bias: whether there is one.
        per_channel: whether the weights have a scale for each output channel.
        exact: lowering option.
        clamp: folded activation.
    """

    seed: int
    weight_zero: int = 0
    gain: float = 1.0
    extreme: bool = False
    bias: bool = True
    per_channel: bool = True
    exact: str = "proved"
    clamp: Clamp | None = None


numbers = st.builds(
    Numbers,
    seed=st.integers(0, 2**32 - 1),
    weight_zero=st.sampled_from([0, 0, 0, 7, -128]),
    gain=st.sampled_from([1.0, 1.0, 0.3, 30.0, 1e8, 1e-8]),
    extreme=st.booleans(),
    bias=st.booleans(),
    per_channel=st.booleans(),
    exact=st.sampled_from(["proved", "proved", "float"]),
    clamp=st.sampled_from([None, None, Clamp(lo=-128, hi=40), Clamp(lo=-11, hi=127), Clamp(lo=-3, hi=3)]),
)


@st.composite
def conv_cases(draw: st.DrawFn, *, depthwise: bool) -> Case:
    """A convolution over one or two spatial axes; grouped, depthwise with a multiplier, or neither."""
    rank = draw(st.sampled_from([1, 2, 2, 2]))
    kernel = tuple(draw(st.integers(1, 5 if depthwise else 4)) for _ in range(rank))
    dilations = tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = tuple(draw(st.integers(0, r - 1)) for r in (*reach, *reach))
    spatial = tuple(
        draw(st.integers(max(1, r - before - after), 12))
        for r, before, after in zip(reach, pads[:rank], pads[rank:], strict=True)
    )
    groups = draw(st.integers(2, 6)) if depthwise else draw(st.sampled_from([1, 1, 1, 2, 3]))
    group_in = 1 if depthwise else draw(st.integers(1, 9))
    channels = groups * draw(st.integers(1, 2 if depthwise else 5))
    op = Conv(strides=strides, pads=pads, dilations=dilations, groups=groups)
    shape = (draw(st.integers(1, 2)), groups * group_in, *spatial)
    case = integer_case(op, shape, (channels, group_in, *kernel), draw(numbers))
    return draw(placed(case))


@st.composite
def band_cases(draw: st.DrawFn) -> Case:
    """A few output rows of a convolution whose input rows are given by pointers; padded at the sides alone."""
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilations = (draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([1, 1, 2])))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    left, right = draw(st.integers(0, reach[1] - 1)), draw(st.integers(0, reach[1] - 1))
    width = draw(st.integers(max(1, reach[1] - left - right), 12))
    height = reach[0] + (draw(st.integers(1, 3)) - 1) * stride[0] + draw(st.integers(0, stride[0] - 1))
    groups, group_in = draw(st.sampled_from([1, 1, 2])), draw(st.integers(1, 9))
    op = Conv(strides=stride, pads=(0, left, 0, right), dilations=dilations, groups=groups)
    channels = groups * draw(st.integers(1, 5))
    case = integer_case(op, (1, groups * group_in, height, width), (channels, group_in, *kernel), draw(numbers))
    in_stride = groups * group_in + draw(st.sampled_from([0, 0, 3]))
    return replace(case, row_pointers=True, variant="conv", in_strides={0: in_stride})


def with_little_scratch(case: Case) -> Case:
    """The case with kernels that use little scratch, not in place: what the geometry permits may then be less."""
    return replace(case, in_place=False, options=replace(case.options, optimize="ram"))


@st.composite
def gemm_cases(draw: st.DrawFn) -> Case:
    """A fully connected layer of rows in ONNX order, or of one row in the order of an image."""
    rows = draw(st.sampled_from([(), (1,), (2,), (3,), (5,), (2, 3)]))
    outputs = draw(st.integers(1, 13))
    if rows == (1,) and draw(st.booleans()):
        image = (1, draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 4)))
        inputs = int(np.prod(image))
        case = integer_case(Gemm(), (1, inputs), (outputs, inputs), draw(numbers))
        return replace(case, in_layouts={0: channels_last(image)})
    inputs = draw(st.integers(1, 70))
    return integer_case(Gemm(), (*rows, inputs), (outputs, inputs), draw(numbers))


@st.composite
def placed(draw: st.DrawFn, case: Case) -> Case:
    """The case with dense activations, with channel slices, or in place where its kernel permits that."""
    where = draw(st.sampled_from(["dense", "slices", "in place"]))
    if where == "slices":
        x, y = case.inputs[0], case.outputs[0]
        assert x is not None
        in_stride = x.shape[1] + draw(st.integers(0, 3))
        return replace(case, in_strides={0: in_stride}, out_stride=y.shape[1] + draw(st.integers(0, 3)))
    if where == "in place" and lowered(case)[1].overlaps:
        return replace(case, in_place=True)
    return case


def integer_case(op: Conv | Gemm, shape: tuple[int, ...], weights: tuple[int, ...], how: Numbers) -> Case:
    """A quantized layer on an input of ``shape`` with weights of the given shape."""
    rng = np.random.default_rng(how.seed)
    channels, products = weights[0], int(np.prod(weights[1:]))
    x = Tensor(name="x", shape=shape, dtype="int8", quant=_quant(0.02, int(rng.integers(-128, 128))))
    scales = rng.uniform(0.003, 0.02, channels if how.per_channel else 1)
    w_quant = QuantParams(
        scale=tuple(float(np.float32(s)) for s in scales),
        zero_point=(how.weight_zero,) * len(scales),
        axis=0 if how.per_channel else None,
    )
    w = Tensor(name="w", shape=weights, dtype="int8", quant=w_quant, data=_int8(rng, weights, how.extreme))
    bias = None
    if how.bias:
        bias = Tensor(name="b", shape=(channels,), dtype="int32", data=_bias(rng, channels, how.extreme))
    out_scale = 0.02 * 0.0125 * 74 * 74 * float(np.sqrt(products)) / (40 * how.gain)
    op = replace(op, clamp=how.clamp)
    y_shape = op.output_shapes([x, w, bias])[0]
    y = Tensor(name="y", shape=y_shape, dtype="int8", quant=_quant(out_scale, int(rng.integers(-128, 128))))
    return Case(
        op=op,
        inputs=[x, w, bias],
        outputs=[y],
        values=[_int8(rng, shape, how.extreme), None, None],
        options=LoweringOptions(exact=how.exact),
    )


def float_case(op: Conv | Gemm, shape: tuple[int, ...], weights: tuple[int, ...], seed: int) -> Case:
    """A float32 layer whose sums cancel, so that every rounding shows."""
    rng = np.random.default_rng(seed)

    def values(size: tuple[int, ...]) -> Array:
        return (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 4, size)).astype(np.float32)

    x = Tensor(name="x", shape=shape, dtype="float32")
    w = Tensor(name="w", shape=weights, dtype="float32", data=values(weights))
    bias = Tensor(name="b", shape=weights[:1], dtype="float32", data=values(weights[:1])) if seed % 2 else None
    y = Tensor(name="y", shape=op.output_shapes([x, w, bias])[0], dtype="float32")
    return Case(op=op, inputs=[x, w, bias], outputs=[y], values=[values(shape), None, None])


def plain_conv(
    ifmap: tuple[int, int, int],
    channels: int,
    kernel: tuple[int, int],
    *,
    stride: int = 1,
    depthwise: bool = False,
    in_place: bool = False,
    seed: int = 0,
) -> Case:
    """A convolution as networks have them: C, H, W in, padded to keep its size."""
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    groups = ifmap[0] if depthwise else 1
    op = Conv(strides=(stride, stride), pads=pads, dilations=(1, 1), groups=groups)
    case = integer_case(op, (1, *ifmap), (channels, ifmap[0] // groups, *kernel), Numbers(seed=seed))
    return replace(case, in_place=in_place)


def band_conv(pixels: tuple[int, int], channels: int, size: int, *, stride: int = 1, rows: int = 1) -> Case:
    """``rows`` output rows of a square window over rows of (channels, width) ``pixels``, given by pointers."""
    border, height = size // 2, (rows - 1) * stride + size
    op = Conv(strides=(stride, stride), pads=(0, border, 0, border), dilations=(1, 1), groups=1)
    case = integer_case(op, (1, pixels[0], height, pixels[1]), (channels, pixels[0], size, size), Numbers(seed=size))
    return replace(case, row_pointers=True)


def shaped_cases() -> list[Case]:
    """One case or more for each path through the templates."""
    return [
        # pointwise: blocks of 4 and of the rest, sums with and without a loop, odd channels, padded inputs
        plain_conv((16, 5, 5), 24, (1, 1), in_place=True),
        plain_conv((24, 5, 5), 16, (1, 1), in_place=True),
        plain_conv((97, 3, 3), 7, (1, 1)),
        plain_conv((30, 1, 3), 5, (1, 1)),
        plain_conv((10, 1, 2), 5, (1, 1)),
        plain_conv((130, 1, 1), 9, (1, 1)),
        plain_conv((128, 1, 1), 9, (1, 1)),
        # general: borders, runs of a row, wide sums
        plain_conv((3, 9, 9), 16, (3, 3), stride=2),
        plain_conv((8, 6, 7), 6, (3, 3), in_place=True),
        plain_conv((2, 12, 3), 4, (7, 1)),
        plain_conv((1, 11, 12), 8, (5, 5)),
        plain_conv((3, 1, 4), 5, (1, 3), stride=2),
        *(band_conv((8, 7), 6, size, stride=stride) for size, stride in [(3, 1), (3, 2), (5, 1)]),
        # depthwise: blocks of 10 and a rest, sections of taps, taps in scratch, strides of both parities
        *(
            plain_conv((3, 8, width), 3, (size, size), stride=stride, depthwise=True, in_place=True)
            for width, size, stride in [
                (27, 3, 1),
                (40, 3, 1),
                (20, 5, 1),
                (13, 7, 1),
                (12, 9, 1),
                (21, 3, 2),
                (11, 5, 2),
                (14, 7, 2),
                (13, 3, 3),
            ]
        ),
        plain_conv((2, 9, 6), 6, (3, 3), depthwise=True),
    ]


def _quant(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(scale=(float(np.float32(scale)),), zero_point=(zero_point,))


def _int8(rng: np.random.Generator, shape: tuple[int, ...], extreme: bool) -> Array:
    if extreme:
        return rng.choice(np.array([-128, 127, 0, -1], np.int8), shape)
    return rng.integers(-128, 128, shape).astype(np.int8)


def _bias(rng: np.random.Generator, channels: int, extreme: bool) -> Array:
    if extreme:
        return rng.choice(np.array([INT32_MIN, INT32_MAX, INT32_MIN + 1000, 0], np.int32), channels)
    return rng.integers(-3000, 3000, channels).astype(np.int32)
