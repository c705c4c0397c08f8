# SPDX-License-Identifier: Apache-2.0
"""Wording that all messages, reports and comments share."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """So many of something: "1 row", "2 rows".

    Args:
        count: how many.
        noun: the singular, whose plural ends in s.
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
