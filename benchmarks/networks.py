# SPDX-License-Identifier: Apache-2.0
"""The networks that are measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def models() -> Iterator[tuple[str, Path]]:
    """Name and file of each network: the example, then the reference networks in QOperator form."""
    yield "digits (example)", ROOT / "examples" / "digits" / "digits.onnx"
    folder = Path(os.environ.get("MCUCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
    for network in sorted(folder.iterdir()) if folder.is_dir() else ():
        files = sorted(network.glob("*.qop*.onnx"))
        if files:
            yield network.name, files[0]
