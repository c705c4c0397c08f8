# SPDX-License-Identifier: Apache-2.0
"""Constants: initializers, Constant nodes, and nodes whose inputs are all known.

Exporters compute shapes and scales inside the graph. As the importer walks the nodes in order with
every activation's shape static, all of that turns into constants on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from mcucompiler.errors import ModelError
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.ir.graph import Array

_NOT_DETERMINISTIC = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})

#: Operators that only move elements: of a dequantized constant, they can be applied to the integers.
MOVES_ELEMENTS = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})


def tensor_value(tensor: onnx.TensorProto, name: str) -> Array:
    """The values of a tensor in the file.

    Raises:
        ModelError: where its bytes do not fit its shape and type.
    """
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ModelError(f"the data of tensor {name!r} do not fit its shape and type", found=str(error)) from None


def constant_node_value(node: OnnxNode) -> Array:
    """The value of a Constant node."""
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64)):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype=dtype)
    if "value_ints" in node.attributes:
        return np.asarray(node.attributes["value_ints"], dtype=np.int64)
    if "value" in node.attributes:
        return tensor_value(node.attributes["value"], node.outputs[0])
    kinds = ", ".join(node.attributes) or "no value"
    raise node.unsupported(f"a constant of {kinds}; supported: tensors, numbers and lists of numbers")


def can_evaluate(node: OnnxNode) -> bool:
    """Whether a node's outputs are known as soon as its inputs are."""
    if node.domain != "" or node.op_type in _NOT_DETERMINISTIC | _CONTROL_FLOW:
        return False
    return any(node.inputs)


def evaluate(node: OnnxNode, values: Sequence[Array | None]) -> tuple[Array, ...]:
    """The outputs of a node of ONNX's own domain, computed by onnx's reference evaluator.

    Args:
        node: a node for which `can_evaluate` holds.
        values: one array for each input, None where it is absent.

    Raises:
        ModelError: where the values do not go together.
    """
    feeds = {name: value for name, value in zip(node.inputs, values, strict=True) if value is not None}
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
        for name, value in feeds.items()
    ]
    wanted = [name for name in node.outputs if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node.proto], "constant", inputs, outputs),
        opset_imports=[onnx.helper.make_opsetid("", node.opset)],
    )
    try:
        results = ReferenceEvaluator(model).run(wanted, feeds)
    except Exception as error:  # the evaluator lets through whatever numpy raises
        shapes = ", ".join("x".join(map(str, v.shape)) or "scalar" for v in values if v is not None)
        raise node.invalid(
            "the constant it computes cannot be evaluated", found=f"inputs of shape {shapes}: {error}"
        ) from None
    return tuple(np.asarray(result) for result in results)
