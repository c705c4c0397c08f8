# SPDX-License-Identifier: Apache-2.0
"""A function of one element: Relu, Clip, Sigmoid and the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcucompiler.errors import ModelError
from mcucompiler.ir.graph import INTEGER_RANGES, Array, Tensor
from mcucompiler.numerics.requantize import quantize
from mcucompiler.ops._functions import FUNCTIONS, Function
from mcucompiler.ops._quantized import centered, check_activations, dequantized, quantization, saturate_real, value
from mcucompiler.ops._shapes import operand
from mcucompiler.ops.base import LayoutRule, MaybeTensors, Operator, Shape

CLIP_INT = "clip_int"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(Operator):
    """A function of one element: Relu, Clip, Sigmoid, Tanh, HardSwish, Gelu, Sqrt and others.

    inputs: x.

    Functions are those of :data:`mcucompiler.ops._functions.FUNCTIONS`, named as in ONNX but in lower case.

    Float32: the function in real arithmetic (float64), rounded once; but Sigmoid and Tanh as
    :mod:`mcucompiler.ops._elementary`, and HardSigmoid, HardSwish and LeakyRelu with every operation rounded.

    Quantized, Relu, Clip, LeakyRelu, Sigmoid and "identity" (a requantization): DequantizeLinear, the float32 function
    and QuantizeLinear, each in float32, which is what QLinearLeakyRelu and QLinearSigmoid do. All others, which have no
    integer twin in ONNX Runtime: the real result rounded once, ``y = clamp(rint(f((x - zx) * sx) / sy) + zy)`` in
    float64.

    "clip_int" is a Clip of the integers themselves: params are bounds in the units of x.

    Attributes:
        function: its name.
        params: the ONNX attributes (or constant inputs) in ONNX order, such as min and max of Clip; left out from the
            end on, they have ONNX's default values.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    function: str
    params: tuple[float, ...] = ()

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The input's shape."""
        return (operand(inputs, 0, "x").shape,)

    def _function(self) -> tuple[Function, tuple[float, ...]]:
        """The function and all its parameters."""
        found = FUNCTIONS.get(self.function)
        if found is None:
            raise ModelError(
                "unknown function", found=self.function, supported=", ".join(sorted((*FUNCTIONS, CLIP_INT)))
            )
        return found, (*self.params, *found.defaults[len(self.params) :])

    def real(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """The function in real arithmetic.

        Args:
            x: real numbers.

        Returns:
            float64 array of the same shape.

        Raises:
            ModelError: for an unknown function.
        """
        function, params = self._function()
        with np.errstate(all="ignore"):
            return np.asarray(function.real(np.asarray(x, dtype=np.float64), *params), dtype=np.float64)

    def single(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The function in float32.

        Args:
            x: float32 numbers.

        Returns:
            float32 array of the same shape.

        Raises:
            ModelError: for an unknown function.
        """
        function, params = self._function()
        array = np.asarray(x, dtype=np.float32)
        with np.errstate(all="ignore"):
            if function.single is None:
                return self.real(array).astype(np.float32)
            return np.asarray(function.single(array, *params), dtype=np.float32)

    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The function of each element."""
        x, xv, y = operand(inputs, 0, "x"), value(values, 0, "x"), outputs[0]
        if self.function == CLIP_INT:
            lo, hi = (int(p) for p in self.params)
            return (np.minimum(np.maximum(xv.astype(np.int64), lo), hi).astype(y.dtype),)
        if not y.is_quantized:
            return (self.single(xv),)
        quant, (lo, hi) = quantization(y), INTEGER_RANGES[y.dtype]
        if self._function()[0].onnxruntime:
            return (quantize(self.single(dequantized(xv, x)), quant.s, quant.z, lo, hi).astype(y.dtype),)
        real = self.real(centered(xv, x) * float(quantization(x).s))
        with np.errstate(over="ignore", invalid="ignore"):
            return (saturate_real(real / float(quant.s), quant.z, lo, hi).astype(y.dtype),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """A known function with its parameters; all float32, or all quantized 8-bit integers per tensor."""
        if self.function == CLIP_INT:
            return self._check_clip_int(inputs, outputs)
        causes = list(check_activations(inputs, outputs))
        known = FUNCTIONS.get(self.function)
        if known is None:
            causes.append(f"unknown function {self.function!r}; supported are {', '.join(sorted(FUNCTIONS))}")
        elif len(self.params) > len(known.defaults):
            causes.append(f"{self.function} has {len(known.defaults)} parameters, not {len(self.params)}")
        if any(np.isnan(p) for p in self.params):
            causes.append("a parameter is NaN")
        return tuple(causes)

    def _check_clip_int(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        x, y = operand(inputs, 0, "x"), outputs[0]
        if x.dtype not in ("int8", "uint8", "int16", "int32") or (x.dtype, x.quant) != (y.dtype, y.quant):
            return (f"clip_int of {x.dtype} to {y.dtype}; one integer type and quantization is supported",)
        lo, hi = INTEGER_RANGES[x.dtype]
        if len(self.params) != 2 or not lo <= self.params[0] <= self.params[1] <= hi:
            return (f"the bounds {list(self.params)} are not two ascending values of {x.dtype}",)
        return ()

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices."""
        return (start, stop)
