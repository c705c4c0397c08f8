# SPDX-License-Identifier: Apache-2.0
"""Orders, intervals and aliases of small programs whose answer is known."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered, Overlap, Place
from mcucompiler.memory import plan_memory
from mcucompiler.memory.verify import verify_memory
from mcucompiler.schedule import make_schedule, peak_bytes, schedule_in_order
from mcucompiler.schedule.dependencies import dependence_graph
from mcucompiler.schedule.types import Alias, LiveInterval
from mcucompiler.schedule.verify import verify_schedule
from tests.support.planning import IN_PLACE, Program, whole


def test_small_results_are_made_before_large_ones() -> None:
    """Graph order holds a large branch while the other one passes through its own large tensor."""
    program = Program()
    program.input("in", 8)
    program.step(["in"], {"wide": 100})
    program.step(["in"], {"hump": 80})
    program.step(["hump"], {"thin": 4})
    program.step(["wide", "thin"], {"out": 4})
    lowered = program.lowered(["out"])
    schedule = make_schedule(lowered)
    assert schedule.order == (1, 2, 0, 3)
    assert peak_bytes(schedule_in_order(lowered, range(4))) == 8 + 100 + 80
    assert peak_bytes(schedule) == 8 + 100 + 4
    verify_schedule(schedule)


def test_graph_order_is_kept_where_no_other_is_better() -> None:
    program = Program()
    program.input("in", 40)
    program.step(["in"], {"a": 20})
    program.step(["in"], {"b": 20})
    program.step(["a", "b"], {"c": 80})
    assert make_schedule(program.lowered(["c"])).order == (0, 1, 2)


def test_intervals_begin_before_the_run_for_inputs_and_last_beyond_it_for_outputs() -> None:
    program = Program()
    program.input("in", 4)
    program.input("unused", 4)
    program.step(["in"], {"a": 4})
    program.step(["a"], {"b": 4, "dead": 4})
    schedule = make_schedule(program.lowered(["b"]))
    assert schedule.intervals == (
        LiveInterval(buffer="in", first=-1, last=0),
        LiveInterval(buffer="unused", first=-1, last=-1),
        LiveInterval(buffer="a", first=0, last=1),
        LiveInterval(buffer="b", first=1, last=2),
        LiveInterval(buffer="dead", first=1, last=1),
    )


def test_a_program_without_steps_has_a_plan() -> None:
    program = Program()
    program.input("in", 7)
    schedule = make_schedule(program.lowered(["in"]))
    verify_schedule(schedule)
    plan = plan_memory(schedule)
    verify_memory(schedule, plan)
    assert (plan.arena_bytes, plan.peak_position, plan.optimal) == (8, 0, True)


def residual() -> Lowered:
    program = Program()
    program.input("in", 64)
    program.step(["in"], {"a": 32})
    program.step(["a"], {"b": 32})
    program.step(["b", "a"], {"sum": 32}, overlaps=IN_PLACE)
    program.step(["sum"], {"out": 4})
    return program.lowered(["out"])


def test_a_residual_sum_is_laid_over_the_older_operand() -> None:
    schedule = make_schedule(residual())
    assert schedule.aliases == (Alias(step=2, into="a", buffer="sum"),)


def test_no_alias_over_what_is_still_needed() -> None:
    program = Program()
    program.input("in", 32)
    program.step(["in"], {"a": 32}, overlaps=IN_PLACE[:1])
    program.step(["a", "in"], {"b": 32}, overlaps=IN_PLACE)
    program.step(["b"], {"c": 32}, overlaps=IN_PLACE[:1])
    schedule = make_schedule(program.lowered(["c", "b"]))
    assert schedule.aliases == (Alias(step=1, into="in", buffer="b"),)


def test_one_of_two_reads_of_a_buffer_without_leave_forbids_the_alias() -> None:
    program = Program()
    program.input("in", 32)
    program.step(["in", "in"], {"a": 32}, overlaps=IN_PLACE[:1])
    assert make_schedule(program.lowered(["a"])).aliases == ()


def test_each_output_of_a_step_gets_its_own_input() -> None:
    program = Program()
    program.input("small", 8)
    program.input("large", 64)
    both = tuple(Overlap(input=i, output=o) for i in (0, 1) for o in (0, 1))
    program.step(["small", "large"], {"a": 64, "b": 8}, overlaps=both)
    aliases = make_schedule(program.lowered(["a", "b"])).aliases
    assert {(alias.into, alias.buffer) for alias in aliases} == {("large", "a"), ("small", "b")}


def test_distances_are_between_starts_of_buffers() -> None:
    """The kernel speaks of tensors: the input begins 8 bytes into its buffer."""
    program = Program()
    program.input("in", 4)
    program.step(["in"], {"x": whole("x", 40)})
    program.view("tail", ["x"], whole("x", 32, offset=8))
    program.step(["tail"], {"y": 40}, overlaps=[Overlap(input=0, output=0, same=False, distance=20)])
    schedule = make_schedule(program.lowered(["y"]))
    assert schedule.aliases == (Alias(step=1, into="x", buffer="y", same=False, distance=12),)
    verify_schedule(schedule)
    closer = replace(schedule, aliases=(replace(schedule.aliases[0], distance=8),))
    with pytest.raises(VerificationError, match="does not permit"):
        verify_schedule(closer)


def concatenated(*, leave: bool = True) -> Lowered:
    """Two slices of one buffer, the first of them rewritten in place before both are read."""
    left = Place(buffer="c", offset=0, rows=4, row=3, stride=8)
    right = Place(buffer="c", offset=3, rows=4, row=5, stride=8)
    program = Program()
    program.input("in", 16)
    program.step(["in"], {"l": left})
    program.step(["in"], {"r": right})
    program.step(["l"], {"l2": left}, overlaps=IN_PLACE[:1] if leave else ())
    program.view("c", ["l2", "r"], whole("c", 32))
    program.step(["c"], {"out": 4})
    return program.lowered(["out"])


def test_slices_of_a_buffer_depend_on_each_other_only_where_they_share_bytes() -> None:
    assert sorted(dependence_graph(concatenated()).edges) == [(0, 2), (0, 3), (1, 3), (2, 3)]


def test_reading_before_all_slices_are_written_is_refused() -> None:
    with pytest.raises(VerificationError, match="does not find its input 'c'"):
        verify_schedule(schedule_in_order(concatenated(), (0, 2, 3, 1)))


def test_a_lowering_that_overwrites_what_is_read_later_is_refused() -> None:
    """The first slice has another reader after it was rewritten."""
    left = Place(buffer="c", offset=0, rows=4, row=3, stride=8)
    program = Program()
    program.input("in", 16)
    program.step(["in"], {"l": left})
    program.step(["l"], {"l2": left}, overlaps=IN_PLACE[:1])
    program.step(["l", "l2"], {"out": 4})
    with pytest.raises(VerificationError, match="reads 'l' where 'l2' has overwritten it"):
        verify_schedule(make_schedule(program.lowered(["out"])))


def test_a_lowering_that_reads_unwritten_bytes_is_refused() -> None:
    program = Program()
    program.input("in", 16)
    program.step(["in"], {"half": whole("c", 8)})
    program.view("c", ["half"], whole("c", 16))
    program.step(["c"], {"out": 4})
    with pytest.raises(VerificationError, match="bytes of 'c' that nothing wrote"):
        verify_schedule(make_schedule(program.lowered(["out"])))


def test_unknown_steps_are_refused() -> None:
    schedule = make_schedule(residual())
    with pytest.raises(VerificationError, match="there is no step 9"):
        verify_schedule(replace(schedule, order=(*schedule.order, 9)))


def test_aliases_of_one_buffer_twice_or_of_no_buffer_are_refused() -> None:
    schedule = make_schedule(residual())
    with pytest.raises(VerificationError, match="in two aliases"):
        verify_schedule(replace(schedule, aliases=(*schedule.aliases, Alias(step=2, into="b", buffer="sum"))))
    with pytest.raises(VerificationError, match="no such step or buffer"):
        verify_schedule(replace(schedule, aliases=(Alias(step=2, into="elsewhere", buffer="sum"),)))
    with pytest.raises(VerificationError, match="does not read the one and write the other"):
        verify_schedule(replace(schedule, aliases=(Alias(step=3, into="a", buffer="sum"),)))


def parallel(steps: int, branches: int, depth: int) -> Lowered:
    """Fork after join, each with branches of random sizes."""
    rng = random.Random(7)
    program = Program()
    name = program.input("in", 20_000)
    while len(program.steps) < steps:
        start, ends = len(program.steps), []
        for branch in range(branches):
            end = name
            for number in range(depth):
                (end,) = program.step([end], {f"t{start}_{branch}_{number}": rng.randint(500, 20_000)})
            ends.append(end)
        (name,) = program.step(ends, {f"join{start}": rng.randint(5_000, 20_000)})
    return program.lowered([name])


@pytest.mark.parametrize(("steps", "branches", "depth"), [(60, 3, 3), (150, 4, 4), (150, 6, 4)])
def test_large_networks_are_planned_quickly(steps: int, branches: int, depth: int) -> None:
    lowered = parallel(steps, branches, depth)
    start = time.process_time()
    schedule = make_schedule(lowered)
    verify_schedule(schedule)
    plan = plan_memory(schedule)
    verify_memory(schedule, plan)
    assert time.process_time() - start < 5.0  # measured: 0.1 s
    assert plan.optimal
    assert peak_bytes(schedule) <= peak_bytes(schedule_in_order(lowered, range(len(lowered.steps))))
