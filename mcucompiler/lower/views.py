# SPDX-License-Identifier: Apache-2.0
"""Decides which activations share memory by construction: reshapes, slices, and operands of a concat.

A view costs nothing: its producer or its consumers simply use another place. What cannot be a view
keeps its node and is computed by a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcucompiler.ir.graph import ITEM_BYTES, Graph, Node
from mcucompiler.lower.assign import LaidOut
from mcucompiler.lower.layout import Layout
from mcucompiler.lower.types import BufferSpec, Place, dense_place
from mcucompiler.lower.variants import accepts_strided_input, accepts_strided_output
from mcucompiler.ops import Concat, Lookup, Reshape, Slice, Transpose

_ELEMENT_ALIGN = 4
_INPUT_ALIGN = 32  # a cache line: a camera's DMA writes the input


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Places of all activations.

    Attributes:
        places: by tensor name.
        buffers: by buffer name.
        free: names of nodes that need no kernel, since their outputs are views.
    """

    places: Mapping[str, Place]
    buffers: Mapping[str, BufferSpec]
    free: frozenset[str]


def assign_places(laid_out: LaidOut, *, share_concats: bool = True) -> Views:
    """Gives every activation a place in a buffer, sharing buffers where that saves copies.

    Args:
        laid_out: the graph with its memory orders.
        share_concats: whether operands of a concat may lie in its result.
    """
    return _Views(laid_out).run(share_concats)


class _Views:
    def __init__(self, laid_out: LaidOut) -> None:
        self.graph: Graph = laid_out.graph
        self.layouts = laid_out.layouts
        self.seen_as = laid_out.seen_as
        self.boundary = {*self.graph.inputs, *self.graph.outputs}
        self.places: dict[str, Place] = {}
        self.free: set[str] = set()

    def run(self, share_concats: bool) -> Views:
        # Concats from the last to the first, so that a concat of a concat nests into the outer one.
        for node in reversed(self.graph.nodes):
            if share_concats and isinstance(node.op, Concat):
                self._concat(node, node.op)
        for name in self.graph.inputs:
            self._own(name)
        for node in self.graph.nodes:
            if isinstance(node.op, Reshape | Transpose) and self._relabels(node):
                self._share(node, self.places[node.inputs[0]])
            elif isinstance(node.op, Slice):
                self._slice(node, node.op)
            for name in node.outputs:
                self._own(name)
        for node in self.graph.nodes:
            if isinstance(node.op, Lookup):
                self._lookup_in_slice(node)
        return Views(places=self.places, buffers=self._buffers(), free=frozenset(self.free))

    def _own(self, name: str) -> None:
        if name not in self.places:
            self.places[name] = dense_place(name, self.graph.tensors[name])

    def _share(self, node: Node, place: Place) -> None:
        """Makes a node's output a view, unless it already has a place elsewhere."""
        if node.outputs[0] not in self.places:
            self.places[node.outputs[0]] = place
            self.free.add(node.name)

    def _relabels(self, node: Node) -> bool:
        """Whether the output's order is the input's, so that the same bytes serve."""
        source, target = node.inputs[0], node.outputs[0]
        if source in self.graph.inputs and target in self.graph.outputs:
            return False  # the caller must find input and output apart
        if not self.places[source].dense:
            return self.layouts[source].memory_shape == self.layouts[target].memory_shape
        if isinstance(node.op, Transpose):
            return True  # its output's order was derived from its input's
        return self.layouts[source].equivalent(self.layouts[target])

    def _slice(self, node: Node, op: Slice) -> None:
        """A part along the outermost axis is contiguous; one along the innermost is strided."""
        source, target = node.inputs[0], node.outputs[0]
        place, layout = self.places[source], self._seen(node, 0)
        tensor = self.graph.tensors[source]
        cut = [
            a for a in range(len(tensor.shape)) if (op.starts[a], op.stops[a], op.steps[a]) != (0, tensor.shape[a], 1)
        ]
        if len(cut) != 1 or op.steps[cut[0]] != 1 or not place.dense or target in self.graph.outputs:
            return
        position = layout.perm.index(cut[0])
        memory = layout.memory_shape
        outer, inner = int(np.prod(memory[:position])), int(np.prod(memory[position + 1 :]))
        offset = place.offset + op.starts[cut[0]] * inner
        extent = (op.stops[cut[0]] - op.starts[cut[0]]) * inner
        if outer == 1:
            self._share(node, Place(buffer=place.buffer, offset=offset, rows=1, row=extent, stride=extent))
        elif inner == 1 and self._readers_accept(target):
            stride = memory[position]
            self._share(node, Place(buffer=place.buffer, offset=offset, rows=outer, row=extent, stride=stride))

    def _concat(self, node: Node, op: Concat) -> None:
        """Operands become slices of the result where all of them can be written and read there."""
        layout = self.layouts[node.outputs[0]]
        position = layout.perm.index(op.axis)
        memory = layout.memory_shape
        outer, inner = int(np.prod(memory[:position])), int(np.prod(memory[position + 1 :]))
        strided = outer != 1
        if strided and inner != 1:
            return
        if len(set(node.inputs)) != len(node.inputs):
            return
        if not all(self._may_be_slice(name, node, strided) for name in node.inputs):
            return
        whole = self.places.setdefault(
            node.outputs[0], dense_place(node.outputs[0], self.graph.tensors[node.outputs[0]])
        )
        stride = memory[position] * inner
        start = whole.offset
        for name in node.inputs:
            extent = self.graph.tensors[name].shape[op.axis] * inner
            self.places[name] = Place(
                buffer=whole.buffer, offset=start, rows=outer, row=extent, stride=stride if strided else extent
            )
            start += extent
        self.free.add(node.name)

    def _may_be_slice(self, name: str, concat: Node, strided: bool) -> bool:
        tensor, result = self.graph.tensors[name], self.graph.tensors[concat.outputs[0]]
        producer = self.graph.producer.get(name)
        if producer is None or name in self.boundary or name in self.places:
            return False
        if tensor.quant != result.quant or isinstance(producer.op, Reshape | Transpose | Slice):
            return False
        if isinstance(producer.op, Concat) and (strided or producer.op.axis != getattr(concat.op, "axis", None)):
            return False
        if not strided:
            return True
        others = [user for user in self.graph.consumers[name] if user is not concat]
        return accepts_strided_output(producer.op) and all(accepts_strided_input(user.op) for user in others)

    def _lookup_in_slice(self, node: Node) -> None:
        """A requantisation into a slice works on the slice itself if nobody else reads its input."""
        source, target = node.inputs[0], node.outputs[0]
        producer = self.graph.producer.get(source)
        place = self.places[target]
        tensors = self.graph.tensors
        if place.buffer == target or producer is None or source in self.boundary or producer.name in self.free:
            return
        if len(self.graph.consumers[source]) != 1 or tensors[source].dtype != tensors[target].dtype:
            return
        if not self.layouts[source].equivalent(self.layouts[target]) or self.places[source].buffer != source:
            return
        if any(p.buffer == source for name, p in self.places.items() if name != source):
            return
        if place.dense or accepts_strided_output(producer.op):
            self.places[source] = place

    def _readers_accept(self, name: str) -> bool:
        if name in self.places or name in self.graph.outputs:
            return False
        return all(accepts_strided_input(user.op) for user in self.graph.consumers[name])

    def _seen(self, node: Node, index: int) -> Layout:
        return self.seen_as.get((node.name, index)) or self.layouts[node.inputs[index]]

    def _buffers(self) -> dict[str, BufferSpec]:
        extents: dict[str, int] = {}
        aligns: dict[str, int] = {}
        for name, place in self.places.items():
            item = ITEM_BYTES[self.graph.tensors[name].dtype]
            end = place.offset + (place.rows - 1) * place.stride + place.row
            extents[place.buffer] = max(extents.get(place.buffer, 0), end * item)
            wanted = _INPUT_ALIGN if name in self.graph.inputs else _ELEMENT_ALIGN
            aligns[place.buffer] = max(aligns.get(place.buffer, 0), wanted)
        return {name: BufferSpec(name=name, size_bytes=size, align=aligns[name]) for name, size in extents.items()}
