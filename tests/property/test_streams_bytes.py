# SPDX-License-Identifier: Apache-2.0
"""Random networks with random groups of layers as streams, on real bytes of which the dead ones are spoiled."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.reference import execute
from mcucompiler.stream.plans import Plan
from tests.support.graphs import random_feeds
from tests.support.stream_machine import Machine
from tests.support.stream_networks import image_networks
from tests.support.streams import plans, subject

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=60,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_right(plan: Plan, seed: int = 0) -> None:
    graph = plan.lowered.graph
    feeds = random_feeds(graph, seed)
    expected, got = execute(graph, feeds), Machine(plan, seed).run(feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name, strict=True)


@few
@given(data=st.data())
def test_streams_compute_what_the_reference_does(data: st.DataObject) -> None:
    network = subject(data.draw(image_networks()), share_concats=data.draw(st.booleans()))
    assert_right(data.draw(plans(network)))


@few
@given(data=st.data())
def test_pushed_rows_compute_what_the_reference_does(data: st.DataObject) -> None:
    network = subject(data.draw(image_networks()))
    assert_right(data.draw(plans(network, feed=True)))
