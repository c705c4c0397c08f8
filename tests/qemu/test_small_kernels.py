# SPDX-License-Identifier: Apache-2.0
"""Kernels chosen for size: the same bits, on the core and on the host, and less code than for speed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import build_firmware
from mcucompiler.emit.code_size import text_bytes
from mcucompiler.manifest import read_manifest
from mcucompiler.run import make_runner, seeded_samples
from tests.support import ROOT
from tests.support.conv_cases import shaped_cases
from tests.support.kernel_qemu import measure_cases
from tests.support.kernels import lowered, reference_of, run_cases
from tests.support.programs import assert_equal, run_program, run_reference

pytestmark = pytest.mark.qemu
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
BOARD = "mps2-an500"


def test_every_path_gives_the_same_bits() -> None:
    cases = [replace(case, options=replace(case.options, optimize="size")) for case in shaped_cases()]
    for case, measured, twin in zip(cases, measure_cases(cases), run_cases(cases), strict=True):
        np.testing.assert_array_equal(measured.outputs[0], reference_of(case)[0])
        np.testing.assert_array_equal(measured.outputs[0], twin[0])
        assert measured.stack_bytes <= lowered(case)[1].stack_bytes


def test_network_is_exact_and_smaller_and_its_code_is_estimated(tmp_path: Path) -> None:
    code = {}
    for optimize in ("speed", "size"):
        folder = tmp_path / optimize
        result = compile_model(DIGITS, CompileOptions(name="net", board=BOARD, optimize=optimize))
        result.write(folder)
        manifest = read_manifest(folder)
        samples = list(seeded_samples(manifest, 2))
        got = run_program(make_runner(manifest, "qemu"), manifest, samples)
        assert_equal(got, run_reference(result, manifest, samples))
        code[optimize] = build_firmware(folder, load_board(BOARD)).figures["code_bytes"]
        assert result.tree.code_bytes == pytest.approx(code[optimize], rel=0.15)
        assert result.tree.code_bytes == manifest.memory.estimated_code_bytes
        kernels = result.tree.files["net_kernels.c"]
        assert 0.9 < text_bytes(kernels) / result.tree.code_bytes < 1
    assert code["size"] < 0.9 * code["speed"]
