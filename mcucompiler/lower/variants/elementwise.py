# SPDX-License-Identifier: Apache-2.0
"""What kernels of one input, element by element, have in common."""

from __future__ import annotations

from typing import Any

from mcucompiler.ir.graph import ITEM_BYTES
from mcucompiler.lower.types import Exactness, InputArg, KernelCall, NodeContext, OutputArg, Overlap, kernel
from mcucompiler.lower.variants.calls import MATH, cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import CTYPES, rows_of


def elementwise_call(
    context: NodeContext,
    template: str,
    name: str,
    *,
    per_element: float,
    reason: str,
    stem: str = "",
    includes: tuple[str, ...] = MATH,
    exactness: Exactness | None = None,
    float_arithmetic: bool = False,
    **literals: Any,
) -> KernelCall:
    """The call of an elementwise template; the output may lie over a dense input.

    Args:
        context: the node; input 0 and output 0 have equal memory order.
        template: the template's name.
        name: the variant's name.
        per_element: estimated instructions for an element.
        reason: for the report.
        stem: of the function's name; the template's name by default.
        includes: headers.
        exactness: for the report.
        float_arithmetic: whether it is a float32 operator.
        literals: further literals of the template.
    """
    source, target = context.activation(0), context.outputs[0]
    rows = rows_of(source, target)
    item_in, item_out = ITEM_BYTES[source.tensor.dtype], ITEM_BYTES[target.tensor.dtype]
    instructions = round(rows.size * per_element) + rows.count * 8 + 20
    # A wider output must start so far below the input that it only covers what has been read.
    overlap = Overlap(input=0, output=0, same=item_in == item_out, distance=max(0, item_out - item_in) * rows.size)
    return KernelCall(
        kernel=kernel(
            template,
            label(stem or template, source),
            (reads(source.tensor), writes(target.tensor)),
            includes=includes,
            rows=rows.count,
            length=rows.length,
            from_stride=rows.strides[0],
            to_stride=rows.strides[1],
            ctype=CTYPES[source.tensor.dtype],
            otype=CTYPES[target.tensor.dtype],
            **literals,
        ),
        arguments=(InputArg(index=0), OutputArg(index=0)),
        variant=name,
        reason=reason,
        overlaps=(overlap,) if rows.count == 1 else (),
        stack_bytes=96,
        instructions=instructions,
        cycles=cycles(instructions, template),
        exactness=exactness or Exactness(),
        float_arithmetic=float_arithmetic,
    )
