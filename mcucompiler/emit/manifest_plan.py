# SPDX-License-Identifier: Apache-2.0
"""The manifest's keys about the plan: what was chosen over what, where the memory goes, and what streams do."""

from __future__ import annotations

from typing import Any

from mcucompiler.emit.program import ProgramStep
from mcucompiler.memory.peak import LiveBuffer, peak
from mcucompiler.memory.types import MemoryPlan
from mcucompiler.schedule.types import Schedule
from mcucompiler.stream.choice import Choice, describe_parts, parts_of
from mcucompiler.stream.plans import Plan, stack_bound
from mcucompiler.stream.rings import kernel_scratch_bytes, rings
from mcucompiler.stream.types import Access, Band, StreamCall


def plan_facts(schedule: Schedule, memory: MemoryPlan, choice: Choice) -> dict[str, Any]:
    """The table "plan": the choice, and what stands at the peak."""
    top = peak(schedule, memory)
    return {
        "summary": describe_parts(parts_of(choice.plan)),
        "reason": choice.reason,
        "limit_bytes": choice.limit,
        "slowdown": round(choice.slowdown, 4),
        "layer_by_layer": _figures(choice.layered),
        "next_faster": None if choice.faster is None else _figures(choice.faster),
        "peak": {
            "step": max(top.position, 0),
            "live_bytes": top.live_bytes,
            "buffers": [_buffer(buffer) for buffer in top.buffers],
        },
    }


def stream_facts(printed: ProgramStep, call: StreamCall, choice: Choice | None) -> dict[str, Any]:
    """The table "stream" of a step."""
    layered = 0 if choice is None else choice.layered_bytes(printed.step)
    return {
        "columns": len(call.parts),
        "along": "height" if call.turned is None else "width",
        "bands": [_band(band) for band in call.bands],
        "rings": [
            {
                "tensor": rows.tensor,
                "slots": rows.slots,
                "strips": rows.units,
                "row_bytes": rows.row_bytes,
                "bytes": rows.ring_bytes,
                "guest_of": rows.guest_of,
            }
            for rows in rings(call)
        ],
        "pushed": call.fed,
        "kernel_scratch_bytes": kernel_scratch_bytes(call),
        "state_bytes": 0 if call.state is None else call.scratch_bytes - call.state,
        "recomputed_macs": call.recomputed_macs,
        "layer_by_layer_bytes": layered,
        "reason": f"layer by layer, {layered:,} bytes of arena are live here; as a stream, {printed.live_bytes:,}"
        if layered
        else "the input arrives by rows",
    }


def _figures(plan: Plan) -> dict[str, Any]:
    return {
        "arena_bytes": plan.memory.arena_bytes,
        "stack_bytes": stack_bound(plan.schedule),
        "estimated_cycles": plan.cycles,
    }


def _buffer(buffer: LiveBuffer) -> dict[str, Any]:
    return {"name": buffer.name, "tensors": list(buffer.tensors), "bytes": buffer.size_bytes, "over": buffer.over}


def _band(band: Band) -> dict[str, Any]:
    nodes = [band.node] if band.expansion is None else [band.expansion.node, band.node]
    return {
        "nodes": [node.name for node in nodes],
        "kinds": [node.op.kind for node in nodes],
        "variant": band.call.variant,
        "rows": band.rows,
        "strips": band.units,
        "runs": band.runs,
        "reads": [
            {
                "tensor": reading.tensor,
                "access": reading.access.name.lower(),
                **({} if reading.access is Access.WHOLE else {"rows": reading.count, "step": reading.step}),
            }
            for _, reading in band.readings
        ],
        "writes": band.writes,
        "scratch_bytes": band.call.scratch_bytes,
        "estimated_cycles": band.runs * band.call.cycles,
        "macs": band.macs,
        "recomputed_macs": band.recomputed_macs,
        "chunks": 0 if band.expansion is None else len(band.expansion.strips[0]),
    }
