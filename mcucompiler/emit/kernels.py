# SPDX-License-Identifier: Apache-2.0
"""Kernels to C functions: naming, and rendering of templates/kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

from mcucompiler.emit.environment import c_comment, environment
from mcucompiler.lower.types import Kernel

_WIDTH = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A kernel as it is printed.

    Attributes:
        name: the C function's name.
        signature: its declarator, without semicolon or body.
        text: the whole definition with its comment.
    """

    name: str
    signature: str
    text: str


def function_names(kernels: Iterable[Kernel], prefix: str) -> dict[Kernel, str]:
    """A distinct C name for each kernel: prefix and label, numbered where labels coincide."""
    names: dict[Kernel, str] = {}
    taken: set[str] = set()
    for kernel in kernels:
        if kernel in names:
            continue
        name, number = f"{prefix}_{kernel.label}", 2
        while name in taken:
            name, number = f"{prefix}_{kernel.label}_v{number}", number + 1
        names[kernel] = name
        taken.add(name)
    return names


def signature(kernel: Kernel, name: str) -> str:
    """The declarator, parameters wrapped and aligned under the first one."""
    params = [f"{p.ctype}{'' if p.ctype.endswith('*') else ' '}{p.name}" for p in kernel.params] or ["void"]
    head = f"void {name}("
    lines, line = [], head
    for index, param in enumerate(params):
        piece = param + (", " if index + 1 < len(params) else ")")
        if len(line) + len(piece.rstrip()) > _WIDTH and line != head:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += piece
    return "\n".join([*lines, line])


def render(kernel: Kernel, name: str, nodes: Iterable[str]) -> Function:
    """The C definition of a kernel.

    Args:
        kernel: what to render.
        name: its C name.
        nodes: descriptions of the nodes it serves, for the comment.
    """
    declarator = signature(kernel, name)
    literals: Mapping[str, object] = dict(kernel.literals)
    text = (
        environment()
        .get_template(f"kernels/{kernel.template}.c.j2")
        .render(
            k=SimpleNamespace(**literals), name=name, signature=declarator, nodes=[c_comment(node) for node in nodes]
        )
    )
    return Function(name=name, signature=declarator, text=text.strip("\n") + "\n")
