# SPDX-License-Identifier: Apache-2.0
"""Makes a stream of consecutive layers, and a program whose steps are layers and streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mcucompiler.ir.graph import Graph
from mcucompiler.lower.types import Lowered, LoweredStep
from mcucompiler.stream.assemble import Ready, assemble
from mcucompiler.stream.bands import BandMaker
from mcucompiler.stream.carrying import with_carriers
from mcucompiler.stream.columns import Columns, column_ranges, divisible
from mcucompiler.stream.images import COLUMN_AXIS, IMAGE_RANK, ROW_AXIS
from mcucompiler.stream.patches import in_turn, repeated_macs
from mcucompiler.stream.simulate import Simulation, simulate
from mcucompiler.stream.strips import with_units
from mcucompiler.stream.turned import Turned, turned
from mcucompiler.stream.types import Access, Band, PatchesCall


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
        turned: whether the stream runs along the width, column by column; rows are columns then, and there are neither
            column bands nor strips.
        strips: in how many runs bands make a row, as far as they can; in several of them there is one column band.
    """

    first: int
    stop: int
    rows: int = 1
    lean: bool = False
    expansions: frozenset[int] = frozenset()
    fed: str | None = None
    columns: int = 1
    turned: bool = False
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
        self._simulations: dict[tuple[int, int, bool], Simulation | None] = {}
        self._readers: dict[str, set[int]] = {}
        for index, step in enumerate(lowered.steps):
            for name in step.reads.values():
                self._readers.setdefault(name, set()).add(index)
        self._holders: dict[str, int] = {}
        for stored in lowered.stored.values():
            self._holders[stored.place.buffer] = self._holders.get(stored.place.buffer, 0) + 1

    @cached_property
    def turned(self) -> Turned:
        """The program along the width."""
        return turned(self.lowered)

    @cached_property
    def _turned_maker(self) -> BandMaker:
        return BandMaker(self.turned.lowered, self.turned.barred)

    def maker_of(self, *, turned: bool) -> BandMaker:
        """What makes the bands of streams along the height or the width."""
        return self._turned_maker if turned else self.maker

    def stream(self, choice: GroupChoice) -> LoweredStep | None:
        """The step that runs a group of layers as a stream, made only once; None where they cannot."""
        if choice not in self.streams:
            self.streams[choice] = self._made(choice)
        return self.streams[choice]

    def _made(self, choice: GroupChoice) -> LoweredStep | None:
        layers = self.lowered.steps[choice.first : choice.stop]
        if choice.turned and not self._may_turn(choice):
            return None
        bands: Sequence[Band] | None = self._bands(choice)
        if bands is None:
            return None
        hidden = {self.lowered.steps[index].writes[0] for index in choice.expansions}
        outputs = tuple(step.writes[0] for step in layers if not self._inside(step.writes[0], choice))
        if hidden & {*outputs} or _waits_for_itself(bands):
            return None
        outside = self._outside(layers, choice.fed)
        if choice.turned:
            bands = with_carriers(self.turned, bands, outside, outputs)
        graph = self.maker_of(turned=choice.turned).lowered.graph
        heights = self._heights(graph, bands, choice.fed)
        simulation = self._simulated(choice, bands, heights)
        if simulation is None or not self._separate((*outside, *outputs)):
            return None
        ready = Ready(
            graph=graph,
            bands=bands,
            simulation=simulation,
            heights=heights,
            outside=outside,
            outputs=outputs,
            fed=choice.fed,
            turned=choice.turned,
        )
        call = assemble(ready) if choice.columns == 1 else self._patches(choice, ready)
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
        maker = self.maker_of(turned=choice.turned)
        bands: list[Band] = []
        index = choice.first
        while index < choice.stop:
            expanded = index in choice.expansions
            last = index + 1 if expanded else index
            if last >= choice.stop or not maker.height(last):
                return None
            band = self._expanded(index, choice) if expanded else None
            made = (band,) if band else () if expanded else maker.bands(index, choice.rows, lean=choice.lean)
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
        maker, strips = self.maker_of(turned=choice.turned), None
        if choice.strips > 1:
            strips = maker.expanded(index, choice.rows, lean=choice.lean, strips=choice.strips)
        return strips or maker.expanded(index, choice.rows, lean=choice.lean)

    def _may_turn(self, choice: GroupChoice) -> bool:
        """Whether a group may run along the width: pushed rows must be time steps of a series."""
        fed = choice.fed is None or len(self.lowered.graph.tensors[choice.fed].shape) < IMAGE_RANK
        return fed and choice.columns == choice.strips == 1

    def _simulated(self, choice: GroupChoice, bands: Sequence[Band], heights: Mapping[str, int]) -> Simulation | None:
        """The run of a stream; that of one row a run is remembered, as it is the same for all its columns."""
        if choice.rows > 1 or choice.expansions or choice.strips > 1 or choice.fed is not None:
            return simulate(bands, heights, choice.fed)
        key = choice.first, choice.stop, choice.turned
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

    def _patches(self, choice: GroupChoice, ready: Ready) -> PatchesCall | None:
        """The group in column bands. Its output covers no input, which later parts still read."""
        graph, bands = ready.graph, ready.bands
        plain = choice.rows == 1 and not choice.expansions and choice.fed is None
        if not plain or not all(divisible(graph, band) for band in bands):
            return None
        made_here = {band.writes for band in bands}
        outside = tuple(name for name in ready.heights if name not in made_here)
        parts, ranges = [], []
        for columns in self.shares(choice, bands):
            if columns is None:
                return None
            made = [self.maker.part(choice.first + i, columns, lean=choice.lean) for i in range(len(bands))]
            narrow = [band for band in made if band is not None]
            if len(narrow) < len(bands):
                return None
            parts.append(assemble(replace(ready, bands=narrow, outside=outside, columns=columns)))
            ranges.append(columns)
        return in_turn(parts, repeated_macs(graph, bands, ranges))

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

    def _heights(self, graph: Graph, bands: Sequence[Band], fed: str | None) -> dict[str, int]:
        """Rows of every tensor that is read by rows or made."""
        tensors = graph.tensors
        names = [fed] if fed is not None else []
        for band in bands:
            names += [reading.tensor for _, reading in band.readings if reading.access is not Access.WHOLE]
            names.append(band.writes)
        made = {band.writes: band.height for band in bands}
        return {name: made[name] if name in made else tensors[name].shape[ROW_AXIS] for name in dict.fromkeys(names)}


def _waits_for_itself(bands: Sequence[Band]) -> bool:
    """Whether a band needs the whole of a tensor that the stream makes."""
    made = {band.writes for band in bands}
    return any(r.access is Access.WHOLE and r.tensor in made for band in bands for _, r in band.readings)


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
