# SPDX-License-Identifier: Apache-2.0
"""The one Jinja environment, and how values are spelled in C."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache

import jinja2
import numpy as np

from mcucompiler.resources import templates_dir
from mcucompiler.words import counted


def c_int(value: int) -> str:
    """An integer literal of type int; INT32_MIN has no literal in C and is spelled as a difference."""
    value = int(value)
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)


def c_size(value: int) -> str:
    """An unsigned literal."""
    return f"{int(value)}u"


def c_float(value: float) -> str:
    """An exact float constant, hexadecimal: decimal ones depend on the compiler's rounding."""
    single = float(np.float32(value))
    if math.isnan(single):
        return '__builtin_nanf("")'
    if math.isinf(single):
        return "__builtin_inff()" if single > 0 else "-__builtin_inff()"
    return f"{single.hex()}f"


def c_comment(text: str) -> str:
    """Text that may stand inside a C comment: printable ASCII that neither ends nor opens one."""
    printable = "".join(ch if " " <= ch <= "~" else "?" for ch in str(text))
    return printable.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").replace("\\", "/")


def c_identifier(text: str) -> str:
    """The nearest C identifier: other characters become underscores, doubled ones are merged."""
    name = re.sub(r"_+", "_", re.sub(r"[^0-9A-Za-z]", "_", text)).strip("_")
    return f"n{name}" if not name or name[0].isdigit() else name


def c_rows(values: Iterable[object], ctype: str, per_row: int = 12) -> list[str]:
    """The elements of an array, spelled for ``ctype``, joined to rows of ``per_row``."""
    if ctype == "float":
        texts = [c_float(float(v)) for v in values]  # type: ignore[arg-type]
    elif ctype.startswith("uint"):
        texts = [c_size(int(v)) for v in values]  # type: ignore[call-overload]
    else:
        texts = [c_int(int(v)) for v in values]  # type: ignore[call-overload]
    return [", ".join(texts[i : i + per_row]) for i in range(0, len(texts), per_row)]


@cache
def environment() -> jinja2.Environment:
    """The environment all templates are rendered in."""
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_dir()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.filters.update(c_int=c_int, c_size=c_size, c_float=c_float, c_comment=c_comment, c_identifier=c_identifier)
    env.filters["counted"] = counted
    return env


def c_plus(offset: int) -> str:
    """The end of a C expression to which an offset is added; "" for 0."""
    return f" + {offset}" if offset else ""


def c_times(factor: int) -> str:
    """The end of a C expression that is multiplied by an unsigned factor; "" for 1."""
    return "" if factor == 1 else f" * {factor}u"
