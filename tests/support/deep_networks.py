# SPDX-License-Identifier: Apache-2.0
"""Deep networks of well-known kinds, with random weights: what planning has to cope with."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.networks import Network, Value

_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2: expansion, channels, blocks and stride of each stage."""


def _window(size: int, stride: int = 1) -> dict[str, list[int]]:
    """Attributes of a convolution that keeps the extent, or divides it by the stride."""
    return {"pads": [size // 2] * 4, "strides": [stride, stride]}


def _divisible(channels: float) -> int:
    return max(8, int(channels + 4) // 8 * 8)


def mobilenet(n: Network, side: int, width: float, depth: int) -> list[Value]:
    """Inverted bottlenecks with residual sums, ``depth`` times as many as in MobileNetV2."""
    x = n.conv(n.input((1, 3, side, side)), _divisible(32 * width), (3, 3), relu=True, **_window(3, 2))
    for expansion, channels, blocks, stride in _INVERTED:
        for block in range(blocks * depth):
            y = x if expansion == 1 else n.conv(x, x.shape[1] * expansion, (1, 1), relu=True)
            step = stride if block == 0 else 1
            y = n.conv(y, y.shape[1], (3, 3), groups=y.shape[1], relu=True, **_window(3, step))
            y = n.conv(y, _divisible(channels * width), (1, 1))
            x = n.binary("Add", x, y) if x.shape == y.shape else y
    x = n.global_average(n.conv(x, _divisible(1280 * width), (1, 1), relu=True))
    return [n.dense(n.reshape(x, (1, x.shape[1])), 10)]


def resnet(n: Network, side: int, channels: int, blocks: tuple[int, ...]) -> list[Value]:
    """Bottlenecks with residual sums as in ResNet-50."""
    x = n.conv(n.input((1, 3, side, side)), channels, (7, 7), relu=True, **_window(7, 2))
    extent = x.shape[2] // 2
    x = n.direct("MaxPool", x, (1, channels, extent, extent), kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    for stage, count in enumerate(blocks):
        inner = channels << stage
        for block in range(count):
            step = 2 if block == 0 and stage else 1
            y = n.conv(n.conv(x, inner, (1, 1), relu=True), inner, (3, 3), relu=True, **_window(3, step))
            y = n.conv(y, 4 * inner, (1, 1))
            x = n.binary("Add", n.conv(x, 4 * inner, (1, 1), strides=[step, step]) if block == 0 else x, y)
    x = n.global_average(x)
    return [n.dense(n.reshape(x, (1, x.shape[1])), 10)]


def unet(n: Network, side: int, channels: int, levels: int, blocks: int) -> list[Value]:
    """Separable convolutions down and up again, what lies across joined; a head at each level."""
    x, across = n.conv(n.input((1, 3, side, side)), channels, (3, 3), relu=True, **_window(3, 2)), []

    def separable(x: Value, outputs: int, step: int = 1) -> Value:
        y = n.conv(x, x.shape[1], (3, 3), groups=x.shape[1], relu=True, **_window(3, step))
        return n.conv(y, outputs, (1, 1), relu=True)

    for level in range(levels):
        for _ in range(blocks):
            x = separable(x, channels << level)
        across.append(x)
        x = separable(x, channels << level + 1, 2)
    heads = []
    for level in reversed(range(levels)):
        large = n.resize(x, (2, 2), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
        x = n.concat([large, across[level]], 1)
        for _ in range(blocks):
            x = separable(x, channels << level)
        heads.append(n.conv(x, 4, (1, 1)))
    return heads


def gated(n: Network, side: int, channels: int, blocks: int) -> list[Value]:
    """Inverted bottlenecks with squeeze and excite, as in MobileNetV3."""
    x = n.conv(n.input((1, 3, side, side)), channels, (3, 3), relu=True, **_window(3, 2))
    for block in range(blocks):
        step = 2 if block in (0, blocks // 3, 2 * blocks // 3) else 1
        y = n.conv(x, x.shape[1] * 4, (1, 1), relu=True)
        y = n.conv(y, y.shape[1], (5, 5), groups=y.shape[1], relu=True, **_window(5, step))
        gate = n.conv(n.global_average(y), y.shape[1] // 4, (1, 1), relu=True)
        y = n.binary("Mul", y, n.sigmoid(n.conv(gate, y.shape[1], (1, 1))))
        y = n.conv(y, x.shape[1] * step, (1, 1))
        x = n.binary("Add", x, y) if x.shape == y.shape else y
    x = n.global_average(x)
    return [n.dense(n.reshape(x, (1, x.shape[1])), 10)]


DEEP: dict[str, Callable[[Network], list[Value]]] = {
    "mobilenet": lambda n: mobilenet(n, 128, 1.0, 2),
    "resnet": lambda n: resnet(n, 96, 16, (3, 4, 23, 3)),
    "unet": lambda n: unet(n, 160, 16, 4, 7),
    "gated": lambda n: gated(n, 96, 16, 16),
}
"""About 150 operators each."""


def deep(name: str) -> bytes:
    """A model of one of the kinds."""
    network = Network(seed=7)
    return network.build(DEEP[name](network))
