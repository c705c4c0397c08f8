# SPDX-License-Identifier: Apache-2.0
"""Which emulated board stands for the board that a network was compiled for."""

from __future__ import annotations

from mcucompiler.board_types import Board
from mcucompiler.boards import list_boards, load_board
from mcucompiler.errors import UsageError
from mcucompiler.manifest import Manifest

_STAND_INS = {"cortex-m7": "mps2-an500", "cortex-m4": "mps2-an386", "host": "mps2-an500"}
"""By core: the emulated board with the most memory. Portable code runs on any."""


def qemu_board(manifest: Manifest) -> Board:
    """The board that a network was compiled for where QEMU emulates it, else one with the same core.

    Raises:
        UsageError: QEMU has no board with that core.
    """
    if manifest.board in list_boards():
        board = load_board(manifest.board)
        if board.qemu is not None and manifest.cpu in (board.cpu.name, "host"):
            return board
    stand_in = _STAND_INS.get(manifest.cpu)
    if stand_in is None:
        raise UsageError(f"no emulated board has a {manifest.cpu}; there are {', '.join(sorted(_STAND_INS))}")
    return load_board(stand_in)
