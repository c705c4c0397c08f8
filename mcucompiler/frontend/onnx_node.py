# SPDX-License-Identifier: Apache-2.0
"""One ONNX node with its attributes decoded, and the errors that can be said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from mcucompiler.errors import ModelError, UnsupportedOperatorError


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxNode:
    """A node of the ONNX graph.

    Attributes:
        proto: the protobuf it was read from.
        name: the node's name, or one made of its type and position; unique in the graph.
        domain: "" for ONNX's own operators, else as in the file.
        opset: version of that domain, 1 where the model does not import it.
        inputs: tensor names, "" where an optional input is left out; trailing ones are dropped.
        outputs: tensor names, "" where an optional output is left out.
        attributes: attribute values in Python's types; strings decoded, tensors as TensorProto.
    """

    proto: onnx.NodeProto
    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The operator with its domain, as people write it."""
        return f"{self.domain}.{self.op_type}" if self.domain else self.op_type

    def input(self, index: int) -> str:
        """Name of an input, "" where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attributes.get(name, default)

    def ints(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list attribute's value."""
        return tuple(int(v) for v in self.attributes.get(name, default))

    def unsupported(self, reason: str) -> UnsupportedOperatorError:
        """The error that says that this node is valid but out of reach."""
        return UnsupportedOperatorError([(self.name, f"{self.kind}: {reason}")])

    def invalid(self, message: str, *, found: str = "", supported: str = "", hint: str = "") -> ModelError:
        """The error that says that this node is not valid."""
        return ModelError(message, node=self.name, op_type=self.kind, found=found, supported=supported, hint=hint)

    def needs_input(self, index: int, what: str) -> str:
        """Name of an input that must be there."""
        name = self.input(index)
        if not name:
            raise self.invalid(f"input {index} ({what}) is missing")
        return name


def _attribute_value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value


def read_nodes(proto: onnx.ModelProto) -> tuple[OnnxNode, ...]:
    """The graph's nodes in file order, each with a name of its own."""
    versions = {entry.domain: int(entry.version) for entry in proto.opset_import}
    versions.setdefault("", versions.get("ai.onnx", 1))
    taken: set[str] = {node.name for node in proto.graph.node}
    seen: set[str] = set()
    nodes = []
    for index, node in enumerate(proto.graph.node):
        name = node.name
        if not name or name in seen:
            name = base = name or f"{node.op_type}_{index}"
            number = 2
            while name in taken:
                name = f"{base}_{number}"
                number += 1
        taken.add(name)
        seen.add(name)
        inputs = list(node.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        domain = "" if node.domain == "ai.onnx" else node.domain
        nodes.append(
            OnnxNode(
                proto=node,
                name=name,
                op_type=node.op_type,
                domain=domain,
                opset=versions.get(domain, 1),
                inputs=tuple(inputs),
                outputs=tuple(node.output),
                attributes={a.name: _attribute_value(a) for a in node.attribute},
            )
        )
    return tuple(nodes)
