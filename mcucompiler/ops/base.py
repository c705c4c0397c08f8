# SPDX-License-Identifier: Apache-2.0
"""What an operator is: attributes, shape rule, receptive field, and its meaning in numpy.

One file per operator. An operator knows nothing of C: which kernels can compute it is said in
``lower/variants``, so that the reference here shares nothing with what it is the oracle for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from mcucompiler.ir.graph import Array, Tensor

Shape = tuple[int, ...]
MaybeTensors = Sequence[Tensor | None]


class LayoutRule(Enum):
    """What an operator asks of the order in which its activations lie in memory."""

    CHANNELS_LAST = "N, C, spatial axes are stored N, spatial axes, C"
    SAME = "all activations in one common order, whichever it is"
    LAST_AXIS = "all activations in one common order in which `axis` is innermost"
    ROWS = "the elements of each row in any one order, which constant operands follow"
    ROW_MAJOR = "ONNX order"
    RELABEL = "no bytes move where input and output orders agree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clamp:
    """An activation folded into an operator: bounds on the quantised output, both inclusive."""

    lo: int
    hi: int


class Operator(ABC):
    """Base of all operators: frozen dataclasses of attributes.

    Attributes:
        layout: what the operator asks of memory order.
    """

    layout: ClassVar[LayoutRule] = LayoutRule.SAME

    @property
    def kind(self) -> str:
        """The operator's name, as in ONNX where ONNX has it."""
        return type(self).__name__

    @abstractmethod
    def output_shapes(self, inputs: MaybeTensors) -> tuple[Shape, ...]:
        """Shapes of the outputs.

        Raises:
            ModelError: where the inputs' shapes do not go together; without a node's name, which
                the caller adds.
        """

    @abstractmethod
    def reference(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], values: Sequence[Array | None]
    ) -> tuple[Array, ...]:
        """The outputs' values: the definition of the operator.

        Args:
            inputs: the input tensors, for their types and quantisation; None where absent.
            outputs: the output tensors, likewise.
            values: arrays of the input tensors' shapes and dtypes; None where absent.

        Returns:
            Arrays of the output tensors' shapes and dtypes.
        """

    def check(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> tuple[str, ...]:
        """What is illegal about the operator between these tensors, beyond shapes; () when legal."""
        return ()

    def macs(self, inputs: MaybeTensors, outputs: Sequence[Tensor]) -> int:
        """Multiply-accumulate operations, border taps included; 0 for operators without any."""
        return 0

    def input_range(
        self, inputs: MaybeTensors, outputs: Sequence[Tensor], index: int, axis: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        """The receptive field along one axis.

        Args:
            inputs: the input tensors; None where absent.
            outputs: the output tensors.
            index: which input.
            axis: which axis of the output, in ONNX order.
            start: first output index.
            stop: one past the last output index.

        Returns:
            The half-open range of indices along that axis of the input which these outputs read,
            not clipped to the tensor (what lies outside is padding), or None where an output may
            read the whole axis. Broadcast operands of elementwise operators may have fewer axes:
            theirs are counted from the last, and (0, 1) stands for an axis of size 1 or none.
        """
        return None
