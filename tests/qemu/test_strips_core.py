# SPDX-License-Identifier: Apache-2.0
"""Strips on the emulated core: the scheduled kernels make a few pixels of a row there, from rings that go round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.streams import check_program, subject
from tests.support.strips import bottlenecks, in_strips, striped


@pytest.mark.qemu
@pytest.mark.parametrize(("strips", "fed", "expand"), [(4, False, False), (12, True, False), (8, False, True)])
def test_bottlenecks(strips: int, fed: bool, expand: bool, tmp_path: Path) -> None:
    network = subject(bottlenecks(24, np.uint8))
    plan = in_strips(network, strips, fed=fed, expand=expand)
    ((_, stream),) = striped(plan)
    assert any(rows.tail for rows in stream.rows)
    calls = [call for band in stream.bands if band.units > 1 for _, call in band.kernels if band.node.op.kind == "Conv"]
    assert all(dict(call.kernel.literals)["blocks"] for call in calls)  # loops in scheduled assembly
    check_program(network, plan, tmp_path / "net", on="qemu")
    assert "__asm" in (tmp_path / "net" / "net_kernels.c").read_text(encoding="utf-8")
