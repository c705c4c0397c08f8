# SPDX-License-Identifier: Apache-2.0
"""Real networks: all import, and QOperator files compute what ONNX Runtime computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mcucompiler.errors import UnsupportedOperatorError
from mcucompiler.frontend import import_model
from mcucompiler.reference import execute
from tests.support import models_dir

QOPERATOR = [
    ("mlperf_ad01", "qop"),
    ("mlperf_kws_dscnn", "qop"),
    ("mlperf_vww96", "qop"),
    ("pt_resnet8", "qop_s8s8"),
    ("pt_resnet8", "qop_u8s8_pc"),
    ("pt_unet_small", "qop_s8s8"),
    ("tflm_micro_speech", "qop"),
    ("tinyengine_vww", "qop"),
    ("tinytrain_mbv2_w035", "qop"),
    ("tinytrain_mcunet_5fps", "qop"),
]
QDQ = [
    ("mlperf_ad01", "qdq"),
    ("mlperf_kws_dscnn", "qdq"),
    ("mlperf_vww96", "qdq"),
    ("pt_resnet8", "qdq_s8s8_pc"),
    ("pt_resnet8", "qdq_s8s8_pc_legacy17_dynN"),
    ("pt_resnet8", "qdq_u8s8"),
    ("pt_unet_small", "qdq_s8s8_pc"),
    ("pt_unet_small", "qdq_u8s8"),
    ("tflm_micro_speech", "qdq"),
    ("tinyengine_vww", "qdq"),
    ("tinytrain_mbv2_w035", "qdq"),
    ("tinytrain_mcunet_5fps", "qdq"),
]


def _path(network: str, variant: str) -> Path:
    return models_dir() / network / f"{network}.{variant}.onnx"


def _samples(network: str, variant: str, graph_inputs: tuple[str, ...], count: int):
    """Pairs of feeds and expected outputs, from the arrays beside the model."""
    with np.load(models_dir() / network / "io.npz") as arrays:
        inputs = {name: arrays[f"in__{name}"] for name in graph_inputs}
        outputs = {k.split("__", 1)[1]: arrays[k] for k in arrays.files if k.startswith(f"{variant}__")}
    for index in range(min(count, len(next(iter(inputs.values()))))):
        yield ({k: v[index] for k, v in inputs.items()}, {k: v[index] for k, v in outputs.items()})


@pytest.mark.parametrize(("network", "variant"), QOPERATOR + QDQ)
def test_imports(network, variant):
    graph = import_model(_path(network, variant))
    kinds = {node.op.kind for node in graph.nodes}
    assert kinds & {"Conv", "Gemm"}
    for node in graph.nodes:
        assert node.sources
        assert all(name in graph.tensors for name in (*node.inputs, *node.outputs) if name)
    integers = [t for t in graph.tensors.values() if t.dtype in ("int8", "uint8")]
    assert all(t.is_quantized for t in integers)


@pytest.mark.parametrize(("network", "variant"), QOPERATOR)
def test_qoperator_outputs_are_onnx_runtimes(network, variant):
    graph = import_model(_path(network, variant))
    for feeds, expected in _samples(network, variant, graph.inputs, 1):
        shaped = {name: value.reshape(graph.tensors[name].shape) for name, value in feeds.items()}
        got = execute(graph, shaped)
        for name in graph.outputs:
            np.testing.assert_array_equal(got[name].reshape(expected[name].shape), expected[name])


@pytest.mark.parametrize(
    ("network", "variant", "count", "words"),
    [
        ("pt_gru_denoiser", "qdq_default", 2, ("GRU", "recurrent")),
        ("pt_gru_denoiser", "qdq_s8s8_pc", 2, ("GRU", "recurrent")),
        ("pt_tiny_transformer", "qdq_default", 9, ("LayerNormalization", "MatMul", "two activations")),
        ("pt_tiny_transformer", "qdq_s8s8_pc", 9, ("LayerNormalization", "MatMul", "two activations")),
        ("pt_tiny_transformer", "qdq_s8s8_pc_legacy17", 9, ("LayerNormalization", "MatMul", "two activations")),
    ],
)
def test_out_of_reach(network, variant, count, words):
    with pytest.raises(UnsupportedOperatorError) as caught:
        import_model(_path(network, variant))
    assert len(caught.value.nodes) == count
    assert all(word in str(caught.value) for word in words)
