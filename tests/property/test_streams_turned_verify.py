# SPDX-License-Identifier: Apache-2.0
"""Streams along the width that are changed a little: whatever would compute something else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.ir.graph import Node, Tensor
from mcucompiler.ops import Conv
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Access, Band, Reading, StreamCall
from tests.support.series_networks import series, series_networks, spectrogram
from tests.support.stream_networks import image_networks
from tests.support.streams import assert_right, changed, plans, streams, subject, verify, with_call

Change = Callable[[StreamCall], StreamCall]
Named = tuple[str, Change]
few = settings(
    deadline=None,
    derandomize=True,
    max_examples=20,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@cache
def planned(name: str) -> Plan:
    """A wide image, or a series, as one stream."""
    network = subject(spectrogram() if name == "image" else series(name, 3))
    return network.plan(*network.longest(turned=True))


def with_band(call: StreamCall, number: int, **fields: Any) -> StreamCall:
    bands = list(call.bands)
    bands[number] = replace(bands[number], **fields)
    return replace(call, bands=tuple(bands))


def with_op(call: StreamCall, number: int, **fields: Any) -> StreamCall:
    node: Node = call.bands[number].node
    changes: Any = fields
    return with_band(call, number, node=node.replace(op=replace(node.op, **changes)))


def with_tensor(call: StreamCall, tensor: Tensor) -> StreamCall:
    assert call.turned is not None
    return replace(call, turned=call.turned.replace(tensors={**call.turned.tensors, tensor.name: tensor}))


def with_reading(call: StreamCall, number: int, index: int, **fields: Any) -> StreamCall:
    readings = tuple((i, replace(r, **fields) if i == index else r) for i, r in call.bands[number].readings)
    return with_band(call, number, readings=readings)


def ring_changes(call: StreamCall) -> Iterator[Named]:
    """Each ring a row short or elsewhere; each image with its columns elsewhere."""
    for rows in call.rows:
        name = rows.tensor
        if rows.offset is not None:
            if rows.slots > 1:
                yield f"{name} a row short", lambda c, n=name, s=rows.slots: changed(c, n, slots=s - 1)
            yield f"{name} outside", lambda c, n=name: changed(c, n, offset=c.scratch_bytes)
        others = {
            "not in pieces": {"pieces": 1, "apart": 0},
            "a piece less": {"pieces": rows.pieces - 1},
            "a byte further apart": {"apart": rows.apart + 1},
            "a pixel closer": {"apart": rows.apart - rows.row_bytes // rows.pieces},
            "a byte further": {"column": 1},
            "a column less": {"height": rows.height - 1},
        }
        if rows.pieces > 1:
            for what, change in others.items():
                yield f"{name} {what}", lambda c, n=name, k=change: changed(c, n, **k)
        elif rows.row_bytes % 2 == 0:
            yield f"{name} in pieces", lambda c, r=rows: changed(c, r.tensor, pieces=2, apart=r.row_bytes)


def carrier_changes(call: StreamCall) -> Iterator[Named]:
    """Each carrier with other columns, to somewhere else, or gone."""
    for number, band in enumerate(call.bands):
        if not band.carries:
            continue
        who = band.node.name
        yield f"{who} a column further", lambda c, n=number: with_reading(c, n, 0, first=1)
        yield f"{who} always the first", lambda c, n=number: with_reading(c, n, 0, step=0)
        yield f"{who} two columns", lambda c, n=number: with_reading(c, n, 0, count=2)
        yield f"{who} a run less", lambda c, n=number, r=band.runs: with_band(c, n, runs=r - 1)
        yield f"{who} gone", lambda c, n=number: replace(c, bands=c.bands[:n] + c.bands[n + 1 :])
        yield f"{who} as a layer", lambda c, n=number: with_band(c, n, carries=False)
        other = next(rows.tensor for rows in call.rows if rows.tensor not in (band.writes, *band.node.inputs))
        yield f"{who} to {other}", lambda c, n=number, o=other: with_band(c, n, writes=o)
        yield f"{who} from {other}", lambda c, n=number, o=other: with_reading(c, n, 0, tensor=o)


def node_changes(call: StreamCall) -> Iterator[Named]:
    """Convolutions that are not the network's turned by a quarter."""
    for number, band in enumerate(call.bands):
        op = band.node.op
        if band.carries or not isinstance(op, Conv):
            continue
        who = band.node.name
        rows, columns = op.strides
        top, left, bottom, right = op.pads
        dilation = op.dilations[0]
        yield f"{who}: strides", lambda c, n=number, s=(rows, columns + 1): with_op(c, n, strides=s)
        if rows != columns:
            yield f"{who}: upright strides", lambda c, n=number, s=(columns, rows): with_op(c, n, strides=s)
        yield f"{who}: pads", lambda c, n=number, p=(top, left + 1, bottom, right): with_op(c, n, pads=p)
        if (top, left, bottom, right) != (left, top, right, bottom):
            yield f"{who}: upright pads", lambda c, n=number, p=(left, top, right, bottom): with_op(c, n, pads=p)
        yield f"{who}: dilations", lambda c, n=number, d=(dilation + 1, 1): with_op(c, n, dilations=d)
        yield f"{who}: groups", lambda c, n=number, g=op.groups + 1: with_op(c, n, groups=g)
        yield f"{who}: name", lambda c, n=number, b=band: with_band(c, n, node=b.node.replace(name="another"))
        assert call.turned is not None
        weights = call.turned.tensors[band.node.inputs[1]]
        assert weights.data is not None
        upright = weights.replace(data=weights.data.swapaxes(2, 3), shape=weights.data.swapaxes(2, 3).shape)
        if not np.array_equal(upright.data, weights.data):
            yield f"{who}: weights not turned", lambda c, t=upright: with_tensor(c, t)
        if weights.data.shape[2] > 1:
            mirrored = weights.replace(data=weights.data[:, :, ::-1])
            yield f"{who}: mirrored weights", lambda c, t=mirrored: with_tensor(c, t)


def reading_changes(call: StreamCall) -> Iterator[Named]:
    """Each kernel's rows moved, or taken from another tensor."""
    for number, band in enumerate(call.bands):
        for index, reading in band.readings:
            if band.carries or reading.access is Access.WHOLE:
                continue
            who = f"{band.node.name} reads {reading.tensor}"
            first, count = reading.first, reading.count
            yield f"{who}: a row further", lambda c, n=number, i=index, f=first: with_reading(c, n, i, first=f + 1)
            yield f"{who}: a row less", lambda c, n=number, i=index, k=count: with_reading(c, n, i, count=k - 1)
            for other in alike(call, band, reading):
                yield f"{who}: {other}", lambda c, n=number, i=index, o=other: with_reading(c, n, i, tensor=o)


def alike(call: StreamCall, band: Band, reading: Reading) -> list[str]:
    """Other tensors with rows of the same size that are there in time."""
    known, before = call.rows_of(reading.tensor), {b.writes for b in call.bands[: call.bands.index(band)]}
    return [
        rows.tensor
        for rows in call.rows
        if rows.tensor in before
        and rows.tensor != reading.tensor
        and (rows.height, rows.row_bytes) == (known.height, known.row_bytes)
    ]


KINDS = (ring_changes, carrier_changes, node_changes, reading_changes)


def refused(plan: Plan) -> bool:
    try:
        verify(plan)
    except VerificationError:
        return True
    return False


@pytest.mark.parametrize("name", ["image", "keywords", "causal"])
def test_what_is_planned_is_accepted_and_right(name: str) -> None:
    verify(planned(name))
    assert_right(planned(name))


@pytest.mark.parametrize("name", ["image", "keywords", "causal"])
def test_every_change_is_refused(name: str) -> None:
    plan, total = planned(name), 0
    for index, call in streams(plan):
        for kind in KINDS:
            for what, change in kind(call):
                assert refused(with_call(plan, index, change)), what
                total += 1
    assert total > 50


def test_streams_along_the_height_cannot_pass_for_turned_ones() -> None:
    network = subject(spectrogram())
    plan = network.plan(*network.longest())
    turned = network.composer.turned.graph
    for index, _ in streams(plan):
        assert refused(with_call(plan, index, lambda call: replace(call, turned=turned)))


@few
@given(data=st.data())
def test_random_streams_are_accepted_and_right(data: st.DataObject) -> None:
    """On real bytes in numpy, with everything that is dead spoiled."""
    model = data.draw(image_networks() if data.draw(st.booleans()) else series_networks())
    plan = data.draw(plans(subject(model), feed=data.draw(st.booleans()), turn=True))
    verify(plan)
    assert_right(plan)
