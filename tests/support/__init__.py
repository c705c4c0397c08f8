# SPDX-License-Identifier: Apache-2.0
"""What tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def models_dir() -> Path:
    """The folder of real networks; skips the test where it is absent."""
    path = Path(os.environ.get("MCUCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
    if not path.is_dir():
        pytest.skip("no folder of reference networks (set MCUCOMPILER_MODELS)")
    return path
