# SPDX-License-Identifier: Apache-2.0
"""``python -m mcucompiler`` and the ``mcucompiler`` program."""

from __future__ import annotations

from mcucompiler.cli import exit_with_code as main

__all__ = ["main"]

if __name__ == "__main__":
    main()
