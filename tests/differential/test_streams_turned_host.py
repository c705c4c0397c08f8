# SPDX-License-Identifier: Apache-2.0
"""The C of streams along the width on the host, under the sanitizers: streamed = layer by layer = reference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.stream.compose import GroupChoice
from tests.support.series_networks import SERIES, series, series_networks, spectrogram
from tests.support.stream_networks import NETWORKS, image_networks, made
from tests.support.streams import check_program, plans, streams, subject

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(("rows", "expand", "dtype"), [(1, True, np.uint8), (2, False, np.int8)])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "pools_as_wide_as_the_image"])
def test_images(name: str, rows: int, expand: bool, dtype: type, tmp_path: Path) -> None:
    network = subject(made(name, dtype))
    plan = network.plan(*network.longest(rows=rows, expand=expand, turned=True))
    assert any(call.turned is not None for _, call in streams(plan))
    check_program(network, plan, tmp_path / "net", sanitize=expand)


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_wide_image(rows: int, tmp_path: Path) -> None:
    """One stream from an upright image to an upright image and a mean."""
    network = subject(spectrogram())
    (choice,) = network.longest(rows=rows, turned=True)
    assert (choice.first, choice.stop) == (0, network.steps)
    plan = network.plan(choice)
    ((_, call),) = streams(plan)
    assert sum(band.carries for band in call.bands) == 2
    check_program(network, plan, tmp_path / "net", sanitize=True)


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("name", SERIES)
def test_series(name: str, rank: int, rows: int, tmp_path: Path) -> None:
    network = subject(series(name, rank))
    plan = network.plan(*network.longest(rows=rows, turned=True))
    assert not any(band.carries for _, call in streams(plan) for band in call.bands)
    check_program(network, plan, tmp_path / "net", sanitize=True)


@pytest.mark.parametrize("name", SERIES)
def test_pushed_time_steps(name: str, tmp_path: Path) -> None:
    network = subject(series(name, 3, np.uint8))
    first = network.longest(turned=True)[0]
    fed = GroupChoice(first=0, stop=first.stop, fed=network.graph.inputs[0], turned=True)
    check_program(network, network.plan(fed), tmp_path / "net", sanitize=True)
    assert not network.possible(first=0, stop=first.stop, fed=fed.fed)


def test_columns_of_images_are_not_pushed() -> None:
    """Rows are what a camera gives, and of [1, C, 1, T] there is only one."""
    for model in (spectrogram(), series("causal", 4)):
        network = subject(model)
        choice = network.longest(turned=True)[0]
        assert network.composer.stream(replace(choice, fed=network.graph.inputs[0])) is None


def test_random_streams_under_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        models = image_networks(most_layers=5) if data.draw(st.booleans()) else series_networks()
        network = subject(data.draw(models), share_concats=data.draw(st.booleans()))
        plan = data.draw(plans(network, feed=data.draw(st.booleans()), turn=True))
        check_program(network, plan, tmp_path_factory.mktemp("streams") / "net", sanitize=True)

    check()
