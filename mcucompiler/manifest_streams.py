# SPDX-License-Identifier: Apache-2.0
"""What manifest.json holds of the plan and of streams."""

from __future__ import annotations

from dataclasses import dataclass

from mcucompiler.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestBand:
    """A layer of a stream, or two of which the first is made anew for each run.

    Attributes:
        nodes: names.
        kinds: their operators.
        variant: of the kernel.
        rows: that a run makes, or makes a strip of.
        strips: that make a row; 1 for whole rows.
        runs: how often it runs.
        estimated_cycles: of all runs.
        recomputed_macs: multiply-accumulates that are repeated.
    """

    nodes: tuple[str, ...]
    kinds: tuple[str, ...]
    variant: str
    rows: int
    strips: int
    runs: int
    estimated_cycles: int
    recomputed_macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRing:
    """Rows of a tensor between the layers of a stream.

    Attributes:
        tensor: its name.
        slots: rows, or strips of rows, that memory is kept for; 0 for a guest.
        strips: that make a row; 1 where a slot is for a whole row.
        row_bytes: bytes of a row.
        bytes: of all of them.
        guest_of: the tensor in whose rows these lie; "" where they have their own.
    """

    tensor: str
    slots: int
    strips: int
    row_bytes: int
    bytes: int
    guest_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestStream:
    """A step that runs several layers row by row.

    Attributes:
        columns: column bands that the layers run in, one after the other; 1 for whole rows.
        along: "height", or "width" where rows are columns.
        bands: in order, those of each column band after those of the one before.
        rings: the tensors between them.
        pushed: name of the tensor whose rows the caller pushes, "" for none.
        kernel_scratch_bytes: shared by all bands.
        state_bytes: counters between two pushes.
        recomputed_macs: multiply-accumulates that are repeated.
        reason: what it saves.
    """

    columns: int
    along: str
    bands: tuple[ManifestBand, ...]
    rings: tuple[ManifestRing, ...]
    pushed: str
    kernel_scratch_bytes: int
    state_bytes: int
    recomputed_macs: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakBuffer:
    """Memory that is live at the peak.

    Attributes:
        name: of the buffer.
        tensors: that lie in it; () for scratch.
        bytes: its size.
    """

    name: str
    tensors: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPlan:
    """The plan and why it was chosen.

    Attributes:
        summary: what it does with the layers.
        reason: why no faster plan.
        slowdown: estimated time as a multiple of that of the fastest plan.
        peak: what is live at the peak, the largest first.
    """

    summary: str
    reason: str
    slowdown: float
    peak: tuple[PeakBuffer, ...]


def read_plan(fields: Fields) -> ManifestPlan | None:
    """The table "plan" of a manifest; None where there is none.

    Raises:
        UsageError: a key is missing or wrong.
    """
    if "plan" not in fields.values:
        return None
    plan = fields.table("plan")
    return ManifestPlan(
        summary=plan.get("summary", str),
        reason=plan.get("reason", str),
        slowdown=plan.get("slowdown", float),
        peak=tuple(
            PeakBuffer(name=buffer.get("name", str), tensors=buffer.texts("tensors"), bytes=buffer.natural("bytes"))
            for buffer in plan.table("peak").tables("buffers")
        ),
    )


def read_stream(fields: Fields) -> ManifestStream | None:
    """The table "stream" of a step; None where there is none.

    Raises:
        UsageError: a key is missing or wrong.
    """
    if "stream" not in fields.values:
        return None
    stream = fields.table("stream")
    return ManifestStream(
        bands=tuple(_band(entry) for entry in stream.tables("bands")),
        rings=tuple(_ring(entry) for entry in stream.tables("rings")),
        columns=stream.natural("columns"),
        along=stream.get("along", str),
        pushed=_optional(stream, "pushed"),
        kernel_scratch_bytes=stream.natural("kernel_scratch_bytes"),
        state_bytes=stream.natural("state_bytes"),
        recomputed_macs=stream.natural("recomputed_macs"),
        reason=stream.get("reason", str),
    )


def _band(fields: Fields) -> ManifestBand:
    return ManifestBand(
        nodes=fields.texts("nodes"),
        kinds=fields.texts("kinds"),
        variant=fields.get("variant", str),
        rows=fields.natural("rows"),
        strips=fields.natural("strips"),
        runs=fields.natural("runs"),
        estimated_cycles=fields.natural("estimated_cycles"),
        recomputed_macs=fields.natural("recomputed_macs"),
    )


def _ring(fields: Fields) -> ManifestRing:
    return ManifestRing(
        tensor=fields.get("tensor", str),
        slots=fields.natural("slots"),
        strips=fields.natural("strips"),
        row_bytes=fields.natural("row_bytes"),
        bytes=fields.natural("bytes"),
        guest_of=_optional(fields, "guest_of"),
    )


def _optional(fields: Fields, key: str) -> str:
    """A text; "" for null."""
    return "" if fields.values.get(key) is None else fields.get(key, str)
