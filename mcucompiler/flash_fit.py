# SPDX-License-Identifier: Apache-2.0
"""Smaller kernels where a network's weights, constants and code would exceed the flash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mcucompiler.emit import SourceTree
from mcucompiler.emit.code_size import kernel_bytes
from mcucompiler.errors import DoesNotFitError
from mcucompiler.ir.graph import Graph
from mcucompiler.lower.shrink import nodes_to_shrink
from mcucompiler.lower.types import LoweringOptions
from mcucompiler.pipeline import Planned

_ATTEMPTS = 3

Compile = Callable[[LoweringOptions], tuple[Planned, SourceTree]]
"""Plans and prints the network."""


def fit_flash(
    graph: Graph, options: LoweringOptions, limit: int | None, compiled: Compile
) -> tuple[Planned, SourceTree]:
    """The network with as many small kernels as the limit asks for; the smallest one found where none fits.

    Args:
        graph: after the passes.
        options: what the user asked for.
        limit: bytes; None for none.
        compiled: makes the program.
    """
    planned, tree = compiled(options)
    if limit is None or options.optimize == "size":
        return planned, tree
    # Streams have kernels of their own, so that what is saved is known only afterwards.
    for _ in range(_ATTEMPTS):
        if tree.flash_bytes <= limit:
            return planned, tree
        more = nodes_to_shrink(graph, options, tree.flash_bytes - limit, kernel_bytes)
        if not more:
            break
        options = replace(options, small=options.small | more)
        planned, tree = compiled(options)
    if tree.flash_bytes <= limit:
        return planned, tree
    return min((planned, tree), compiled(replace(options, optimize="size")), key=lambda made: made[1].flash_bytes)


def check_flash(tree: SourceTree, limit: int | None, elsewhere: str = "") -> None:
    """Refuse what exceeds the flash.

    Args:
        tree: the program.
        limit: bytes; None for none.
        elsewhere: words that propose another memory for the weights; "" where there is none.

    Raises:
        DoesNotFitError: with what weights, constants and code take.
    """
    if limit is None or tree.flash_bytes <= limit:
        return
    program = tree.program
    if program.weights_bytes + program.const_bytes > limit:
        alternative = "a narrower network, or a board with more flash"
    else:
        alternative = "the code's size is an estimate; for an exact figure compile without --flash-limit and `build`"
    raise DoesNotFitError(
        "flash",
        tree.flash_bytes,
        limit,
        peak=f"{program.weights_bytes:,} bytes of weights, {program.const_bytes:,} of other constants, and about "
        f"{tree.code_bytes:,} of code, with the smallest kernels",
        alternative=alternative + elsewhere,
    )
