# SPDX-License-Identifier: Apache-2.0
"""Plans in which groups of layers run in column bands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st

from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import PatchesCall
from tests.support.networks import Network
from tests.support.streams import Subject, divided_plans


def bottlenecks(width: int = 19, dtype: type = np.int8) -> bytes:
    """A stem with stride 2 and uneven pads, two inverted bottlenecks with a residual between, an odd width."""
    n = Network(seed=3, dtype=dtype)
    x = n.input((1, 3, 13, width))
    y = n.conv(x, 8, (3, 3), strides=[2, 2], pads=[1, 0, 1, 1], relu=True)
    z = n.conv(y, 16, (1, 1), relu=True)
    z = n.conv(z, 16, (3, 3), groups=16, pads=[1, 1, 1, 1], relu=True)
    z = n.binary("Add", n.conv(z, 8, (1, 1)), y)
    z = n.conv(z, 24, (1, 1), relu=True)
    z = n.conv(z, 24, (5, 5), groups=24, pads=[2, 2, 2, 2], relu=True)
    return n.build([n.conv(z, 12, (1, 1))])


def in_columns(subject: Subject, columns: int, *, lean: bool = False) -> Plan:
    """The whole of a network as one group in column bands."""
    return subject.plan(GroupChoice(first=0, stop=subject.steps, columns=columns, lean=lean))


@st.composite
def patched_plans(draw: st.DrawFn, subject: Subject) -> Plan:
    """A plan with random groups in column bands, where they can be."""
    return draw(divided_plans(subject, {"columns": st.sampled_from((2, 3, 4)), "lean": st.booleans()}))


def patches(plan: Plan) -> Iterator[tuple[int, PatchesCall]]:
    """Index into the steps and call of each group in column bands."""
    for index, step in enumerate(plan.lowered.steps):
        if isinstance(step.call, PatchesCall):
            yield index, step.call
