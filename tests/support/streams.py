# SPDX-License-Identifier: Apache-2.0
"""Programs in which chosen groups of layers are streams, and what runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from mcucompiler.emit import emit
from mcucompiler.ir.graph import Graph
from mcucompiler.lower import lower_graph
from mcucompiler.lower.types import Cpu, Lowered, LoweredStep, LoweringOptions
from mcucompiler.manifest import Manifest, read_manifest
from mcucompiler.memory.verify import verify_memory
from mcucompiler.pipeline import import_and_rewrite
from mcucompiler.reference import execute
from mcucompiler.run import make_runner, seeded_samples
from mcucompiler.schedule import make_schedule
from mcucompiler.schedule.verify import verify_schedule
from mcucompiler.stream.compose import Composer, GroupChoice, with_streams
from mcucompiler.stream.plans import Plan, in_order, plan_lowered
from mcucompiler.stream.types import StreamCall
from tests.support.graphs import random_feeds
from tests.support.programs import assert_equal, run_program, run_reference
from tests.support.stream_machine import Machine

ROWS = (1, 2, 4)


@dataclass(frozen=True)
class Subject:
    """A network that is ready for streams."""

    graph: Graph
    composer: Composer

    def plan(self, *choices: GroupChoice) -> Plan:
        """The plan with these groups as streams; each must be possible."""
        streams = {}
        for choice in choices:
            stream = self.composer.stream(choice)
            assert stream is not None, choice
            streams[choice] = stream
        return plan_lowered(with_streams(self.composer, streams))

    @property
    def steps(self) -> int:
        return len(self.composer.lowered.steps)

    def possible(self, **choice: Any) -> bool:
        return self.composer.stream(GroupChoice(**choice)) is not None

    def runs(self, *, turned: bool = False) -> list[tuple[int, int]]:
        """First step and end of each longest row of layers that can be bands; two layers at least."""
        maker, found, first = self.composer.maker_of(turned=turned), [], 0
        for index in range(self.steps + 1):
            if index == self.steps or not maker.height(index) or not maker.bands(index, 1):
                if index - first > 1:
                    found.append((first, index))
                first = index + 1
        return found

    def longest(self, *, rows: int = 1, expand: bool = False, turned: bool = False) -> list[GroupChoice]:
        """The longest stream that can be had from each row of layers, one after the other."""
        choices = []
        for first, end in self.runs(turned=turned):
            while end - first > 1:
                stop = next(
                    (s for s in range(end, first + 1, -1) if self.possible(first=first, stop=s, turned=turned)), None
                )
                if stop is None:
                    first += 1
                    continue
                choices.append(self._choice(GroupChoice(first=first, stop=stop, rows=rows, turned=turned), expand))
                first = stop
        return choices

    def _choice(self, choice: GroupChoice, expand: bool) -> GroupChoice:
        """With all expansions that are possible together, or with as many as can be had one after the other."""
        maker = self.composer.maker_of(turned=choice.turned)
        wanted = [index for index in range(choice.first, choice.stop - 1) if expand and maker.expandable(index)]
        whole = replace(choice, expansions=frozenset(wanted))
        if self.composer.stream(whole) is not None:
            return whole
        for index in wanted:
            wider = replace(choice, expansions=choice.expansions | {index})
            choice = wider if self.composer.stream(wider) is not None else choice
        return choice


def subject(model: bytes | Path, *, share_concats: bool = True, cpu: Cpu | None = None) -> Subject:
    """A network, its layers in the order of its layer-by-layer plan."""
    _, graph = import_and_rewrite(model)
    options = LoweringOptions(cpu=cpu or Cpu())
    lowered = lower_graph(graph, options, share_concats=share_concats)
    return Subject(graph, Composer(in_order(make_schedule(lowered))))


@st.composite
def plans(draw: st.DrawFn, subject: Subject, *, feed: bool = False, turn: bool = False) -> Plan:
    """A plan with random groups as streams.

    With ``feed``, the rows of the only input are pushed where they can be; with ``turn``, streams may run along the
    width.
    """
    streams: dict[GroupChoice, LoweredStep] = {}
    first = 0
    fed = subject.graph.inputs[0] if feed and len(subject.graph.inputs) == 1 else None
    while first < subject.steps:
        turned = turn and draw(st.integers(0, 3)) > 0
        choice = draw(_choices(subject, first, fed if first == 0 else None, turned))
        stream = subject.composer.stream(choice) if choice is not None else None
        if choice is None or stream is None:
            first += 1
        else:
            streams[choice] = stream
            first = choice.stop
    return plan_lowered(with_streams(subject.composer, streams))


@st.composite
def _choices(draw: st.DrawFn, subject: Subject, first: int, fed: str | None, turned: bool) -> GroupChoice | None:
    """A group that begins at ``first`` and could be a stream."""
    maker, steps = subject.composer.maker_of(turned=turned), subject.composer.lowered.steps
    reach = first
    while reach < subject.steps and maker.height(reach) and maker.bands(reach, 1):
        reach += 1
    readers = {index for index, step in enumerate(steps) if fed in step.reads.values()} if fed else set()
    least = max(first + 2, max(readers, default=0) + 1)
    if reach < least or (fed is None and draw(st.integers(0, 5)) == 0):
        return None
    stop = draw(st.integers(least, reach))
    rows, lean = draw(st.sampled_from(ROWS)), draw(st.booleans())
    choice = GroupChoice(first=first, stop=stop, rows=rows, lean=lean, fed=fed, turned=turned)
    return draw(_expanded(subject, choice))


@st.composite
def _expanded(draw: st.DrawFn, subject: Subject, choice: GroupChoice) -> GroupChoice:
    """A group with some of its layers made anew for each window, where they can be."""
    maker = subject.composer.maker_of(turned=choice.turned)
    for index in range(choice.first, choice.stop - 1):
        if maker.expandable(index) and draw(st.booleans()):
            wider = replace(choice, expansions=choice.expansions | {index})
            if subject.composer.stream(wider) is not None:
                choice = wider
    return choice


@st.composite
def divided_plans(
    draw: st.DrawFn,
    subject: Subject,
    ways: Mapping[str, st.SearchStrategy[Any]],
    *,
    feed: bool = False,
    expand: bool = False,
) -> Plan:
    """A plan with random groups, each as long as it can be up to a random end.

    Args:
        draw: given by hypothesis.
        subject: the network.
        ways: attributes of a ``GroupChoice``: how the groups run.
        feed: whether the rows of the only input are pushed where they can be.
        expand: whether layers may be made anew for each window.
    """
    streams: dict[GroupChoice, LoweredStep] = {}
    fed = subject.graph.inputs[0] if feed and len(subject.graph.inputs) == 1 else None
    readers = [i for i, step in enumerate(subject.composer.lowered.steps) if fed in step.reads.values()]
    first = 0
    while first < subject.steps:
        stop = draw(st.integers(first + 1, subject.steps))
        way = {name: draw(values) for name, values in ways.items()}
        found = (
            (choice, step)
            for pushed in ((fed, None) if fed is not None and first == 0 else (None,))
            for end in range(subject.steps if pushed else stop, max(first, *readers, 0) if pushed else first, -1)
            for choice in [GroupChoice(first=first, stop=end, fed=pushed, **way)]
            if (step := subject.composer.stream(choice)) is not None
        )
        choice, step = next(found, (None, None))
        if choice is None or step is None:
            first += 1
            continue
        if expand:
            choice = draw(_expanded(subject, choice))
        stream = subject.composer.stream(choice)
        assert stream is not None
        streams[choice] = stream
        first = choice.stop
    return plan_lowered(with_streams(subject.composer, streams))


def program(plan: Plan, folder: Path) -> Manifest:
    """The C of a plan, written to ``folder``."""
    tree = emit(
        plan.schedule,
        plan.memory,
        name="net",
        version="0",
        command="test",
        board="mps2-an500",
        cpu=plan.lowered.options.cpu,
        by_rows=plan.lowered.fed is not None,
    )
    folder.mkdir(parents=True)
    for name, text in tree.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return read_manifest(folder)


def check_program(
    subject: Subject, plan: Plan, folder: Path, *, on: str = "host", sanitize: bool = False, count: int = 2
) -> None:
    """The C of a plan computes what the reference does."""
    manifest = program(plan, folder)
    samples = seeded_samples(manifest, count)
    got = run_program(make_runner(manifest, on, sanitize=sanitize), manifest, samples)
    assert_equal(got, run_reference(subject, manifest, samples))


def assert_right(plan: Plan, seed: int = 0) -> None:
    """The plan computes what the reference does, for random inputs."""
    graph = plan.lowered.graph
    feeds = random_feeds(graph, seed)
    expected, got = execute(graph, feeds), Machine(plan, seed).run(feeds)
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name, strict=True)


def streams(plan: Plan) -> Iterator[tuple[int, StreamCall]]:
    """Index into the steps and call of each stream."""
    for index, step in enumerate(plan.lowered.steps):
        if isinstance(step.call, StreamCall):
            yield index, step.call


def with_call(plan: Plan, index: int, change: Callable[[StreamCall], StreamCall]) -> Plan:
    """A plan with one stream changed, and everything else as it was."""
    steps = list(plan.lowered.steps)
    call = steps[index].call
    assert isinstance(call, StreamCall)
    steps[index] = replace(steps[index], call=change(call))
    lowered: Lowered = replace(plan.lowered, steps=tuple(steps))
    return replace(plan, lowered=lowered, schedule=replace(plan.schedule, lowered=lowered))


def verify(plan: Plan) -> None:
    """Both verifiers.

    Raises:
        VerificationError: from either.
    """
    verify_schedule(plan.schedule)
    verify_memory(plan.schedule, plan.memory)


def changed(call: StreamCall, tensor: str, **changes: Any) -> StreamCall:
    """A stream with other rows of a tensor."""
    rows: Mapping[str, Any] = changes
    return replace(call, rows=tuple(replace(r, **rows) if r.tensor == tensor else r for r in call.rows))
