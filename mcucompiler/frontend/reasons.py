# SPDX-License-Identifier: Apache-2.0
"""What to say about operators that are out of reach, and how to quantize a float model."""

from __future__ import annotations

from collections.abc import Mapping

from mcucompiler.frontend.onnx_node import OnnxNode

_CONTROL_FLOW = "control flow; export the network without data-dependent branches and loops"
_RECURRENT = "recurrent layers are not supported"
_DYNAMIC = (
    "dynamic quantization, whose scales are computed at run time; quantize statically instead "
    "(onnxruntime.quantization.quantize_static, with calibration data)"
)
_ARGMAX = "not supported; end the graph before it and take the index of the largest output in the application"
_LOG_SOFTMAX = "not supported; end the graph before it (the largest output is the same) or use Softmax"

_REASONS: Mapping[str, str] = {
    "ArgMax": _ARGMAX,
    "ArgMin": _ARGMAX,
    "Attention": "attention is not supported",
    "ConvInteger": _DYNAMIC,
    "DynamicQuantizeLinear": _DYNAMIC,
    "DynamicQuantizeMatMul": _DYNAMIC,
    "GRU": _RECURRENT,
    "If": _CONTROL_FLOW,
    "LSTM": _RECURRENT,
    "LogSoftmax": _LOG_SOFTMAX,
    "Loop": _CONTROL_FLOW,
    "MatMulInteger": _DYNAMIC,
    "MatMulIntegerToFloat": _DYNAMIC,
    "QAttention": "attention is not supported",
    "RNN": _RECURRENT,
    "Scan": _CONTROL_FLOW,
    "TopK": _ARGMAX,
}


_MADE_BY_ONNX_RUNTIME = (
    "made by ONNX Runtime for the machine that it ran on; compile the model as it was before that optimization"
)


def why_unsupported(node: OnnxNode) -> str:
    """Why a node's operator cannot be compiled."""
    if node.domain in ("com.microsoft.nchwc", "com.ms.internal.nhwc"):
        return f"{node.kind}: {_MADE_BY_ONNX_RUNTIME}"
    return f"{node.kind}: {_REASONS.get(node.op_type, 'operator not supported')}"


#: Operators that show that somebody has quantized the model.
QUANTIZED_OPERATORS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}
)


def is_quantized_operator(op_type: str) -> bool:
    """Whether an operator occurs in quantized models only."""
    return op_type in QUANTIZED_OPERATORS or op_type.startswith("QLinear")


def how_to_quantize(input_name: str, shape: tuple[int, ...]) -> str:
    """A program that quantizes a float model, for its first input."""
    return f"""quantize the model to int8, with this program say:
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Samples(CalibrationDataReader):
        def __init__(self):  # typical inputs; a hundred or more
            self.samples = iter([{{{input_name!r}: x}} for x in np.load("samples.npy")])  # each float32 {list(shape)}

        def get_next(self):
            return next(self.samples, None)

    quantize_static("MODEL.onnx", "MODEL.int8.onnx", Samples(), quant_format=QuantFormat.QDQ, per_channel=True)"""
