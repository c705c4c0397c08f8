# SPDX-License-Identifier: Apache-2.0
"""Whole QOperator networks in the reference executor against the recorded outputs of ONNX Runtime: no mismatch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcucompiler.frontend import import_model
from mcucompiler.reference import execute
from tests.support import models_dir
from tests.support.ops_onnxruntime import assert_equal
from tests.support.reference_networks import QOPERATOR


@pytest.mark.parametrize("name", QOPERATOR)
def test_network(name: str) -> None:
    network, variant = name.split(".")
    folder: Path = models_dir() / network
    graph = import_model(folder / f"{name}.onnx")
    recorded = np.load(folder / "io.npz")
    for sample in range(2):
        feeds = {}
        for tensor in (graph.tensors[key] for key in graph.inputs):
            feeds[tensor.name] = recorded[f"in__{tensor.name}"][sample].reshape(tensor.shape).astype(tensor.dtype)
        for key, value in execute(graph, feeds).items():
            assert_equal(value, recorded[f"{variant}__{key}"][sample].reshape(value.shape).astype(value.dtype))
