# SPDX-License-Identifier: Apache-2.0
"""Where commands write: results to standard output, progress and diagnostics to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mcucompiler.report.text import printable

_PIPE_WIDTH = 160  # columns of a table that is not read on a terminal


class Session:
    """A run of the command line.

    Args:
        verbose: whether diagnostics are wanted.
    """

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        self.out = Console(file=sys.stdout, width=width, markup=False, highlight=False, emoji=False)
        self.err = Console(file=sys.stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def show(self, parts: Iterable[RenderableType]) -> None:
        """Print a report, its parts set apart by blank lines."""
        for index, part in enumerate(parts):
            if index:
                self.out.print()
            self.out.print(part, soft_wrap=isinstance(part, str))

    def show_json(self, value: dict[str, Any]) -> None:
        """Print one JSON object."""
        self.out.file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")

    def note(self, text: str) -> None:
        """A diagnostic, for those who asked for them."""
        if self.verbose:
            self.err.print(printable(text))

    def complain(self, text: str) -> None:
        """An error; lines are kept, other control characters are made visible."""
        self.err.print("\n".join(printable(line) for line in f"mcucompiler: {text}".split("\n")))

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int], None]]:
        """A progress bar on a terminal, nothing in a pipe.

        Yields:
            A function to call with what is being done, how much of it is done, and how much there
            is; 0 for unknown.
        """
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.err, transient=True, disable=not self.err.is_terminal) as bars:
            task = bars.add_task("", total=None)

            def update(what: str, done: int, count: int) -> None:
                bars.update(task, description=printable(what), completed=done, total=count or None)

            yield update
