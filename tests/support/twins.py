# SPDX-License-Identifier: Apache-2.0
"""The same network in QOperator and in QDQ form, node by node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import INTEGER_RANGES, Array, Graph, QuantParams, Tensor
from mcucompiler.numerics.requantize import quantize
from mcucompiler.ops import Operator, Quantize, Unary
from tests.support.graphs import GraphMaker, quant


@dataclass
class Value:
    """A quantised tensor of both graphs."""

    qop: str
    qdq: str


class TwinMaker:
    """Adds every operator to a QOperator graph and, between Dequantize and Quantize, to a QDQ graph.

    ``relu`` and ``clip`` stand in front of the Quantize in QDQ, and are bounds on integers in QOperator. The input and
    the output are float32 in QDQ, integers in QOperator.
    """

    def __init__(self, shape: tuple[int, ...], q: QuantParams, dtype: str) -> None:
        self.qop, self.qdq = GraphMaker(), GraphMaker()
        integer = self.qop.input("x", shape, dtype, q)
        image = self.qdq.input("x", shape)
        self.x = Value(integer, self.qdq.quantize(image, q, dtype))

    def tensor(self, value: Value) -> Tensor:
        return self.qop.tensors[value.qop]

    def constant(self, data: Array, q: QuantParams) -> Value:
        return Value(self.qop.constant(data, q), self.qdq.constant(data, q))

    def add(
        self,
        op: Operator,
        *inputs: Value,
        q: QuantParams,
        dtype: str,
        bias: Array | None = None,
        clip: tuple[float, float] | None = None,
    ) -> Value:
        """An operator with its own output parameters; ``bias`` is int32, in units of its accumulator."""
        qop_inputs = [value.qop for value in inputs]
        qdq_inputs = [self.qdq.dequantize(value.qdq) for value in inputs]
        if bias is not None:
            qop_inputs.append(self.qop.constant(bias))
            qdq_inputs.append(self.qdq.weights(bias, self._accumulator(inputs[0], inputs[1], len(bias))))
        integer = self.qop.add(op, *qop_inputs, dtype=dtype, q=q)
        real = self.qdq.add(op, *qdq_inputs)
        if clip is not None:
            real = self.qdq.add(Unary(function="clip", params=clip), real)
            lo, hi = INTEGER_RANGES[dtype]
            bounds = quantize(np.array(clip, np.float32), q.s, q.z, lo, hi)
            clip_int = Unary(function="clip_int", params=(float(bounds[0]), float(bounds[1])))
            integer = self.qop.add(clip_int, integer, dtype=dtype, q=q)
        return Value(integer, self.qdq.quantize(real, q, dtype))

    def move(self, op: Operator, value: Value) -> Value:
        """An operator that picks elements: on integers here, on real numbers there."""
        tensor = self.tensor(value)
        integer = self.qop.add(op, value.qop, dtype=tensor.dtype, q=tensor.quant)
        real = self.qdq.add(op, self.qdq.dequantize(value.qdq))
        assert tensor.quant is not None
        return Value(integer, self.qdq.quantize(real, tensor.quant, tensor.dtype))

    def requantize(self, value: Value, q: QuantParams, dtype: str) -> Value:
        real = self.qop.dequantize(value.qop)
        return Value(
            self.qop.add(Quantize(), real, dtype=dtype, q=q),
            self.qdq.quantize(self.qdq.dequantize(value.qdq), q, dtype),
        )

    def graphs(self, *outputs: Value) -> tuple[Graph, Graph]:
        return (
            self.qop.graph(*(value.qop for value in outputs)),
            self.qdq.graph(*(self.qdq.dequantize(value.qdq) for value in outputs)),
        )

    def _accumulator(self, x: Value, weights: Value, channels: int) -> QuantParams:
        qx, qw = self.tensor(x).quant, self.tensor(weights).quant
        assert qx is not None
        assert qw is not None
        if qw.per_tensor:
            return quant(float(qx.s * np.float32(qw.scale[0])))
        scales = tuple(float(qx.s * np.float32(s)) for s in qw.scale)
        return QuantParams(scale=scales, zero_point=(0,) * channels, axis=0)
