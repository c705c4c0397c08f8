# SPDX-License-Identifier: Apache-2.0
"""What an inference takes beside the core's own cycles: constants that come from flash behind a cache.

The model, for cores with caches: a miss stalls the core until the whole line is there. A step's constants are read in
order, from the first to the last; if they fit the data cache they miss once, otherwise each line misses on every
pass. Cores without caches (Cortex-M4 behind a flash accelerator) wait for each flash word of constants on every pass.
Code is taken to hit: it is prefetched, cached, or lies in ITCM. Activations are taken to lie in memory without wait
states. A memory without a known timing (emulators, RAM) costs nothing. None of this has been compared with a board.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcucompiler.board_parts import FLASH_WORD_BYTES
from mcucompiler.board_types import Board

CYCLE_ERROR = (
    "cycles are estimates of a model of the core: for scheduled assembly within 7 % of llvm-mca 14 over whole networks "
    "(single blocks up to 50 % above and 36 % below it), of unknown error for compiled C; not compared with a board"
)
CODE_ERROR = "within 10 % of what GCC 12 makes"
_AXI_BYTES, _MATRIX_CYCLES = 8, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantRead:
    """Constants that are read from first to last.

    Attributes:
        bytes: of the weights or the table.
        times: how often in an inference.
    """

    bytes: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashTiming:
    """What reading from flash costs.

    Attributes:
        line_bytes: that come at once.
        line_cycles: core cycles that they take.
        data_cache_bytes: 0 without one.
    """

    line_bytes: int
    line_cycles: int
    data_cache_bytes: int

    def lines_read(self, reads: Iterable[ConstantRead]) -> int:
        """Lines that come from flash."""
        return sum(
            -(-read.bytes // self.line_bytes) * (1 if read.bytes <= self.data_cache_bytes else read.times)
            for read in reads
        )

    def stall_cycles(self, reads: Iterable[ConstantRead]) -> int:
        """Cycles that the core waits for constants."""
        return self.lines_read(reads) * self.line_cycles


def flash_timing(board: Board) -> FlashTiming | None:
    """The timing of the memory that holds the weights; None where it has no wait states or they are unknown.

    A line takes, in cycles of the bus: for each flash word its wait states and one, one for each 8 bytes (the width of
    AXI), and two through the bus matrix. Where the board's file has ``miss_cycles``, measured, that is taken instead.
    """
    if board.clock is None or board.soc not in FLASH_WORD_BYTES or board.holding("weights")[0].kind != "flash":
        return None
    word, wait_states = FLASH_WORD_BYTES[board.soc], board.clock.flash_wait_states
    core_per_bus = board.clock_hz // board.clock.ahb_hz
    if not board.caches.data_bytes:
        return FlashTiming(line_bytes=word, line_cycles=core_per_bus * wait_states, data_cache_bytes=0)
    line = board.caches.line_bytes
    derived = core_per_bus * (-(-line // word) * (1 + wait_states) + -(-line // _AXI_BYTES) + _MATRIX_CYCLES)
    return FlashTiming(
        line_bytes=line,
        line_cycles=board.caches.miss_cycles or derived,
        data_cache_bytes=board.caches.data_bytes,
    )
