# SPDX-License-Identifier: Apache-2.0
"""The C of streams on the host, under the sanitizers: streamed = layer by layer = reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.networks import Network, Value
from tests.support.stream_networks import average_pool, image_networks, max_pool
from tests.support.streams import check_program, plans, streams, subject

PAD1 = [1, 1, 1, 1]
few = settings(
    deadline=None,
    derandomize=True,
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


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


NETWORKS: tuple[Callable[[Network], list[Value]], ...] = (
    bottlenecks,
    pyramid,
    pools_as_wide_as_the_image,
    gated,
    dilated,
)


@pytest.mark.parametrize(("rows", "expand", "dtype"), [(1, True, np.int8), (2, False, np.uint8)])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_longest_streams(
    make: Callable[[Network], list[Value]], rows: int, expand: bool, dtype: type, tmp_path: Path
) -> None:
    network = Network(seed=NETWORKS.index(make) + 1, dtype=dtype)
    made = subject(network.build(make(network)))
    plan = made.plan(*made.longest(rows=rows, expand=expand))
    assert any(True for _ in streams(plan))
    check_program(made, plan, tmp_path / "net", sanitize=expand)


def test_random_streams_under_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        made = subject(data.draw(image_networks(most_layers=5)), share_concats=data.draw(st.booleans()))
        plan = data.draw(plans(made))
        check_program(made, plan, tmp_path_factory.mktemp("streams") / "net", sanitize=True)

    check()
