# SPDX-License-Identifier: Apache-2.0
"""Random networks with random groups of layers as streams, on real bytes of which the dead ones are spoiled."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.patches import patched_plans, patches
from tests.support.stream_networks import image_networks
from tests.support.streams import assert_right, plans, subject
from tests.support.strips import striped, striped_plans, wide_networks

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


def test_strips_compute_what_the_reference_does() -> None:
    seen = []

    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        network = subject(data.draw(wide_networks()), share_concats=data.draw(st.booleans()))
        plan = data.draw(striped_plans(network, feed=data.draw(st.booleans())))
        seen.append(sum(band.units > 1 for _, call in striped(plan) for band in call.bands))
        assert_right(plan)

    check()
    assert sum(count > 1 for count in seen) > len(seen) // 2


def test_column_bands_compute_what_the_reference_does() -> None:
    seen = []

    @settings(few, max_examples=20)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        network = subject(data.draw(image_networks()), share_concats=data.draw(st.booleans()))
        plan = data.draw(patched_plans(network))
        seen.append(sum(len(call.bands) // len(call.parts) for _, call in patches(plan)))
        assert_right(plan)

    check()
    assert sum(seen) > len(seen)
