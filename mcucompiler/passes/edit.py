# SPDX-License-Identifier: Apache-2.0
"""A graph under change: what a pass works on between two frozen graphs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mcucompiler.ir.graph import Graph, Node, Tensor, unique_name
from mcucompiler.ops import Operator


class Edit:
    """The nodes and tensors of a graph, with producers and readers kept up to date.

    A pass makes one, changes it, and returns ``finish()``: live nodes in topological order, everything else gone.
    Names that a pass makes contain "@", which ONNX exporters do not use, so that no tensor made here takes the name
    of an ONNX tensor with other values.

    Args:
        graph: the graph to start from; it is not changed.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.inputs: tuple[str, ...] = graph.inputs
        self.outputs: tuple[str, ...] = graph.outputs
        self.float_boundary: dict[str, str] = dict(graph.float_boundary)
        self._tensors: dict[str, Tensor] = dict(graph.tensors)
        self._nodes: dict[str, Node] = {}
        self._producer: dict[str, str] = {}
        self._users: dict[str, dict[str, None]] = {}
        for node in graph.nodes:
            self._insert(node)

    # ------------------------------------------------------------------ reading

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes; those added since the start come last."""
        return tuple(self._nodes.values())

    def has(self, node: Node) -> bool:
        """Whether this very node is still part of the graph."""
        return self._nodes.get(node.name) is node

    def current(self, name: str) -> Node | None:
        """The node of a name, None once it was removed."""
        return self._nodes.get(name)

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name."""
        return self._tensors[name]

    def producer(self, name: str) -> Node | None:
        """The node that writes a tensor; None for inputs, constants and absent operands."""
        node = self._producer.get(name)
        return None if node is None else self._nodes[node]

    def users(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a tensor, once each."""
        return tuple(self._nodes[node] for node in self._users.get(name, ()))

    def sole_user(self, name: str) -> Node | None:
        """The only node that reads a tensor, None where there are others or the tensor is an output."""
        users = self.users(name)
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def ins(self, node: Node) -> tuple[Tensor | None, ...]:
        """The input tensors of a node, None where an optional one is absent."""
        return tuple(self._tensors[name] if name else None for name in node.inputs)

    def out(self, node: Node) -> Tensor:
        """The first output of a node; every operator has exactly one."""
        return self._tensors[node.outputs[0]]

    # ------------------------------------------------------------------ changing

    def add_tensor(self, tensor: Tensor, name: str) -> Tensor:
        """A tensor like this one under the given name, made unique."""
        tensor = tensor.replace(name=unique_name(name, self._tensors))
        self._tensors[tensor.name] = tensor
        return tensor

    def set_tensor(self, tensor: Tensor) -> None:
        """Other attributes for a tensor that exists."""
        self._tensors[tensor.name] = tensor

    def add_node(
        self, name: str, op: Operator, inputs: Iterable[str], output: str, sources: Iterable[str] = ()
    ) -> Node:
        """A new node, its name made unique."""
        node = Node(
            name=unique_name(name, self._nodes),
            op=op,
            inputs=tuple(inputs),
            outputs=(output,),
            sources=tuple(dict.fromkeys(sources)),
        )
        self._insert(node)
        return node

    def change(
        self,
        node: Node,
        *,
        op: Operator | None = None,
        inputs: Sequence[str] | None = None,
        output: str | None = None,
        sources: Iterable[str] | None = None,
    ) -> Node:
        """A node with some attributes changed, in its place."""
        changed = Node(
            name=node.name,
            op=op or node.op,
            inputs=node.inputs if inputs is None else tuple(inputs),
            outputs=node.outputs if output is None else (output,),
            sources=node.sources if sources is None else tuple(dict.fromkeys(sources)),
        )
        self._detach(node)
        self._insert(changed)
        return changed

    def remove(self, node: Node) -> None:
        """Takes a node away; its outputs must have got another producer, or lost their readers."""
        self._detach(node)
        del self._nodes[node.name]

    def read_instead(self, node: Node, old: str, new: str) -> Node:
        """A node that reads another tensor in every place where it read ``old``."""
        return self.change(node, inputs=tuple(new if name == old else name for name in node.inputs))

    def rename(self, old: str, new: str) -> None:
        """Gives an activation the name ``new``, which no node writes any more; who read that reads this then.

        Where there is a tensor of that name, it stays as it is: its offset to the ONNX values belongs to the name.
        """
        producer = self.producer(old)
        users = self.users(old)
        renamed = self._tensors.pop(old).replace(name=new)
        self._tensors.setdefault(new, renamed)
        if producer is not None:
            self.change(producer, output=new)
        for user in users:
            current = self._nodes[user.name]
            self.read_instead(current, old, new)
        self._users.pop(old, None)

    def bypass(self, node: Node, source: str) -> bool:
        """Removes a node whose output equals the tensor ``source``; all readers read that instead.

        Where the output is one of the graph's, ``source`` takes its name, and also where only the output's name is
        one of ONNX.

        Returns:
            False, with nothing changed, where that is impossible: one tensor cannot be both an input and an output
            of the graph, or two outputs.
        """
        output = node.outputs[0]
        is_output = output in self.outputs
        if is_output and (self.producer(source) is None or source in self.outputs):
            return False
        self.remove(node)
        for user in self.users(output):
            self.read_instead(user, output, source)
        made_here = "@" in source and "@" not in output
        if is_output or (made_here and self.producer(source) is not None and source not in self.outputs):
            self.rename(source, output)
        return True

    def take_over(self, node: Node) -> None:
        """Removes a node whose producer gives its output now; the node must be the only reader of its first input."""
        self.remove(node)
        self.rename(node.inputs[0], node.outputs[0])

    def finish(self) -> Graph:
        """The changed graph: nodes that an output depends on, each after the producers of its inputs.

        The order is that of the nodes before, new nodes just in front of their first reader.
        """
        live = self._live()
        ordered: dict[str, Node] = {}
        for name in self._nodes:
            if name in live:
                self._place(name, ordered)
        graph = self._graph.replace(
            inputs=self.inputs, outputs=self.outputs, float_boundary=self.float_boundary, tensors=self._tensors
        )
        return graph.with_nodes(ordered.values())

    # ------------------------------------------------------------------ inside

    def _insert(self, node: Node) -> None:
        self._nodes[node.name] = node
        for name in node.outputs:
            self._producer[name] = node.name
        for name in node.inputs:
            if name:
                self._users.setdefault(name, {})[node.name] = None

    def _detach(self, node: Node) -> None:
        for name in node.outputs:
            if self._producer.get(name) == node.name:
                del self._producer[name]
        for name in node.inputs:
            if name:
                self._users[name].pop(node.name, None)

    def _live(self) -> set[str]:
        live: set[str] = set()
        waiting = list(self.outputs)
        while waiting:
            node = self.producer(waiting.pop())
            if node is not None and node.name not in live:
                live.add(node.name)
                waiting += [name for name in node.inputs if name]
        return live

    def _place(self, name: str, ordered: dict[str, Node]) -> None:
        """Depth first, without recursion: networks can be thousands of nodes deep."""
        path: list[str] = [name]
        on_path = {name}
        while path:
            node = self._nodes[path[-1]]
            missing = [
                producer
                for tensor in node.inputs
                if (producer := self._producer.get(tensor)) is not None
                and producer not in ordered
                and producer not in on_path
            ]
            if missing:
                path.append(missing[0])
                on_path.add(missing[0])
            else:
                ordered.setdefault(node.name, node)
                on_path.discard(path.pop())


def merged_sources(*nodes: Node | None) -> tuple[str, ...]:
    """The ONNX nodes that several nodes stand for, once each, in the order given."""
    return tuple(dict.fromkeys(source for node in nodes if node is not None for source in node.sources))
