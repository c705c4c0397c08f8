# SPDX-License-Identifier: Apache-2.0
"""The C of streams on the host, under the sanitizers: streamed = layer by layer = reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.stream_networks import NETWORKS, image_networks, made
from tests.support.streams import check_program, plans, streams, subject

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(("rows", "expand", "dtype"), [(1, True, np.int8), (2, False, np.uint8)])
@pytest.mark.parametrize("name", NETWORKS)
def test_longest_streams(name: str, rows: int, expand: bool, dtype: type, tmp_path: Path) -> None:
    network = subject(made(name, dtype))
    plan = network.plan(*network.longest(rows=rows, expand=expand))
    assert any(True for _ in streams(plan))
    check_program(network, plan, tmp_path / "net", sanitize=expand)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("name", ["decoder", "enlarged"])
def test_interpolated_rows_round_to_even(name: str, rows: int, tmp_path: Path) -> None:
    """Between QuantizeLinear and DequantizeLinear resizing does not truncate; the edges are the same all the same."""
    network = subject(made(name, qdq=True), share_concats=False)
    plan = network.plan(*network.longest(rows=rows))
    edges = [r for _, call in streams(plan) for band in call.bands for _, r in band.readings if r.edge]
    assert len(edges) == 2
    assert min(reading.first for reading in edges) == -1
    check_program(network, plan, tmp_path / "net", sanitize=True, count=8)


@pytest.mark.parametrize("name", ["bottlenecks", "few_rows"])
def test_pushed_rows(name: str, tmp_path: Path) -> None:
    network = subject(made(name))
    first = network.longest()[0]
    fed = replace(first, fed=network.graph.inputs[0])
    check_program(network, network.plan(fed), tmp_path / "net", sanitize=True)


def test_random_streams_under_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        network = subject(data.draw(image_networks(most_layers=5)), share_concats=data.draw(st.booleans()))
        plan = data.draw(plans(network, feed=data.draw(st.booleans())))
        check_program(network, plan, tmp_path_factory.mktemp("streams") / "net", sanitize=True)

    check()
