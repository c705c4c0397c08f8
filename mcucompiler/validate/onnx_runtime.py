# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as it computes without optimisations, intermediate tensors included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from mcucompiler.errors import ModelError, ToolError
from mcucompiler.ir.graph import Array

_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    ValueError,
)
_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    **{f"tensor({kind})": kind for kind in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")},
}


def load_model(path: Path) -> onnx.ModelProto:
    """An ONNX file with its external data; a file that the importer has accepted.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return onnx.load(str(path))
    except (OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as ONNX: {error}") from error


def is_integer_graph(model: onnx.ModelProto) -> bool:
    """Whether all arithmetic between the graph's boundary is on integers, so that there is one exact result.

    That is the case where real numbers only enter by QuantizeLinear on a graph input and only
    leave by DequantizeLinear to a graph output.
    """
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    inputs = {value.name for value in graph.input}
    consumed = {name for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] not in inputs | constants:
            return False
        if node.op_type == "DequantizeLinear" and (node.input[0] in constants or node.output[0] in consumed):
            return False
    return True


class OnnxRuntime:
    """A session over a model that also gives intermediate tensors.

    Args:
        model: the network.
        tensors: names of intermediate tensors to give, as far as the model has them.

    Raises:
        ToolError: ONNX Runtime refuses the model.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Iterable[str] = ()) -> None:
        widened = onnx.ModelProto()
        widened.CopyFrom(model)
        outputs = [value.name for value in model.graph.output]
        made = {name for node in model.graph.node for name in node.output}
        self.tensors = tuple(name for name in dict.fromkeys(tensors) if name in made and name not in outputs)
        widened.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in self.tensors)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Without VNNI the default kernels for uint8 x int8 saturate; this asks for exact ones.
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                widened.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except _ERRORS as error:
            raise ToolError(f"ONNX Runtime refuses the model: {error}") from error
        self._dtypes = {value.name: _TYPES.get(value.type, "float32") for value in self._session.get_inputs()}

    def input_dtype(self, name: str) -> str:
        """Element type that an input takes."""
        return self._dtypes[name]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs and intermediate tensors by name.

        Raises:
            ToolError: ONNX Runtime fails.
        """
        names = [value.name for value in self._session.get_outputs()]
        try:
            values = self._session.run(names, dict(feeds))
        except _ERRORS as error:
            raise ToolError(f"ONNX Runtime cannot run the model: {error}") from error
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}
