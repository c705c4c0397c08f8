# SPDX-License-Identifier: Apache-2.0
"""The plan of a network and its streams, readable."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from mcucompiler.manifest import Manifest, Step
from mcucompiler.manifest_streams import ManifestBand, ManifestRing, ManifestStream
from mcucompiler.report.text import facts, shortened, table
from mcucompiler.words import counted

_MOST_BUFFERS = 6


def plan_lines(manifest: Manifest) -> list[tuple[str, str]]:
    """The plan, for the summary."""
    plan = manifest.plan
    if plan is None:
        return []
    times = f"{plan.slowdown:.2f}"
    slower = "" if times == "1.00" else f", {times} times the fastest plan's time"
    return [("plan", f"{plan.summary}{slower}")]


def plan_explanation(manifest: Manifest) -> RenderableType | None:
    """Why this plan, and what stands at its peak."""
    plan, memory = manifest.plan, manifest.memory
    if plan is None:
        return None
    buffers = [
        f"{buffer.bytes:,} {shortened(', '.join(buffer.tensors)) if buffer.tensors else 'scratch'}"
        for buffer in plan.peak[:_MOST_BUFFERS]
    ]
    more = len(plan.peak) - len(buffers)
    return facts(
        [
            ("plan", plan.summary),
            ("because", plan.reason),
            ("peak", f"step {memory.peak_step}: " + ", ".join(buffers) + (f" and {more} more" if more > 0 else "")),
            (
                "placement",
                f"{memory.arena_bytes:,} bytes, lower bound {memory.lower_bound_bytes:,}: "
                + ("proved optimal" if manifest.optimal else "not proved optimal"),
            ),
        ]
    )


def stream_tables(manifest: Manifest) -> Iterator[RenderableType]:
    """Each stream: its layers, and the rows that are kept between them."""
    for step in manifest.steps:
        if step.stream is not None:
            yield _bands_table(step, step.stream)
            yield _rings_table(step, step.stream)


def _bands_table(step: Step, stream: ManifestStream) -> RenderableType:
    divided = f" in {stream.columns} column bands with halo" if stream.columns > 1 else ""
    way = "column by column" if stream.along == "width" else "row by row"
    layers = counted(len(stream.bands) // stream.columns, "layer")
    title = f"Step {step.index}: {layers} {way}{divided}; {stream.reason}"
    columns = ("layer", "operator", "kernel", ">rows", ">runs", ">est. cycles", ">recomputed MACs")
    return table(title, columns, map(_band_row, stream.bands))


def _band_row(band: ManifestBand) -> tuple[str, ...]:
    expanded = f"{shortened(band.nodes[0], 30)} anew for " if len(band.nodes) > 1 else ""
    return (
        expanded + shortened(band.nodes[-1], 40),
        ", ".join(band.kinds),
        band.variant,
        str(band.rows) if band.strips == 1 else f"1/{band.strips}",
        str(band.runs),
        f"{band.estimated_cycles:,}",
        f"{band.recomputed_macs:,}" if band.recomputed_macs else "",
    )


def _rings_table(step: Step, stream: ManifestStream) -> RenderableType:
    rows = [_ring_row(ring) for ring in stream.rings]
    rows.append(("scratch of kernels", "", "", f"{stream.kernel_scratch_bytes:,}", ""))
    if stream.state_bytes:
        rows.append(("counters between two rows", "", "", f"{stream.state_bytes:,}", ""))
    columns = ("kept between layers", ">rows", ">row bytes", ">bytes", "")
    return table(f"Step {step.index}: memory of the stream", columns, rows)


def _ring_row(ring: ManifestRing) -> tuple[str, ...]:
    if ring.guest_of:
        where = f"in rows of {shortened(ring.guest_of, 50)}"
        return (shortened(ring.tensor, 50), "", f"{ring.row_bytes:,}", "0", where)
    slots = str(ring.slots) if ring.strips == 1 else f"{ring.slots}/{ring.strips}"
    return (shortened(ring.tensor, 50), slots, f"{ring.row_bytes:,}", f"{ring.bytes:,}", "")
