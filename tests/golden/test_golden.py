# SPDX-License-Identifier: Apache-2.0
"""The generated C of the example network, to the byte; after an intended change: make golden, and read the diff."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.ir.dump import dump_text
from tests.support import ROOT

GOLDEN = Path(__file__).parent / "digits"
DIGITS = ROOT / "examples" / "digits" / "digits.onnx"
# The weights are 300 kB of numbers; their packing is pinned by the differential tests.
FILES = ("digits.h", "digits.c", "digits_kernels.h", "digits_kernels.c", "digits_weights.h", "manifest.json")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    compiled = compile_model(DIGITS, CompileOptions())
    return {**{name: compiled.tree.files[name] for name in FILES}, "graph.txt": dump_text(compiled.graph)}


@pytest.mark.parametrize("name", [*FILES, "graph.txt"])
def test_generated_text_is_as_before(name: str, texts: dict[str, str], request: pytest.FixtureRequest) -> None:
    path = GOLDEN / name
    if request.config.getoption("--update-golden"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[name], encoding="utf-8", newline="\n")
    assert texts[name] == path.read_text(encoding="utf-8"), "generated C changed: `make golden` if that was intended"


def test_golden_folder_holds_nothing_else() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {*FILES, "graph.txt"}
