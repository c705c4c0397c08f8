# SPDX-License-Identifier: Apache-2.0
"""What the elementwise operators with two operands have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from mcucompiler.ir.graph import Tensor
from mcucompiler.ops._quantized import check_activations, check_clamp
from mcucompiler.ops._shapes import broadcast, broadcast_range, operand
from mcucompiler.ops.base import Clamp, LayoutRule, MaybeTensors, Operator, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Operator):
    """An elementwise operator on a and b with ONNX broadcasting.

    Attributes:
        clamp: an activation folded into the operator.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME
    clamp: Clamp | None = None

    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """The common shape."""
        return (broadcast([operand(inputs, 0, "a").shape, operand(inputs, 1, "b").shape]),)

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """All float32, or all quantized 8-bit integers per tensor."""
        return (*check_activations(inputs, outputs), *check_clamp(self.clamp, outputs))

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The same indices, or the only one of a broadcast operand."""
        return broadcast_range(operand(inputs, index, "operand").shape, outputs[0].shape, axis, start, stop)
