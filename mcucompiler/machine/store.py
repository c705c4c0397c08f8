# SPDX-License-Identifier: Apache-2.0
"""Keeps scheduled blocks between compilations: the search is the slowest part, and blocks come again and again.

The key is the pattern of the block, the core's table and the content of this package, so an entry can never be out of
date. Blocks that differ only in offsets and other constants mostly have one pattern, and so one search.
What is kept is an order and an allocation, or why there is none; whatever cannot be read is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import platformdirs

from mcucompiler.machine.core import Core
from mcucompiler.machine.dependences import Dependences, Edge
from mcucompiler.machine.program import Live, Program
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """All of a legalized block that its schedule and its registers depend on.

    Constants are not among it: what they mean for the order of loads and stores is in the edges.

    Attributes:
        name: of the block, for messages.
        classes: register class of each value.
        operations: opcode, results and operands of each operation.
        live_ins: in the order of their declaration.
        live_outs: likewise.
        before: predecessors of each operation.
        program: a block of this pattern, the one that is searched.
        graph: its dependences.
    """

    name: str
    classes: str
    operations: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    live_ins: tuple[Live, ...]
    live_outs: tuple[Live, ...]
    before: tuple[tuple[Edge, ...], ...]
    program: Program = field(compare=False, repr=False)
    graph: Dependences = field(compare=False, repr=False)

    @classmethod
    def of(cls, program: Program, graph: Dependences) -> Pattern:
        """The pattern of a legalized block with its dependences."""
        return cls(
            name=program.name,
            classes=program.classes,
            operations=tuple((o.opcode, o.results, o.operands) for o in program.operations),
            live_ins=program.live_ins,
            live_outs=program.live_outs,
            before=graph.before,
            program=program,
            graph=graph,
        )


def key_of(pattern: Pattern, core: Core, registers: RegisterFile, attempts: int) -> str:
    """A digest of all that a solution depends on."""
    return hashlib.sha256(repr((_package(), pattern, core, registers, attempts)).encode()).hexdigest()


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
