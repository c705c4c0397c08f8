# SPDX-License-Identifier: Apache-2.0
"""Streams on the emulated core: the scheduled kernels read rows by pointers there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.reference_networks import model
from tests.support.stream_networks import NETWORKS, made
from tests.support.streams import check_program, streams, subject


@pytest.mark.qemu
@pytest.mark.parametrize("name", NETWORKS)
def test_longest_streams(name: str, tmp_path: Path) -> None:
    network = subject(made(name, np.uint8))
    plan = network.plan(*network.longest(expand=True))
    check_program(network, plan, tmp_path / "net", on="qemu")


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["tinyengine_vww.qop", "mlperf_vww96.qop"])
def test_reference_networks(name: str, tmp_path: Path) -> None:
    network = subject(model(name))
    plan = network.plan(*network.longest())
    assert list(streams(plan))
    check_program(network, plan, tmp_path / "net", on="qemu", count=1)
