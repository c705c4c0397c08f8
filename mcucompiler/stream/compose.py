# SPDX-License-Identifier: Apache-2.0
"""Makes a stream of consecutive layers, and a program whose steps are layers and streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mcucompiler.lower.types import Exactness, Lowered, LoweredStep, Overlap
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.bands import ROW_AXIS, BandMaker, is_image, row_bytes
from mcucompiler.stream.guests import Guest, find_guests
from mcucompiler.stream.simulate import Simulation, simulate
from mcucompiler.stream.types import Access, Band, Rows, StreamCall

CONTROL_CYCLES = 60
"""Cycles of choosing a band and setting up its pointers, for each run."""
CONTROL_STACK_BYTES = 96  # the stream's function: saved registers, locals and outgoing arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """Which layers run as a stream, and how.

    Attributes:
        first: index of the first step.
        stop: one past the last step.
        rows: most rows that a band makes in a run.
        lean: whether kernels are to use little scratch rather than be fast.
        expansions: indices of the steps that are made anew for each window of the depthwise step that follows.
        fed: tensor whose rows the caller pushes.
    """

    first: int
    stop: int
    rows: int = 1
    lean: bool = False
    expansions: frozenset[int] = frozenset()
    fed: str | None = None


class Composer:
    """Makes streams of a program that is layer by layer.

    Args:
        lowered: the program; streams are made of steps that follow one another in it.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.maker = BandMaker(lowered)
        self._readers: dict[str, set[int]] = {}
        for index, step in enumerate(lowered.steps):
            for name in step.reads.values():
                self._readers.setdefault(name, set()).add(index)
        self._holders: dict[str, int] = {}
        for stored in lowered.stored.values():
            self._holders[stored.place.buffer] = self._holders.get(stored.place.buffer, 0) + 1

    def stream(self, choice: GroupChoice) -> LoweredStep | None:
        """The step that runs a group of layers as a stream; None where they cannot."""
        layers = self.lowered.steps[choice.first : choice.stop]
        bands = self._bands(choice)
        if bands is None:
            return None
        hidden = {self.lowered.steps[index].writes[0] for index in choice.expansions}
        outputs = tuple(step.writes[0] for step in layers if not self._inside(step.writes[0], choice))
        if hidden & {*outputs} or _waits_for_itself(bands):
            return None
        outside = self._outside(layers, choice.fed)
        heights = self._heights(bands, choice.fed)
        simulation = simulate(bands, heights, choice.fed)
        if simulation is None or not self._separate((*outside, *outputs)):
            return None
        call = self._call(bands, simulation, heights, outside, outputs, choice.fed)
        return LoweredStep(
            nodes=tuple(step.node for step in layers),
            call=call,
            reads=dict(enumerate(outside)),
            writes=outputs,
            macs=sum(step.macs for step in layers),
        )

    def _bands(self, choice: GroupChoice) -> list[Band] | None:
        bands: list[Band] = []
        index = choice.first
        while index < choice.stop:
            expanded = index in choice.expansions
            last = index + 1 if expanded else index
            height = self.maker.height(last) if last < choice.stop else None
            if not height:
                return None
            rows = _divisor(height, choice.rows)
            band = self.maker.expanded(index, rows, lean=choice.lean) if expanded else None
            made = (band,) if band else () if expanded else self.maker.bands(index, rows, lean=choice.lean)
            if not made:
                return None
            bands += made
            index = last + 1
        return bands

    def _inside(self, name: str, choice: GroupChoice) -> bool:
        """Whether nobody but layers of the group ever sees a tensor."""
        readers = self._readers.get(name, set())
        alone = self._holders[self.lowered.stored[name].place.buffer] == 1
        within = all(choice.first <= reader < choice.stop for reader in readers)
        return alone and within and bool(readers) and name not in self.lowered.graph.outputs

    def _outside(self, layers: Sequence[LoweredStep], fed: str | None) -> tuple[str, ...]:
        made = {name for step in layers for name in step.writes}
        reads = dict.fromkeys(name for step in layers for name in step.reads.values())
        return tuple(name for name in reads if name not in made and name != fed)

    def _separate(self, names: Sequence[str]) -> bool:
        """Whether tensors lie in buffers of their own, so that rows of one are not rows of another."""
        buffers = [self.lowered.stored[name].place.buffer for name in names]
        return len(set(buffers)) == len(buffers)

    def _heights(self, bands: Sequence[Band], fed: str | None) -> dict[str, int]:
        """Rows of every tensor that is read by rows or made."""
        tensors = self.lowered.graph.tensors
        names = [fed] if fed is not None else []
        for band in bands:
            names += [reading.tensor for _, reading in band.readings if reading.access is not Access.WHOLE]
            names.append(band.writes)
        made = {band.writes: band.height for band in bands}
        return {name: made[name] if name in made else tensors[name].shape[ROW_AXIS] for name in dict.fromkeys(names)}

    def _call(
        self,
        bands: Sequence[Band],
        simulation: Simulation,
        heights: Mapping[str, int],
        outside: tuple[str, ...],
        outputs: tuple[str, ...],
        fed: str | None,
    ) -> StreamCall:
        tensors = self.lowered.graph.tensors
        made_bytes = {band.writes: band.row_bytes for band in bands}
        bytes_of = {name: made_bytes[name] if name in made_bytes else row_bytes(tensors[name]) for name in heights}
        inside = [name for name in heights if name not in outside and name not in outputs]
        guests = find_guests(bands, simulation, heights, inside, bytes_of, fed)
        rows, end = [], 0
        for name, height in heights.items():
            made = Rows(tensor=name, height=height, row_bytes=bytes_of[name], slots=height)
            if name in guests:
                guest = guests[name]
                made = replace(made, slots=0, guest_of=guest.host, lead=guest.lead, stride=guest.stride)
            elif name in inside:
                made = replace(made, slots=simulation.slots[name], offset=end)
                end += whole_words(made.slots * made.row_bytes)
            rows.append(made)
        kernel_scratch = end
        end += whole_words(max((band.call.scratch_bytes for band in bands), default=0))
        state = end if fed is not None else None
        if fed is not None:
            end += 4 * (len(bands) + 1)
        pushes = list(simulation.pushes())
        push_cycles = [sum(bands[index].call.cycles + CONTROL_CYCLES for index in push) for push in pushes]
        return StreamCall(
            variant="rows",
            overlaps=tuple(_overlaps(bands, simulation, guests, bytes_of, outside, outputs)),
            scratch_bytes=end,
            stack_bytes=max(band.call.stack_bytes for band in bands) + _control_stack(bands, state),
            instructions=sum(band.runs * (band.call.instructions + CONTROL_CYCLES) for band in bands),
            cycles=sum(band.runs * (band.call.cycles + CONTROL_CYCLES) for band in bands),
            exactness=Exactness(
                proved=sum(band.call.exactness.proved for band in bands),
                float_tail=sum(band.call.exactness.float_tail for band in bands),
            ),
            float_arithmetic=any(band.call.float_arithmetic for band in bands),
            bands=tuple(bands),
            rows=tuple(rows),
            recomputed_macs=sum(band.recomputed_macs for band in bands),
            fed=fed,
            kernel_scratch=kernel_scratch,
            state=state,
            most_runs=max(map(len, pushes)),
            most_cycles=max(push_cycles),
            last_cycles=push_cycles[-1],
        )


def _waits_for_itself(bands: Sequence[Band]) -> bool:
    """Whether a band needs the whole of a tensor that the stream makes."""
    made = {band.writes for band in bands}
    return any(r.access is Access.WHOLE and r.tensor in made for band in bands for _, r in band.readings)


def _divisor(height: int, most: int) -> int:
    """The largest divisor of a height that is at most ``most``."""
    return max(rows for rows in range(1, min(most, height) + 1) if height % rows == 0)


def _control_stack(bands: Sequence[Band], state: int | None) -> int:
    pointers = max(
        sum(reading.count for _, reading in band.readings if reading.access is Access.POINTERS) for band in bands
    )
    return CONTROL_STACK_BYTES + 4 * pointers + (4 * len(bands) if state is None else 0)


def _overlaps(
    bands: Sequence[Band],
    simulation: Simulation,
    guests: Mapping[str, Guest],
    bytes_of: Mapping[str, int],
    outside: Sequence[str],
    outputs: Sequence[str],
) -> Iterable[Overlap]:
    """How far before an outside tensor an output must begin, so that it only covers rows that are done with."""
    for index, source in enumerate(outside):
        if source not in bytes_of:
            continue
        for output, target in enumerate(outputs):
            # A guest's rows are there before the output's own.
            writers = {target, *(name for name, guest in guests.items() if guest.host == target)}
            distance = max(
                written * bytes_of[target] - needed * bytes_of[source]
                for number, band in enumerate(bands)
                if band.writes in writers
                for written, needed in simulation.ahead[number, source]
            )
            yield Overlap(input=index, output=output, same=False, distance=max(0, distance))


def with_streams(composer: Composer, streams: Mapping[GroupChoice, LoweredStep]) -> Lowered:
    """The program in which groups of layers are replaced by their streams.

    Args:
        composer: of the program.
        streams: the steps that it made, disjoint.
    """
    lowered = composer.lowered
    steps: list[LoweredStep] = []
    starts = {choice.first: (choice, step) for choice, step in streams.items()}
    index = 0
    while index < len(lowered.steps):
        if index in starts:
            choice, stream = starts[index]
            steps.append(stream)
            index = choice.stop
        else:
            steps.append(lowered.steps[index])
            index += 1
    seen = {name for step in steps for name in (*step.reads.values(), *step.writes)}
    seen |= {*lowered.graph.inputs, *lowered.graph.outputs}
    used = {lowered.stored[name].place.buffer for name in seen}
    fed = next((choice.fed for choice in streams if choice.fed is not None), None)
    if fed is not None:
        used.discard(lowered.stored[fed].place.buffer)
    return replace(
        lowered,
        steps=tuple(steps),
        stored={n: stored for n, stored in lowered.stored.items() if n == fed or stored.place.buffer in used},
        buffers={name: spec for name, spec in lowered.buffers.items() if name in used},
        fed=fed,
    )


__all__ = ["Composer", "GroupChoice", "is_image", "with_streams"]
