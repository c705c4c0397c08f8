# SPDX-License-Identifier: Apache-2.0
"""Keeps scheduled blocks between compilations: the search is the slowest part, and blocks come again and again.

The key is the content of the block, of the core's table and of this package, so an entry can never be out of date.
What is kept is an order and an allocation, or why there is none; whatever cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from mcucompiler.machine.core import Core
from mcucompiler.machine.program import Program
from mcucompiler.machine.registers import RegisterFile

VARIABLE = "MCUCOMPILER_CACHE"
"""Environment variable: a folder for the cache, or "off" for none."""

_WAIT_S = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS blocks (key TEXT PRIMARY KEY, value TEXT NOT NULL)"


@dataclass(frozen=True, slots=True)
class Solution:
    """What the search for a block found.

    Attributes:
        order: the legalized operations, by index; () where there is no solution.
        registers: register of each value.
        cycles: estimated.
        problem: why there is no solution, "" where there is one.
    """

    order: tuple[int, ...] = ()
    registers: tuple[tuple[int, str], ...] = ()
    cycles: float = 0.0
    problem: str = ""


def key_of(program: Program, core: Core, registers: RegisterFile, attempts: int) -> str:
    """A digest of all that a solution depends on."""
    block = (program.name, program.classes, program.operations, program.live_ins, program.live_outs)
    return hashlib.sha256(repr((_package(), block, core, registers, attempts)).encode()).hexdigest()


def load(key: str) -> Solution | None:
    """The solution that was kept under a key; None where there is none or it cannot be read."""
    path = _path()
    if path is None or not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT_S)) as database:
            row = database.execute("SELECT value FROM blocks WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        order, registers, cycles, problem = json.loads(row[0])
        return Solution(tuple(order), tuple((value, name) for value, name in registers), float(cycles), str(problem))
    except (sqlite3.Error, ValueError, TypeError):
        return None


def save(key: str, solution: Solution) -> None:
    """Keeps a solution; where that is impossible, it is computed again the next time."""
    path = _path()
    if path is None:
        return
    value = json.dumps([solution.order, solution.registers, solution.cycles, solution.problem])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=_WAIT_S)) as database, database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_TABLE)
            database.execute("INSERT OR REPLACE INTO blocks VALUES (?, ?)", (key, value))
    except (sqlite3.Error, OSError):
        return


def _path() -> Path | None:
    folder = os.environ.get(VARIABLE) or platformdirs.user_cache_dir("mcucompiler")
    return None if folder == "off" else Path(folder) / "blocks.sqlite"


@cache
def _package() -> str:
    """A digest of the back end's source."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
