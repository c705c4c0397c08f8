# SPDX-License-Identifier: Apache-2.0
"""Copies between memory orders: Reshape and Transpose where they are not free, and the copies that lowering inserts."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import InputArg, KernelCall, NodeContext, OutputArg, Stored, Variant, kernel
from mcucompiler.lower.variants.calls import MATH, cycles, extent_label, label, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES, copy_nest, memory_strides
from mcucompiler.lower.variants.moves import copy_kernel, piece
from mcucompiler.ops.transpose import Transpose

STRIDED_INPUT = True
STRIDED_OUTPUT = True


def _perm(context: NodeContext) -> tuple[int, ...] | None:
    op = context.node.op
    return op.perm if isinstance(op, Transpose) else None


@dataclass(frozen=True, slots=True)
class CopyNest:
    """Loops over the axes that both orders share; contiguous runs by memcpy."""

    name: str = "copy"

    def reject(self, context: NodeContext) -> str | None:
        """Layouts must have common axes."""
        source, target = context.activation(0), context.outputs[0]
        if source.tensor.dtype not in CTYPES:
            return f"elements of type {source.tensor.dtype} have no C type here"
        if copy_nest(source, target, _perm(context)) is None:
            return "the two memory orders have no common axes"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """One nest of loops."""
        source, target = context.activation(0), context.outputs[0]
        loops = copy_nest(source, target, _perm(context)) or ()
        part = piece(loops, source.tensor.dtype, source="input", target="output")
        about = f"Copies {extent_label(source.memory_shape)} in memory order to {extent_label(target.memory_shape)}."
        return KernelCall(
            kernel=copy_kernel(label("copy", target), about, (reads(source.tensor), writes(target.tensor)), (part,)),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            reason="the orders differ" if len(loops) > 1 else "the same order in another buffer",
            stack_bytes=96,
            instructions=part.instructions + 20,
            cycles=cycles(part.instructions + 20),
        )


@dataclass(frozen=True, slots=True)
class CopyIndexed:
    """Any two orders: each element's place is computed from its index."""

    name: str = "copy_indexed"

    def reject(self, context: NodeContext) -> str | None:
        """Only reshapes reach this: a transposed tensor lies in a permutation of its axes."""
        if _perm(context) is not None:
            return "a transposition, which only a nest of loops over its axes computes"
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """One loop over the elements in ONNX order."""
        source, target = context.activation(0), context.outputs[0]
        tensor = source.tensor
        instructions = tensor.size * (12 + 6 * (len(source.memory_shape) + len(target.memory_shape)))
        return KernelCall(
            kernel=kernel(
                self.name,
                label("reorder", target),
                (reads(tensor), writes(target.tensor)),
                includes=MATH,
                size=tensor.size,
                source=_terms(source),
                target=_terms(target),
            ),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            reason="the two memory orders have no common axes",
            stack_bytes=96,
            instructions=instructions,
            cycles=instructions,
        )


def _terms(stored: Stored) -> tuple[tuple[int, int, int], ...]:
    """For each axis of the view: divisor and extent that give its index, and its stride."""
    strides = memory_strides(stored)
    terms, divisor = [], 1
    for axis in range(len(stored.layout.view) - 1, -1, -1):
        extent = stored.layout.view[axis]
        if extent != 1:
            terms.append((divisor, extent, strides[stored.layout.perm.index(axis)]))
        divisor *= extent
    return tuple(reversed(terms))


VARIANTS: tuple[Variant, ...] = (CopyNest(), CopyIndexed())
