# SPDX-License-Identifier: Apache-2.0
"""Builds small quantised networks as ONNX models, QOperator or QDQ, with ranges chosen so that values stay alive."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Value:
    """An int8 or uint8 activation with its parameters."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass
class Network:
    """A model under construction; every method adds one operator and returns its output."""

    seed: int
    dtype: type = np.int8
    qdq: bool = False
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def constant(self, value: np.ndarray, stem: str = "c") -> str:
        name = self.fresh(stem)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def parameters(self) -> tuple[float, int]:
        """A random scale near 1/32 and a random zero point."""
        info = np.iinfo(self.dtype)
        middle = (int(info.min) + int(info.max)) // 2
        return float(np.float32(self.rng.uniform(0.5, 2.0) / 32)), int(middle + self.rng.integers(-40, 41))

    def pair(self, scale: float, zero_point: int) -> list[str]:
        return [
            self.constant(np.array(scale, np.float32), "scale"),
            self.constant(np.array(zero_point, self.dtype), "zero"),
        ]

    def activation(self, stem: str, shape: tuple[int, ...], like: Value | None = None) -> Value:
        scale, zero_point = (like.scale, like.zero_point) if like else self.parameters()
        return Value(self.fresh(stem), shape, scale, zero_point)

    def input(self, shape: tuple[int, ...]) -> Value:
        value = self.activation("input", shape)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        if self.qdq:
            self.inputs.append(helper.make_tensor_value_info(f"{value.name}_real", TensorProto.FLOAT, shape))
            self.add("QuantizeLinear", [f"{value.name}_real", *self.pair(value.scale, value.zero_point)], value.name)
        else:
            self.inputs.append(helper.make_tensor_value_info(value.name, kind, shape))
        return value

    def add(self, op: str, inputs: list[str], output: str, domain: str = "", **attributes: object) -> None:
        self.nodes.append(
            helper.make_node(op, inputs, [output], name=self.fresh(op.lower()), domain=domain, **attributes)
        )

    def real(self, value: Value) -> str:
        """The dequantised value, for QDQ models."""
        name = self.fresh("real")
        self.add("DequantizeLinear", [value.name, *self.pair(value.scale, value.zero_point)], name)
        return name

    def quantized(self, real: str, value: Value) -> Value:
        self.add("QuantizeLinear", [real, *self.pair(value.scale, value.zero_point)], value.name)
        return value

    def conv(
        self, x: Value, channels: int, kernel: tuple[int, ...], *, groups: int = 1, relu: bool = False,
        **attributes: object,
    ) -> Value:  # fmt: skip
        inputs = x.shape[1]
        weights = self.rng.integers(-127, 128, (channels, inputs // groups, *kernel)).astype(np.int8)
        terms = int(np.prod(weights.shape[1:]))
        scales = (self.rng.uniform(0.5, 1.5, channels) / (74 * np.sqrt(terms))).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, channels).astype(np.int32)
        probe = onnx.helper.make_node("Conv", ["x", "w"], ["y"], group=groups, **attributes)
        shape = _conv_shape(x.shape, channels, kernel, probe)
        y = self.activation("conv", shape)
        if relu:
            y = Value(y.name, y.shape, y.scale, int(np.iinfo(self.dtype).min))
        names = [
            self.constant(weights, "w"),
            self.constant(scales, "ws"),
            self.constant(np.zeros(channels, np.int8), "wz"),
        ]
        if self.qdq:
            w, b = self.fresh("w_real"), self.fresh("b_real")
            self.add("DequantizeLinear", names, w, axis=0)
            bias_scale = (np.float32(x.scale) * scales).astype(np.float32)
            b_names = [self.constant(bias, "b"), self.constant(bias_scale), self.constant(np.zeros(channels, np.int32))]
            self.add("DequantizeLinear", b_names, b, axis=0)
            real = self.fresh("y_real")
            self.add("Conv", [self.real(x), w, b], real, group=groups, **attributes)
            if relu:
                rectified = self.fresh("relu")
                self.add("Relu", [real], rectified)
                real = rectified
            return self.quantized(real, y)
        operands = [x.name, *self.pair(x.scale, x.zero_point), *names, *self.pair(y.scale, y.zero_point)]
        self.add("QLinearConv", [*operands, self.constant(bias, "b")], y.name, group=groups, **attributes)
        return y

    def binary(self, op: str, a: Value, b: Value) -> Value:
        y = self.activation(op.lower(), tuple(np.broadcast_shapes(a.shape, b.shape)))
        if self.qdq:
            real = self.fresh("y_real")
            self.add(op, [self.real(a), self.real(b)], real)
            return self.quantized(real, y)
        operands = [a.name, *self.pair(a.scale, a.zero_point), b.name, *self.pair(b.scale, b.zero_point)]
        self.add(f"QLinear{op}", [*operands, *self.pair(y.scale, y.zero_point)], y.name, MICROSOFT)
        return y

    def direct(self, op: str, x: Value, shape: tuple[int, ...], **attributes: object) -> Value:
        """An operator that works on the integers themselves: MaxPool, Transpose and the like."""
        y = self.activation(op.lower(), shape, like=x)
        if self.qdq:
            real = self.fresh("y_real")
            self.add(op, [self.real(x)], real, **attributes)
            return self.quantized(real, y)
        self.add(op, [x.name], y.name, **attributes)
        return y

    def resize(self, x: Value, factors: tuple[int, ...], **attributes: object) -> Value:
        """Resize of the spatial axes by whole factors."""
        shape = (*x.shape[:2], *(size * factor for size, factor in zip(x.shape[2:], factors, strict=True)))
        y = self.activation("resize", shape, like=x)
        scales = self.constant(np.array([1, 1, *factors], np.float32), "scales")
        if self.qdq:
            real = self.fresh("y_real")
            self.add("Resize", [self.real(x), "", scales], real, **attributes)
            return self.quantized(real, y)
        self.add("Resize", [x.name, "", scales], y.name, **attributes)
        return y

    def conv_transpose(self, x: Value, channels: int, kernel: tuple[int, ...]) -> Value:
        """ConvTranspose with stride = kernel between DequantizeLinear and QuantizeLinear: it has no QOperator form."""
        weights = self.rng.integers(-127, 128, (x.shape[1], channels, *kernel)).astype(np.int8)
        scales = (self.rng.uniform(0.5, 1.5, channels) / (74 * np.sqrt(x.shape[1]))).astype(np.float32)
        names = [self.constant(weights, "w"), self.constant(scales), self.constant(np.zeros(channels, np.int8))]
        w, real = self.fresh("w_real"), self.fresh("y_real")
        self.add("DequantizeLinear", names, w, axis=1)
        shape = (x.shape[0], channels, *(size * k for size, k in zip(x.shape[2:], kernel, strict=True)))
        y = self.activation("conv_transpose", shape)
        self.add("ConvTranspose", [self.real(x), w], real, strides=list(kernel))
        return self.quantized(real, y)

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        y = self.activation("reshape", shape, like=x)
        target = self.constant(np.array(shape, np.int64), "shape")
        if self.qdq:
            real = self.fresh("y_real")
            self.add("Reshape", [self.real(x), target], real)
            return self.quantized(real, y)
        self.add("Reshape", [x.name, target], y.name)
        return y

    def global_average(self, x: Value) -> Value:
        y = self.activation("mean", (*x.shape[:2], 1, 1))
        if self.qdq:
            real = self.fresh("y_real")
            self.add("GlobalAveragePool", [self.real(x)], real)
            return self.quantized(real, y)
        operands = [x.name, *self.pair(x.scale, x.zero_point), *self.pair(y.scale, y.zero_point)]
        self.add("QLinearGlobalAveragePool", operands, y.name, MICROSOFT, channels_last=0)
        return y

    def concat(self, values: list[Value], axis: int) -> Value:
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        y = self.activation("concat", tuple(shape))
        if self.qdq:
            real = self.fresh("y_real")
            self.add("Concat", [self.real(value) for value in values], real, axis=axis)
            return self.quantized(real, y)
        operands = self.pair(y.scale, y.zero_point)
        for value in values:
            operands += [value.name, *self.pair(value.scale, value.zero_point)]
        self.add("QLinearConcat", operands, y.name, MICROSOFT, axis=axis)
        return y

    def sigmoid(self, x: Value) -> Value:
        y = self.activation("sigmoid", x.shape)
        if self.qdq:
            real = self.fresh("y_real")
            self.add("Sigmoid", [self.real(x)], real)
            return self.quantized(real, y)
        operands = [x.name, *self.pair(x.scale, x.zero_point), *self.pair(y.scale, y.zero_point)]
        self.add("QLinearSigmoid", operands, y.name, MICROSOFT)
        return y

    def dense(self, x: Value, outputs: int) -> Value:
        """Fully connected on [1, K]."""
        terms = x.shape[-1]
        weights = self.rng.integers(-127, 128, (outputs, terms)).astype(np.int8)
        scales = (self.rng.uniform(0.5, 1.5, outputs) / (74 * np.sqrt(terms))).astype(np.float32)
        bias = self.rng.integers(-2000, 2000, outputs).astype(np.int32)
        y = self.activation("dense", (x.shape[0], outputs))
        names = [
            self.constant(weights, "w"),
            self.constant(scales, "ws"),
            self.constant(np.zeros(outputs, np.int8), "wz"),
        ]
        if self.qdq:
            w, b = self.fresh("w_real"), self.fresh("b_real")
            self.add("DequantizeLinear", names, w, axis=0)
            b_names = [
                self.constant(bias, "b"),
                self.constant((np.float32(x.scale) * scales).astype(np.float32)),
                self.constant(np.zeros(outputs, np.int32)),
            ]
            self.add("DequantizeLinear", b_names, b, axis=0)
            real = self.fresh("y_real")
            self.add("Gemm", [self.real(x), w, b], real, transB=1)
            return self.quantized(real, y)
        operands = [x.name, *self.pair(x.scale, x.zero_point), *names, self.constant(bias, "b")]
        self.add("QGemm", [*operands, *self.pair(y.scale, y.zero_point)], y.name, MICROSOFT, transB=1)
        return y

    def build(self, outputs: list[Value]) -> bytes:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        infos = []
        for value in outputs:
            if self.qdq:
                name = f"{value.name}_real"
                self.add("DequantizeLinear", [value.name, *self.pair(value.scale, value.zero_point)], name)
                infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape))
            else:
                infos.append(helper.make_tensor_value_info(value.name, kind, value.shape))
        graph = helper.make_graph(self.nodes, "random", self.inputs, infos, self.constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return model.SerializeToString()


def _conv_shape(x: tuple[int, ...], channels: int, kernel: tuple[int, ...], node: onnx.NodeProto) -> tuple[int, ...]:
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rank = len(kernel)
    strides, dilations = values.get("strides", [1] * rank), values.get("dilations", [1] * rank)
    pads = values.get("pads", [0] * 2 * rank)
    spatial = [
        (x[2 + i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    ]
    return (x[0], channels, *spatial)
