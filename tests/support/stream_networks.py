# SPDX-License-Identifier: Apache-2.0
"""Random image networks with the shapes that streams must get right: residuals, shortcuts, branches, gates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.support.networks import MICROSOFT, Network, Value

PAD1 = [1, 1, 1, 1]
_MOST_CHANNELS = 20
_MOST_ROWS = 17
_MOST_HIGH = 36


def average_pool(n: Network, x: Value, kernel: tuple[int, int], strides: tuple[int, int]) -> Value:
    """QLinearAveragePool without padding; with the input's scale and an odd zero point, so that ties matter."""
    spatial = [(x.shape[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
    y = Value(n.fresh("pool"), (*x.shape[:2], *spatial), x.scale, x.zero_point | 1)
    operands = [x.name, *n.pair(x.scale, x.zero_point), *n.pair(y.scale, y.zero_point)]
    n.add("QLinearAveragePool", operands, y.name, MICROSOFT, kernel_shape=list(kernel), strides=list(strides))
    return y


def max_pool(n: Network, x: Value, kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, ...]) -> Value:
    """MaxPool; ``pads`` as in ONNX."""
    spatial = [(x.shape[2 + i] + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1 for i in range(2)]
    attributes = {"kernel_shape": list(kernel), "strides": list(strides), "pads": list(pads)}
    return n.direct("MaxPool", x, (*x.shape[:2], *spatial), **attributes)


LAYERS = tuple(
    "plain plain depthwise pointwise pool bottleneck bottleneck shortcut branches merge upsample gate".split()
)


@dataclass(frozen=True)
class Sizes:
    """What random networks are made of.

    Attributes:
        widths: columns of an input.
        windows: rows, and columns, of a convolution's window.
        channels: of a convolution.
        layers: what the networks are made of.
    """

    widths: st.SearchStrategy[int]
    windows: st.SearchStrategy[int]
    channels: st.SearchStrategy[int]
    layers: tuple[str, ...] = LAYERS


SMALL = Sizes(st.integers(2, 9), st.integers(1, 3), st.sampled_from((1, 3, 4, 5, 8, 12, 17, _MOST_CHANNELS)))


class _Grower:
    """Adds random layers to a network."""

    def __init__(self, draw: st.DrawFn, network: Network, sizes: Sizes) -> None:
        self.draw, self.network, self.sizes = draw, network, sizes
        self.values: list[Value] = []

    def number(self, least: int, most: int) -> int:
        return self.draw(st.integers(least, most))

    def input(self) -> None:
        shape = (1, self.number(1, 5), self.number(4, _MOST_ROWS), self.draw(self.sizes.widths))
        self.values.append(self.network.input(shape))

    def recent(self) -> Value:
        """One of the newest images."""
        images = [value for value in self.values if value.shape[2] > 1] or self.values
        return self.draw(st.sampled_from(images[-3:]))

    def channels(self) -> int:
        return self.draw(self.sizes.channels)

    def window(self, x: Value) -> dict[str, list[int]]:
        """Strides, dilations and asymmetric pads of a convolution whose kernel is returned with them."""
        kernel = [self.draw(self.sizes.windows), self.draw(self.sizes.windows)]
        dilations = [self.draw(st.sampled_from((1, 1, 2))) if size > 1 else 1 for size in kernel]
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = [self.number(0, reach[i % 2]) for i in range(4)]
        for i in range(2):
            if x.shape[2 + i] + pads[i] + pads[2 + i] <= reach[i]:
                kernel[i], dilations[i], pads[i], pads[2 + i] = 1, 1, 0, 0
        strides = [self.draw(st.sampled_from((1, 1, 1, 2, 3))) for _ in range(2)]
        return {"kernel": kernel, "strides": strides, "dilations": dilations, "pads": pads}

    def conv(self, x: Value, channels: int, groups: int = 1) -> Value:
        window = self.window(x)
        kernel = window.pop("kernel")
        relu = self.draw(st.booleans())
        return self.network.conv(x, channels, tuple(kernel), groups=groups, relu=relu, **window)

    def plain(self) -> None:
        self.values.append(self.conv(self.recent(), self.channels()))

    def pointwise(self) -> None:
        self.values.append(self.network.conv(self.recent(), self.channels(), (1, 1)))

    def depthwise(self) -> None:
        x = self.recent()
        self.values.append(self.conv(x, x.shape[1], groups=x.shape[1]))

    def pool(self) -> None:
        x = self.recent()
        if x.name.startswith("input"):
            x = self.network.conv(x, x.shape[1], (1, 1))
        kernel = min(self.number(2, 3), x.shape[2]), min(self.number(1, 3), x.shape[3])
        strides = self.number(1, 2), self.number(1, 2)
        if self.network.qdq or self.draw(st.booleans()):
            pads = tuple(self.number(0, kernel[i % 2] - 1) for i in range(4))
            self.values.append(max_pool(self.network, x, kernel, strides, pads))
        else:
            self.values.append(average_pool(self.network, x, kernel, strides))

    def bottleneck(self) -> None:
        """1x1, depthwise, 1x1; with the input added where the shapes allow it."""
        n, x = self.network, self.recent()
        wide = self.draw(st.sampled_from((8, 12, _MOST_CHANNELS)))
        y = n.conv(x, wide, (1, 1), relu=True)
        if self.draw(st.booleans()):
            y = n.conv(y, wide, (3, 3), groups=wide, pads=[1, 1, 1, 1], relu=True)
        else:
            y = self.conv(y, wide, groups=wide)
        y = n.conv(y, x.shape[1] if y.shape[2:] == x.shape[2:] else self.channels(), (1, 1))
        self.values.append(n.binary("Add", y, x) if y.shape == x.shape else y)

    def shortcut(self) -> None:
        """Two ways of different length to the same resolution, as in ResNet."""
        n, x, channels = self.network, self.recent(), self.channels()
        strides = [self.number(1, 2), self.number(1, 2)]
        y = n.conv(x, channels, (3, 3), strides=strides, pads=[1, 1, 1, 1], relu=True)
        y = n.conv(y, channels, (3, 3), pads=[1, 1, 1, 1])
        op = self.draw(st.sampled_from(("Add", "Mul")))
        self.values.append(n.binary(op, y, n.conv(x, channels, (1, 1), strides=strides)))

    def branches(self) -> None:
        """Parallel convolutions and their concatenation."""
        n, x = self.network, self.recent()
        parts = [n.conv(x, self.channels(), (1, 1)), n.conv(x, self.channels(), (3, 3), pads=[1, 1, 1, 1])]
        self.values.append(n.concat(parts + [x] * self.number(0, 1), 1))

    def merge(self) -> None:
        """Two images of one shape, however old."""
        x = self.recent()
        alike = [value for value in self.values if value.shape == x.shape]
        self.values.append(self.network.binary("Add", x, self.draw(st.sampled_from(alike))))

    def upsample(self) -> None:
        """Resizing by whole factors, or a transposed convolution without overlap."""
        x = self.recent()
        factors = self.draw(st.sampled_from((1, 2, 2, 2, 3, 4))), self.number(1, 2)
        if x.shape[2] * factors[0] > _MOST_HIGH:
            return
        coordinates = self.draw(st.sampled_from(("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")))
        kind = self.draw(st.sampled_from(("linear", "linear", "nearest", "transposed")))
        if kind == "transposed":
            self.values.append(self.network.conv_transpose(x, self.channels(), factors))
            return
        attributes = {"mode": kind, "coordinate_transformation_mode": coordinates}
        if kind == "nearest":
            attributes["nearest_mode"] = self.draw(st.sampled_from(("floor", "ceil", "round_prefer_floor")))
        self.values.append(self.network.resize(x, factors, **attributes))

    def gate(self) -> None:
        """Squeeze and excite."""
        n, x = self.network, self.recent()
        y = n.conv(n.global_average(x), 4, (1, 1), relu=True)
        self.values.append(n.binary("Mul", x, n.sigmoid(n.conv(y, x.shape[1], (1, 1)))))


@st.composite
def image_networks(draw: st.DrawFn, *, most_layers: int = 6, sizes: Sizes = SMALL) -> bytes:
    """A model: one or two inputs, some layers, every value that nobody reads is an output, perhaps others too."""
    dtype = draw(st.sampled_from((np.int8, np.int8, np.uint8)))
    network = Network(seed=draw(st.integers(0, 1000)), dtype=dtype, qdq=draw(st.integers(0, 3)) == 0)
    grower = _Grower(draw, network, sizes)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        grower.input()
    for kind in draw(st.lists(st.sampled_from(sizes.layers), min_size=2, max_size=most_layers)):
        getattr(grower, kind)()
    read = {name for node in network.nodes for name in node.input}
    inputs = {info.name for info in network.inputs} | {value.name for value in grower.values if "input" in value.name}
    made = [value for value in grower.values if value.name not in inputs]
    outputs = [value for value in made if value.name not in read]
    outputs += [value for value in made if value not in outputs and draw(st.integers(0, 9)) == 0]
    return network.build(outputs)


def bottlenecks(n: Network) -> list[Value]:
    """Expanded tensors that can be made anew; a residual; strides 1 and 2; odd sizes."""
    x = n.conv(n.input((1, 3, 13, 9)), 6, (3, 3), strides=[2, 1], pads=[0, 1, 1, 1])
    y = n.conv(n.conv(x, 24, (1, 1), relu=True), 24, (3, 3), groups=24, pads=PAD1, relu=True)
    x = n.binary("Add", n.conv(y, 6, (1, 1)), x)
    y = n.conv(n.conv(x, 20, (1, 1)), 20, (5, 3), groups=20, strides=[2, 2], pads=[2, 1, 2, 1])
    return [n.conv(y, 9, (1, 1))]


def pyramid(n: Network) -> list[Value]:
    """Branches of different depth whose ends are outputs, with concats."""
    x = n.conv(n.input((1, 2, 16, 6)), 8, (3, 3), pads=PAD1)
    a = n.conv(x, 8, (3, 3), groups=8, strides=[2, 2], pads=PAD1)
    b = max_pool(n, x, (2, 2), (2, 2), (0, 0, 0, 0))
    c = n.concat([a, b, n.conv(a, 4, (1, 1))], 1)
    d = n.conv(c, 6, (3, 3), strides=[2, 1], pads=PAD1)
    return [n.conv(c, 3, (1, 1)), d, average_pool(n, d, (2, 2), (1, 1))]


def pools_as_wide_as_the_image(n: Network) -> list[Value]:
    """A band of this pool is as large as its kernel, the image is not: the mean must not be that of a whole image."""
    x = n.conv(n.conv(n.input((1, 3, 12, 4)), 7, (3, 3), pads=PAD1), 5, (1, 1))
    return [average_pool(n, x, (1, 4), (1, 1)), average_pool(n, x, (2, 4), (2, 1)), average_pool(n, x, (3, 4), (1, 1))]


def gated(n: Network) -> list[Value]:
    """Squeeze and excite, between streams; the mean is taken row by row."""
    x = n.conv(n.input((1, 3, 10, 7)), 12, (3, 3), pads=PAD1, relu=True)
    gate = n.sigmoid(n.conv(n.conv(n.global_average(x), 4, (1, 1), relu=True), 12, (1, 1)))
    x = n.conv(n.binary("Mul", x, gate), 8, (3, 3), pads=PAD1)
    return [n.dense(n.reshape(n.global_average(x), (1, 8)), 4)]


def dilated(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 4, 17, 8)), 6, (3, 2), strides=[3, 1], pads=[1, 0, 0, 1])
    x = n.conv(x, 6, (3, 3), groups=6, dilations=[2, 1], pads=[2, 1, 2, 1])
    return [n.conv(n.conv(x, 10, (2, 3), groups=2, pads=[1, 0, 0, 1]), 5, (1, 1), strides=[2, 2])]


def few_rows(n: Network) -> list[Value]:
    """Rings with as many slots as the image has rows, in which rows of others lie that begin before the image does."""
    x = n.conv(n.input((1, 3, 6, 7)), 5, (3, 3), strides=[2, 2], pads=PAD1)
    for _ in range(2):
        x = n.conv(n.conv(n.conv(x, 12, (1, 1)), 12, (3, 3), groups=12, pads=PAD1), 6, (1, 1))
    return [x]


def decoder(n: Network) -> list[Value]:
    """Every way up: a transposed convolution, linear and nearest resizing, next to skip connections."""
    x = n.conv(n.input((1, 3, 8, 6)), 6, (3, 3), pads=PAD1, relu=True)
    y = n.conv(max_pool(n, x, (2, 2), (2, 2), (0, 0, 0, 0)), 8, (3, 3), pads=PAD1)
    y = n.conv(n.concat([n.conv_transpose(y, 5, (2, 2)), x], 1), 7, (3, 3), pads=PAD1)
    y = n.resize(y, (2, 2), mode="linear", coordinate_transformation_mode="half_pixel")
    y = n.resize(n.conv(y, 5, (3, 3), pads=PAD1), (3, 1), mode="nearest")
    y = n.resize(y, (4, 2), mode="linear", coordinate_transformation_mode="asymmetric")
    return [n.conv(y, 3, (3, 2), pads=[1, 0, 1, 1])]


def enlarged(n: Network) -> list[Value]:
    """The outermost rows of the output are made of the edge of the image alone, and not of rows that may be gone."""
    x = n.conv(n.input((1, 2, 5, 4)), 9, (1, 1))
    y = n.resize(x, (4, 4), mode="linear", coordinate_transformation_mode="half_pixel")
    return [n.resize(y, (2, 1), mode="linear", coordinate_transformation_mode="pytorch_half_pixel")]


_MAKERS: tuple[Callable[[Network], list[Value]], ...] = (
    bottlenecks,
    pyramid,
    pools_as_wide_as_the_image,
    gated,
    dilated,
    few_rows,
    decoder,
    enlarged,
)
NETWORKS = tuple(maker.__name__ for maker in _MAKERS)


def made(name: str, dtype: type = np.int8, *, qdq: bool = False) -> bytes:
    """The model of one of ``NETWORKS``."""
    index = NETWORKS.index(name)
    network = Network(seed=index + 1, dtype=dtype, qdq=qdq)
    return network.build(_MAKERS[index](network))
