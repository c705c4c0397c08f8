# SPDX-License-Identifier: Apache-2.0
"""Typed access to tables that people or other programs wrote (TOML, JSON), with errors that name file and key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from mcucompiler.errors import McuCompilerError

T = TypeVar("T")
_MISSING: Any = object()
_SIZE = re.compile(r"(\d[\d_]*)\s*([KM]?)i?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024 * 1024}
_KINDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


def parse_size(text: str) -> int:
    """Bytes from ``4096``, ``64K`` or ``1M`` (units of 1024).

    Raises:
        ValueError: for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; sizes are written 4096, 64K or 1M")
    return int(match[1].replace("_", "")) * _UNITS[match[2].upper()]


class Fields:
    """A table with a name.

    Args:
        values: the table.
        where: what to call it in messages: the file, and the path of keys that lead to it.
        error: makes the exception to raise from a message.
    """

    def __init__(self, values: Mapping[str, Any], where: str, error: Callable[[str], McuCompilerError]) -> None:
        self.values, self.where, self.error = values, where, error

    def fail(self, key: str, message: str) -> McuCompilerError:
        """The exception for a wrong value of ``key``."""
        return self.error(f"{self.where}: {key!r} {message}")

    def get(self, key: str, kind: type[T], default: T = _MISSING) -> T:
        """The value of ``key``, which must be of type ``kind``; integers serve as floats."""
        if key not in self.values:
            if default is _MISSING:
                raise self.fail(key, f"is missing; {_KINDS[kind]} is expected")
            return default
        value = self.values[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.fail(key, f"is {value!r}; {_KINDS[kind]} is expected")
        return value

    def natural(self, key: str, default: int = _MISSING) -> int:
        """A whole number that is not negative."""
        value = self.get(key, int, default)
        if value < 0:
            raise self.fail(key, f"is {value}; it cannot be negative")
        return value

    def size(self, key: str, default: int = _MISSING) -> int:
        """Bytes: a whole number, or a text such as "64K"."""
        if isinstance(self.values.get(key), str):
            try:
                return parse_size(self.values[key])
            except ValueError as error:
                raise self.fail(key, f"is wrong: {error}") from error
        return self.natural(key, default)

    def choice(self, key: str, choices: tuple[str, ...], default: str = _MISSING) -> str:
        """A text out of a few."""
        value = self.get(key, str, default)
        if value not in choices:
            raise self.fail(key, f"is {value!r}; it must be one of {', '.join(choices)}")
        return value

    def texts(self, key: str, default: tuple[str, ...] = _MISSING) -> tuple[str, ...]:
        """A list of texts."""
        return self._items(key, str, default)

    def integers(self, key: str, default: tuple[int, ...] = _MISSING) -> tuple[int, ...]:
        """A list of whole numbers."""
        return self._items(key, int, default)

    def table(self, key: str, default: Mapping[str, Any] = _MISSING) -> Fields:
        """A table inside this one."""
        values: Mapping[str, Any] = (
            default if key not in self.values and default is not _MISSING else self.get(key, dict)
        )
        return Fields(values, f"{self.where}: {key}", self.error)

    def tables(self, key: str, default: tuple[Mapping[str, Any], ...] = _MISSING) -> Iterator[Fields]:
        """The tables of a list of tables."""
        for index, values in enumerate(self._items(key, dict, default)):
            yield Fields(values, f"{self.where}: {key}[{index}]", self.error)

    def only(self, *keys: str) -> None:
        """Refuse keys other than these: a misspelt key would be ignored otherwise."""
        for key in self.values:
            if key not in keys:
                raise self.fail(key, f"is not known here; the keys are {', '.join(keys)}")

    def _items(self, key: str, kind: type[T], default: Any) -> tuple[T, ...]:
        if key not in self.values and default is not _MISSING:
            return tuple(default)
        items = self.get(key, list)
        for item in items:
            if not isinstance(item, kind) or (isinstance(item, bool) and kind is not bool):
                raise self.fail(key, f"holds {item!r}; each item must be {_KINDS[kind]}")
        return tuple(items)
