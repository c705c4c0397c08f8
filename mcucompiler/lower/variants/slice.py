# SPDX-License-Identifier: Apache-2.0
"""Slices that are not views: a nest of loops with the steps in the strides."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import InputArg, KernelCall, NodeContext, OutputArg, Variant
from mcucompiler.lower.variants.calls import cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import Axis, grouped_axes, nest, refine, view_axes
from mcucompiler.lower.variants.moves import Piece, copy_kernel, piece
from mcucompiler.ops.slice import Slice

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class SliceCopy:
    """Copies the part; steps of either sign."""

    name: str = "slice"

    def reject(self, context: NodeContext) -> str | None:
        """A sliced axis must be one axis in memory."""
        return "a sliced axis is split in memory" if _piece(context) is None else None

    def lower(self, context: NodeContext) -> KernelCall:
        """One nest of loops."""
        source, target = context.activation(0), context.outputs[0]
        part = _piece(context)
        if part is None:
            raise ValueError("a sliced axis is split in memory")
        return KernelCall(
            kernel=copy_kernel(
                label("slice", target),
                f"Copies a part of {'x'.join(map(str, source.memory_shape))} in memory order.",
                (reads(source.tensor), writes(target.tensor)),
                (part,),
            ),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            stack_bytes=96,
            instructions=part.instructions + 20,
            cycles=cycles(part.instructions + 20),
        )


def _piece(context: NodeContext) -> Piece | None:
    op = context.node.op
    source, target = context.activation(0), context.outputs[0]
    groups = grouped_axes(source)
    if groups is None or not isinstance(op, Slice):
        return None
    axes: list[Axis] = []
    offset = 0
    for axis, group in enumerate(groups):
        extent, taken = source.tensor.shape[axis], target.tensor.shape[axis]
        if (op.starts[axis], op.steps[axis], taken) == (0, 1, extent):
            axes.extend(group)
            continue
        pieces = [part for part in group if part.extent != 1]
        if len(pieces) > 1:
            return None
        stride = pieces[0].stride if pieces else 0
        offset += op.starts[axis] * stride
        axes.append(Axis(taken, op.steps[axis] * stride))
    loops = refine(axes, view_axes(target))
    if loops is None:
        return None
    return piece(nest(loops, order_by=1), source.tensor.dtype, source="input", target="output", source_offset=offset)


VARIANTS: tuple[Variant, ...] = (SliceCopy(),)
