# SPDX-License-Identifier: Apache-2.0
"""Runs a program on tags instead of values, for the verifiers; the planners do not use it.

Each byte of a buffer knows which tensor wrote it last. Running the steps in graph order, with
every buffer apart from the others, tells for each read whose bytes it must find: that is the
definition of what the program computes. Any other order or placement must show it the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcucompiler.lower.types import Lowered, Stored, item_bytes

NOBODY = 0
"""Writer of bytes that nothing has written."""

Writers = npt.NDArray[np.int32]
ByteIndex = slice | npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """Whose bytes a program sees.

    Attributes:
        reads: for each step and input index, the writer of each byte in memory order.
        outputs: for each graph output, likewise after the last step.
    """

    reads: Mapping[tuple[int, int], Writers]
    outputs: Mapping[str, Writers]


def written_tensors(lowered: Lowered) -> tuple[str, ...]:
    """Names of the tensors that are written: graph inputs, then outputs of steps. Writer n is entry n - 1."""
    return (*lowered.inputs, *(name for step in lowered.steps for name in step.writes))


def tensor_bytes(stored: Stored) -> ByteIndex:
    """Where in its buffer each byte of a tensor lies, in memory order."""
    place, item = stored.place, item_bytes(stored.tensor)
    start = place.offset * item
    if place.dense:
        return slice(start, start + place.rows * place.row * item)
    row_starts = start + np.arange(place.rows, dtype=np.int64) * (place.stride * item)
    return (row_starts[:, None] + np.arange(place.row * item, dtype=np.int64)).reshape(-1)


def observe(lowered: Lowered, order: Iterable[int]) -> Observation:
    """What steps see when they run in some order and buffers do not share memory."""
    number = {name: index + 1 for index, name in enumerate(written_tensors(lowered))}
    memory = {name: np.full(spec.size_bytes, NOBODY, np.int32) for name, spec in lowered.buffers.items()}
    where = {name: tensor_bytes(stored) for name, stored in lowered.stored.items()}

    def seen(name: str) -> Writers:
        return memory[lowered.stored[name].place.buffer][where[name]].copy()

    def write(name: str) -> None:
        memory[lowered.stored[name].place.buffer][where[name]] = number[name]

    for name in lowered.inputs:
        write(name)
    reads: dict[tuple[int, int], Writers] = {}
    for step in order:
        for index, name in lowered.steps[step].reads.items():
            reads[step, index] = seen(name)
        for name in lowered.steps[step].writes:
            write(name)
    return Observation(reads=reads, outputs={name: seen(name) for name in lowered.graph.outputs})


def sources(lowered: Lowered, name: str) -> frozenset[str]:
    """The written tensors that a tensor consists of: itself, or what its views lead back to."""
    written = set(written_tensors(lowered))
    found: set[str] = set()
    pending = [name]
    while pending:
        tensor = pending.pop()
        if tensor in written:
            found.add(tensor)
        elif tensor in lowered.graph.producer:
            pending += [source for source in lowered.graph.producer[tensor].inputs if source]
    return frozenset(found)
