# SPDX-License-Identifier: Apache-2.0
"""Finds templates/, boards/ and runtime_c/: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_resources" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def templates_dir() -> Path:
    """Jinja templates of the generated C."""
    return _folder("templates")


def boards_dir() -> Path:
    """Board descriptions, one folder each."""
    return _folder("boards")


def runtime_dir() -> Path:
    """C sources that are used as they are: headers, start-up, harness."""
    return _folder("runtime_c")
