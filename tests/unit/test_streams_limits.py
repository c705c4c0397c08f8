# SPDX-License-Identifier: Apache-2.0
"""``--ram-limit``: met by streams where layer by layer is too large, refused with the least that can be reached."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mcucompiler.cli import main
from tests.support.stream_networks import made


def ram_bytes(folder: Path) -> int:
    memory = json.loads((folder / "manifest.json").read_text())["memory"]
    return int(memory["arena_bytes"] + memory["stack_bytes"])


def test_a_limit_is_met_or_refused_with_what_can_be_reached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(made("bottlenecks"))

    def compile_with(name: str, *options: str) -> int:
        return main(["compile", str(model), "-o", str(tmp_path / name), *options])

    assert compile_with("free") == 0
    capsys.readouterr()
    assert compile_with("none", "--ram-limit", "100") == 3
    message = capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    found = re.search(r"([\d,]+) bytes is the least that any plan reaches", message)
    assert found is not None, message
    least = int(found[1].replace(",", ""))
    assert least < ram_bytes(tmp_path / "free")
    assert compile_with("least", "--ram-limit", str(least)) == 0
    assert ram_bytes(tmp_path / "least") == least
    assert compile_with("less", "--ram-limit", str(least - 1)) == 3
