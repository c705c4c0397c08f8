# SPDX-License-Identifier: Apache-2.0
"""Estimated time of an inference on a board: the core's cycles, and the cycles that it waits for flash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mcucompiler.board_types import Board
from mcucompiler.boards import load_board
from mcucompiler.cost import CYCLE_ERROR, flash_timing
from mcucompiler.errors import BoardError
from mcucompiler.manifest import Manifest, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Estimated cycles on a board.

    Attributes:
        cycles: of the core.
        stalls: cycles of each step that it waits for constants; None where the flash's timing is unknown.
        clock_hz: of the board, 0 where it says nothing.
    """

    cycles: int
    stalls: tuple[int, ...] | None
    clock_hz: int

    @property
    def total(self) -> int:
        """Cycles in all."""
        return self.cycles + sum(self.stalls or ())

    @property
    def milliseconds(self) -> float | None:
        """At the board's clock; None where it says nothing."""
        return 1000 * self.total / self.clock_hz if self.clock_hz else None


def estimate(manifest: Manifest, board: Board | None = None) -> Estimate:
    """The estimate for a board, by default the one that the network was compiled for.

    Emulators have no clock worth naming. A board that is not among the compiler's own (it was given by the path of
    its file) is unknown here.
    """
    if board is None:
        try:
            board = load_board(manifest.board) if manifest.board else None
        except BoardError:
            board = None
    if board is None:
        return Estimate(cycles=manifest.estimated_cycles, stalls=None, clock_hz=0)
    timing = flash_timing(board)
    stalls = None if timing is None else tuple(timing.stall_cycles(step.constant_reads) for step in manifest.steps)
    clock_hz = 0 if board.clock is None else board.clock_hz
    return Estimate(cycles=manifest.estimated_cycles, stalls=stalls, clock_hz=clock_hz)


def estimate_facts(manifest: Manifest) -> list[tuple[str, str]]:
    """The estimate in a few lines."""
    found = estimate(manifest)
    each = f", {found.cycles / manifest.macs:.2f} for each multiply-accumulate" if manifest.macs else ""
    lines = [("estimated cycles", f"{found.cycles:,}{each}")]
    if found.stalls is not None:
        lines.append(("  waiting for flash", f"{sum(found.stalls):,} cycles more"))
    if found.milliseconds is not None:
        clock = f"at {found.clock_hz / 1e6:g} MHz on {manifest.board}"
        lines.append(("estimated time", f"{found.milliseconds:.2f} ms {clock}"))
    return lines


def estimate_json(manifest: Manifest) -> dict[str, Any]:
    """The estimate for ``--json``."""
    found = estimate(manifest)
    return {
        "cycles": found.cycles,
        "cycles_per_mac": per_mac(found.cycles, manifest.macs),
        "flash_stall_cycles": None if found.stalls is None else sum(found.stalls),
        "clock_hz": found.clock_hz or None,
        "milliseconds": None if found.milliseconds is None else round(found.milliseconds, 4),
        "error": CYCLE_ERROR,
    }


def estimate_note() -> str:
    """What the figures are worth."""
    return f"Estimated {CYCLE_ERROR}."


def stall_of(found: Estimate, step: Step) -> str:
    """A step's cell in a table."""
    return "" if found.stalls is None else f"{found.stalls[step.index]:,}"


def per_mac(count: int, macs: int) -> float | None:
    """Instructions or cycles for each multiply-accumulate."""
    return round(count / macs, 4) if macs else None
