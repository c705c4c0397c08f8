# SPDX-License-Identifier: Apache-2.0
"""Text for people: names that cannot upset a terminal, sizes, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

_LONGEST_NAME = 60


def printable(text: str) -> str:
    """Text without control characters: a name from a model must not move the cursor or forge lines."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def shortened(text: str, longest: int = _LONGEST_NAME) -> str:
    """Printable text, its middle left out where it is long."""
    text = printable(text)
    if len(text) <= longest:
        return text
    head = (longest - 3) // 2
    return f"{text[:head]}...{text[-(longest - 3 - head) :]}"


def kib(size_bytes: int) -> str:
    """Bytes, with KiB where there are many."""
    return f"{size_bytes:,} bytes" + (f" ({size_bytes / 1024:.1f} KiB)" if size_bytes >= 10 * 1024 else "")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table: columns whose names start with ">" are set flush right.

    Args:
        title: above the table; "" for none.
        columns: headings.
        rows: cells; made printable here.
    """
    result = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.removeprefix(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        result.add_row(*(Text(printable(cell)) for cell in row))
    return result


def facts(pairs: Iterable[tuple[str, str]]) -> Table:
    """Facts, one a line: what, and how much."""
    result = Table.grid(padding=(0, 2))
    result.add_column(no_wrap=True)
    result.add_column()
    for what, value in pairs:
        result.add_row(Text(printable(what)), Text(printable(value)))
    return result
