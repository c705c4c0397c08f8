# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear, of activations and of constants."""

from __future__ import annotations

from mcucompiler.frontend.builder import Builder
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.operators.common import EIGHT_BIT, Table, output_dtype
from mcucompiler.frontend.quantization import quantize_constant
from mcucompiler.ops import Dequantize, Quantize


def _refuse_blocks(node: OnnxNode) -> None:
    block = int(node.get("block_size", 0))
    if block:
        raise node.unsupported(f"blocked quantization (block_size {block}); supported: per tensor or per axis")


def _axis(node: OnnxNode, rank: int) -> int:
    """The quantisation axis; a tensor of rank 1 has but one, though the attribute's default is 1."""
    return int(node.get("axis", 0 if rank == 1 else 1))


def quantize_linear(b: Builder, node: OnnxNode) -> None:
    """QuantizeLinear: a Quantize node, or an integer constant where the input is one."""
    _refuse_blocks(node)
    dtype = output_dtype(b, node, 2, _stated_output_dtype(node))
    name = node.needs_input(0, "x")
    value = b.value(name)
    if value is not None:
        quant = b.quant_params(
            node, 1, 2, dtype=dtype, shape=value.shape, axis=_axis(node, value.ndim), what="the constant"
        )
        b.constants[node.outputs[0]] = quantize_constant(value, quant, dtype)
        return
    x = b.float_activation(node)
    quant = b.quant_params(node, 1, 2, dtype=dtype, what=f"the activation {name!r}")
    b.emit(node, Quantize(), [x.name], dtype=dtype, output=node.outputs[0], quant=quant)


def _stated_output_dtype(node: OnnxNode) -> str:
    """The type that the attribute output_dtype names; uint8 where it is absent or 0."""
    # The numbers are those of TensorProto.DataType.
    names = {0: "uint8", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 21: "uint4", 22: "int4"}
    number = int(node.get("output_dtype", 0))
    return names.get(number, f"TensorProto data type {number}")


def dequantize_linear(b: Builder, node: OnnxNode) -> None:
    """DequantizeLinear: a Dequantize node, of activations and of constants alike."""
    _refuse_blocks(node)
    if int(node.get("output_dtype", 0)) not in (0, 1):
        raise node.unsupported("an output other than float32")
    name = node.needs_input(0, "x")
    x = b.tensor(node, 0)
    constant = b.value(name) is not None
    if x.dtype not in (*EIGHT_BIT, *(["int32"] if constant else [])):
        raise node.unsupported(f"{x.dtype} input; supported: int8 and uint8, and int32 constants")
    quant = b.quant_params(
        node,
        1,
        2,
        dtype=x.dtype,
        shape=x.shape,
        axis=_axis(node, len(x.shape)) if constant else None,
        what=f"the {'constant' if constant else 'activation'} {name!r}",
    )
    b.emit(node, Dequantize(), [x.name], dtype="float32", output=node.outputs[0], claims={0: quant})


CONVERTERS: Table = {
    ("", "QuantizeLinear"): quantize_linear,
    ("", "DequantizeLinear"): dequantize_linear,
    ("com.microsoft", "QuantizeLinear"): quantize_linear,
    ("com.microsoft", "DequantizeLinear"): dequantize_linear,
}
