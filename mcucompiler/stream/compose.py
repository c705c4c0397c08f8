# SPDX-License-Identifier: Apache-2.0
"""Makes a stream of consecutive layers, and a program whose steps are layers and streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcucompiler.lower.types import Exactness, Lowered, LoweredStep, Overlap
from mcucompiler.schedule.overlaps import whole_words
from mcucompiler.stream.bands import BandMaker
from mcucompiler.stream.columns import Columns, column_ranges, divisible
from mcucompiler.stream.guests import Guest, find_guests
from mcucompiler.stream.images import COLUMN_AXIS, ROW_AXIS, column_bytes, row_bytes
from mcucompiler.stream.patches import in_turn, repeated_macs
from mcucompiler.stream.simulate import Simulation, simulate
from mcucompiler.stream.strips import reach_over, with_units
from mcucompiler.stream.types import Access, Band, PatchesCall, Rows, StreamCall

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
        columns: how many column bands the group runs in, one after the other; in several of them bands make one row
            a run, nothing is made anew for windows, and no rows are pushed.
        strips: in how many runs bands make a row, as far as they can; in several of them there is one column band.
    """

    first: int
    stop: int
    rows: int = 1
    lean: bool = False
    expansions: frozenset[int] = frozenset()
    fed: str | None = None
    columns: int = 1
    strips: int = 1


class Composer:
    """Makes streams of a program that is layer by layer.

    Args:
        lowered: the program; streams are made of steps that follow one another in it.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.maker = BandMaker(lowered)
        self.streams: dict[GroupChoice, LoweredStep | None] = {}
        self._in_units: dict[tuple[Band, tuple[int, ...]], Band] = {}
        self._simulations: dict[tuple[int, int], Simulation | None] = {}
        self._readers: dict[str, set[int]] = {}
        for index, step in enumerate(lowered.steps):
            for name in step.reads.values():
                self._readers.setdefault(name, set()).add(index)
        self._holders: dict[str, int] = {}
        for stored in lowered.stored.values():
            self._holders[stored.place.buffer] = self._holders.get(stored.place.buffer, 0) + 1

    def stream(self, choice: GroupChoice) -> LoweredStep | None:
        """The step that runs a group of layers as a stream, made only once; None where they cannot."""
        if choice not in self.streams:
            self.streams[choice] = self._made(choice)
        return self.streams[choice]

    def _made(self, choice: GroupChoice) -> LoweredStep | None:
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
        simulation = self._simulated(choice, bands, heights)
        if simulation is None or not self._separate((*outside, *outputs)):
            return None
        if choice.columns == 1:
            call: StreamCall | None = self._call(bands, simulation, heights, outside, outputs, choice.fed)
        else:
            call = self._patches(choice, bands, simulation, heights, outputs)
        if call is None:
            return None
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
            if last >= choice.stop or not self.maker.height(last):
                return None
            band = self._expanded(index, choice) if expanded else None
            made = (band,) if band else () if expanded else self.maker.bands(index, choice.rows, lean=choice.lean)
            if not made:
                return None
            if choice.strips > 1:
                made = tuple(self.maker.strips(b, index, choice.strips, lean=choice.lean) or b for b in made)
            bands += made
            index = last + 1
        if choice.strips == 1:
            return bands
        divided = with_units(self.lowered.graph, bands, choice.strips, choice.fed, self._in_units)
        return divided if any(band.units > 1 for band in divided) else None

    def _expanded(self, index: int, choice: GroupChoice) -> Band | None:
        """The band of an expanding layer and the one that follows, in strips if it can be."""
        strips = None
        if choice.strips > 1:
            strips = self.maker.expanded(index, choice.rows, lean=choice.lean, strips=choice.strips)
        return strips or self.maker.expanded(index, choice.rows, lean=choice.lean)

    def _simulated(self, choice: GroupChoice, bands: Sequence[Band], heights: Mapping[str, int]) -> Simulation | None:
        """The run of a stream; that of one row a run is remembered, as it is the same for all its columns."""
        if choice.rows > 1 or choice.expansions or choice.strips > 1 or choice.fed is not None:
            return simulate(bands, heights, choice.fed)
        key = choice.first, choice.stop
        if key not in self._simulations:
            self._simulations[key] = simulate(bands, heights)
        return self._simulations[key]

    def shares(self, choice: GroupChoice, bands: Sequence[Band]) -> Iterator[dict[str, Columns] | None]:
        """For each column band of a group the columns of all tensors; None where they cannot be told.

        Args:
            choice: the group.
            bands: of its layers, whole rows, one a run.
        """
        tensors = self.lowered.graph.tensors
        names = [band.writes for band in bands]
        widths = {name: tensors[name].shape[COLUMN_AXIS] for name in names if not self._inside(name, choice)}
        for part in range(choice.columns):
            share = {
                name: (width * part // choice.columns, width * (part + 1) // choice.columns)
                for name, width in widths.items()
            }
            empty = any(first == stop for first, stop in share.values())
            yield None if empty else column_ranges(self.lowered.graph, bands, share)

    def _patches(
        self,
        choice: GroupChoice,
        bands: Sequence[Band],
        simulation: Simulation,
        heights: Mapping[str, int],
        outputs: tuple[str, ...],
    ) -> PatchesCall | None:
        """The group in column bands. Its output covers no input, which later parts still read."""
        plain = choice.rows == 1 and not choice.expansions and choice.fed is None
        if not plain or not all(divisible(self.lowered.graph, band) for band in bands):
            return None
        made_here = {band.writes for band in bands}
        outside = tuple(name for name in heights if name not in made_here)
        parts, ranges = [], []
        for columns in self.shares(choice, bands):
            if columns is None:
                return None
            made = [self.maker.part(choice.first + i, columns, lean=choice.lean) for i in range(len(bands))]
            narrow = [band for band in made if band is not None]
            if len(narrow) < len(bands):
                return None
            parts.append(self._call(narrow, simulation, heights, outside, outputs, None, columns))
            ranges.append(columns)
        return in_turn(parts, repeated_macs(self.lowered.graph, bands, ranges))

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

    def _rows_bytes(
        self, bands: Sequence[Band], names: Iterable[str], columns: Mapping[str, Columns] | None
    ) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
        """Bytes of each tensor's whole rows, and in a row of this stream the first byte and how many there are."""
        graph = self.lowered.graph
        if columns is None:
            made = {band.writes: band.row_bytes for band in bands}
            pitches = {name: made[name] if name in made else row_bytes(graph.tensors[name]) for name in names}
            return pitches, dict.fromkeys(pitches, 0), pitches
        units = {name: column_bytes(graph.tensors[name]) for name in names}
        pitches = {name: row_bytes(graph.tensors[name]) for name in names}
        begins = {name: columns[name][0] * unit for name, unit in units.items()}
        return pitches, begins, {name: (columns[name][1] - columns[name][0]) * unit for name, unit in units.items()}

    def _call(
        self,
        bands: Sequence[Band],
        simulation: Simulation,
        heights: Mapping[str, int],
        outside: tuple[str, ...],
        outputs: tuple[str, ...],
        fed: str | None,
        columns: Mapping[str, Columns] | None = None,
    ) -> StreamCall:
        pitches, begins, bytes_of = self._rows_bytes(bands, heights, columns)
        inside = [name for name in heights if name not in outside and name not in outputs]
        units = _units(bands, heights)
        unit_bytes = {name: size // units[name] for name, size in bytes_of.items()}
        sizes = {name: height * units[name] for name, height in heights.items()}
        guests = find_guests(bands, simulation, sizes, inside, unit_bytes, fed)
        rows, end = [], 0
        for name, height in heights.items():
            made = Rows(
                tensor=name,
                height=height,
                row_bytes=bytes_of[name],
                slots=sizes[name],
                pitch=pitches[name],
                column=begins[name],
                units=units[name],
            )
            if name in guests:
                guest = guests[name]
                made = replace(made, slots=0, guest_of=guest.host, lead=guest.lead, stride=guest.stride)
            elif name in inside:
                made = replace(made, slots=simulation.slots[name], offset=end)
                made = replace(made, tail=reach_over(bands, made))
                end += whole_words(made.ring_bytes)
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
            overlaps=() if columns else tuple(_overlaps(bands, simulation, guests, unit_bytes, outside, outputs)),
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


def _units(bands: Sequence[Band], names: Iterable[str]) -> dict[str, int]:
    """In how many strips the rows of each tensor come to be, or are counted."""
    read = {r.tensor: r.span.units for band in bands for _, r in band.readings if r.span is not None}
    return {**dict.fromkeys(names, 1), **read, **{band.writes: band.units for band in bands}}


def _control_stack(bands: Sequence[Band], state: int | None) -> int:
    pointers = max(
        sum(reading.count for _, reading in band.readings if reading.access is Access.POINTERS) for band in bands
    )
    return CONTROL_STACK_BYTES + 4 * pointers + (4 * len(bands) if state is None else 0)


def _overlaps(
    bands: Sequence[Band],
    simulation: Simulation,
    guests: Mapping[str, Guest],
    unit_bytes: Mapping[str, int],
    outside: Sequence[str],
    outputs: Sequence[str],
) -> Iterable[Overlap]:
    """How far before an outside tensor an output must begin, so that it only covers rows that are done with."""
    for index, source in enumerate(outside):
        if source not in unit_bytes:
            continue
        for output, target in enumerate(outputs):
            # A guest's rows are there before the output's own.
            writers = {target, *(name for name, guest in guests.items() if guest.host == target)}
            distance = max(
                written * unit_bytes[target] - needed * unit_bytes[source]
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
