# SPDX-License-Identifier: Apache-2.0
"""One-dimensional networks, on [1, C, T] or [1, C, 1, T], and wide images: what streams along the width are for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from tests.support.networks import Network, Value

_MOST_STEPS = 41


class Series:
    """Adds layers to a network of time series.

    Args:
        network: that grows.
        rank: 3 for [1, C, T], 4 for [1, C, 1, T].
    """

    def __init__(self, network: Network, rank: int) -> None:
        self.network, self.rank = network, rank

    def _each(self, value: int, other: int) -> list[int]:
        return [value] if self.rank == 3 else [other, value]

    def input(self, channels: int, steps: int) -> Value:
        return self.network.input((1, channels, *self._each(steps, 1)))

    def conv(
        self, x: Value, channels: int, size: int, *, stride: int = 1, dilation: int = 1,
        pads: tuple[int, int] = (0, 0), groups: int = 1, relu: bool = False,
    ) -> Value:  # fmt: skip
        return self.network.conv(
            x,
            channels,
            tuple(self._each(size, 1)),
            groups=groups,
            relu=relu,
            strides=self._each(stride, 1),
            dilations=self._each(dilation, 1),
            pads=self._each(pads[0], 0) + self._each(pads[1], 0),
        )

    def max_pool(self, x: Value, size: int, stride: int, pads: tuple[int, int] = (0, 0)) -> Value:
        steps = (x.shape[-1] + sum(pads) - size) // stride + 1
        return self.network.direct(
            "MaxPool",
            x,
            (*x.shape[:-1], steps),
            kernel_shape=self._each(size, 1),
            strides=self._each(stride, 1),
            pads=self._each(pads[0], 0) + self._each(pads[1], 0),
        )


def keywords(s: Series) -> list[Value]:
    """Residual blocks with strides, odd lengths, and a mean at the end."""
    x = s.conv(s.input(10, 39), 8, 3, pads=(1, 1), relu=True)
    for channels, stride in ((12, 2), (17, 2), (17, 1)):
        y = s.conv(s.conv(x, channels, 9, stride=stride, pads=(4, 4), relu=True), channels, 5, pads=(2, 2))
        x = s.network.binary("Add", y, s.conv(x, channels, 1, stride=stride, relu=True))
    mean = s.network.global_average(x)
    return [s.network.dense(s.network.reshape(mean, (1, mean.shape[1])), 4)]


def causal(s: Series) -> list[Value]:
    """Dilations and pads at one side; depthwise convolutions; outputs that are series."""
    x = s.conv(s.input(5, 40), 8, 4, stride=3, pads=(3, 0))
    y = s.conv(s.conv(x, 8, 3, dilation=2, pads=(4, 0), groups=8, relu=True), 16, 1)
    z = s.conv(s.conv(y, 16, 3, dilation=4, pads=(8, 0), groups=16), 8, 1)
    return [s.network.binary("Add", z, x), s.max_pool(y, 3, 2, (1, 1))]


def branches(s: Series) -> list[Value]:
    """Concatenation, and a table."""
    x = s.conv(s.input(3, 24), 6, 3, pads=(1, 1))
    y = s.network.concat([s.conv(x, 4, 1), s.conv(x, 5, 5, pads=(2, 2)), s.network.sigmoid(x)], 1)
    return [s.conv(s.max_pool(y, 2, 2), 7, 3, pads=(0, 2))]


_MAKERS: tuple[Callable[[Series], list[Value]], ...] = (keywords, causal, branches)
SERIES = tuple(maker.__name__ for maker in _MAKERS)


def series(name: str, rank: int, dtype: type = np.int8, *, qdq: bool = False) -> bytes:
    """The model of one of ``SERIES``."""
    index = SERIES.index(name)
    network = Network(seed=index + 1, dtype=dtype, qdq=qdq)
    return network.build(_MAKERS[index](Series(network, rank)))


def spectrogram(height: int = 12, width: int = 40) -> bytes:
    """Depthwise separable layers on a wide image, and a mean at the end, after an output that is an image."""
    n = Network(seed=4)
    x = n.conv(n.input((1, 2, height, width)), 12, (4, 5), strides=[2, 2], pads=[1, 0, 1, 3], relu=True)
    y = x
    for kernel in ((3, 3), (5, 3)):
        pads = [size // 2 for size in (*kernel, *kernel)]
        y = n.conv(n.conv(y, 12, kernel, groups=12, pads=pads, relu=True), 12, (1, 1), relu=True)
    y = n.binary("Add", y, x)
    return n.build([n.conv(y, 3, (1, 3), pads=[0, 1, 0, 1]), n.global_average(n.conv(y, 20, (1, 1)))])


@st.composite
def series_networks(draw: st.DrawFn, *, most_layers: int = 6) -> bytes:
    """Random layers on one series; every value that nobody reads is an output."""
    n = Network(
        seed=draw(st.integers(0, 1000)), dtype=draw(st.sampled_from((np.int8, np.uint8))), qdq=draw(st.booleans())
    )
    s = Series(n, draw(st.sampled_from((3, 4))))
    values = [s.input(draw(st.integers(1, 6)), draw(st.integers(8, _MOST_STEPS)))]
    for _ in range(draw(st.integers(2, most_layers))):
        x = draw(st.sampled_from(values[-3:]))
        channels = draw(st.sampled_from((1, 3, 4, 8, 17)))
        size, dilation = draw(st.integers(1, 5)), draw(st.sampled_from((1, 1, 2)))
        reach = dilation * (size - 1)
        pads = draw(st.integers(0, reach)), draw(st.integers(0, reach))
        stride = draw(st.sampled_from((1, 1, 2, 3)))
        alike = [value for value in values if value.shape == x.shape]
        kind = draw(st.sampled_from(("conv", "conv", "depthwise", "pointwise", "pool", "add", "concat")))
        fits = x.shape[-1] + sum(pads) > reach
        if kind == "conv" and fits:
            values.append(s.conv(x, channels, size, stride=stride, dilation=dilation, pads=pads, relu=reach > 2))
        elif kind == "depthwise" and fits:
            values.append(s.conv(x, x.shape[1], size, stride=stride, dilation=dilation, pads=pads, groups=x.shape[1]))
        elif kind == "pool" and len(values) > 1 and x.shape[-1] > 2:
            values.append(s.max_pool(x, 2, stride, (draw(st.integers(0, 1)), 0)))
        elif kind == "add":
            values.append(n.binary("Add", x, draw(st.sampled_from(alike))))
        elif kind == "concat":
            values.append(n.concat([s.conv(x, channels, 1), x], 1))
        else:
            values.append(s.conv(x, channels, 1))
    read = {name for node in n.nodes for name in node.input}
    return n.build([value for value in values[1:] if value.name not in read])
