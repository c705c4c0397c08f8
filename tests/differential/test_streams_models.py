# SPDX-License-Identifier: Apache-2.0
"""Reference networks in streams: every plan computes what the reference does."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from mcucompiler.pipeline import Goal, Hooks, find_frontier, plan_layers
from mcucompiler.stream.types import PatchesCall
from tests.support.reference_networks import QOPERATOR, model
from tests.support.streams import Subject, assert_right, check_program, streams, subject

SMALL = ("pt_resnet8.qop_u8s8_pc", "pt_unet_small.qop_s8s8")
IN_QEMU = ("tinyengine_vww.qop",)
IMAGES = tuple(
    name
    for name in (*QOPERATOR, "pt_resnet8.qdq_u8s8", "pt_unet_small.qdq_u8s8")
    if name not in IN_QEMU and "ad01" not in name
)
EXPANDED = ("mlperf_vww96.qop", "tinytrain_mcunet_5fps.qop")


@cache
def network(name: str) -> Subject:
    return subject(model(name))


@pytest.mark.parametrize("name", IMAGES)
def test_longest_streams_on_bytes(name: str) -> None:
    """In numpy, with dead bytes spoiled: windows kept, or made anew where that is possible."""
    own = network(name)
    plan = own.plan(*own.longest(expand=name in EXPANDED))
    if not list(streams(plan)):
        pytest.skip("no two layers that can be bands follow one another")
    assert_right(plan)


def test_two_rows_at_a_time_in_c(tmp_path: Path) -> None:
    own = network("mlperf_vww96.qop")
    check_program(own, own.plan(*own.longest(rows=2)), tmp_path / "net", count=1)


@pytest.mark.parametrize("name", SMALL)
def test_plans_of_the_frontier(name: str, tmp_path: Path) -> None:
    """All of them on bytes, the smallest in C."""
    own = network(name)
    layered = plan_layers(own.graph, own.composer.lowered.options, Hooks())
    found = find_frontier(own.graph, layered, Goal(), Hooks()).plans()
    assert found[-1].ram_bytes < min(plan.ram_bytes for plan in layered)
    in_bands = [plan for plan in found if any(isinstance(s.call, PatchesCall) for s in plan.lowered.steps)]
    for plan in found:
        if plan not in in_bands:  # column bands are checked in C
            assert_right(plan)
    assert len(in_bands) < len(found) / 2
    for number, plan in enumerate((found[-1], *in_bands[:1])):
        check_program(own, plan, tmp_path / str(number), count=1)
