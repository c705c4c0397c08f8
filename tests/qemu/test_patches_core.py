# SPDX-License-Identifier: Apache-2.0
"""Column bands on the emulated core: the scheduled kernels begin within rows there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.patches import bottlenecks, in_columns, patches
from tests.support.streams import check_program, subject


@pytest.mark.qemu
@pytest.mark.parametrize("columns", [2, 3])
def test_bottlenecks(columns: int, tmp_path: Path) -> None:
    network = subject(bottlenecks(width=37, dtype=np.uint8))
    plan = in_columns(network, columns)
    assert any(patches(plan))
    check_program(network, plan, tmp_path / "net", on="qemu")
