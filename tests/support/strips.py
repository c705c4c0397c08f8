# SPDX-License-Identifier: Apache-2.0
"""Plans in which layers make their rows in strips, and networks that these have to get right."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import StreamCall
from tests.support.networks import Network, Value
from tests.support.stream_networks import Sizes, image_networks
from tests.support.streams import Subject, divided_plans, streams

STRIPS = (2, 3, 4, 6, 8, 12, 16)
WIDE = Sizes(
    st.sampled_from((6, 7, 8, 12, 16, 16, 18, 24)), st.sampled_from((1, 2, 3, 3, 5, 7)), st.sampled_from((1, 3, 4, 8))
)


def wide_networks(most_layers: int = 5) -> st.SearchStrategy[bytes]:
    """Random networks whose images can be divided, with windows that are wider than a strip."""
    return image_networks(most_layers=most_layers, sizes=WIDE)


def bottleneck(width: int = 24, dtype: type = np.int8) -> bytes:
    """A stem with uneven pads, two inverted bottlenecks with a residual between, the second wide and with stride 2."""
    n = Network(seed=3, dtype=dtype)
    x = n.input((1, 3, 11, 2 * width))
    y = n.conv(x, 8, (3, 3), strides=[2, 2], pads=[1, 0, 1, 1], relu=True)
    z = n.conv(y, 16, (1, 1), relu=True)
    z = n.conv(z, 16, (3, 3), groups=16, pads=[1, 1, 1, 1], relu=True)
    z = n.binary("Add", n.conv(z, 8, (1, 1)), y)
    z = n.conv(z, 12, (1, 1), relu=True)
    z = n.conv(z, 12, (5, 5), groups=12, strides=[2, 2], pads=[2, 2, 2, 2], relu=True)
    return n.build([n.conv(z, 12, (1, 1))])


def in_strips(subject: Subject, strips: int, *, fed: bool = False, lean: bool = False) -> Plan:
    """The whole of a network as one stream in strips."""
    pushed = subject.graph.inputs[0] if fed else None
    return subject.plan(GroupChoice(first=0, stop=subject.steps, strips=strips, fed=pushed, lean=lean))


def striped_plans(subject: Subject, *, feed: bool = False) -> st.SearchStrategy[Plan]:
    """Plans with random groups in strips, where they can be."""
    return divided_plans(subject, {"strips": st.sampled_from(STRIPS), "lean": st.booleans()}, feed=feed)


def striped(plan: Plan) -> Iterator[tuple[int, StreamCall]]:
    """Index into the steps and call of each stream in strips."""
    return ((index, call) for index, call in streams(plan) if any(band.strips for band in call.bands))
