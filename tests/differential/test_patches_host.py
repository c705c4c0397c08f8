# SPDX-License-Identifier: Apache-2.0
"""The C of groups in column bands on the host, under the sanitizers: patched = layer by layer = reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.patches import bottlenecks, in_columns, patched_plans, patches
from tests.support.stream_networks import image_networks
from tests.support.streams import check_program, subject

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    ("columns", "width", "dtype"), [(2, 19, np.int8), (3, 22, np.uint8), (4, 19, np.int8), (4, 9, np.int8)]
)
def test_bottlenecks(columns: int, width: int, dtype: type, tmp_path: Path) -> None:
    network = subject(bottlenecks(width, dtype))
    plan = in_columns(network, columns, lean=columns == 3)
    ((_, call),) = patches(plan)
    assert len(call.parts) == columns
    check_program(network, plan, tmp_path / "net", sanitize=True)


def test_random_patches_under_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = []

    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        network = subject(data.draw(image_networks(most_layers=5)), share_concats=data.draw(st.booleans()))
        plan = data.draw(patched_plans(network))
        seen.append(sum(len(call.bands) // len(call.parts) for _, call in patches(plan)))
        check_program(network, plan, tmp_path_factory.mktemp("patches") / "net", sanitize=True)

    check()
    assert sum(seen) > len(seen)  # layers in column bands
