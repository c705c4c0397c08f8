# SPDX-License-Identifier: Apache-2.0
"""What kernels permit, seen from whole buffers: which output buffer may lie over which input buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcucompiler.lower.types import Lowered, LoweredStep, Overlap, Stored, item_bytes

WORD_BYTES = 4
"""Every block of the arena begins at a multiple of this, so that kernels may load whole words."""


def whole_words(size_bytes: int) -> int:
    """A size rounded up to whole words, in bytes."""
    return -(-size_bytes // WORD_BYTES) * WORD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferOverlap:
    """Leave for a step's output buffer to lie over an input buffer that ends with the step.

    Attributes:
        into: the input's buffer.
        buffer: the output's buffer.
        same: both must start at the same address; otherwise
            ``start(buffer) + distance <= start(into)``.
        distance: bytes, not negative.
        saved_bytes: by how much the two together can be smaller than apart, in whole words.
    """

    into: str
    buffer: str
    same: bool
    distance: int
    saved_bytes: int


def union_bytes(upper: int, lower: int, *, same: bool, distance: int) -> int:
    """Least extent of two blocks of which ``lower`` is laid over ``upper``; all in bytes, whole words."""
    if same:
        return max(upper, lower)
    return min(upper + lower, max(lower, whole_words(distance) + upper))


def step_overlaps(lowered: Lowered, step: LoweredStep) -> tuple[BufferOverlap, ...]:
    """The overlaps of buffers that a step's kernel permits, provided that the input's buffer dies there.

    Only those that save bytes, in order of the outputs and inputs.
    """
    if not step.call.overlaps:
        return ()
    sources = {index: lowered.stored[name] for index, name in step.reads.items()}
    targets = [lowered.stored[name] for name in step.writes]
    written = [target.place.buffer for target in targets]
    read = dict.fromkeys(source.place.buffer for source in sources.values())
    found = []
    for output, target in enumerate(targets):
        buffer = target.place.buffer
        if written.count(buffer) > 1 or buffer in read:
            continue
        for into in read:
            if into not in written:
                inputs = {i: s for i, s in sources.items() if s.place.buffer == into}
                found.append(_between(lowered, step.call.overlaps, inputs, output, target))
    return tuple(overlap for overlap in found if overlap is not None)


def _between(
    lowered: Lowered, overlaps: Sequence[Overlap], inputs: dict[int, Stored], output: int, target: Stored
) -> BufferOverlap | None:
    """The best leave that holds for all inputs that the step reads from one buffer."""
    (into,) = {source.place.buffer for source in inputs.values()}
    buffer = target.place.buffer
    upper, lower = (whole_words(lowered.buffers[name].size_bytes) for name in (into, buffer))
    best: BufferOverlap | None = None
    for same in (False, True):
        distances = [_distance(overlaps, index, output, source, target, same) for index, source in inputs.items()]
        known = [distance for distance in distances if distance is not None]
        if len(known) < len(distances):
            continue
        distance = max(known)
        saved = upper + lower - union_bytes(upper, lower, same=same, distance=distance)
        if saved > (best.saved_bytes if best else 0):
            best = BufferOverlap(into=into, buffer=buffer, same=same, distance=distance, saved_bytes=saved)
    return best


def _distance(
    overlaps: Sequence[Overlap], index: int, output: int, source: Stored, target: Stored, same: bool
) -> int | None:
    """The distance between the starts of the buffers that an input needs, None where there is no leave."""
    source_start = source.place.offset * item_bytes(source.tensor)
    target_start = target.place.offset * item_bytes(target.tensor)
    dense = source.place.dense and target.place.dense
    if same:
        alike = dense or (
            (source.place.rows, source.place.row, source.place.stride)
            == (target.place.rows, target.place.row, target.place.stride)
            and item_bytes(source.tensor) == item_bytes(target.tensor)
        )
        if not alike or source_start != target_start:
            return None
        return 0 if any(o.same and (o.input, o.output) == (index, output) for o in overlaps) else None
    if not dense:
        return None
    return min(
        (
            max(0, o.distance + target_start - source_start)
            for o in overlaps
            if not o.same and (o.input, o.output) == (index, output)
        ),
        default=None,
    )


def best_matching(candidates: Sequence[BufferOverlap]) -> tuple[BufferOverlap, ...]:
    """The overlaps that save most together, each buffer in at most one; the first of equals."""
    if len(candidates) < 2:
        return tuple(candidates)
    first, rest = candidates[0], candidates[1:]
    free = [c for c in rest if c.into != first.into and c.buffer != first.buffer]
    taken = (first, *best_matching(free))
    if len(free) == len(rest):
        return taken
    left = best_matching(rest)
    return left if _saved(left) > _saved(taken) else taken


def _saved(overlaps: Sequence[BufferOverlap]) -> int:
    return sum(overlap.saved_bytes for overlap in overlaps)
