# SPDX-License-Identifier: Apache-2.0
"""C text of kernel calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mcucompiler.emit.arena import Symbols
from mcucompiler.emit.constants import ConstantPool
from mcucompiler.emit.environment import c_float, c_int, c_size
from mcucompiler.ir.graph import Graph, Node
from mcucompiler.lower.types import (
    Argument,
    ConstantArg,
    InputArg,
    KernelCall,
    Lowered,
    LoweredStep,
    OutputArg,
    ScalarArg,
    ScratchArg,
)

_WIDTH = 106  # columns of a line of arguments, without the indentation of a function's body


def layer_call(
    step: LoweredStep,
    call: KernelCall,
    position: int,
    function: str,
    lowered: Lowered,
    symbols: Symbols,
    pool: ConstantPool,
) -> str:
    """The call of a layer on whole tensors."""

    def pointer(argument: InputArg | OutputArg | ScratchArg, ctype: str) -> str:
        match argument:
            case InputArg(index=index):
                place = symbols.place(lowered.stored[step.reads[index]])
            case OutputArg(index=index):
                place = symbols.place(lowered.stored[step.writes[index]])
            case ScratchArg():
                place = symbols.scratch(position)
        return f"AT({ctype}, {place})"

    return kernel_call(call, function, pointer, constants(step.node, position, pool))


def constants(node: Node, position: int, pool: ConstantPool) -> Callable[[ConstantArg], str]:
    """Names the constant arrays of a node."""
    user = f"{node.op.kind} {', '.join(map(repr, node.sources))}"
    return lambda argument: pool.add(argument.array, position, user)


def describe(graph: Graph, node: Node) -> str:
    """A node in one line: operator, ONNX nodes, shapes."""
    shapes = [
        "x".join(map(str, graph.tensors[name].shape)) or "scalar"
        for name in (*node.inputs, *node.outputs)
        if name and not graph.tensors[name].is_constant
    ]
    inputs, outputs = shapes[: len(shapes) - len(node.outputs)], shapes[len(shapes) - len(node.outputs) :]
    sources = ", ".join(repr(source) for source in node.sources) or repr(node.name)
    return f"{node.op.kind} {sources} {' + '.join(inputs)} -> {' + '.join(outputs)}"


def kernel_call(
    call: KernelCall,
    function: str,
    pointer: Callable[[InputArg | OutputArg | ScratchArg, str], str],
    constant: Callable[[ConstantArg], str],
) -> str:
    """A call as a C statement, wrapped and aligned.

    Args:
        call: the kernel and its arguments.
        function: its C name.
        pointer: C expression of an argument that points into the arena, given its C type.
        constant: C name of constant data.
    """
    texts = [
        _argument(argument, param.ctype.strip(), pointer, constant)
        for param, argument in zip(call.kernel.params, call.arguments, strict=True)
    ]
    return _wrapped(function, texts)


def _argument(
    argument: Argument,
    ctype: str,
    pointer: Callable[[InputArg | OutputArg | ScratchArg, str], str],
    constant: Callable[[ConstantArg], str],
) -> str:
    match argument:
        case InputArg() | OutputArg() | ScratchArg():
            return pointer(argument, ctype)
        case ConstantArg():
            return constant(argument)
        case ScalarArg(ctype="float", value=value):
            return c_float(value)
        case ScalarArg(ctype=scalar, value=value):
            return c_size(int(value)) if scalar.startswith("uint") else c_int(int(value))
    raise TypeError(f"no such argument: {argument!r}")


def _wrapped(function: str, texts: Sequence[str]) -> str:
    lines, line = [], f"{function}("
    for index, text in enumerate(texts):
        piece = text + (", " if index + 1 < len(texts) else ");")
        if len(line) + len(piece.rstrip()) > _WIDTH and not line.endswith("("):
            lines.append(line.rstrip())
            line = " " * (len(function) + 1)
        line += piece
    return "\n".join([*lines, line if texts else f"{function}();"])
