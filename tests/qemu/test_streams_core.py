# SPDX-License-Identifier: Apache-2.0
"""Streams on the emulated core: the scheduled kernels read rows by pointers there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcucompiler.stream.compose import GroupChoice
from tests.support.reference_networks import model
from tests.support.series_networks import series, spectrogram
from tests.support.stream_networks import NETWORKS, made
from tests.support.streams import check_program, streams, subject


@pytest.mark.qemu
@pytest.mark.parametrize("name", NETWORKS)
def test_longest_streams(name: str, tmp_path: Path) -> None:
    network = subject(made(name, np.uint8))
    plan = network.plan(*network.longest(expand=True))
    check_program(network, plan, tmp_path / "net", on="qemu")


@pytest.mark.qemu
def test_streams_along_the_width(tmp_path: Path) -> None:
    """A wide image whose columns are carried to rings, and a series whose time steps are pushed."""
    image = subject(spectrogram())
    check_program(image, image.plan(*image.longest(rows=2, turned=True)), tmp_path / "image", on="qemu")
    words = subject(series("keywords", 3))
    first = words.longest(turned=True)[0]
    fed = GroupChoice(first=0, stop=first.stop, fed=words.graph.inputs[0], turned=True)
    check_program(words, words.plan(fed), tmp_path / "words", on="qemu")


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["tinyengine_vww.qop", "mlperf_vww96.qop"])
def test_reference_networks(name: str, tmp_path: Path) -> None:
    network = subject(model(name))
    plan = network.plan(*network.longest())
    assert list(streams(plan))
    check_program(network, plan, tmp_path / "net", on="qemu", count=1)
