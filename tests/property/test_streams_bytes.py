# SPDX-License-Identifier: Apache-2.0
"""Random networks with random groups of layers as streams, on real bytes of which the dead ones are spoiled."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.stream_networks import image_networks
from tests.support.streams import assert_right, plans, subject

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=40,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


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
