# SPDX-License-Identifier: Apache-2.0
"""Estimates of time: waiting for flash, clocks, and how far they are from what is measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.bench import bench_json, bench_report, deviation
from mcucompiler.boards import load_board
from mcucompiler.cost import ConstantRead, FlashTiming, flash_timing
from mcucompiler.errors import BoardError, UsageError
from mcucompiler.lower.types import ConstantArg, ConstantArray, KernelCall, kernel
from mcucompiler.manifest import Manifest, read_manifest
from mcucompiler.report.estimate import estimate, estimate_facts, estimate_json
from mcucompiler.report.network import network_json
from mcucompiler.resources import boards_dir
from mcucompiler.run.types import BenchResult, DeviceFacts, StepCount
from mcucompiler.stream.reads import constant_reads, flash_bytes_read
from tests.support import ROOT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


def test_constants_that_fit_the_cache_come_once_and_others_on_every_pass() -> None:
    timing = FlashTiming(line_bytes=32, line_cycles=22, data_cache_bytes=1024)
    fits, exceeds = ConstantRead(bytes=1000, times=7), ConstantRead(bytes=1056, times=7)
    assert timing.lines_read([fits]) == 32
    assert timing.lines_read([exceeds]) == 33 * 7
    assert timing.stall_cycles([fits, exceeds]) == 22 * (32 + 33 * 7)
    assert replace(timing, data_cache_bytes=0).lines_read([fits]) == 32 * 7


@pytest.mark.parametrize(
    ("board", "line", "cycles", "cache"),
    [
        ("nucleo-h743zi2", 32, 22, 16 << 10),
        ("nucleo-f767zi", 32, 14, 16 << 10),
        ("stm32f746g-disco", 32, 14, 4 << 10),
        ("netduinoplus2", 16, 5, 0),
    ],
)
def test_timing_follows_from_wait_states_and_clocks(board: str, line: int, cycles: int, cache: int) -> None:
    assert flash_timing(load_board(board)) == FlashTiming(line_bytes=line, line_cycles=cycles, data_cache_bytes=cache)


@pytest.mark.parametrize("board", ["mps2-an500", "mps2-an386", "host"])
def test_emulators_and_the_host_have_no_timing(board: str) -> None:
    assert flash_timing(load_board(board)) is None


def test_a_measured_miss_takes_the_place_of_the_derived_one(tmp_path: Path) -> None:
    text = (boards_dir() / "nucleo-h743zi2" / "board.toml").read_text()
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("line_bytes = 32", "line_bytes = 32\nmiss_cycles = 31"))
    timing = flash_timing(load_board(str(mine)))
    assert timing is not None
    assert timing.line_cycles == 31
    mine.write_text(text.replace("line_bytes = 32", "line_bytes = 0"))
    with pytest.raises(BoardError, match="line_bytes"):
        load_board(str(mine))


def test_a_call_says_what_it_reads() -> None:
    array = ConstantArray(label="weights", ctype="int32_t", given=np.zeros(100, np.int32))
    call = KernelCall(variant="v", kernel=kernel("v", "v", ()), arguments=(ConstantArg(array=array),), passes=5)
    assert constant_reads(call) == (ConstantRead(bytes=400, times=5),)
    assert (flash_bytes_read(call, 400), flash_bytes_read(call, 399)) == (400, 2000)
    assert constant_reads(replace(call, arguments=())) == ()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("cost") / "net"
    compile_model(DIGITS, CompileOptions(board="nucleo-h743zi2")).write(folder)
    return read_manifest(folder)


def test_an_estimate_counts_cycles_and_stalls(manifest: Manifest) -> None:
    found = estimate(manifest)
    timing = flash_timing(load_board("nucleo-h743zi2"))
    assert timing is not None
    assert found.stalls is not None
    reads = [step.constant_reads for step in manifest.steps]
    assert found.stalls == tuple(timing.stall_cycles(each) for each in reads)
    assert found.total == manifest.estimated_cycles + sum(found.stalls)
    assert found.milliseconds == pytest.approx(found.total / 480e3)
    weights = sum(read.bytes for each in reads for read in each)
    assert weights == manifest.memory.weights_bytes + manifest.memory.const_bytes
    assert any("ms at 480 MHz" in text for _, text in estimate_facts(manifest))
    assert network_json(manifest)["estimate"] == estimate_json(manifest)


def test_emulated_and_unknown_boards_have_no_time(manifest: Manifest) -> None:
    for board in ("mps2-an500", "a board of the user's", ""):
        found = estimate(replace(manifest, board=board))
        assert (found.stalls, found.milliseconds, found.total) == (None, None, manifest.estimated_cycles)


def measured(manifest: Manifest, factors: dict[int, float]) -> BenchResult:
    counts = [round(s.estimated_instructions / factors.get(s.index, 1.0)) for s in manifest.steps]
    steps = tuple(StepCount(index=i, instructions=count) for i, count in enumerate(counts))
    return BenchResult(instructions=sum(counts), resolution=40, steps=steps, stack_bytes=None)


def test_bench_names_the_step_that_is_farthest_off(manifest: Manifest) -> None:
    smallest = min(manifest.steps, key=lambda step: step.estimated_instructions).index
    result = measured(manifest, {3: 1.25, 5: 0.9, smallest: 3.0})
    off = deviation(manifest, result)
    assert off.worst == 3
    assert off.steps[3] == pytest.approx(0.25, abs=0.001)
    assert off.steps[5] == pytest.approx(-0.1, abs=0.001)
    values = bench_json(manifest, result, "qemu")
    assert values["worst_deviation_step"] == 3
    assert values["steps"][3]["deviation"] == pytest.approx(0.25, abs=0.001)
    assert values["steps"][3]["variant"] == manifest.steps[3].variant
    text = " ".join(part for part in bench_report(manifest, result, "qemu") if isinstance(part, str))
    assert "is 3, +25.0 %" in text


def test_bench_on_a_board_compares_cycles_with_those_that_wait(manifest: Manifest) -> None:
    found = estimate(manifest)
    assert found.stalls is not None
    cycles = [step.estimated_cycles + stall for step, stall in zip(manifest.steps, found.stalls, strict=True)]
    device = DeviceFacts(board="b", clock_hz=480_000_000, cycles_hz=480_000_000, emulated=False, stack_bytes=8192)
    result = BenchResult(
        instructions=sum(cycles),
        resolution=1,
        steps=tuple(StepCount(index=i, instructions=count) for i, count in enumerate(cycles)),
        stack_bytes=None,
        unit="cycles",
        repeats=(sum(cycles),),
        device=device,
    )
    assert deviation(manifest, result).whole == pytest.approx(0.0)


def test_a_manifest_with_wrong_reads_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    text = (manifest.directory / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"constant_reads": [', '"constant_reads": [[-1, 2],', 1))
    with pytest.raises(UsageError, match="constant_reads"):
        read_manifest(tmp_path)
