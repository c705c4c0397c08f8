# SPDX-License-Identifier: Apache-2.0
"""Chooses the memory order of every activation, and inserts copies where two orders meet.

The graph is in ONNX axis order; kernels want channels last. One forward pass gives each tensor a
``Layout``: operators that do not care pass on what they get, reshapes and transposes only relabel.
Where an operator needs an order other than the one its input has, a copy is inserted. The order
of the graph's inputs is free, and so is the one to which a tensor goes whose order is none of its
own axes (behind a channel shuffle, say), so the pass is tried with each candidate and the one that
copies fewest bytes is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product

from mcucompiler.ir.graph import Graph, Node, Tensor, unique_name
from mcucompiler.lower.layout import Layout, channels_last, row_major
from mcucompiler.ops import Add, Cast, Dequantize, Div, FlipSign, Lookup, Mul, Quantize, ReduceMean, Sub, Unary
from mcucompiler.ops.base import LayoutRule
from mcucompiler.ops.reshape import Reshape
from mcucompiler.ops.softmax import Softmax
from mcucompiler.ops.transpose import Transpose

_MOST_COMBINATIONS = 64
_IMAGE_RANK = 4
_POINTWISE = (Unary, FlipSign, Quantize, Dequantize, Cast)
_BINARY = (Add, Sub, Mul, Div)
_Order = Callable[[tuple[int, ...]], Layout]


@dataclass(frozen=True, kw_only=True, eq=False)
class LaidOut:
    """A graph with the memory order of its activations.

    Attributes:
        graph: with copies inserted; a copy is a ``Reshape`` to the same shape whose output has
            another layout than its input.
        layouts: of every activation.
        seen_as: layouts under which a node sees its inputs, by node name and input index, where
            that is another description of the same order.
        copied_bytes: bytes that the inserted copies move.
    """

    graph: Graph
    layouts: Mapping[str, Layout]
    seen_as: Mapping[tuple[str, int], Layout]
    copied_bytes: int


def assign_layouts(graph: Graph) -> LaidOut:
    """Gives every activation of a graph a memory order; the fewest copied bytes win, then NHWC inputs."""
    spatial = any(node.op.layout is LayoutRule.CHANNELS_LAST for node in graph.nodes)
    orders = (channels_last, row_major) if spatial else (row_major, channels_last)
    candidates = [_input_candidates(graph.tensors[name], orders) for name in graph.inputs]
    best: LaidOut | None = None
    choices = islice(product(*candidates), _MOST_COMBINATIONS)
    for choice, regular in product(choices, orders[: 1 + spatial]):
        laid_out = _Assignment(graph, dict(zip(graph.inputs, choice, strict=True)), regular).run()
        if best is None or laid_out.copied_bytes < best.copied_bytes:
            best = laid_out
    if best is None:
        raise ValueError("a graph without inputs' layouts")  # product() of nothing still yields one choice
    return best


def _input_candidates(tensor: Tensor, orders: tuple[_Order, ...]) -> tuple[Layout, ...]:
    """Orders for an input, the preferred one first."""
    return tuple(dict.fromkeys(order(tensor.shape) for order in orders))


class _Assignment:
    """The forward pass: its state is the graph built so far.

    Args:
        graph: the graph.
        inputs: the order of each of its inputs.
        regular: the order to which a tensor goes that must lie in a permutation of its own axes and does not.
    """

    def __init__(self, graph: Graph, inputs: dict[str, Layout], regular: _Order) -> None:
        self.graph = graph
        self.regular = regular
        self.layouts: dict[str, Layout] = inputs
        self.seen_as: dict[tuple[str, int], Layout] = {}
        self.nodes: list[Node] = []
        self.new_tensors: dict[str, Tensor] = {}
        self.names = {*graph.tensors, *(node.name for node in graph.nodes)}
        self.copies: dict[tuple[str, Layout], str] = {}
        self.copied_bytes = 0

    def run(self) -> LaidOut:
        for node in self.graph.nodes:
            self._place(node)
        for name in self.graph.outputs:
            self._output(name)
        graph = self.graph.with_nodes(self.nodes, self.new_tensors.values())
        return LaidOut(graph=graph, layouts=self.layouts, seen_as=self.seen_as, copied_bytes=self.copied_bytes)

    def _tensor(self, name: str) -> Tensor:
        return self.new_tensors.get(name) or self.graph.tensors[name]

    def _activations(self, node: Node) -> Iterator[tuple[int, Tensor]]:
        for index, name in enumerate(node.inputs):
            if name and not self._tensor(name).is_constant:
                yield index, self._tensor(name)

    def _place(self, node: Node) -> None:
        """Gives the node's inputs the order it needs and its outputs the one that follows."""
        rule = node.op.layout
        if isinstance(node.op, Transpose):
            node = self._transpose(node, node.op)
        elif isinstance(node.op, Reshape):
            self.layouts[node.outputs[0]] = _plainest(
                self.layouts[node.inputs[0]], self.graph.tensors[node.outputs[0]].shape
            )
        elif rule is LayoutRule.CHANNELS_LAST:
            for index, tensor in self._activations(node):
                node = self._require(node, index, channels_last(tensor.shape))
            self._set_outputs(node, channels_last)
        elif rule is LayoutRule.ROWS:
            node = self._rows(node)
        elif rule is LayoutRule.LAST_AXIS and isinstance(node.op, Softmax):
            node = self._last_axis(node, node.op.axis)
        elif rule is LayoutRule.ROW_MAJOR:
            for index, tensor in self._activations(node):
                node = self._require(node, index, row_major(tensor.shape))
            self._set_outputs(node, row_major)
        else:
            node = self._same(node)
        self.nodes.append(node)

    def _set_outputs(self, node: Node, layout_of: _Order) -> None:
        for name in node.outputs:
            self.layouts[name] = layout_of(self.graph.tensors[name].shape)

    def _same(self, node: Node) -> Node:
        """Operators that take any order, as long as all operands have it: the order of one of the widest operands."""
        tensor = self._leading_operand(node)
        layout = self.layouts[tensor.name]
        anywhere = isinstance(node.op, _POINTWISE) or (isinstance(node.op, Lookup) and node.op.axis is None)
        shapes = {t.shape for t in (*self.graph.ins(node), *self.graph.outs(node)) if t is not None}
        if isinstance(node.op, _BINARY) and len(shapes) == 1:
            anywhere = True
        if not anywhere:
            layout = layout.permutation_of(tensor.shape) or self.regular(tensor.shape)
        for index, operand in self._activations(node):
            wanted = layout if operand.shape == tensor.shape else _broadcast(layout, operand.shape)
            node = self._require(node, index, wanted)
        for name in node.outputs:
            shape = self.graph.tensors[name].shape
            self.layouts[name] = layout if shape == tensor.shape else _carried(layout, node, shape)
        return node

    def _leading_operand(self, node: Node) -> Tensor:
        """The operand whose order an operator takes on: of the widest, the first in an order of its own axes.

        Behind a pixel shuffle a tensor lies in an order that is none of its own axes; where it meets an ordinary one,
        it is the one to copy, since what follows wants the ordinary order too.
        """
        rank = len(self.graph.tensors[node.outputs[0]].shape)

        def preference(item: tuple[int, Tensor]) -> tuple[bool, int, bool, int]:
            index, tensor = item
            plain = self.layouts[tensor.name].view == tensor.shape
            return len(tensor.shape) == rank, tensor.size, plain, -index

        return max(self._activations(node), key=preference)[1]

    def _rows(self, node: Node) -> Node:
        index, tensor = next(self._activations(node))
        rows = tensor.size // max(tensor.shape[-1], 1)
        if rows != 1:
            node = self._require(node, index, row_major(tensor.shape))
        self._set_outputs(node, row_major)
        return node

    def _last_axis(self, node: Node, axis: int) -> Node:
        index, tensor = next(self._activations(node))
        layout = self.layouts[tensor.name].permutation_of(tensor.shape) or self.regular(tensor.shape)
        wanted = Layout(view=tensor.shape, perm=(*(a for a in layout.perm if a != axis), axis))
        node = self._require(node, index, wanted)
        self.layouts[node.outputs[0]] = wanted
        return node

    def _transpose(self, node: Node, op: Transpose) -> Node:
        tensor = self._tensor(node.inputs[0])
        layout = self.layouts[tensor.name].permutation_of(tensor.shape)
        node = self._require(node, 0, layout or row_major(tensor.shape))
        layout = layout or row_major(tensor.shape)
        shape = self.graph.tensors[node.outputs[0]].shape
        perm = tuple(op.perm.index(axis) for axis in layout.perm)
        self.layouts[node.outputs[0]] = _plainest(Layout(view=shape, perm=perm), shape)
        return node

    def _output(self, name: str) -> None:
        """Graph outputs lie in a permutation of their own axes, images that must be copied in channels last.

        The copy takes on the name that the caller knows.
        """
        tensor = self._tensor(name)
        layout = self.layouts[name].permutation_of(tensor.shape)
        if layout is not None:
            self.layouts[name] = layout
            return
        inner = unique_name(f"{name}_ordered", self.names)
        self.names.add(inner)
        self.new_tensors[inner] = tensor.replace(name=inner)
        self.layouts[inner] = self.layouts[name]
        self.nodes = [_renamed(node, name, inner) for node in self.nodes]
        self._add_copy(inner, name, (channels_last if len(tensor.shape) == _IMAGE_RANK else row_major)(tensor.shape))

    def _require(self, node: Node, index: int, wanted: Layout) -> Node:
        name = node.inputs[index]
        have = self.layouts[name]
        if have == wanted:
            return node
        if have.equivalent(wanted):
            self.seen_as[node.name, index] = wanted
            return node
        copy = self._copy(name, wanted)
        return node.replace(inputs=(*node.inputs[:index], copy, *node.inputs[index + 1 :]))

    def _copy(self, name: str, wanted: Layout) -> str:
        if (name, wanted) not in self.copies:
            copy = unique_name(f"{name}_reordered", self.names)
            self.names.add(copy)
            self.new_tensors[copy] = self._tensor(name).replace(name=copy)
            self._add_copy(name, copy, wanted)
            self.copies[name, wanted] = copy
        return self.copies[name, wanted]

    def _add_copy(self, source: str, target: str, wanted: Layout) -> None:
        tensor = self._tensor(source)
        node = unique_name(f"{source}_reorder", self.names)
        self.names.add(node)
        self.nodes.append(
            Node(name=node, op=Reshape(shape=tensor.shape), inputs=(source,), outputs=(target,), sources=())
        )
        self.layouts[target] = wanted
        self.copied_bytes += tensor.size_bytes


def _renamed(node: Node, old: str, new: str) -> Node:
    """A node that reads and writes another tensor in place of ``old``."""
    return node.replace(
        inputs=tuple(new if name == old else name for name in node.inputs),
        outputs=tuple(new if name == old else name for name in node.outputs),
    )


def _plainest(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """The same order described as a permutation of ``shape``, where there is one."""
    return layout.permutation_of(shape) or layout


def _broadcast(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """The order of an operand that is broadcast against a tensor of ``layout``: axes aligned at the end."""
    rank = len(layout.view)
    if shape == layout.view:
        return layout
    return Layout(view=(1,) * (rank - len(shape)) + shape, perm=layout.perm)


def _carried(layout: Layout, node: Node, shape: tuple[int, ...]) -> Layout:
    """The order of an output whose shape differs from the input's that had ``layout``."""
    if len(shape) == len(layout.perm):
        return Layout(view=shape, perm=layout.perm)
    if isinstance(node.op, ReduceMean):
        kept = [axis for axis in range(len(layout.perm)) if axis not in node.op.axes]
        return Layout(view=shape, perm=tuple(kept.index(axis) for axis in layout.perm if axis in kept))
    rank = len(layout.perm)  # a binary operator whose other operand has more axes
    lead = len(shape) - rank
    return Layout(view=shape, perm=(*range(lead), *(axis + lead for axis in layout.perm)))
