# SPDX-License-Identifier: Apache-2.0
"""Real networks on the host: no warning from any compiler, and exact under the sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mcucompiler.run import make_runner
from tests.support.compilers import ARM, STRICT
from tests.support.programs import assert_equal, compiled, run_program, run_reference
from tests.support.reference_networks import QDQ, QOPERATOR, model, stored


@pytest.mark.parametrize("name", [*QOPERATOR, *QDQ])
def test_silent_and_clean(name: str, tmp_path: Path) -> None:
    result, manifest = compiled(model(name), tmp_path / "net")
    for compiler in (("gcc",), ("clang",), ARM):
        if shutil.which(compiler[0]) is not None:
            sources = [str(path) for path in (tmp_path / "net").glob("*.c") if not path.name.endswith("_weights.c")]
            for source in sources:
                done = subprocess.run(
                    [*compiler, *STRICT, source, "-o", str(tmp_path / "x.o")],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 0, done.stderr
    samples = stored(name, "in", [tensor.name for tensor in manifest.inputs])[:1]
    got = run_program(make_runner(manifest, "host", sanitize=True), manifest, samples)
    assert_equal(got, run_reference(result, manifest, samples))
