# SPDX-License-Identifier: Apache-2.0
"""A tiny program written by hand as the compiler would write it, its ONNX model and its graph.

image [1, 2, 4, 4] float32 -> Quantize -> MaxPool 2x2 -> depthwise Conv 2x2 -> Dequantize -> scores [1, 2, 1, 1]
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_HERE = Path(__file__).parent
_SOURCES = ("net.c", "net_kernels.c", "net_weights.c")
_HEADERS = ("net.h", "net_kernels.h", "net_weights.h")
WEIGHTS = np.array([1, 3, -1, 2, -2, 1, 2, -3], np.int8).reshape(2, 1, 2, 2)
BIAS = np.array([7, -9], np.int32)


def make_model(activations: type[np.int8] | type[np.uint8] = np.int8) -> bytes:
    """The ONNX file: QOperator between a leading Quantize and a trailing Dequantize."""
    shift = 128 if activations is np.uint8 else 0
    constants = {
        "x_scale": np.float32(0.5),
        "x_zero": activations(shift - 3),
        "w_scale": np.float32(0.125),
        "w_zero": np.int8(0),
        "y_scale": np.float32(0.25),
        "y_zero": activations(shift + 5),
        "weights": WEIGHTS,
        "bias": BIAS,
    }
    x, w, y = (("x_scale", "x_zero"), ("w_scale", "w_zero"), ("y_scale", "y_zero"))
    nodes = [
        helper.make_node("QuantizeLinear", ["image", *x], ["image_q"], "quantize"),
        helper.make_node("MaxPool", ["image_q"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("QLinearConv", ["pooled", *x, "weights", *w, *y, "bias"], ["scores_q"], "conv", group=2),
        helper.make_node("DequantizeLinear", ["scores_q", *y], ["scores"], "dequantize"),
    ]
    graph = helper.make_graph(
        nodes,
        "handmade",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2, 1, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def make_manifest(model: bytes) -> dict[str, Any]:
    """manifest.json of the program."""
    image = {"onnx_shape": [1, 2, 4, 4], "c_shape": [1, 4, 4, 2], "onnx_to_c": [0, 2, 3, 1], "layout": "NHWC"}
    scores = {"onnx_shape": [1, 2, 1, 1], "c_shape": [1, 1, 1, 2], "onnx_to_c": [0, 2, 3, 1], "layout": "NHWC"}
    int8 = {"dtype": "int8", "float_in_onnx": True}
    common = {"dtype": "int8", "perm": [0, 2, 3, 1], "rows": 1, "onnx_offset": 0}
    pooled = {
        **common,
        "tensor": "pooled",
        "onnx_shape": [1, 2, 2, 2],
        "view": [1, 2, 2, 2],
        "offset": 32,
        "row_bytes": 8,
        "stride_bytes": 8,
    }
    result = {
        **common,
        "tensor": "scores_q",
        "onnx_shape": [1, 2, 1, 1],
        "view": [1, 2, 1, 1],
        "offset": 40,
        "row_bytes": 2,
        "stride_bytes": 2,
    }
    return {
        "name": "net",
        "compiler_version": "0.1.0",
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "command": "mcucompiler compile net.onnx --name net --board mps2-an500",
        "target": {"cpu": "cortex-m7", "fpu": "fpv5-sp-d16"},
        "board": "mps2-an500",
        "sources": list(_SOURCES),
        "headers": list(_HEADERS),
        "cflags": ["-O2"],
        "inputs": [{"index": 0, "name": "image", **image, **int8, "scale": 0.5, "zero_point": -3, "bytes": 32}],
        "outputs": [{"index": 0, "name": "scores", **scores, **int8, "scale": 0.25, "zero_point": 5, "bytes": 2}],
        "input_mode": "resident",
        "row_bytes": 0,
        "memory": {
            "arena_bytes": 64,
            "lower_bound_bytes": 42,
            "peak_step": 0,
            "stack_bytes": 256,
            "weights_bytes": 16,
            "const_bytes": 0,
        },
        "compute": {"macs": 8, "recomputed_macs": 0, "estimated_cycles": 400},
        "exactness": {"channels_proved": 2, "channels_float": 0, "float_nodes": []},
        "steps": [
            {
                "index": 0,
                "kind": "MaxPool",
                "onnx_nodes": ["pool"],
                "kernel": "net_max_pool",
                "macs": 0,
                "estimated_cycles": 200,
                "arena_bytes": 40,
                "variant": "max_pool",
                "reason": "the only one",
                "rejected": [],
                "outputs": [pooled],
            },
            {
                "index": 1,
                "kind": "Conv",
                "onnx_nodes": ["conv"],
                "kernel": "net_depthwise",
                "macs": 8,
                "estimated_cycles": 200,
                "arena_bytes": 10,
                "variant": "depthwise_generic",
                "reason": "a depthwise convolution",
                "rejected": [["depthwise3x3", "the kernel is 2x2"]],
                "outputs": [result],
            },
        ],
    }


def write_program(directory: Path, **changes: Any) -> tuple[Path, Path]:
    """Write the program to ``directory/net`` and its model to ``directory/net.onnx``.

    Args:
        directory: an existing folder.
        changes: replaced keys of the manifest.

    Returns:
        The program's folder and the model's path.
    """
    model = make_model()
    path, folder = directory / "net.onnx", directory / "net"
    path.write_bytes(model)
    folder.mkdir()
    for name in (*_SOURCES, *_HEADERS):
        shutil.copy(_HERE / name, folder / name)
    (folder / "manifest.json").write_text(json.dumps({**make_manifest(model), **changes}, indent=2) + "\n")
    onnx.checker.check_model(onnx.load_from_string(model))
    return folder, path
