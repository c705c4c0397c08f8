# SPDX-License-Identifier: Apache-2.0
"""Rings of strips, what repeats behind them, guests and the frontier, on cases whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.cli import main
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.manifest import read_manifest
from mcucompiler.pipeline import Goal, Hooks, find_frontier, import_and_rewrite, plan_layers
from mcucompiler.stream import strip_search
from mcucompiler.stream.choice import Part, describe_parts, parts_of
from mcucompiler.stream.compose import GroupChoice
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.reads import constant_reads
from mcucompiler.stream.strips import reach_over
from mcucompiler.stream.types import Access, Reading, Span, StreamCall
from tests.support.networks import Network, Value
from tests.support.stream_networks import PAD1
from tests.support.streams import assert_right, streams, subject
from tests.support.strips import in_strips, made, striped

CHANNELS, WIDTH = 4, 16


def divided(make: Callable[[Network, Value], Value], strips: int) -> StreamCall:
    """A network as one stream in strips; its input is a 1x1 convolution of an image."""
    n = Network(seed=1)
    network = subject(n.build([make(n, n.conv(n.input((1, 3, 12, WIDTH)), CHANNELS, (1, 1)))]))
    step = network.composer.stream(GroupChoice(first=0, stop=network.steps, strips=strips))
    assert step is not None
    assert isinstance(step.call, StreamCall)
    return step.call


def ring(make: Callable[[Network, Value], Value], strips: int) -> int:
    """Slots of the only ring."""
    ((slots, units),) = [(rows.slots, rows.units) for rows in divided(make, strips).rows if rows.offset is not None]
    assert units == strips
    return slots


@pytest.mark.parametrize("strips", [4, 8])
@pytest.mark.parametrize(
    ("kernel", "attributes", "rows", "last"),
    [
        ((1, 1), {}, 0, 1),
        ((3, 1), {"pads": [1, 0, 1, 0]}, 2, 1),
        ((1, 3), {"pads": [0, 1, 0, 1]}, 0, 3),  # the strip at the left, the one at the right, and the one between
        ((3, 3), {"pads": PAD1}, 2, 3),
        ((3, 2), {"pads": [1, 1, 1, 0]}, 2, 2),  # nothing of the strip at the right
        ((3, 3), {"pads": PAD1, "strides": [2, 2]}, 2, 2),
        ((3, 3), {"pads": PAD1, "strides": [1, 2]}, 2, 2),
        ((3, 3), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, 4, 3),
        ((5, 3), {"pads": [2, 1, 2, 1]}, 4, 3),
    ],
)
def test_a_ring_holds_rows_but_for_one_and_the_strips_in_reach(
    strips: int, kernel: tuple[int, int], attributes: dict[str, list[int]], rows: int, last: int
) -> None:
    assert ring(lambda n, x: n.conv(x, 5, kernel, **attributes), strips) == rows * strips + last


def test_strips_of_one_pixel_are_reached_over() -> None:
    assert ring(lambda n, x: n.conv(x, 5, (5, 5), pads=[2, 2, 2, 2]), WIDTH) == 4 * WIDTH + 5


def test_halves_are_next_to_each_other() -> None:
    assert ring(lambda n, x: n.conv(x, 5, (3, 3), pads=PAD1), 2) == 6


def test_chains_of_pixels_keep_one_strip() -> None:
    call = divided(lambda n, x: n.conv(n.conv(x, 7, (1, 1)), 5, (1, 1)), 8)
    assert [rows.slots for rows in call.rows if rows.offset is not None] == [1, 1]


def test_a_mean_takes_whole_rows_of_strips() -> None:
    call = divided(lambda n, x: n.global_average(n.conv(x, 5, (3, 3), pads=PAD1)), 4)
    convolved = call.rows_of(call.bands[1].writes)
    assert (convolved.slots, convolved.units, convolved.tail) == (4, 4, 0)
    assert [band.units for band in call.bands] == [4, 4, 1, 1]


def test_what_windows_reach_over_the_end_of_a_ring() -> None:
    call = divided(lambda n, x: n.conv(x, 5, (3, 3), pads=PAD1), 4)
    rows = call.rows_of(call.bands[0].writes)
    # Strips of 4 pixels of 4 bytes; a window of 6 pixels begins a pixel before a strip. The ring ends with that pixel
    # where the window is that of a strip which lies at the begin: 22 = 2 x 11, strip 2 of row 5.
    assert (rows.unit_bytes, rows.slots, rows.tail) == (16, 11, 20)
    assert rows.ring_bytes == 11 * 16 + 20
    assert reach_over(call.bands, replace(rows, slots=12)) == 0  # rows do not wrap
    assert reach_over(call.bands, replace(rows, slots=13)) == 20  # 13 is strip 1 of row 3
    assert reach_over(call.bands, replace(rows, slots=47)) == 16  # 47 is the last strip of its row
    pixels = divided(lambda n, x: n.conv(x, 5, (3, 3), pads=PAD1), WIDTH)
    assert pixels.rows_of(pixels.bands[0].writes).tail == 8


def test_columns_of_strips() -> None:
    span = Span(first=-1, step=4, count=6, strips=4, width=16, units=4)
    assert [(span.begin(strip), span.stop(strip)) for strip in range(4)] == [(0, 5), (3, 9), (7, 13), (11, 16)]
    assert not span.same
    assert Span(first=0, step=4, count=4, strips=4, width=16, units=4).same


def test_units_that_a_run_needs_and_still_reads() -> None:
    span = Span(first=-1, step=4, count=6, strips=4, width=16, units=4)
    reading = Reading(tensor="x", access=Access.POINTERS, first=-1, step=1, count=3, span=span)
    runs = {
        0: (6, 0),
        1: (7, 0),
        3: (8, 0),
        4: (10, 0),
        6: (12, 1),
        7: (12, 2),
        10: (16, 5),
        44: (46, 40),
        47: (48, 42),
    }
    assert {run: (reading.needed(run, 12), reading.oldest(run)) for run in runs} == runs
    rows = replace(reading, span=replace(span, units=1))  # of an image whose rows come whole
    assert [(rows.needed(run, 12), rows.oldest(run)) for run in (0, 6, 47)] == [(2, 0), (3, 0), (12, 10)]
    every = Span(first=0, step=0, count=16, strips=1, width=16, units=4)
    whole = Reading(tensor="x", access=Access.DENSE, step=1, count=1, span=every)
    assert [(whole.needed(run, 12), whole.oldest(run)) for run in (0, 2, 11)] == [(4, 0), (12, 8), (48, 44)]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_whole_rows_do_not_lodge_in_strips(stride: int) -> None:
    """Seven columns cannot be halved, fourteen can: a row would fit where half a row was, but begins elsewhere."""
    n = Network(seed=1)
    x = n.conv(n.input((1, 3, 12, 14)), 8, (1, 1))
    y = n.conv(x, 8, (3, 3), groups=8, strides=[stride, 2], pads=PAD1)
    network = subject(n.build([n.conv(y, 5, (1, 1))]))
    plan = in_strips(network, 2)
    ((_, call),) = streams(plan)
    assert [band.units for band in call.bands] == [2, 1, 1]
    assert call.rows_of(y.name).guest_of is None
    assert_right(plan)


def test_sums_lodge_in_strips() -> None:
    """In a ring whose begin is repeated behind its end."""
    ((_, call),) = streams(in_strips(subject(made("shortcuts"), share_concats=False), 4))
    guests = [(rows.units, call.rows_of(rows.guest_of).units) for rows in call.rows if rows.guest_of]
    assert guests == [(4, 4), (4, 4)]
    assert any(call.rows_of(rows.guest_of).tail for rows in call.rows if rows.guest_of)


def test_constants_are_read_once_for_each_strip() -> None:
    call = divided(lambda n, x: n.conv(x, 5, (3, 3), pads=PAD1), 4)
    passes = [kernel.passes for band in call.bands for _, kernel in band.kernels]
    assert [read.times for read in constant_reads(call)] == [12 * times for times in passes]
    assert len(passes) == 2 * 4


def residual(n: Network) -> list[Value]:
    """A wide image with windows upon windows, so that most of what is live are rings."""
    x = n.conv(n.input((1, 1, 24, 32)), 16, (3, 3), pads=PAD1, relu=True)
    y = n.conv(n.conv(x, 16, (3, 3), pads=PAD1, relu=True), 16, (3, 3), pads=PAD1)
    x = n.conv(n.binary("Add", x, y), 4, (3, 3), strides=[2, 2], pads=PAD1)
    return [n.dense(n.reshape(n.global_average(x), (1, 4)), 3)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    n = Network(seed=2)
    path = tmp_path_factory.mktemp("strips") / "residual.onnx"
    path.write_bytes(n.build(residual(n)))
    return path


def plans(model: Path) -> tuple[Plan, ...]:
    """The frontier."""
    _, graph = import_and_rewrite(model)
    layered = plan_layers(graph, LoweringOptions(), Hooks())
    return find_frontier(graph, layered, Goal(), Hooks()).plans()


def test_the_search_finds_strips_where_they_need_less(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smallest = [plan for plan in plans(model) if any(striped(plan))][-1]
    assert "by rows in strips of 1/" in describe_parts(parts_of(smallest))
    assert_right(smallest)
    monkeypatch.setattr(strip_search, "_STRIPS", range(0))
    without = plans(model)
    assert not any(any(striped(plan)) for plan in without)
    assert not any(plan.cycles <= smallest.cycles and plan.ram_bytes <= smallest.ram_bytes for plan in without)


def test_strips_in_words() -> None:
    assert describe_parts((Part(first=0, stop=3, rows=1, strips=8),)) == "layers 0-2 by rows in strips of 1/8 row"
    fed = (Part(first=0, stop=1, rows=1, strips=4, pushed=True), Part(first=1, stop=3))
    assert describe_parts(fed) == "layer 0 by pushed rows in strips of 1/4 row"


def test_strips_in_plan_manifest_and_report(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(model), "--pareto"]) == 0
    assert "in strips of 1/" in capsys.readouterr().out.replace("\n", " ")
    limit = next(plan.ram_bytes for plan in plans(model) if any(striped(plan)))
    compile_model(model, CompileOptions(ram_limit=limit)).write(tmp_path / "net")
    manifest = read_manifest(tmp_path / "net")
    step = next(step for step in manifest.steps if step.stream is not None)
    stream = step.stream
    assert stream is not None
    (strips,) = {band.strips for band in stream.bands} - {1}
    assert {band.rows for band in stream.bands} == {1}
    rings = [found for found in stream.rings if found.strips == strips and not found.guest_of]
    assert rings
    assert all(found.bytes >= found.slots * found.row_bytes // strips for found in rings)
    assert main(["report", str(tmp_path / "net")]) == 0
    said = capsys.readouterr().out
    assert f"1/{strips}" in said
    assert all(f"{found.slots}/{strips}" in said for found in rings)
