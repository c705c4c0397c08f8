# SPDX-License-Identifier: Apache-2.0
"""Between uint8 and int8: the top bit of each element, four at a time."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.lower.types import InputArg, KernelCall, NodeContext, OutputArg, Overlap, Variant, kernel
from mcucompiler.lower.variants.calls import MATH, cycles, label, reads, writes
from mcucompiler.lower.variants.geometry import rows_of

STRIDED_INPUT = True
STRIDED_OUTPUT = True


@dataclass(frozen=True, slots=True)
class FlipSignWords:
    """Exclusive or with 0x80 in every byte of a word."""

    name: str = "flip_sign"

    def reject(self, context: NodeContext) -> str | None:
        """Nothing is rejected."""
        return None

    def lower(self, context: NodeContext) -> KernelCall:
        """The call."""
        source, target = context.activation(0), context.outputs[0]
        rows = rows_of(source, target)
        instructions = rows.count * (10 + rows.length % 4 * 3) + rows.size + 20
        return KernelCall(
            kernel=kernel(
                self.name,
                label(self.name, source),
                (reads(source.tensor), writes(target.tensor)),
                includes=MATH,
                rows=rows.count,
                length=rows.length,
                from_stride=rows.strides[0],
                to_stride=rows.strides[1],
            ),
            arguments=(InputArg(index=0), OutputArg(index=0)),
            variant=self.name,
            reason="four elements a word",
            overlaps=(Overlap(input=0, output=0),) if rows.count == 1 else (),
            stack_bytes=64,
            instructions=instructions,
            cycles=cycles(instructions, self.name),
        )


VARIANTS: tuple[Variant, ...] = (FlipSignWords(),)
