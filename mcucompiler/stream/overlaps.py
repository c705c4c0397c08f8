# SPDX-License-Identifier: Apache-2.0
"""Where the outputs of a stream may lie over what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mcucompiler.lower.types import Overlap
from mcucompiler.stream.guests import Guest
from mcucompiler.stream.simulate import Simulation
from mcucompiler.stream.types import Band


def permitted_overlaps(
    bands: Sequence[Band],
    simulation: Simulation,
    guests: Mapping[str, Guest],
    unit_bytes: Mapping[str, int],
    outside: Sequence[str],
    outputs: Sequence[str],
    apart: set[str],
) -> Iterable[Overlap]:
    """How far before an outside tensor an output must begin, so that it only covers rows that are done with.

    Args:
        bands: of the stream.
        simulation: its run.
        guests: what lodges in rows of others.
        unit_bytes: bytes of a row, or of a strip of one, of every tensor.
        outside: what the stream reads.
        outputs: what it leaves.
        apart: images whose columns lie in pieces, which neither cover nor are covered.
    """
    for index, source in enumerate(outside):
        if source not in unit_bytes or source in apart:
            continue
        for output, target in enumerate(outputs):
            if target in apart:
                continue
            # A guest's rows are there before the output's own.
            writers = {target, *(name for name, guest in guests.items() if guest.host == target)}
            distance = max(
                written * unit_bytes[target] - needed * unit_bytes[source]
                for number, band in enumerate(bands)
                if band.writes in writers
                for written, needed in simulation.ahead[number, source]
            )
            yield Overlap(input=index, output=output, same=False, distance=max(0, distance))
