# SPDX-License-Identifier: Apache-2.0
"""The float32 semantics against ONNX Runtime's QOperator kernels, at the edges of what is legal."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from mcucompiler.ir.graph import QuantParams
from mcucompiler.numerics.requantize import add_float, conv_multiplier, mul_float, requantize, wrap32


def run(op_type: str, inputs: list[Any], x: dict[str, np.ndarray], *, domain: str = "") -> np.ndarray:
    """One node's output; ``inputs`` are names of ``x`` or constants."""
    names = [value if isinstance(value, str) else f"c{i}" for i, value in enumerate(inputs)]
    constants = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, inputs, strict=True)
        if not isinstance(value, str)
    ]
    graph = helper.make_graph(
        [helper.make_node(op_type, names, ["y"], domain=domain)],
        "one_node",
        [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in x.items()],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT8, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, x)[0])


@pytest.mark.parametrize(
    ("sx", "sy", "zy"), [(1.0, 1.0, 5), (2.0, 1e-3, -128), (1e-3, 1e-30, 127), (1e-20, 1e20, 7), (0.02, 0.5, 0)]
)
def test_convolution_wraps_saturates_and_rounds_alike(sx: float, sy: float, zy: int) -> None:
    """Denormal, infinite and typical multipliers, biases over all of int32, and the product of 0 and infinity."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (1, 4, 16, 17)).astype(np.int8)
    x[0, :, 0, 0] = 3
    w = rng.integers(-127, 128, (24, 4, 1, 1)).astype(np.int8)
    sw = np.float32(np.maximum(10.0 ** rng.uniform(-45, 38, 24), 1e-45))
    sw[0], sw[1], sw[2:8] = 3e38, 1e-45, rng.uniform(1e-3, 1e-2, 6)
    bias = rng.integers(-(2**31), 2**31, 24).astype(np.int32)
    bias[::3] = rng.integers(-5000, 5000, 8)
    bias[0] = 0
    zeros = np.zeros(24, np.int8)
    inputs = ["x", np.float32(sx), np.int8(3), w, sw, zeros, np.float32(sy), np.int8(zy), bias]
    found = run("QLinearConv", inputs, {"x": x})
    acc = np.einsum("oc,nchw->nohw", w[:, :, 0, 0].astype(np.int64), x.astype(np.int64) - 3)
    factor = conv_multiplier(np.float32(sx), sw, np.float32(sy))[None, :, None, None]
    expected = requantize(wrap32(acc + bias[None, :, None, None]), factor, zy, -128, 127)
    assert (found == expected).all()


@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_pairs_agree(op_type: str) -> None:
    rng = np.random.default_rng(3)
    a, b = (grid.astype(np.int8) for grid in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"))
    form = add_float if op_type == "QLinearAdd" else mul_float
    scales = [tuple(rng.uniform(0.005, 0.1, 3)) for _ in range(12)]
    scales += [(0.125, 0.125, 0.25), (0.5, 0.25, 0.125), (1e3, 1e-3, 1e-3), (0.0625, 0.046875, 0.1875)]
    for sa, sb, sy in scales:
        qa, qb, qy = (
            QuantParams(scale=(float(np.float32(s)),), zero_point=(int(rng.integers(-128, 128)),)) for s in (sa, sb, sy)
        )
        inputs = ["a", qa.s, np.int8(qa.z), "b", qb.s, np.int8(qb.z), qy.s, np.int8(qy.z)]
        found = run(op_type, inputs, {"a": a, "b": b}, domain="com.microsoft")
        assert (found == np.clip(form(a, b, qa, qb, qy), -128, 127)).all(), (sa, sb, sy)
