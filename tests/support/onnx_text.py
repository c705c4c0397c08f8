# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models from ONNX's text format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
from onnx import numpy_helper


def model_proto(
    graph: str, constants: Mapping[str, np.ndarray] | None = None, *, opset: int = 13, ir_version: int = 8
) -> onnx.ModelProto:
    """A model of one graph in text form, with further initializers given as arrays."""
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n'
    proto = onnx.parser.parse_model(header + graph)
    proto.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in (constants or {}).items())
    return proto


def model_bytes(graph: str, constants: Mapping[str, np.ndarray] | None = None, *, opset: int = 13) -> bytes:
    """The same as the content of a file."""
    return model_proto(graph, constants, opset=opset).SerializeToString()


def runtime_session(content: bytes) -> ort.InferenceSession:
    """ONNX Runtime as the reference: no graph optimisations, no saturating kernels."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
