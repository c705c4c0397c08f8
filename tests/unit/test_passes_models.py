# SPDX-License-Identifier: Apache-2.0
"""The passes on real networks: exact to ONNX Runtime in QOperator form, the same program in QDQ form."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.frontend import import_model
from mcucompiler.ir.graph import Array, Graph
from mcucompiler.ops import Dequantize, Quantize
from mcucompiler.passes import float_nodes, run_passes
from tests.support import models_dir
from tests.support.graphs import onnx_values, random_feeds

NETWORKS = (
    "mlperf_ad01",
    "mlperf_kws_dscnn",
    "mlperf_vww96",
    "pt_resnet8",
    "pt_unet_small",
    "tflm_micro_speech",
    "tinyengine_vww",
    "tinytrain_mbv2_w035",
    "tinytrain_mcunet_5fps",
)
#: Converted from one network with one set of scales in both forms.
TWINS = tuple(name for name in NETWORKS if not name.startswith("pt_"))
#: What has no integer form: onnxruntime.quantization leaves the weights of ConvTranspose float in QOperator files.
FLOAT = {"pt_unet_small.qop_s8s8.onnx": ["Dequantize", "ConvTranspose", "Quantize"]}


def files(network: str, form: str) -> list[Path]:
    found = sorted((models_dir() / network).glob(f"*.{form}*.onnx"))
    assert found, f"no {form} file of {network}"
    return found


@cache
def program(path: Path, io: str = "int8") -> Graph:
    return run_passes(import_model(path), io=io)


def sample(path: Path, index: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Inputs and ONNX Runtime's outputs, by ONNX name."""
    variant = path.stem.split(".")[-1]
    with np.load(path.parent / "io.npz") as arrays:
        feeds = {key.removeprefix("in__"): arrays[key][index] for key in arrays if key.startswith("in__")}
        prefix = f"{variant}__"
        outputs = {key.removeprefix(prefix): arrays[key][index] for key in arrays if key.startswith(prefix)}
    return feeds, outputs


@pytest.mark.parametrize("network", NETWORKS)
def test_qoperator_files_equal_onnxruntime(network: str) -> None:
    for path in files(network, "qop"):
        for index in (0, 5):
            feeds, expected = sample(path, index)
            got = onnx_values(program(path), feeds)
            assert list(got) == list(expected)
            for name, value in expected.items():
                np.testing.assert_array_equal(got[name], value, err_msg=f"{path.name} {name}", strict=True)


@pytest.mark.parametrize("network", TWINS)
def test_qdq_file_is_the_same_program(network: str) -> None:
    (qop,), (qdq,) = files(network, "qop"), files(network, "qdq")
    one, other = program(qop), program(qdq)
    assert [node.op for node in one.nodes] == [node.op for node in other.nodes]
    for seed in range(2):
        feeds = random_feeds(import_model(qop), seed)
        first, second = onnx_values(one, feeds), onnx_values(other, feeds)
        for value, expected in zip(second.values(), first.values(), strict=True):
            np.testing.assert_array_equal(value, expected, strict=True)


@pytest.mark.parametrize("network", NETWORKS)
def test_float_is_left_only_where_there_is_no_integer_form(network: str) -> None:
    for path in [*files(network, "qop"), *files(network, "qdq")]:
        assert [node.op.kind for node in float_nodes(program(path))] == FLOAT.get(path.name, []), path.name


@pytest.mark.parametrize("network", ["pt_resnet8", "tinyengine_vww"])
def test_float_boundary_differs_in_nothing_else(network: str) -> None:
    for path in [*files(network, "qop"), *files(network, "qdq")]:
        inner, whole = program(path), program(path, "float")
        assert [node.op for node in whole.nodes] == [Quantize(), *(node.op for node in flipless(inner)), Dequantize()]
        feeds, _ = sample(path, 1)
        first, second = onnx_values(inner, feeds), onnx_values(whole, feeds)
        for name, value in first.items():
            np.testing.assert_array_equal(second[name], value, strict=True)


def flipless(graph: Graph) -> list:
    """Nodes without changes between uint8 and int8, which a float boundary does not need."""
    return [node for node in graph.nodes if node.op.kind != "FlipSign"]
