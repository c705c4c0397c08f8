# SPDX-License-Identifier: Apache-2.0
"""Plans in which layers make their rows in strips, and networks that these have to get right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import StreamCall
from tests.support.networks import Network, Value
from tests.support.stream_networks import LAYERS, PAD1, Sizes, average_pool, image_networks, max_pool
from tests.support.streams import Subject, divided_plans, streams

STRIPS = (2, 3, 4, 6, 8, 12, 16)
WIDE = Sizes(
    st.sampled_from((6, 7, 8, 12, 16, 16, 18, 24)),
    st.sampled_from((1, 2, 3, 3, 5, 7)),
    st.sampled_from((1, 3, 4, 8)),
    (*LAYERS, *["bottleneck"] * 4),
)


def wide_networks(most_layers: int = 5) -> st.SearchStrategy[bytes]:
    """Random networks whose images can be divided, with windows that are wider than a strip."""
    return image_networks(most_layers=most_layers, sizes=WIDE)


def bottleneck(n: Network, width: int = 24) -> list[Value]:
    """A stem with uneven pads, two inverted bottlenecks with a residual between, the second with stride 2."""
    x = n.input((1, 3, 11, 2 * width))
    y = n.conv(x, 8, (3, 3), strides=[2, 2], pads=[1, 0, 1, 1], relu=True)
    z = n.conv(y, 16, (1, 1), relu=True)
    z = n.conv(z, 16, (3, 3), groups=16, pads=PAD1, relu=True)
    z = n.binary("Add", n.conv(z, 8, (1, 1)), y)
    z = n.conv(z, 12, (1, 1), relu=True)
    z = n.conv(z, 12, (5, 5), groups=12, strides=[2, 2], pads=[2, 2, 2, 2], relu=True)
    return [n.conv(z, 12, (1, 1))]


def shortcuts(n: Network) -> list[Value]:
    """ResNet: a residual block, and one whose shortcut has a stride; the mean at the end takes whole rows."""
    x = n.conv(n.input((1, 2, 9, 16)), 6, (3, 3), pads=PAD1, relu=True)
    y = n.conv(n.conv(x, 6, (3, 3), pads=PAD1, relu=True), 6, (3, 3), pads=PAD1)
    x = n.binary("Add", x, y)
    y = n.conv(n.conv(x, 9, (3, 3), strides=[2, 2], pads=PAD1, relu=True), 9, (3, 3), pads=PAD1)
    x = n.binary("Add", y, n.conv(x, 9, (1, 1), strides=[2, 2]))
    return [n.dense(n.reshape(n.global_average(x), (1, 9)), 4)]


def encoder_decoder(n: Network) -> list[Value]:
    """U-Net and FPN: pools down, two ways up that only make whole rows, concatenations and a sum; two outputs."""
    x = n.conv(n.input((1, 3, 12, 16)), 6, (3, 3), pads=PAD1, relu=True)
    y = n.conv(max_pool(n, x, (2, 2), (2, 2), (0, 0, 0, 0)), 8, (3, 3), pads=PAD1)
    z = n.conv(n.concat([n.conv_transpose(y, 5, (2, 2)), x], 1), 7, (3, 3), pads=PAD1)
    up = n.resize(n.conv(y, 7, (1, 1)), (2, 2), mode="linear", coordinate_transformation_mode="half_pixel")
    return [n.conv(n.binary("Add", up, z), 3, (3, 3), pads=PAD1), average_pool(n, y, (3, 3), (1, 1))]


def gated(n: Network) -> list[Value]:
    """Squeeze and excite; the product takes its gate as a whole."""
    x = n.conv(n.input((1, 3, 7, 16)), 8, (3, 3), pads=PAD1, relu=True)
    gate = n.sigmoid(n.conv(n.conv(n.global_average(x), 4, (1, 1), relu=True), 8, (1, 1)))
    x = n.conv(n.binary("Mul", x, gate), 8, (3, 3), pads=PAD1)
    return [n.conv(x, 5, (3, 3), strides=[2, 1], pads=[0, 1, 1, 1])]


def windows(n: Network) -> list[Value]:
    """Windows that are wider than several strips, of one row or of one column, dilated; strides up to 3."""
    x = n.conv(n.input((1, 2, 12, 24)), 5, (1, 7), pads=[0, 3, 0, 3])
    x = n.conv(x, 5, (1, 3), pads=[0, 1, 0, 1])
    x = n.conv(x, 4, (7, 1), pads=[3, 0, 3, 0])
    x = n.conv(x, 4, (3, 3), groups=4, dilations=[1, 4], pads=[1, 4, 1, 4])
    x = n.conv(x, 6, (7, 7), strides=[2, 3], pads=[3, 2, 3, 2])
    return [n.conv(x, 3, (2, 5), pads=[0, 4, 1, 0])]


def uneven(n: Network) -> list[Value]:
    """Padding makes widths of 16, 14, 15 and 12: only some of the layers can divide their rows."""
    x = n.conv(n.input((1, 3, 10, 16)), 5, (3, 3), pads=PAD1)
    y = n.conv(n.conv(x, 6, (3, 3)), 4, (1, 1))
    z = n.conv(y, 4, (3, 2), pads=[1, 1, 1, 1])
    return [n.conv(z, 8, (3, 4), pads=[1, 0, 1, 0]), y]


def readers(n: Network) -> list[Value]:
    """A ring that is read by different windows, at different distances; an output that is read inside as well."""
    x = n.conv(n.input((1, 2, 9, 16)), 6, (3, 3), pads=PAD1)
    a, b = n.conv(x, 5, (1, 1)), n.conv(x, 5, (5, 5), pads=[2, 2, 2, 2])
    c = max_pool(n, x, (3, 3), (1, 1), (1, 1, 1, 1))
    y = n.concat([n.binary("Add", a, b), c, x], 1)
    return [y, n.conv(y, 4, (3, 3), pads=PAD1), n.conv(x, 3, (2, 2), strides=[1, 2])]


_MAKERS: tuple[Callable[[Network], list[Value]], ...] = (
    bottleneck,
    shortcuts,
    encoder_decoder,
    gated,
    windows,
    uneven,
    readers,
)
NETWORKS = tuple(maker.__name__ for maker in _MAKERS)


def made(name: str, dtype: type = np.int8) -> bytes:
    """The model of one of ``NETWORKS``."""
    n = Network(seed=NETWORKS.index(name) + 3, dtype=dtype)
    return n.build(_MAKERS[NETWORKS.index(name)](n))


def bottlenecks(width: int, dtype: type = np.int8) -> bytes:
    """The model of ``bottleneck`` with an image of twice this width."""
    n = Network(seed=3, dtype=dtype)
    return n.build(bottleneck(n, width))


def in_strips(subject: Subject, strips: int, *, fed: bool = False, lean: bool = False, expand: bool = False) -> Plan:
    """The longest streams of a network in strips, where they can be.

    Args:
        subject: the network.
        strips: of a row.
        fed: whether rows are pushed into the first stream.
        lean: whether kernels are to use little scratch.
        expand: whether layers are made anew for each window where they can be.
    """
    pushed = subject.graph.inputs[0] if fed else None
    choices = []
    for choice in subject.longest(expand=expand):
        divided = replace(choice, strips=strips, lean=lean, fed=None if choice.first else pushed)
        if subject.composer.stream(divided) is not None:
            choices.append(divided)
    return subject.plan(*choices)


def striped_plans(subject: Subject, *, feed: bool = False) -> st.SearchStrategy[Plan]:
    """Plans with random groups in strips, where they can be; of a number that divides the rows of several layers."""
    lowered = subject.composer.lowered
    widths = [lowered.graph.tensors[step.writes[0]].shape[-1:] for step in lowered.steps]
    fitting = [strips for strips in STRIPS if sum(width[0] % strips == 0 for width in widths if width) > 1]
    ways = {"strips": st.sampled_from(fitting or STRIPS), "lean": st.booleans()}
    return divided_plans(subject, ways, feed=feed, expand=True)


def striped(plan: Plan) -> Iterator[tuple[int, StreamCall]]:
    """Index into the steps and call of each stream in strips."""
    return ((index, call) for index, call in streams(plan) if any(band.units > 1 for band in call.bands))
