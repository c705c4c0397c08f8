# SPDX-License-Identifier: Apache-2.0
"""Placements of random programs and problems: verified, optimal, and refused once something is moved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcucompiler.errors import VerificationError
from mcucompiler.lower.types import Lowered, Overlap
from mcucompiler.memory import plan_memory
from mcucompiler.memory.bound import lower_bound
from mcucompiler.memory.exact import exact_placement
from mcucompiler.memory.greedy import lay_out
from mcucompiler.memory.place import place
from mcucompiler.memory.types import ArenaProblem, Block, MemoryPlan, PermittedOverlap
from mcucompiler.memory.verify import verify_memory
from mcucompiler.memory.words import in_words
from mcucompiler.schedule import make_schedule
from mcucompiler.schedule.types import Schedule
from tests.support.planning import moved, programs

quick = settings(deadline=None, derandomize=True, max_examples=150)
slow = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def problems(draw: st.DrawFn) -> ArenaProblem:
    """Small problems in which blocks that meet at one position may have leave to overlap."""
    blocks = []
    for index in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, 4))
        last = draw(st.integers(first, 5))
        align = draw(st.sampled_from((4, 4, 4, 8, 16)))
        blocks.append(Block(name=f"b{index}", size_bytes=draw(st.integers(1, 30)), align=align, first=first, last=last))
    overlaps: list[PermittedOverlap] = []
    for upper in blocks:
        for lower in blocks:
            used = {name for o in overlaps if o.position == lower.first for name in (o.upper, o.lower)}
            if (
                upper is lower
                or upper.last != lower.first
                or upper.first == lower.first
                or {upper.name, lower.name} & used
            ):
                continue
            if upper.last < lower.last and draw(st.booleans()):
                same = draw(st.booleans())
                distance = 0 if same else draw(st.integers(0, 20))
                overlaps.append(
                    PermittedOverlap(
                        upper=upper.name, lower=lower.name, position=lower.first, same=same, distance=distance
                    )
                )
    return ArenaProblem(blocks=tuple(blocks), overlaps=tuple(overlaps))


def legal(problem: ArenaProblem, first: Block, at: int, second: Block, other: int) -> bool:
    """Whether two blocks may lie at these offsets, straight from the definition of a permitted overlap."""
    meet = range(max(first.first, second.first), min(first.last, second.last) + 1)
    if not meet or at + first.size_bytes <= other or other + second.size_bytes <= at:
        return True
    if len(meet) > 1:
        return False
    offsets = {first.name: at, second.name: other}
    return any(
        offsets[o.lower] == offsets[o.upper] if o.same else offsets[o.lower] + o.distance <= offsets[o.upper]
        for o in problem.overlaps
        if {o.upper, o.lower} == set(offsets) and o.position == meet[0]
    )


def fits(problem: ArenaProblem, arena: int, placed: tuple[int, ...] = ()) -> bool:
    """Whether some placement needs no more than ``arena`` bytes, by trying them all."""
    if len(placed) == len(problem.blocks):
        return True
    block = problem.blocks[len(placed)]
    for offset in range(0, arena - block.size_bytes + 1, block.align):
        before = zip(problem.blocks, placed, strict=False)
        if all(legal(problem, block, offset, other, at) for other, at in before) and fits(
            problem, arena, (*placed, offset)
        ):
            return True
    return False


@slow
@given(problems())
def test_placement_is_optimal_by_enumeration(problem: ArenaProblem) -> None:
    placement = place(problem)
    offsets = placement.offsets
    blocks = problem.blocks
    for index, block in enumerate(blocks):
        assert offsets[block.name] % block.align == 0
        for other in blocks[:index]:
            assert legal(problem, block, offsets[block.name], other, offsets[other.name])
    height = max(offsets[block.name] + block.size_bytes for block in blocks)
    assert placement.height_bytes == (height + 3) // 4 * 4
    assert placement.optimal
    assert placement.bound_bytes == placement.height_bytes >= lower_bound(problem)
    assert not fits(problem, placement.height_bytes - 4)


@slow
@given(problems())
def test_the_solver_alone_finds_the_same_height(problem: ArenaProblem) -> None:
    words = in_words(problem)
    order = tuple(range(len(problem.blocks)))
    hint = lay_out(words, order, prefer_same=False)
    assert words.obeys(hint)
    exact = exact_placement(words, hint, lower_bound(problem) // 4, 10.0)
    assert words.obeys(exact.starts)
    assert exact.bound == words.height(exact.starts) == place(problem).height_bytes // 4


@quick
@given(programs(most_steps=14))
def test_plans_are_verified_and_at_least_the_lower_bound(lowered: Lowered) -> None:
    schedule = make_schedule(lowered)
    plan = plan_memory(schedule)
    verify_memory(schedule, plan)
    assert plan.optimal
    assert plan.arena_bytes == plan.lower_bound_bytes >= lower_bound(plan.problem)
    assert plan.arena_bytes % 4 == 0
    assert 0 <= plan.peak_position < len(schedule.order)


def conflicts(plan: MemoryPlan) -> bool:
    """Whether two blocks of a plan share bytes against the rules."""
    blocks = plan.problem.blocks
    return any(
        not legal(plan.problem, block, plan.offset(block.name), other, plan.offset(other.name))
        for index, block in enumerate(blocks)
        for other in blocks[:index]
    )


@settings(quick, max_examples=400)
@given(lowered=programs(shared=False), data=st.data())
def test_a_moved_block_is_refused_exactly_where_it_does_harm(lowered: Lowered, data: st.DataObject) -> None:
    """Without shared buffers, every byte of a block matters as long as it is live."""
    schedule = make_schedule(lowered)
    plan = plan_memory(schedule)
    block = data.draw(st.sampled_from(plan.problem.blocks))
    step = block.align
    offset = plan.offset(block.name) + data.draw(st.integers(-8, 8)) * step
    assume(offset >= 0)
    changed = moved(plan, block.name, offset)
    if conflicts(changed):
        # The kernels may permit more than the aliases that were chosen; then the bytes are right all the same.
        if not harmless(schedule, changed):
            with pytest.raises(VerificationError):
                verify_memory(schedule, changed)
    else:
        verify_memory(schedule, changed)


def harmless(schedule: Schedule, plan: MemoryPlan) -> bool:
    """Whether all conflicts of a plan are overlaps that kernels permit though the schedule does not use them."""
    position = {step: index for index, step in enumerate(schedule.order)}
    lowered = schedule.lowered
    permitted = []
    for index, step in enumerate(lowered.steps):
        for output, target in enumerate(step.writes):
            for source in dict.fromkeys(step.reads.values()):
                reads = [i for i, name in step.reads.items() if name == source]
                leaves = [
                    [
                        o
                        for o in step.call.overlaps
                        if (o.input, o.output) == (i, output) and covers(plan, o, source, target)
                    ]
                    for i in reads
                ]
                if all(leaves):
                    permitted.append(
                        PermittedOverlap(
                            upper=source,
                            lower=target,
                            position=position[index],
                            same=plan.offset(source) == plan.offset(target),
                        )
                    )
    over = [
        sum(
            plan.offset(o.lower) < plan.offset(o.upper) + size(plan, o.upper)
            and plan.offset(o.upper) < plan.offset(o.lower) + size(plan, o.lower)
            for o in permitted
            if o.lower == target
        )
        for target in {o.lower for o in permitted}
    ]
    return max(over, default=0) <= 1 and not conflicts(
        replace(plan, problem=replace(plan.problem, overlaps=tuple(permitted)))
    )


def covers(plan: MemoryPlan, overlap: Overlap, source: str, target: str) -> bool:
    if overlap.same:
        return plan.offset(source) == plan.offset(target)
    return plan.offset(target) + overlap.distance <= plan.offset(source)


def size(plan: MemoryPlan, name: str) -> int:
    return next(block.size_bytes for block in plan.problem.blocks if block.name == name)


@quick
@given(lowered=programs(), data=st.data())
def test_wrong_figures_are_refused(lowered: Lowered, data: st.DataObject) -> None:
    schedule = make_schedule(lowered)
    plan = plan_memory(schedule)
    victim = data.draw(st.sampled_from(plan.problem.blocks))
    change = data.draw(st.sampled_from(("first", "last", "size_bytes")))
    by = data.draw(st.sampled_from((-1, 1)))
    changed = replace(victim, **{change: getattr(victim, change) + by})
    blocks = tuple(changed if block is victim else block for block in plan.problem.blocks)
    with pytest.raises(VerificationError, match="but takes"):
        verify_memory(schedule, replace(plan, problem=replace(plan.problem, blocks=blocks)))
    with pytest.raises(VerificationError, match=r"is not within|called optimal|above the arena"):
        verify_memory(schedule, replace(plan, arena_bytes=plan.arena_bytes - 4))
    without = tuple((name, offset) for name, offset in plan.offsets if name != victim.name)
    with pytest.raises(VerificationError, match="has no place"):
        verify_memory(schedule, replace(plan, offsets=without))
