# SPDX-License-Identifier: Apache-2.0
"""When longer groups are no longer tried."""

from __future__ import annotations

from mcucompiler.stream.patience import Patience


def test_after_some_misses_only_what_promises_less_is_tried() -> None:
    patience = Patience(2)
    for least in (50, 40, 60, 70):
        assert not patience.ends(0, least)
        patience.missed(0, least)
    assert patience.ends(0, 45)
    assert patience.ends(0, 40)
    assert not patience.ends(0, 39)
    assert not patience.ends(1, 100)


def test_a_gain_gives_new_patience() -> None:
    patience = Patience(1)
    for _ in range(4):
        patience.missed(0, 10)
    assert patience.ends(0, 10)
    patience.gained(0)
    assert not patience.ends(0, 10)


def test_streams_over_long_connections_are_tried_longer() -> None:
    patience = Patience(1)
    for _ in range(15):
        patience.missed(0, 10, spans=True)
        assert not patience.ends(0, 10)
    patience.missed(0, 10, spans=True)
    assert patience.ends(0, 10)
