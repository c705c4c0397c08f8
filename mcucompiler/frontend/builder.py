# SPDX-License-Identifier: Apache-2.0
"""The graph under construction: what converters read from and emit into."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mcucompiler.errors import ModelError, UnsupportedOperatorError
from mcucompiler.frontend.onnx_node import OnnxNode
from mcucompiler.frontend.quantization import dequantize_constant, make_quant_params
from mcucompiler.ir.graph import ITEM_BYTES, Array, Node, QuantParams, Tensor, unique_name
from mcucompiler.ops import Dequantize, Operator, Reshape

#: Element types that an activation can have between operators.
ACTIVATION_DTYPES = ("float32", "int8", "uint8")


@dataclass(slots=True, kw_only=True)
class Builder:
    """Nodes and tensors emitted so far, in order. Used during one import only.

    Attributes:
        constants: values of ONNX tensors that are known, by ONNX name, of any numpy dtype.
        tensors: IR tensors by name.
        nodes: IR nodes by name, in order.
        outputs: names of the graph's outputs; these tensors are never renamed away.
        aliases: ONNX tensors that are another tensor unchanged.
        claims: by node name and input index, the quantisation parameters under which that node
            reads an integer activation; settled when all nodes are there.
        transparent: names of nodes that move integer elements without changing them, so that input
            and output have the same quantisation parameters.
        taken: names that no new tensor may get.
        taken_nodes: names that no new node may get.
        producer: the IR node that writes each tensor.
    """

    constants: dict[str, Array]
    outputs: frozenset[str]
    taken: set[str]
    taken_nodes: set[str]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    claims: dict[tuple[str, int], QuantParams] = field(default_factory=dict)
    transparent: set[str] = field(default_factory=set)
    producer: dict[str, Node] = field(default_factory=dict)

    # ------------------------------------------------------------------ reading

    def resolve(self, name: str) -> str:
        """The tensor that a name stands for."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def known(self, name: str) -> bool:
        """Whether the tensor's shape or value is known."""
        name = self.resolve(name)
        return name in self.constants or name in self.tensors

    def tensor(self, node: OnnxNode, index: int, what: str = "") -> Tensor:
        """The tensor at an input, a constant one included."""
        return self.materialize(node, node.needs_input(index, what or f"number {index}"))

    def activation(self, node: OnnxNode, index: int = 0, dtypes: Sequence[str] = ACTIVATION_DTYPES) -> Tensor:
        """The tensor at an input, of one of the given element types."""
        tensor = self.tensor(node, index)
        if tensor.dtype not in dtypes:
            raise node.unsupported(
                f"input {tensor.name!r} is {tensor.dtype}; supported: {', '.join(dtypes)}"
                + (_RAW_INTEGER_HINT if tensor.dtype in ("int8", "uint8") else "")
            )
        return tensor

    def float_activation(self, node: OnnxNode, index: int = 0) -> Tensor:
        """The float32 tensor at an input."""
        return self.activation(node, index, ("float32",))

    def value(self, name: str) -> Array | None:
        """The value of an ONNX tensor if it is known; that of a dequantized constant is its real value."""
        name = self.resolve(name)
        if name in self.constants:
            return self.constants[name]
        tensor = self.tensors.get(name)
        if tensor is not None and tensor.is_constant:
            return tensor.data
        stored = self.stored_constant(name)
        return None if stored is None else dequantize_constant(data_of(stored), quant_of(stored))

    def stored_constant(self, name: str) -> Tensor | None:
        """The quantised constant of which a tensor is the DequantizeLinear, else None."""
        producer = self.producer.get(self.resolve(name))
        if producer is None or not isinstance(producer.op, Dequantize):
            return None
        source = self.tensors[producer.inputs[0]]
        return source if source.is_constant else None

    def constant(self, node: OnnxNode, index: int, what: str) -> Array:
        """The value at an input that must be known at compile time."""
        name = node.needs_input(index, what)
        value = self.value(name)
        if value is None:
            raise node.unsupported(f"{what} ({name!r}) is not constant; supported: an initializer or a constant")
        return value

    def optional_constant(self, node: OnnxNode, index: int, what: str) -> Array | None:
        """The value at an input that may be absent."""
        return self.constant(node, index, what) if node.input(index) else None

    def scalar(self, node: OnnxNode, index: int, what: str, default: float) -> float:
        """A number at an input that may be absent."""
        value = self.optional_constant(node, index, what)
        if value is None or not value.size:
            return default
        if value.size != 1:
            raise node.unsupported(f"{what} has {value.size} values; supported: one")
        return float(value.reshape(()))

    def integers(self, node: OnnxNode, index: int, what: str) -> tuple[int, ...]:
        """A list of integers at an input."""
        return tuple(int(v) for v in self.constant(node, index, what).reshape(-1))

    def quant_params(
        self,
        node: OnnxNode,
        scale: int,
        zero_point: int,
        *,
        dtype: str,
        shape: tuple[int, ...] = (),
        axis: int | None = None,
        what: str,
    ) -> QuantParams:
        """The quantisation parameters whose scale and zero point are at two inputs."""
        return make_quant_params(
            node,
            self.constant(node, scale, f"scale of {what}"),
            self.optional_constant(node, zero_point, f"zero point of {what}"),
            dtype=dtype,
            shape=shape,
            axis=axis,
            what=what,
        )

    # ------------------------------------------------------------------ constants

    def materialize(self, node: OnnxNode, name: str) -> Tensor:
        """The IR tensor of an ONNX name; constants become tensors when first used."""
        name = self.resolve(name)
        if name in self.tensors:
            return self.tensors[name]
        value = self.constants[name]
        if str(value.dtype) not in ITEM_BYTES:
            raise node.unsupported(
                f"constant {name!r} is {value.dtype}; supported: float32 values and int8, uint8 or int32 ones"
            )
        return self.add_constant(name, value)

    def add_constant(self, name: str, data: Array, quant: QuantParams | None = None) -> Tensor:
        """A constant tensor of this very name."""
        tensor = Tensor(name=name, shape=tuple(data.shape), dtype=str(data.dtype), data=data, quant=quant)
        self.tensors[name] = tensor
        self.taken.add(name)
        return tensor

    def derived_constant(self, base: str, data: Array, quant: QuantParams | None = None) -> Tensor:
        """A constant tensor that the import adds, with a name made of another's."""
        return self.add_constant(self.fresh(base), np.asarray(data), quant)

    def quantized_constant(self, node: OnnxNode, name: str, quant: QuantParams) -> Tensor:
        """An integer constant under these parameters; a copy where it is used under others already."""
        tensor = self.materialize(node, name)
        if tensor.quant == quant:
            return tensor
        if tensor.quant is None and not any(tensor.name in other.inputs for other in self.nodes.values()):
            self.tensors[tensor.name] = tensor.replace(quant=quant)
            return self.tensors[tensor.name]
        return self.derived_constant(tensor.name, data_of(tensor), quant)

    def reshaped_constant(
        self, node: OnnxNode, name: str, transform: Callable[[Array], Array], suffix: str, axis: int | None = 0
    ) -> str:
        """A constant, quantised or not, with its elements in other places.

        Args:
            node: the ONNX node that needs it.
            name: ONNX name of a constant or of a dequantized constant.
            transform: applied to its array.
            suffix: for the name of the result.
            axis: where a quantisation axis is in the result.

        Returns:
            Name of the constant, or of the output of a new Dequantize node on the changed constant.
        """
        stored = self.stored_constant(name)
        if stored is None:
            before = self.materialize(node, name)
            after = transform(data_of(before))
            return self.derived_constant(f"{before.name}_{suffix}", after).name
        quant = quant_of(stored)
        quant = quant if quant.per_tensor else replace(quant, axis=axis)
        return self.dequantized(node, f"{stored.name}_{suffix}", transform(data_of(stored)), quant, like=name)

    def dequantized(self, node: OnnxNode, name: str, data: Array, quant: QuantParams, *, like: str) -> str:
        """A new quantised constant and the Dequantize node that reads it; returns the latter's output.

        Args:
            node: the ONNX node that needs it.
            name: wished for the constant.
            data: its integers.
            quant: their parameters.
            like: the ONNX tensor for which this stands; its node is named as the source.
        """
        constant = self.derived_constant(name, data, quant)
        producer = self.producer.get(self.resolve(like))
        return self.emit(
            node,
            Dequantize(),
            [constant.name],
            dtype="float32",
            sources=producer.sources if producer is not None else None,
        )

    def scaled_constant(self, node: OnnxNode, name: str, factor: float) -> str:
        """A constant, quantised or not, times a number."""
        if factor == 1.0:
            return name
        stored = self.stored_constant(name)
        if stored is not None and factor > 0:
            scales = np.asarray(quant_of(stored).scale, np.float32) * np.float32(factor)
            quant = replace(quant_of(stored), scale=tuple(float(s) for s in scales))
            return self.dequantized(node, f"{stored.name}_scaled", data_of(stored), quant, like=name)
        value = self.value(name)
        if value is None:
            raise node.unsupported(f"{name!r} is not constant")
        scaled = np.asarray(value, np.float32) * np.float32(factor)
        return self.derived_constant(f"{self.resolve(name)}_scaled", scaled).name

    # ------------------------------------------------------------------ emitting

    def fresh(self, wanted: str) -> str:
        """A tensor name that nothing has yet."""
        name = unique_name(wanted, self.taken)
        self.taken.add(name)
        return name

    def emit(
        self,
        node: OnnxNode,
        op: Operator,
        inputs: Sequence[str],
        *,
        dtype: str,
        output: str = "",
        quant: QuantParams | None = None,
        claims: Mapping[int, QuantParams] | None = None,
        transparent: bool = False,
        sources: tuple[str, ...] | None = None,
    ) -> str:
        """Add one IR node.

        Args:
            node: the ONNX node it comes from.
            op: its operator.
            inputs: IR or ONNX tensor names, "" where absent.
            dtype: of the output.
            output: ONNX name of the output; "" for a tensor that the import adds.
            quant: of the output.
            claims: by input index, the parameters under which the node reads an integer tensor.
            transparent: whether the output has the input's quantisation parameters.
            sources: where not the ONNX node itself.

        Returns:
            Name of the output tensor.

        Raises:
            ModelError: where the operator refuses the inputs' shapes.
        """
        claims = dict(claims or {})
        names = self._input_names(node, inputs, claims)
        shape = self._output_shape(node, op, names)
        kind = op.kind.lower()
        result = output or self.fresh(f"{node.outputs[0]}_{kind}")
        name = node.name if output and node.name not in self.nodes else self.fresh_node(f"{node.name}_{kind}")
        made = Node(
            name=name,
            op=op,
            inputs=tuple(names),
            outputs=(result,),
            sources=(node.name,) if sources is None else sources,
        )
        self.nodes[name] = made
        self.producer[result] = made
        self.tensors[result] = Tensor(name=result, shape=shape, dtype=dtype, quant=quant)
        self.claims.update({(name, index): params for index, params in claims.items()})
        if transparent and dtype in ("int8", "uint8"):
            self.transparent.add(name)
        return result

    def _input_names(self, node: OnnxNode, inputs: Sequence[str], claims: dict[int, QuantParams]) -> list[str]:
        """IR names of the inputs; constants take on the parameters claimed for them, which settles those claims."""
        names = []
        for index, name in enumerate(inputs):
            tensor = self.materialize(node, name) if name else None
            if tensor is not None and tensor.is_constant and index in claims:
                tensor = self.quantized_constant(node, tensor.name, claims.pop(index))
            names.append("" if tensor is None else tensor.name)
        return names

    def _output_shape(self, node: OnnxNode, op: Operator, names: Iterable[str]) -> tuple[int, ...]:
        tensors = [self.tensors[name] if name else None for name in names]
        try:
            (shape,) = op.output_shapes(tensors)
        except UnsupportedOperatorError:
            raise
        except ModelError as error:
            found = error.found or ", ".join(f"{t.name!r} {list(t.shape)}" for t in tensors if t is not None)
            raise node.invalid(error.message, found=found, supported=error.supported, hint=error.hint) from None
        if math.prod(shape) == 0:
            raise node.unsupported(f"its output is empty (shape {list(shape)})")
        return shape

    def fresh_node(self, wanted: str) -> str:
        """A node name that nothing has yet."""
        name = unique_name(wanted, self.taken_nodes)
        self.taken_nodes.add(name)
        return name

    def alias(self, node: OnnxNode, source: str, output: str) -> None:
        """Make an ONNX output another name of a tensor; a copy where it is an output of the graph."""
        source = self.resolve(source)
        if source in self.constants:
            self.constants[output] = self.constants[source]
        elif output in self.outputs:
            tensor = self.tensors[source]
            self.emit(node, Reshape(shape=tensor.shape), [source], dtype=tensor.dtype, output=output, transparent=True)
        else:
            self.aliases[output] = source

    def add_activation(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        """A tensor that no emitted node writes: a graph input, or what an unsupported node leaves."""
        self.tensors[name] = Tensor(name=name, shape=shape, dtype=dtype)


_RAW_INTEGER_HINT = (
    ", between DequantizeLinear and QuantizeLinear, or a QLinear operator (arithmetic on integers without scales "
    "has no meaning as a quantized network)"
)


def data_of(tensor: Tensor) -> Array:
    """The values of a constant."""
    if tensor.data is None:
        raise ValueError(f"tensor {tensor.name!r} is not constant")
    return tensor.data


def quant_of(tensor: Tensor) -> QuantParams:
    """The parameters of a tensor that has them."""
    if tensor.quant is None:
        raise ValueError(f"tensor {tensor.name!r} is not quantised")
    return tensor.quant
