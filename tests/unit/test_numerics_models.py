# SPDX-License-Identifier: Apache-2.0
"""How many channels and sums of real networks get an integer form, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from mcucompiler.ir.graph import Array, QuantParams
from mcucompiler.numerics.integer_form import accumulator_range, find_requant_form
from mcucompiler.numerics.pair_form import find_add_form
from mcucompiler.numerics.requantize import conv_multiplier
from tests.support import models_dir


def nodes(path: Path, op_type: str) -> Iterator[list[Array]]:
    """The constant inputs of a model's nodes of a type, an empty array where an input is none."""
    graph = onnx.load(path).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == op_type:
            yield [constants.get(name, np.empty(0)) for name in node.input]


def proved_channels(path: Path) -> tuple[int, int, float]:
    """Proved channels, channels and seconds of a model's convolutions."""
    proved = count = 0
    seconds = 0.0
    for _, sx, zx, w, sw, _, sy, zy, bias in nodes(path, "QLinearConv"):
        factor = conv_multiplier(sx.ravel()[0], sw.ravel(), sy.ravel()[0])
        start = time.perf_counter()
        low, high = accumulator_range(w.reshape(len(w), -1), bias, -128 - int(zx), 127 - int(zx))
        form = find_requant_form(factor, int(zy), -128, 127, low, high)
        seconds += time.perf_counter() - start
        proved, count = proved + int(form.proved.sum()), count + len(w)
    return proved, count, seconds


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("tinyengine_vww", 0.93),
        ("mlperf_vww96", 0.965),
        ("mlperf_kws_dscnn", 0.95),
        ("tinytrain_mbv2_w035", 0.94),
        ("tinytrain_mcunet_5fps", 0.93),
    ],
)
def test_share_of_proved_channels(name: str, share: float) -> None:
    proved, count, seconds = proved_channels(models_dir() / name / f"{name}.qop.onnx")
    assert proved / count >= share
    assert seconds < 5  # typically 0.2


@pytest.mark.parametrize("name", ["tinyengine_vww", "tinytrain_mbv2_w035", "tinytrain_mcunet_5fps"])
def test_every_residual_sum_has_a_linear_form(name: str) -> None:
    def quant(scale: Array, zero_point: Array) -> QuantParams:
        return QuantParams(scale=(float(scale.ravel()[0]),), zero_point=(int(zero_point.ravel()[0]),))

    sums = list(nodes(models_dir() / name / f"{name}.qop.onnx", "QLinearAdd"))
    assert len(sums) >= 7
    for _, sa, za, _, sb, zb, sy, zy in sums:
        form = find_add_form(quant(sa, za), quant(sb, zb), quant(sy, zy), -128, 127)
        assert form is not None
        assert not form.half_even
