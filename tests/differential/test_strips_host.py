# SPDX-License-Identifier: Apache-2.0
"""The C of streams in strips on the host, under the sanitizers: in strips = layer by layer = reference."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from mcucompiler.stream.plans import Plan
from mcucompiler.stream.types import Band
from tests.support.compilers import ARM, STRICT
from tests.support.streams import check_program, program, subject
from tests.support.strips import bottlenecks, in_strips, made, striped, striped_plans, wide_networks

few = settings(
    deadline=None,
    derandomize=True,
    max_examples=8,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


def bands(plan: Plan) -> list[Band]:
    """Those that make their rows in strips."""
    return [band for _, call in striped(plan) for band in call.bands if band.units > 1]


@pytest.mark.parametrize(
    ("strips", "width", "fed", "lean", "expand", "dtype"),
    [
        (2, 24, True, False, False, np.int8),
        (3, 24, False, True, True, np.uint8),
        (12, 24, True, False, True, np.uint8),  # the last layers make strips of one pixel
        (16, 32, False, True, False, np.int8),
    ],
)
def test_bottlenecks(strips: int, width: int, fed: bool, lean: bool, expand: bool, dtype: type, tmp_path: Path) -> None:
    network = subject(bottlenecks(width, dtype))
    plan = in_strips(network, strips, fed=fed, lean=lean, expand=expand)
    ((_, call),) = striped(plan)
    assert (call.fed is not None) == fed
    assert {band.units for band in call.bands} == {strips}
    assert sum(band.expansion is not None for band in call.bands) == 2 * expand
    if strips > 3:  # a ring for a 3x3 window, two rows and three strips, does not end with a row
        assert any(rows.tail for rows in call.rows)
    check_program(network, plan, tmp_path / "net", sanitize=True)


@pytest.mark.parametrize(
    ("name", "strips", "fed", "dtype"),
    [
        ("shortcuts", 4, True, np.int8),
        ("encoder_decoder", 8, False, np.uint8),
        ("gated", 4, False, np.int8),
        ("windows", 8, True, np.uint8),
        ("uneven", 2, True, np.int8),
        ("readers", 4, True, np.uint8),
    ],
)
def test_networks(name: str, strips: int, fed: bool, dtype: type, tmp_path: Path) -> None:
    network = subject(made(name, dtype), share_concats=False)
    plan = in_strips(network, strips, fed=fed)
    assert {band.units for band in bands(plan)} == {strips}
    check_program(network, plan, tmp_path / "net", sanitize=True)


def test_strips_of_one_pixel(tmp_path: Path) -> None:
    """One ring with three readers: windows of 1, 3 and 5 pixels, and one that advances by two and makes whole rows."""
    network = subject(made("readers"), share_concats=False)
    plan = in_strips(network, 16)
    assert len(bands(plan)) == network.steps - 1
    check_program(network, plan, tmp_path / "net", sanitize=True)


def test_random_strips_under_sanitizers(tmp_path_factory: pytest.TempPathFactory) -> None:
    seen = []

    @few
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        network = subject(data.draw(wide_networks()), share_concats=data.draw(st.booleans()))
        plan = data.draw(striped_plans(network, feed=data.draw(st.booleans())))
        seen.append(len(bands(plan)))
        check_program(network, plan, tmp_path_factory.mktemp("strips") / "net", sanitize=True)

    check()
    assert sum(count > 1 for count in seen) > len(seen) // 2


@pytest.mark.parametrize(("name", "strips", "fed"), [("bottleneck", 12, True), ("windows", 8, False)])
def test_no_compiler_has_a_word_to_say(name: str, strips: int, fed: bool, tmp_path: Path) -> None:
    """Nothing is left to do when the last row is there; and there are windows that no strip has room for."""
    program(in_strips(subject(made(name)), strips, fed=fed), tmp_path / "net")
    for compiler in (("gcc",), ("clang",), ARM):
        if shutil.which(compiler[0]) is not None:
            for source in ("net.c", "net_kernels.c"):
                command = [*compiler, *STRICT, str(tmp_path / "net" / source), "-o", str(tmp_path / "x.o")]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert (done.returncode, done.stderr) == (0, "")
