# SPDX-License-Identifier: Apache-2.0
"""Options and fixtures for all tests."""

from __future__ import annotations

import shutil

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc"):
        return
    skip = pytest.mark.skip(reason="needs qemu-system-arm and arm-none-eabi-gcc (make setup installs them)")
    for item in items:
        if "qemu" in item.keywords:
            item.add_marker(skip)
