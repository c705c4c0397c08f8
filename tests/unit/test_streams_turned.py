# SPDX-License-Identifier: Apache-2.0
"""Programs along the width: what turned layers compute, what cannot be turned, and when the planner turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcucompiler.ir.graph import Array
from mcucompiler.reference import execute
from mcucompiler.stream.choice import describe_parts, parts_of
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Frontier
from mcucompiler.stream.turned import RING, worth_turning
from mcucompiler.stream.types import StreamCall
from tests.support.graphs import random_feeds
from tests.support.networks import Network
from tests.support.series_networks import SERIES, series, spectrogram
from tests.support.stream_networks import NETWORKS, average_pool, made
from tests.support.streams import Subject, program, streams, subject


def along_width(value: Array) -> Array:
    """[1, C, H, W] as [1, C, W, H], [1, C, T] as [1, C, T, 1]."""
    if value.ndim == 4:
        return np.ascontiguousarray(value.swapaxes(2, 3))
    return value[..., None] if value.ndim == 3 else value


def assert_turned_layers_are_right(network: Subject) -> int:
    """Each turned layer computes the turned output of the turned input; gives the number of layers."""
    graph, turned = network.composer.lowered.graph, network.composer.turned
    names = tuple(graph.producer)
    values = execute(graph.replace(outputs=names), feeds := random_feeds(graph, 1)) | feeds
    count = 0
    for index, step in enumerate(turned.lowered.steps):
        if index in turned.barred:
            continue
        ins, outs = turned.graph.ins(step.node), turned.graph.outs(step.node)
        given = [None if t is None else t.data if t.is_constant else along_width(values[t.name]) for t in ins]
        for tensor, got in zip(outs, step.node.op.reference(ins, outs, given), strict=True):
            np.testing.assert_array_equal(got, along_width(values[tensor.name]), err_msg=step.title, strict=True)
        count += 1
    return count


@pytest.mark.parametrize("qdq", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_turned_layers_of_images(name: str, qdq: bool) -> None:
    assert assert_turned_layers_are_right(subject(made(name, qdq=qdq), share_concats=False)) > 2


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("name", SERIES)
def test_turned_layers_of_series(name: str, rank: int) -> None:
    network = subject(series(name, rank), share_concats=False)
    assert assert_turned_layers_are_right(network) > 5
    assert not any(tensor.endswith(RING) for tensor in network.composer.turned.graph.tensors)


def test_sums_of_floats_are_not_turned() -> None:
    """The windows of these pools are sums of floats, row by row; in another order they may differ."""
    n = Network(seed=1)
    x = n.conv(n.input((1, 3, 6, 12)), 5, (1, 1))
    square, flat, high = (average_pool(n, x, kernel, (1, 1)) for kernel in ((2, 2), (1, 3), (3, 1)))
    network = subject(n.build([square, flat, high, average_pool(n, x, (6, 12), (1, 1))]))
    barred = {network.composer.lowered.steps[index].writes[0] for index in network.composer.turned.barred}
    assert barred == {square.name}


def test_images_are_carried_and_series_are_not() -> None:
    """A column of an upright image lies in as many pieces as it has rows; a series lies along the width as it is."""
    image = subject(spectrogram(12, 40))
    ((_, call),) = streams(image.plan(GroupChoice(first=0, stop=image.steps, turned=True)))
    rows = call.rows_of(image.graph.inputs[0])
    assert (rows.height, rows.row_bytes, rows.pieces, rows.apart) == (40, 24, 12, 80)
    assert not call.overlaps
    causal = subject(series("causal", 4))
    ((_, call),) = streams(causal.plan(*causal.longest(turned=True)))
    assert {rows.pieces for rows in call.rows} == {1}
    assert all(not overlap.same for overlap in call.overlaps)
    assert len(call.overlaps) == 2


@pytest.mark.parametrize("rank", [3, 4])
def test_a_series_may_be_overwritten_as_it_is_read(rank: int) -> None:
    n = Network(seed=2)
    x = n.input((1, 8, 30) if rank == 3 else (1, 8, 1, 30))
    kernel = (3,) if rank == 3 else (1, 3)
    y = n.conv(n.conv(x, 8, kernel), 8, kernel)
    network = subject(n.build([y]))
    plan = network.plan(GroupChoice(first=0, stop=2, turned=True))
    ((_, call),) = streams(plan)
    (overlap,) = call.overlaps
    # The ring has three steps of eight channels; the output begins where the input did.
    assert overlap.distance == 0
    assert plan.memory.offset(x.name) == plan.memory.offset(y.name)


def plans_of(model: bytes, fed: bool = False) -> list[str]:
    """What the plans of a network do."""
    network = subject(model)
    layered = network.plan()
    frontier = Frontier([layered], network.graph.inputs[0] if fed else None)
    return [describe_parts(parts_of(plan)) for plan in frontier.plans()]


def test_wide_images_are_planned_by_columns() -> None:
    found = plans_of(wide(16, 96))
    assert found[-1] == "layers 0-3 by columns"
    assert "columns" not in " ".join(plans_of(wide(96, 16)))


def test_series_are_planned_by_columns() -> None:
    assert "columns" in plans_of(series("causal", 3))[-1]
    assert all("pushed columns" in text for text in plans_of(series("causal", 3), fed=True))


def test_high_images_cost_the_planner_nothing() -> None:
    network = subject(wide(24, 24))
    assert not worth_turning(network.composer.lowered)
    assert worth_turning(subject(wide(23, 24)).composer.lowered)


def wide(height: int, width: int) -> bytes:
    n = Network(seed=3)
    y = n.conv(n.input((1, 1, height, width)), 32, (3, 3), pads=[1, 1, 1, 1])
    y = n.conv(n.conv(y, 32, (3, 3), groups=32, pads=[1, 1, 1, 1]), 32, (1, 1))
    return n.build([n.global_average(y)])


def test_reports_say_columns(tmp_path: Path) -> None:
    network = subject(wide(6, 12))
    plan = network.plan(GroupChoice(first=0, stop=4, turned=True))
    manifest = program(plan, tmp_path / "net")
    (step,) = manifest.steps
    assert step.stream is not None
    assert step.stream.along == "width"
    text = (tmp_path / "net" / "net.c").read_text()
    assert "4 layers column by column" in text
    assert "copies a column of 'input_1'" in text
    assert isinstance(plan.lowered.steps[0].call, StreamCall)
