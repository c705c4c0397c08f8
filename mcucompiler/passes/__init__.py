# SPDX-License-Identifier: Apache-2.0
"""Graph rewrites between the frontend and lowering: one file each, in one order, verified after each."""

from __future__ import annotations

from collections.abc import Callable

from mcucompiler.ir.graph import Graph
from mcucompiler.ir.verify import verify_graph
from mcucompiler.passes.absorb_clamps import absorb_clamps
from mcucompiler.passes.add_to_bias import add_to_bias
from mcucompiler.passes.base import Pass
from mcucompiler.passes.boundary import leave_quantization_to_caller
from mcucompiler.passes.constants import fold_constants, fold_dequantized
from mcucompiler.passes.defer_movement import defer_movement
from mcucompiler.passes.drop_idle_channels import drop_idle_channels
from mcucompiler.passes.finish import check_finished, float_nodes
from mcucompiler.passes.fold_islands import fold_islands
from mcucompiler.passes.fuse import fuse_quantized
from mcucompiler.passes.fuse_pads import fuse_pads
from mcucompiler.passes.hoist_quantize import hoist_quantize
from mcucompiler.passes.make_signed import make_signed
from mcucompiler.passes.merge_lookups import merge_lookups
from mcucompiler.passes.scale_weights import scale_weights
from mcucompiler.passes.simplify import simplify
from mcucompiler.passes.sink_dequantize import sink_dequantize
from mcucompiler.passes.subexpressions import share_subexpressions
from mcucompiler.passes.tabulate_unary import tabulate_unary

__all__ = ["PIPELINE", "Pass", "float_nodes", "run_passes"]

PIPELINE: tuple[Pass, ...] = (
    simplify,
    fold_constants,
    share_subexpressions,  # one Dequantize for each tensor, one Quantize for each set of parameters
    defer_movement,  # normalisation chains in one piece
    sink_dequantize,  # Dequantize and Quantize next to the operators that compute
    hoist_quantize,
    fold_constants,  # what moved to constants
    share_subexpressions,
    leave_quantization_to_caller,
    scale_weights,
    add_to_bias,
    fuse_quantized,  # the integer programs
    fold_islands,  # what has none of its own but is a function of 8 bits
    fold_dequantized,  # constants of the float operators that remain
    tabulate_unary,
    merge_lookups,
    absorb_clamps,
    make_signed,
    merge_lookups,  # requantisation between uint8 and int8 may be nothing now
    fuse_pads,
    drop_idle_channels,
    simplify,
    share_subexpressions,
)
"""All passes, in the order in which they run."""


def run_passes(graph: Graph, *, io: str = "int8", on_pass: Callable[[str, Graph], None] | None = None) -> Graph:
    """Brings a graph from the frontend to the form that is lowered.

    Args:
        graph: float operators between Dequantize and Quantize, quantised operators, or both.
        io: "int8" to leave a leading Quantize and a trailing Dequantize to the caller (``Graph.float_boundary`` says
            where), "float" to keep them in the program.
        on_pass: called with each pass's name and result, after it was verified.

    Returns:
        A graph that computes the same, without Unary on quantised tensors, with int8 activations but for uint8 inputs
        and outputs, and float32 only where ``float_nodes`` says so.

    Raises:
        ValueError: for another ``io``.
        VerificationError: a pass made something illegal, which is a defect of it.
    """
    if io not in ("int8", "float"):
        raise ValueError(f"io is {io!r}; it must be 'int8' or 'float'")
    verify_graph(graph, "frontend")
    for step in PIPELINE:
        if step is leave_quantization_to_caller and io == "float":
            continue
        graph = step(graph)
        verify_graph(graph, f"pass {step.__name__}")
        if on_pass is not None:
            on_pass(step.__name__, graph)
    check_finished(graph)
    return graph
