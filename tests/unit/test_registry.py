# SPDX-License-Identifier: Apache-2.0
"""Every operator is complete: reference, kernel variants, templates, differential tests."""

from __future__ import annotations

import re

import pytest

from mcucompiler.lower.variants import variants_of
from mcucompiler.ops import OPERATORS, Operator
from mcucompiler.resources import templates_dir
from tests.support import ROOT


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: op.__name__)
def test_operator_has_variants_with_distinct_names(operator: type[Operator]) -> None:
    names = [variant.name for variant in variants_of(operator)]
    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: op.__name__)
def test_operator_has_differential_tests(operator: type[Operator]) -> None:
    tests = ROOT / "tests"
    paths = [*tests.glob("differential/test_kernels_*.py"), *tests.glob("support/*_cases.py")]
    texts = [path.read_text() for path in paths]
    assert any(re.search(rf"\b{operator.__name__}\(", text) for text in texts), "no kernel test constructs it"


def test_every_template_is_used_by_a_variant() -> None:
    lower, emit = ROOT / "mcucompiler" / "lower", ROOT / "mcucompiler" / "emit"  # a camera's pixels are no operator
    sources = "".join(path.read_text() for path in (*lower.rglob("*.py"), emit / "rows.py"))
    for path in (templates_dir() / "kernels").glob("[!_]*.c.j2"):
        assert f'"{path.name.removesuffix(".c.j2")}"' in sources, path.name
