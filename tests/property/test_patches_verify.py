# SPDX-License-Identifier: Apache-2.0
"""Column bands that are changed a little: whatever would miss a column or read a wrong byte is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest

from mcucompiler.errors import VerificationError
from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Access, PatchesCall, Reading, StreamCall
from tests.support.patches import bottlenecks, in_columns, patches
from tests.support.planning import moved
from tests.support.streams import changed, subject, verify, with_call

Change = Callable[[StreamCall], StreamCall]
Named = tuple[str, Change]


@cache
def planned() -> Plan:
    return in_columns(subject(bottlenecks(width=37)), 3)


def patched(plan: Plan) -> tuple[int, PatchesCall]:
    ((index, call),) = patches(plan)
    return index, call


def changed_part(number: int, change: Change) -> Plan:
    """The plan with one part changed."""
    index, _ = patched(planned())

    def with_part(call: StreamCall) -> StreamCall:
        assert isinstance(call, PatchesCall)
        parts = [change(part) if i == number else part for i, part in enumerate(call.columns)]
        return replace(call, columns=tuple(parts))

    return with_call(planned(), index, with_part)


def unit(call: StreamCall, tensor: str) -> int:
    """Bytes of a column."""
    return call.rows_of(tensor).pitch // planned().lowered.graph.tensors[tensor].shape[3]


def with_reading(call: StreamCall, band: int, number: int, reading: Reading) -> StreamCall:
    bands = list(call.bands)
    readings = [(i, reading if i == number else known) for i, known in bands[band].readings]
    bands[band] = replace(bands[band], readings=tuple(readings))
    return replace(call, bands=tuple(bands))


def reading_changes(call: StreamCall) -> Iterator[Named]:
    """Each kernel's columns one short, one more, or begun elsewhere in the row."""
    for b, band in enumerate(call.bands):
        for number, r in band.readings:
            if r.access is Access.WHOLE:
                continue
            assert r.columns is not None
            (first, stop), byte = r.columns, unit(call, r.tensor)
            who = f"band {b} reads {r.tensor}"
            others = {
                "one short at the left": replace(r, columns=(first + 1, stop), offset=r.offset + byte * (first >= 0)),
                "one short at the right": replace(r, columns=(first, stop - 1)),
                "one more at the right": replace(r, columns=(first, stop + 1)),
                "moved": replace(r, columns=(first + 1, stop + 1)),
                "all": replace(r, columns=None),
                "an offset of a column more": replace(r, offset=r.offset + byte),
                "an offset of a byte less": replace(r, offset=r.offset - 1),
            }
            for name, other in others.items():
                yield f"{who}: {name}", lambda c, b=b, n=number, o=other: with_reading(c, b, n, o)


def row_changes(call: StreamCall) -> Iterator[Named]:
    """Of each tensor a column less, other columns, or rows at another distance."""
    for rows in call.rows:
        name, byte = rows.tensor, unit(call, rows.tensor)
        whole = rows.offset is None and rows.guest_of is None
        others = {
            "a column short at the right": {"row_bytes": rows.row_bytes - byte},
            "a column short at the left": {"row_bytes": rows.row_bytes - byte, "column": rows.column + byte},
            "a column further": {"column": rows.column + byte},
            "a column before": {"column": rows.column - byte},
            "a byte further": {"column": rows.column + 1},
            "beyond the row": {"column": rows.pitch},
        }
        if whole:
            others["packed"] = {"pitch": rows.row_bytes, "column": 0}
        for what, change in others.items():
            if not whole or "row_bytes" not in change or name in {band.writes for band in call.bands}:
                yield f"{name}: {what}", lambda c, n=name, k=change: changed(c, n, **k)


def refused(plan: Plan) -> bool:
    try:
        verify(plan)
    except VerificationError:
        return True
    return False


def test_what_is_planned_is_accepted() -> None:
    verify(planned())


def test_parts_may_run_in_any_order() -> None:
    index, _ = patched(planned())
    verify(with_call(planned(), index, lambda call: replace(call, columns=call.parts[::-1])))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_changed_parts_are_refused(number: int) -> None:
    part = patched(planned())[1].columns[number]
    changes = [*reading_changes(part), *row_changes(part)]
    assert len(changes) > 60
    for name, change in changes:
        assert refused(changed_part(number, change)), f"part {number}, {name}"


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_missing_parts_are_refused(missing: int) -> None:
    index, call = patched(planned())
    parts = tuple(part for number, part in enumerate(call.columns) if number != missing)
    with pytest.raises(VerificationError, match="lost"):
        verify(with_call(planned(), index, lambda call: replace(call, columns=parts)))


def test_too_little_scratch_is_refused() -> None:
    index, _ = patched(planned())
    with pytest.raises(VerificationError):
        verify(with_call(planned(), index, lambda call: replace(call, scratch_bytes=call.scratch_bytes - 4)))


def test_outputs_over_inputs_are_refused() -> None:
    plan = planned()
    source, target = (
        plan.lowered.stored[n].place.buffer for n in (*plan.lowered.graph.inputs, *plan.lowered.graph.outputs)
    )
    memory = moved(plan.memory, target, dict(plan.memory.offsets)[source])
    with pytest.raises(VerificationError):
        verify(replace(plan, memory=memory))
