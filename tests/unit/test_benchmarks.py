# SPDX-License-Identifier: Apache-2.0
"""The scripts in benchmarks/: the table of results, and the comparison of models."""

from __future__ import annotations

import importlib
import json
import shutil
from types import ModuleType

import pytest

from mcucompiler.machine.block import Block
from mcucompiler.machine.compile import compile_block
from tests.support import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module(request.param)


@pytest.mark.parametrize("script", ["run"], indirect=True)
def test_table_has_a_row_for_each_network_and_the_peers_beside(script: ModuleType) -> None:
    results = json.loads((FOLDER / "results.json").read_text())
    lines = script.table(results).splitlines()
    assert len(lines) == 2 + len(results)
    assert len({line.count(" | ") for line in (lines[0], *lines[2:])}) == 1
    assert lines[0].count("|") == lines[1].count("|")
    row = next(line for line in lines if line.startswith("| mlperf_vww96"))
    assert "24,480,000 (TFLM + CMSIS-NN)" in row
    assert "0.89 (X-CUBE-AI 9.0)" in row


@pytest.mark.parametrize("script", ["calibrate"], indirect=True)
def test_llvm_mca_is_left_out_with_a_reason_where_it_is_not_installed(script: ModuleType) -> None:
    assert "none of llvm-mca-14, llvm-mca is installed" in "\n".join(script.mca_section(None, None, []))


@pytest.mark.parametrize("script", ["calibrate"], indirect=True)
@pytest.mark.skipif(shutil.which("llvm-mca-14") is None, reason="llvm-mca-14 is not installed")
def test_both_models_agree_on_a_chain_of_multiplications(script: ModuleType) -> None:
    """Accumulation forwards: one a cycle."""
    block = Block("chain")
    sum_, x, w = (block.live_in(name) for name in ("sum", "x", "w"))
    for _ in range(40):
        sum_ = block.smlad(x, w, sum_)
    block.live_out("sum", sum_)
    code = compile_block(block)
    cost = script.mca_cost("llvm-mca-14")
    (compared,) = script.compare(cost, [code])
    assert (compared.kind, compared.looped, compared.instructions) == ("chain", False, 40)
    assert compared.ours == pytest.approx(41, abs=1)
    assert compared.ratio == pytest.approx(1, abs=0.06)
