# SPDX-License-Identifier: Apache-2.0
"""Which rows the bands of upsampling layers read, and when no band can make what the operator means."""

from __future__ import annotations

import numpy as np
import pytest

from mcucompiler.ir.graph import QuantParams, Tensor
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.ops import ConvTranspose, Resize
from mcucompiler.ops.base import Operator
from mcucompiler.pipeline import Goal, Hooks, find_frontier, import_and_rewrite, plan_layers
from mcucompiler.stream.types import Access, Reading
from mcucompiler.stream.upsampling import least_rows, upsampled_reading
from tests.support.reference_networks import model

QUANT = QuantParams(scale=(0.5,), zero_point=(3,))


def image(height: int) -> Tensor:
    return Tensor(name="x", shape=(1, 4, height, 5), dtype="int8", quant=QUANT)


def resize(height: int, factor: float, mode: str, coordinates: str, nearest: str = "round_prefer_floor") -> Resize:
    sizes = (1, 4, round(height * factor), 10)
    scales = (1.0, 1.0, float(np.float32(factor)), 2.0)
    return Resize(sizes=sizes, scales=scales, mode=mode, coordinates=coordinates, nearest=nearest)


def reading(op: Operator, source: Tensor, *constants: Tensor, times: int = 1) -> Reading | None:
    inputs = (source, *constants)
    target = Tensor(name="y", shape=op.output_shapes(inputs)[0], dtype="int8", quant=QUANT)
    return upsampled_reading(op, inputs, target, times * least_rows(op, source, target))


@pytest.mark.parametrize(
    ("factor", "coordinates", "times", "window"),
    [
        (2, "half_pixel", 1, (-1, 1, 3)),
        (2, "half_pixel", 2, (-1, 2, 4)),
        (4, "pytorch_half_pixel", 1, (-1, 1, 3)),
        (2, "asymmetric", 1, (0, 1, 2)),
        (2, "tf_half_pixel_for_nn", 1, (0, 1, 2)),
        (1, "half_pixel", 1, (0, 1, 2)),
    ],
)
def test_interpolation_reads_a_window_and_takes_the_edge_for_what_lies_outside(
    factor: int, coordinates: str, times: int, window: tuple[int, int, int]
) -> None:
    for height in (2, 6, 24):
        found = reading(resize(height, factor, "linear", coordinates), image(height), times=times)
        assert found is not None
        assert (found.first, found.step, found.count) == window
        assert found.edge
        assert found.access is Access.POINTERS


def test_interpolation_needs_the_same_weights_in_every_run() -> None:
    assert reading(resize(6, 2, "linear", "align_corners"), image(6)) is None
    assert reading(resize(6, 1.5, "linear", "half_pixel"), image(6)) is None
    assert reading(resize(6, 0.5, "linear", "half_pixel"), image(6)) is None


def test_nearest_rows_come_from_rows_of_their_own() -> None:
    found = reading(resize(6, 3, "nearest", "half_pixel"), image(6))
    assert found == Reading(tensor="x", access=Access.DENSE, step=1, count=1)
    found = reading(resize(6, 2, "nearest", "asymmetric", "floor"), image(6), times=3)
    assert found == Reading(tensor="x", access=Access.DENSE, step=3, count=3)
    assert reading(resize(6, 2, "nearest", "asymmetric", "ceil"), image(6)) is None
    assert reading(resize(6, 1.5, "nearest", "half_pixel"), image(6)) is None


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "extra", "own"),
    [
        (2, 2, (0, 0, 0, 0), 0, True),
        (3, 3, (0, 0, 0, 0), 0, True),
        (1, 2, (0, 0, 0, 0), 1, True),
        (3, 2, (1, 0, 0, 0), 0, False),
        (3, 2, (0, 0, 1, 0), 0, False),
        (4, 2, (1, 0, 1, 0), 0, False),
        (2, 2, (1, 0, 0, 0), 1, False),
    ],
)
def test_transposed_convolutions_must_not_reach_into_the_next_rows(
    kernel: int, stride: int, pads: tuple[int, ...], extra: int, own: bool
) -> None:
    weights = Tensor(
        name="w",
        shape=(4, 3, kernel, 1),
        dtype="int8",
        quant=QUANT,
        data=np.ones((4, 3, kernel, 1), np.int8),
    )
    op = ConvTranspose(strides=(stride, 1), pads=pads, dilations=(1, 1), output_padding=(extra, 0))
    found = reading(op, image(6), weights)
    assert found == (Reading(tensor="x", access=Access.DENSE, step=1, count=1) if own else None)


def test_streams_go_on_to_the_end_of_long_connections() -> None:
    """Of a U-Net only the stream of all layers keeps few rows of the images that its lower part does not use."""
    _, graph = import_and_rewrite(model("pt_unet_small.qop_s8s8"))
    layered = plan_layers(graph, LoweringOptions(), Hooks())
    fastest = min(plan.cycles for plan in layered)
    best = find_frontier(graph, layered, Goal(), Hooks()).smallest(1.1 * fastest)
    assert best is not None
    assert max(len(step.nodes) for step in best.lowered.steps) > 20
    assert best.memory.arena_bytes <= 51456
    assert min(plan.memory.arena_bytes for plan in layered) > 190_000
