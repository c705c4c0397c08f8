# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the digits network layer by layer and in less RAM, with equal outputs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.qemu_serial import needs_qemu

pytestmark = [pytest.mark.qemu, needs_qemu]


def test_the_demonstration_compares_both_plans(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    command = [sys.executable, str(ROOT / "examples" / "digits" / "demo.py"), "--images", "6"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "output values in which the two differ: 0 of 60" in done.stdout
    first, second = re.search(r"RAM: arena \+ declared stack, bytes +([\d,]+) +([\d,]+)", done.stdout).groups()
    assert int(second.replace(",", "")) < 0.5 * int(first.replace(",", ""))
    one, two = re.search(r"instructions per image +([\d,]+) +([\d,]+) ", done.stdout).groups()
    assert 0 < int(one.replace(",", "")) < int(two.replace(",", ""))
