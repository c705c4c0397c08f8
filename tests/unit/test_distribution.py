# SPDX-License-Identifier: Apache-2.0
"""The wheel is complete: an installed copy compiles and runs without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_templates_boards_and_runtime(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("templates", "boards", "runtime_c"):
        tracked = {p.relative_to(ROOT).as_posix() for p in (ROOT / folder).rglob("*") if p.is_file()}
        packed = {n.removeprefix("mcucompiler/_resources/") for n in names if f"_resources/{folder}/" in n}
        assert packed == tracked
    assert not [name for name in names if name.startswith(("tests", "examples"))]


def test_installed_wheel_compiles_and_runs(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # -P keeps the checkout off the path, and the unpacked wheel comes before the editable install.
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import mcucompiler, mcucompiler.__main__ as m; "
        f"assert mcucompiler.__file__.startswith({str(site)!r}), mcucompiler.__file__; sys.exit(m.main())"
    )
    for arguments in (
        ["compile", str(DIGITS), "-o", "out"],
        ["validate", "out", "--model", str(DIGITS), "--on", "host"],
    ):
        done = subprocess.run(
            [sys.executable, "-P", "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
