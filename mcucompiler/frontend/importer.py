# SPDX-License-Identifier: Apache-2.0
"""The walk over the ONNX graph that makes the IR graph of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import onnx

from mcucompiler.errors import ModelError, UnsupportedOperatorError
from mcucompiler.frontend.builder import ACTIVATION_DTYPES, Builder, data_of, quant_of
from mcucompiler.frontend.constants import (
    MOVES_ELEMENTS,
    can_evaluate,
    constant_node_value,
    evaluate,
    tensor_value,
)
from mcucompiler.frontend.dims import declared_dims, input_shapes
from mcucompiler.frontend.onnx_node import OnnxNode, read_nodes
from mcucompiler.frontend.operators import CONVERTERS
from mcucompiler.frontend.reader import LoadedModel, load_model
from mcucompiler.frontend.reasons import how_to_quantize, is_quantized_operator, why_unsupported
from mcucompiler.frontend.settle import settle_quantization
from mcucompiler.frontend.structure import reaching
from mcucompiler.ir.graph import Array, Graph, Node, Tensor
from mcucompiler.words import counted

_SHAPE_READERS = ("Shape", "Size")
_NO_SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType({})


def import_model(
    path_or_bytes: str | os.PathLike[str] | bytes,
    *,
    batch: int = 1,
    shapes: Mapping[str, tuple[int, ...]] = _NO_SHAPES,
) -> Graph:
    """Read an ONNX model.

    Args:
        path_or_bytes: the file, or its content where it keeps no data in other files.
        batch: size of leading input dimensions that the model leaves open.
        shapes: static shapes for inputs by name.

    Returns:
        The graph in ONNX axis order and with ONNX's tensor names, shapes static, constants folded
        as far as no activation is touched. QuantizeLinear and DequantizeLinear are Quantize and
        Dequantize nodes around float operators; QLinear operators are operators between quantised
        tensors.

    Raises:
        ModelError: for a file that is no valid model, or no quantised one.
        UnsupportedOperatorError: for valid operators out of reach, all of them at once.
        UsageError: for a batch size or shapes that do not fit the model.
    """
    model = load_model(path_or_bytes)
    graph = model.proto.graph
    nodes = reaching(read_nodes(model.proto), (value.name for value in graph.output))
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    _check_outputs(graph, {value.name for value in inputs}, initializers)
    static = input_shapes(inputs, batch, shapes)
    _refuse_float_model(nodes, inputs, static)
    builder = _start(model, nodes, inputs, static)
    _Walk(builder, model, static).run(nodes)
    _refuse_constant_outputs(builder, list(static), [value.name for value in graph.output])
    settle_quantization(builder)
    _check_operators(builder)
    _check_declared_shapes(builder, graph)
    return _finish(builder, model, [value.name for value in inputs])


def _check_outputs(graph: onnx.GraphProto, inputs: set[str], initializers: set[str]) -> None:
    for value in graph.output:
        if value.name in inputs or value.name in initializers:
            what = "input" if value.name in inputs else "initializer"
            raise ModelError(
                f"graph output {value.name!r} is a graph {what}: there is nothing to compute for it",
                hint="remove this output from the graph",
            )


def _refuse_float_model(
    nodes: tuple[OnnxNode, ...], inputs: list[onnx.ValueInfoProto], static: Mapping[str, tuple[int, ...]]
) -> None:
    floats = [v for v in inputs if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    if floats and not any(is_quantized_operator(node.op_type) for node in nodes):
        name = floats[0].name
        raise ModelError(
            "a float model without any quantization",
            found=f"{counted(len(nodes), 'node')}, none of them QuantizeLinear, DequantizeLinear or a QLinear operator",
            supported="int8 models in QDQ or QOperator form",
            hint=how_to_quantize(name, static[name]),
        )


def _start(
    model: LoadedModel,
    nodes: tuple[OnnxNode, ...],
    inputs: list[onnx.ValueInfoProto],
    static: Mapping[str, tuple[int, ...]],
) -> Builder:
    graph = model.proto.graph
    used = {name for node in nodes for name in node.inputs}
    names = {value.name for value in inputs} | {tensor.name for tensor in graph.initializer}
    names.update(name for node in nodes for name in node.outputs)
    builder = Builder(
        constants={t.name: tensor_value(t, t.name) for t in graph.initializer if t.name in used},
        outputs=frozenset(value.name for value in graph.output),
        taken=names,
        taken_nodes={node.name for node in nodes},
    )
    readers = {name: {n.op_type for n in nodes if name in n.inputs} for name in static}
    for value in inputs:
        dtype = _element_type(value)
        if dtype not in ACTIVATION_DTYPES and not readers[value.name] <= set(_SHAPE_READERS):
            raise ModelError(
                f"graph input {value.name!r} has an unsupported type",
                found=dtype,
                supported=", ".join(ACTIVATION_DTYPES),
                hint="make it a constant before export, or cut the graph behind the part that reads it",
            )
        builder.add_activation(value.name, static[value.name], dtype)
    return builder


def _element_type(value: onnx.ValueInfoProto) -> str:
    number = value.type.tensor_type.elem_type
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)))
    except KeyError:
        return f"element type {number}"


class _Walk:
    """Conversion of the nodes in order, collecting what is unsupported."""

    def __init__(self, builder: Builder, model: LoadedModel, static: Mapping[str, tuple[int, ...]]) -> None:
        self._builder = builder
        self._model = model
        self._static = static
        self._unsupported: list[tuple[str, str]] = []
        self._inferred: dict[str, onnx.ValueInfoProto] | None = None

    def run(self, nodes: tuple[OnnxNode, ...]) -> None:
        """Convert all nodes.

        Raises:
            UnsupportedOperatorError: for all unsupported nodes together.
            ModelError: for the first invalid node.
        """
        for node in nodes:
            try:
                self._visit(node)
            except UnsupportedOperatorError as error:
                self._unsupported += error.nodes
                self._assume_outputs(node)
            except ModelError:
                # Behind an unsupported node this may be a consequence of what was assumed there.
                if not self._unsupported:
                    raise
        if self._unsupported:
            raise UnsupportedOperatorError(self._unsupported)

    def _visit(self, node: OnnxNode) -> None:
        b = self._builder
        converter = CONVERTERS.get((node.domain, node.op_type))
        if node.op_type == "Constant" and not node.domain:
            b.constants[node.outputs[0]] = constant_node_value(node)
            return
        if not all(b.known(name) for name in node.inputs if name):
            # An input comes from an unsupported node and has no known shape: all that can be said
            # is whether this operator is known.
            if converter is None and not can_evaluate(node):
                raise UnsupportedOperatorError([(node.name, why_unsupported(node))])
            return
        if self._fold(node):
            return
        if converter is None:
            raise UnsupportedOperatorError([(node.name, why_unsupported(node))])
        converter(b, node)

    def _fold(self, node: OnnxNode) -> bool:
        """Evaluate a node whose inputs are all known; False where it computes on activations."""
        b = self._builder
        if not can_evaluate(node) or is_quantized_operator(node.op_type):
            return False
        if node.op_type in _SHAPE_READERS:
            shape = b.materialize(node, node.needs_input(0, "data")).shape
            self._store(node, evaluate(node, [np.broadcast_to(np.False_, shape)]))
            return True
        values = [b.value(name) if name else None for name in node.inputs]
        if any(value is None and name for value, name in zip(values, node.inputs, strict=True)):
            return False
        stored = b.stored_constant(node.inputs[0])
        if stored is not None:
            if node.op_type == "Identity":
                return False
            if node.op_type in MOVES_ELEMENTS and self._fold_quantized(node, stored, values):
                return True
        self._store(node, evaluate(node, values))
        return True

    def _store(self, node: OnnxNode, results: tuple[Array, ...]) -> None:
        names = [name for name in node.outputs if name]
        self._builder.constants.update(zip(names, results, strict=True))

    def _fold_quantized(self, node: OnnxNode, stored: Tensor, values: list[Array | None]) -> bool:
        """Move the integers of a dequantized constant instead of its real values."""
        data, quant = data_of(stored), quant_of(stored)
        (moved,) = evaluate(node, [data, *values[1:]])
        if quant.axis is not None:
            # Where the axis ends up shows on the indices along it, moved the same way.
            index = np.arange(data.shape[quant.axis], dtype=np.int64)
            spread = index.reshape([-1 if a == quant.axis else 1 for a in range(data.ndim)])
            (trace,) = evaluate(node, [np.broadcast_to(spread, data.shape).copy(), *values[1:]])
            axis = _axis_of_indices(trace, len(index))
            if axis is None:
                return False
            quant = replace(quant, axis=axis)
        b = self._builder
        name = node.inputs[0]
        wanted = f"{stored.name}_{node.op_type.lower()}"
        b.aliases[node.outputs[0]] = b.dequantized(node, wanted, moved, quant, like=name)
        return True

    def _assume_outputs(self, node: OnnxNode) -> None:
        """Give the outputs of an unsupported node the shapes that ONNX infers, to look further."""
        if self._inferred is None:
            self._inferred = _infer(self._model.proto, self._static)
        for name in node.outputs:
            value = self._inferred.get(name)
            dims = declared_dims(value) if value is not None else None
            if name and value is not None and dims is not None and all(isinstance(dim, int) for dim in dims):
                shape = tuple(int(dim) for dim in dims)
                self._builder.add_activation(name, shape, _element_type(value))


def _axis_of_indices(trace: Array, count: int) -> int | None:
    """The axis along which a tensor holds 0, 1, 2 and so on, being constant along all others."""
    for axis, size in enumerate(trace.shape):
        wanted = np.arange(count).reshape([-1 if a == axis else 1 for a in range(trace.ndim)])
        if size == count and np.array_equal(trace, np.broadcast_to(wanted, trace.shape)):
            return axis
    return None


def _infer(proto: onnx.ModelProto, static: Mapping[str, tuple[int, ...]]) -> dict[str, onnx.ValueInfoProto]:
    """ONNX's own shape inference under the static input shapes."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in copy.graph.input:
        if value.name in static:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in static[value.name]:
                shape.dim.add().dim_value = size
    try:
        inferred = onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return {}
    return {value.name: value for value in inferred.graph.value_info}


def _check_operators(b: Builder) -> None:
    """What the operators themselves refuse, all at once.

    Only of integer programs: float operators may still become such by fusion with their neighbours.
    """
    refused = []
    for node in b.nodes.values():
        if not b.tensors[node.outputs[0]].is_quantized:
            continue
        inputs = [b.tensors[name] if name else None for name in node.inputs]
        outputs = [b.tensors[name] for name in node.outputs]
        name = node.sources[0] if node.sources else node.name
        refused += [(name, f"{node.op.kind}: {reason}") for reason in node.op.check(inputs, outputs)]
    if refused:
        raise UnsupportedOperatorError(refused)


def _refuse_constant_outputs(b: Builder, inputs: list[str], outputs: list[str]) -> None:
    computed = set(inputs)
    for node in b.nodes.values():
        if computed.intersection(node.inputs):
            computed.update(node.outputs)
    for name in outputs:
        if name not in computed:
            raise ModelError(
                f"graph output {name!r} is constant: there is nothing to compute for it",
                hint="remove this output from the graph",
            )


def _check_declared_shapes(b: Builder, graph: onnx.GraphProto) -> None:
    for value in graph.output:
        dims, shape = declared_dims(value), b.tensors[value.name].shape
        if dims is None:
            continue
        if len(dims) != len(shape) or any(
            isinstance(dim, int) and dim != size for dim, size in zip(dims, shape, strict=True)
        ):
            stated = "x".join(str(dim) or "?" for dim in dims)
            raise ModelError(
                f"graph output {value.name!r} is declared with a shape that the graph does not compute",
                found=f"{stated} declared, {'x'.join(map(str, shape))} computed",
                hint="export the model again, or correct the shape; check --batch and --shape",
            )


def _finish(b: Builder, model: LoadedModel, inputs: list[str]) -> Graph:
    """The graph of what reaches an output."""
    outputs = [value.name for value in model.proto.graph.output]
    wanted = set(outputs)
    kept: list[Node] = []
    for node in reversed(b.nodes.values()):
        if node.outputs[0] in wanted:
            wanted.update(name for name in node.inputs if name)
            kept.append(node)
    return Graph(
        name=model.name,
        nodes=tuple(reversed(kept)),
        tensors={name: tensor for name, tensor in b.tensors.items() if name in wanted or name in inputs},
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        digest=model.digest,
    )
