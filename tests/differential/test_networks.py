# SPDX-License-Identifier: Apache-2.0
"""Whole networks with the shapes that trip compilers: program = reference = ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.networks import Network, Value
from tests.support.programs import check

PAD1 = [1, 1, 1, 1]


def residual(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 3, 11, 9)), 8, (3, 3), strides=[2, 2], pads=PAD1)
    for _ in range(2):
        y = n.conv(x, 24, (1, 1), relu=True)
        y = n.conv(y, 24, (3, 3), groups=24, pads=PAD1, relu=True)
        x = n.binary("Add", n.conv(y, 8, (1, 1)), x)
    return [n.dense(n.reshape(n.global_average(x), (1, 8)), 5)]


def shortcut(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 4, 10, 7)), 6, (3, 3), pads=PAD1)
    y = n.conv(n.conv(x, 10, (3, 3), strides=[2, 2], pads=PAD1), 10, (3, 3), pads=PAD1)
    return [n.binary("Add", y, n.conv(x, 10, (1, 1), strides=[2, 2]))]


def squeeze_excite(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 3, 8, 8)), 12, (5, 5), pads=[2, 2, 2, 2])
    gate = n.sigmoid(n.conv(n.conv(n.global_average(x), 4, (1, 1), relu=True), 12, (1, 1)))
    return [n.conv(n.binary("Mul", x, gate), 7, (1, 1))]


def u_net(n: Network) -> list[Value]:
    a = n.conv(n.input((1, 1, 12, 8)), 6, (3, 3), pads=PAD1)
    b = n.conv(n.direct("MaxPool", a, (1, 6, 6, 4), kernel_shape=[2, 2], strides=[2, 2]), 9, (3, 3), pads=PAD1)
    c = n.direct("MaxPool", b, (1, 9, 3, 2), kernel_shape=[2, 2], strides=[2, 2])
    c = n.concat([n.conv(c, 5, (1, 1)), n.conv(c, 4, (3, 3), pads=PAD1)], 1)
    return [n.conv(c, 3, (1, 1)), n.conv(n.concat([a, a], 1), 4, (1, 1))]


def outputs_that_are_read(n: Network) -> list[Value]:
    x = n.input((1, 5, 6, 6))
    a = n.conv(x, 5, (3, 3), groups=5, pads=PAD1)
    b = n.conv(a, 5, (3, 3), groups=5, pads=[0, 1, 1, 0])
    return [a, b, n.binary("Add", a, n.conv(x, 5, (1, 1)))]


def two_inputs(n: Network) -> list[Value]:
    a, b = n.conv(n.input((1, 3, 7, 5)), 6, (3, 3), pads=PAD1), n.conv(n.input((1, 2, 7, 5)), 6, (1, 1))
    return [n.concat([n.binary("Add", a, b), n.binary("Mul", a, b)], 2)]


def strides_and_dilations(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 6, 17, 13)), 6, (3, 3), groups=6, strides=[3, 2], pads=[0, 2, 1, 1])
    x = n.conv(x, 10, (3, 3), groups=2, dilations=[2, 1], pads=[2, 1, 2, 1])
    return [n.conv(x, 20, (2, 3), groups=10, pads=[1, 0, 0, 1])]


def one_dimensional(n: Network) -> list[Value]:
    x = n.conv(n.input((1, 3, 40)), 7, (5,), strides=[2], pads=[2, 1])
    x = n.conv(x, 7, (3,), groups=7, dilations=[3], pads=[3, 3])
    x = n.direct("MaxPool", x, (1, 7, 9), kernel_shape=[3], strides=[2])
    return [n.dense(n.reshape(x, (1, 63)), 4)]


def channels_last_converter(n: Network) -> list[Value]:
    x = n.direct("Transpose", n.input((1, 9, 9, 3)), (1, 3, 9, 9), perm=[0, 3, 1, 2])
    x = n.conv(x, 8, (3, 3), strides=[2, 2], pads=[0, 0, 1, 1])
    x = n.direct("Transpose", x, (1, 4, 4, 8), perm=[0, 2, 3, 1])
    return [n.dense(n.reshape(x, (1, 128)), 3)]


def channel_shuffle(n: Network) -> list[Value]:
    x = n.reshape(n.conv(n.input((1, 4, 6, 5)), 8, (1, 1)), (1, 2, 4, 6, 5))
    x = n.direct("Transpose", x, (1, 4, 2, 6, 5), perm=[0, 2, 1, 3, 4])
    return [n.conv(n.reshape(x, (1, 8, 6, 5)), 6, (3, 3), groups=2, pads=PAD1)]


def batch_of_two(n: Network) -> list[Value]:
    x = n.conv(n.input((2, 3, 8, 6)), 8, (3, 3), pads=PAD1)
    x = n.conv(x, 8, (3, 3), groups=8, strides=[2, 2], pads=PAD1)
    return [n.dense(n.reshape(n.global_average(x), (2, 8)), 5)]


def head_of_single_pixels(n: Network) -> list[Value]:
    """Small enough that a planner who may lay outputs over inputs will."""
    x = n.conv(n.conv(n.input((1, 200, 1, 1)), 192, (1, 1)), 208, (1, 1))
    return [n.dense(n.reshape(x, (1, 208)), 240)]


NETWORKS: tuple[Callable[[Network], list[Value]], ...] = (
    residual,
    shortcut,
    squeeze_excite,
    u_net,
    outputs_that_are_read,
    two_inputs,
    strides_and_dilations,
    one_dimensional,
    channels_last_converter,
    channel_shuffle,
    batch_of_two,
    head_of_single_pixels,
)


def build(make: Callable[[Network], list[Value]], **options: object) -> bytes:
    network = Network(seed=NETWORKS.index(make) + 1, **options)
    return network.build(make(network))


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_qoperator_is_exact_under_sanitizers(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    check(build(make), tmp_path / "net", sanitize=True, exact=True)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_unsigned_qoperator_is_exact(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    check(build(make, dtype=np.uint8), tmp_path / "net", exact=True)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_qdq_equals_the_reference(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    check(build(make, qdq=True), tmp_path / "net", exact=False)


@pytest.mark.qemu
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_exact_on_the_emulated_core(make: Callable[[Network], list[Value]], tmp_path: Path) -> None:
    check(build(make), tmp_path / "net", on="qemu", exact=True)
