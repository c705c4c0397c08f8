# SPDX-License-Identifier: Apache-2.0
"""What lies in a stream's scratch, for reports."""

from __future__ import annotations

from collections.abc import Iterator

from mcucompiler.stream.types import Rows, StreamCall
from mcucompiler.words import counted

_MOST_NAMED = 4


def rings(call: StreamCall) -> Iterator[Rows]:
    """The tensors of a stream that are not whole in the arena: rings, and guests in the slots of others.

    Of column bands, which take the same memory one after the other, those of the one that needs most.
    """
    largest = max(call.parts, key=lambda part: part.scratch_bytes)
    return (rows for rows in largest.rows if rows.offset is not None or rows.guest_of is not None)


def kernel_scratch_bytes(call: StreamCall) -> int:
    """Scratch of the kernels, which all bands share."""
    return max((band.call.scratch_bytes for band in call.bands), default=0)


def describe_scratch(call: StreamCall) -> str:
    """The largest rings of a stream and what else its scratch holds, in a line for people."""
    own = sorted((rows for rows in rings(call) if rows.ring_bytes), key=lambda rows: rows.ring_bytes, reverse=True)
    parts = [f"{rows.ring_bytes:,} in {_slots(rows, call)} of {rows.tensor!r}" for rows in own[:_MOST_NAMED]]
    rest = sum(rows.ring_bytes for rows in own[_MOST_NAMED:])
    if rest:
        parts.append(f"{rest:,} in {len(own) - _MOST_NAMED} more rings")
    if kernel_scratch_bytes(call):
        parts.append(f"{kernel_scratch_bytes(call):,} for kernels")
    if call.state is not None:
        parts.append(f"{call.scratch_bytes - call.state:,} counters")
    return ", ".join(parts) or "nothing"


def _slots(rows: Rows, call: StreamCall) -> str:
    if rows.units == 1:
        return counted(rows.slots, "row" if call.turned is None else "column")
    return f"{counted(rows.slots, 'strip')} of 1/{rows.units} row"
