# SPDX-License-Identifier: Apache-2.0
"""Placement and its verifier on small programs whose answer is known."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace

import pytest

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered, Overlap, Place
from mcucompiler.memory import plan_memory
from mcucompiler.memory.bound import lower_bound
from mcucompiler.memory.peak import describe_peak, peak
from mcucompiler.memory.place import place
from mcucompiler.memory.types import ArenaProblem, Block, MemoryPlan
from mcucompiler.memory.verify import verify_memory
from mcucompiler.schedule import make_schedule, schedule_in_order
from mcucompiler.schedule.types import Schedule
from tests.support import ROOT
from tests.support.planning import IN_PLACE, Program, moved, whole


def planned(lowered: Lowered) -> tuple[Schedule, MemoryPlan]:
    schedule = make_schedule(lowered)
    plan = plan_memory(schedule)
    verify_memory(schedule, plan)
    return schedule, plan


def chain(*overlaps: Overlap, scratch: int = 0, output: int = 32) -> Lowered:
    program = Program()
    program.input("in", 32)
    program.step(["in"], {"x": 32})
    program.step(["x"], {"y": output}, overlaps=overlaps, scratch=scratch)
    program.step(["y"], {"out": 8})
    return program.lowered(["out"])


def test_without_leave_the_output_lies_apart() -> None:
    schedule, plan = planned(chain())
    assert plan.arena_bytes == 64
    with pytest.raises(VerificationError, match="as its kernel does not permit"):
        verify_memory(schedule, moved(plan, "y", plan.offset("x")))


def test_the_same_place_and_no_other() -> None:
    schedule, plan = planned(chain(Overlap(input=0, output=0), scratch=12))
    assert plan.offset("x") == plan.offset("y")
    assert plan.arena_bytes == 64
    elsewhere = moved(moved(plan, "scratch@1", 100), "y", plan.offset("y") + 4)
    with pytest.raises(VerificationError, match="as its kernel does not permit"):
        verify_memory(schedule, elsewhere)


@pytest.mark.parametrize(("distance", "kept"), [(0, 0), (10, 12), (12, 12), (40, 32)])
def test_an_output_keeps_its_distance(distance: int, kept: int) -> None:
    """With a distance above the output's size, apart is nearer than overlapping."""
    leave = Overlap(input=0, output=0, same=False, distance=distance)
    schedule, plan = planned(chain(leave, scratch=40))
    assert plan.arena_bytes == 32 + kept + 40
    at = plan.offset("x")
    legal = moved(moved(plan, "scratch@1", 400), "x", at + 96)
    if distance <= 32:
        verify_memory(schedule, moved(legal, "y", at + 96 - kept))
    if distance:
        with pytest.raises(VerificationError, match="as its kernel does not permit"):
            verify_memory(schedule, moved(legal, "y", at + 96 - min(kept, 32) + 4))


def test_scratch_touches_neither_inputs_nor_outputs_nor_what_waits() -> None:
    program = Program()
    program.input("in", 32)
    program.step(["in"], {"waits": 32})
    program.step(["in"], {"y": 32}, scratch=20, scratch_align=8)
    program.step(["y", "waits"], {"out": 8})
    schedule = schedule_in_order(program.lowered(["out"]), range(3))
    plan = plan_memory(schedule)
    verify_memory(schedule, plan)
    assert plan.offset("scratch@1") % 8 == 0
    for name in ("in", "y"):
        with pytest.raises(VerificationError, match=f"the scratch overlaps '{name}'"):
            verify_memory(schedule, moved(plan, "scratch@1", plan.offset(name)))
    with pytest.raises(VerificationError, match="of its bytes are lost"):
        verify_memory(schedule, moved(plan, "scratch@1", plan.offset("waits")))
    with pytest.raises(VerificationError, match="not aligned to 8"):
        verify_memory(schedule, moved(plan, "scratch@1", 204))


def test_an_output_of_the_graph_must_survive() -> None:
    program = Program()
    program.input("in", 32)
    program.step(["in"], {"early": 32})
    program.step(["in"], {"late": 32})
    schedule, plan = planned(program.lowered(["early", "late"]))
    with pytest.raises(VerificationError, match="the caller, after the last step"):
        verify_memory(schedule, moved(plan, "late", plan.offset("early")))


def test_inputs_lie_apart_even_if_nobody_reads_them() -> None:
    program = Program()
    program.input("in", 32)
    program.input("unused", 32)
    program.step(["in"], {"out": 32}, overlaps=IN_PLACE[:1])
    schedule, plan = planned(program.lowered(["out"]))
    assert plan.arena_bytes == 64
    with pytest.raises(VerificationError, match="graph inputs 'in' and 'unused' overlap"):
        verify_memory(schedule, moved(plan, "unused", plan.offset("in")))


def test_two_outputs_of_a_step_lie_apart() -> None:
    program = Program()
    program.input("in", 32)
    program.step(["in"], {"a": 16, "b": 16})
    program.step(["b"], {"out": 4})
    schedule, plan = planned(program.lowered(["out"]))
    with pytest.raises(VerificationError, match=r"outputs of step 0 .* 'a' and 'b' overlap"):
        verify_memory(schedule, moved(plan, "a", plan.offset("b")))


def test_an_output_lies_over_one_input_only() -> None:
    program = Program()
    program.input("in", 4)
    program.step(["in"], {"a": 32, "b": 32})
    leave = [Overlap(input=i, output=0, same=False, distance=0) for i in (0, 1)]
    program.step(["a", "b"], {"sum": 64}, overlaps=leave)
    schedule, plan = planned(program.lowered(["sum"]))
    assert plan.arena_bytes == 96
    both = moved(moved(moved(plan, "sum", 0), "a", 0), "b", 32)
    with pytest.raises(VerificationError, match="over several inputs at once"):
        verify_memory(schedule, moved(both, "in", 64))


def test_a_slice_is_rewritten_in_place_only_with_leave() -> None:
    left = Place(buffer="c", offset=0, rows=4, row=3, stride=8)
    right = Place(buffer="c", offset=3, rows=4, row=5, stride=8)
    for leave in (True, False):
        program = Program()
        program.input("in", 16)
        program.step(["in"], {"l": left})
        program.step(["l"], {"l2": left}, overlaps=IN_PLACE[:1] if leave else ())
        program.step(["in"], {"r": right})
        program.view("c", ["l2", "r"], whole("c", 32))
        program.step(["c"], {"out": 4})
        schedule = make_schedule(program.lowered(["out"]))
        plan = plan_memory(schedule)
        if leave:
            verify_memory(schedule, plan)
        else:
            with pytest.raises(VerificationError, match="as its kernel does not permit"):
                verify_memory(schedule, plan)


def test_leave_to_overlap_does_not_hold_between_different_strides() -> None:
    program = Program()
    program.input("in", 16)
    program.step(["in"], {"x": Place(buffer="x", offset=0, rows=4, row=3, stride=8)})
    program.step(["x"], {"y": 12}, overlaps=IN_PLACE[:1])
    schedule, plan = planned(program.lowered(["y"]))
    assert schedule.aliases == ()
    with pytest.raises(VerificationError, match="as its kernel does not permit"):
        verify_memory(schedule, moved(plan, "y", plan.offset("x")))


def test_offsets_are_aligned_and_within_the_arena() -> None:
    schedule, plan = planned(chain())
    with pytest.raises(VerificationError, match="'in' at 4 is not aligned to 32"):
        verify_memory(schedule, moved(plan, "in", 4))
    with pytest.raises(VerificationError, match="'y' at 2 is not aligned to 4"):
        verify_memory(schedule, moved(plan, "y", 2))
    with pytest.raises(VerificationError, match="is not within"):
        verify_memory(schedule, moved(plan, "y", -4))
    with pytest.raises(VerificationError, match="does not end on a word"):
        verify_memory(schedule, replace(plan, arena_bytes=plan.arena_bytes + 2))
    with pytest.raises(VerificationError, match="two offsets"):
        verify_memory(schedule, replace(plan, offsets=(*plan.offsets, ("y", 0))))


def hard_problem() -> ArenaProblem:
    """Rectangles that none of the quick rules packs without a gap."""
    rng = random.Random(98)
    blocks = []
    for index in range(rng.randint(20, 40)):
        first = rng.randint(0, 30)
        size = 4 * rng.randint(1, 60)
        last = min(30, first + rng.choice((1, 2, 3, 8)))
        blocks.append(Block(name=f"b{index}", size_bytes=size, align=4, first=first, last=last))
    return ArenaProblem(blocks=tuple(blocks))


def test_the_exact_search_closes_the_gap_that_quick_rules_leave() -> None:
    problem = hard_problem()
    quick, exact = place(problem, time_limit_s=0), place(problem)
    assert quick.height_bytes > quick.bound_bytes == lower_bound(problem)
    assert not quick.optimal
    assert exact.height_bytes == exact.bound_bytes == lower_bound(problem)
    assert exact.optimal


def test_a_limit_that_strikes_gives_the_best_found_and_its_bound() -> None:
    placement = place(hard_problem(), time_limit_s=1e-6)
    assert not placement.optimal
    assert lower_bound(hard_problem()) <= placement.bound_bytes < placement.height_bytes


def test_alignment_beyond_words_is_proved_too() -> None:
    program = Program()
    program.input("a", 4)
    program.input("b", 4)
    program.step(["a", "b"], {"out": 4})
    _, plan = planned(program.lowered(["out"]))
    assert (plan.arena_bytes, plan.lower_bound_bytes, plan.optimal) == (36, 36, True)


def test_peak_names_the_step_and_its_live_buffers() -> None:
    schedule, plan = planned(chain(Overlap(input=0, output=0), scratch=12, output=48))
    top = peak(schedule, plan)
    assert (top.position, top.step, top.kind, top.sources, top.live_bytes) == (0, 0, "Opaque", ("n0",), 64)
    schedule, plan = planned(chain(Overlap(input=0, output=0), scratch=52, output=48))
    assert describe_peak(schedule, plan) == (
        "step 1 (Opaque 'n1'), 100 bytes live: 52 scratch, 48 'y', laid over 'x', 32 'x'"
    )
    (scratch, y, x) = peak(schedule, plan).buffers
    assert (scratch.name, scratch.tensors) == ("scratch@1", ())
    assert (y.name, y.tensors, y.size_bytes, y.over) == ("y", ("y",), 48, "x")
    assert (x.name, x.over) == ("x", "")


DETERMINISM = """
import sys
from tests.unit.test_planner_memory import hard_problem
from tests.unit.test_planner_order import concatenated, parallel, residual
from mcucompiler.memory import plan_memory
from mcucompiler.memory.place import place
from mcucompiler.schedule import make_schedule, schedule_in_order
for lowered in (concatenated(), residual(), parallel(60, 5, 3)):
    schedule = make_schedule(lowered)
    print(schedule.order, schedule.intervals, schedule.aliases, plan_memory(schedule))
print(place(hard_problem()))
"""


def test_plans_do_not_depend_on_the_hash_seed() -> None:
    texts = set()
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", DETERMINISM],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        texts.add(done.stdout)
    (text,) = texts
    assert "b0" in text
