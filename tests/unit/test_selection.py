# SPDX-License-Identifier: Apache-2.0
"""Kernel choice: by estimated cycles, by bytes, and to fit flash."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mcucompiler.emit.code_size import kernel_bytes, text_bytes
from mcucompiler.lower import lower_graph, select
from mcucompiler.lower.shrink import nodes_to_shrink
from mcucompiler.lower.types import (
    ConstantArg,
    ConstantArray,
    Kernel,
    KernelCall,
    LoweredStep,
    LoweringOptions,
    kernel,
)
from mcucompiler.pipeline import import_and_rewrite
from tests.support import ROOT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


def call(name: str, cycles: int, constants: int = 0, shared: str = "") -> KernelCall:
    array = ConstantArray(label="weights", ctype="int8_t", given=np.zeros(constants, np.int8))
    return KernelCall(
        variant=name,
        cycles=cycles,
        kernel=kernel(shared or name, "label", ()),
        arguments=(ConstantArg(array=array),),
    )


def candidates(*calls: KernelCall, by_size: bool = False) -> select._Candidates:
    node = SimpleNamespace(name="node")
    return select._Candidates(node=node, by_size=by_size, calls=calls, refused=())  # type: ignore[arg-type]


def chosen(*found: select._Candidates, code: dict[str, int] | None = None) -> list[str]:
    indices = [select._fastest(each.calls) for each in found]
    select._shrink(found, indices, lambda known: (code or {}).get(known.template, 0))
    return [each.calls[index].variant for each, index in zip(found, indices, strict=True)]


@pytest.mark.parametrize(
    ("cycles", "wanted"),
    [((100, 100), "a"), ((100, 96), "a"), ((100, 94), "b"), ((100, 94, 80), "c"), ((100, 90, 89), "b")],
)
def test_speed_takes_the_least_cycles_and_the_first_of_those_the_model_cannot_tell_apart(cycles, wanted):
    calls = [call(name, each) for name, each in zip("abc", cycles, strict=False)]
    assert chosen(candidates(*calls)) == [wanted]


def test_size_takes_the_least_bytes_of_constants_and_code():
    calls = (call("fast", 100, 50), call("small", 150, 60))
    assert chosen(candidates(*calls, by_size=True), code={"fast": 100, "small": 40}) == ["small"]
    assert chosen(candidates(*calls), code={"fast": 100, "small": 40}) == ["fast"]


def test_size_counts_shared_code_once():
    small = call("shared", 150, shared="shared")
    users = [candidates(call(name, 100), small, by_size=True) for name in "xyz"]
    anchor = candidates(call("only", 100, shared="shared"), by_size=True)
    assert chosen(*users, anchor, code={"x": 30, "y": 30, "z": 30, "shared": 80}) == ["shared"] * 3 + ["only"]


def test_size_is_not_bought_with_twice_the_time():
    calls = (call("fast", 100), call("small", 201))
    assert chosen(candidates(*calls, by_size=True), code={"fast": 100, "small": 1}) == ["fast"]


def test_reasons_name_what_was_not_taken():
    fast, slow, close = call("a", 100), call("b", 200), call("c", 97)
    assert select._why_not(fast, slow, by_size=False) == "slower: 200 estimated cycles"
    assert select._why_not(fast, close, by_size=False) == "no more than 5% faster: 97 estimated cycles"
    assert "larger" in select._why_not(fast, slow, by_size=True)


@pytest.fixture(scope="module")
def graph():
    return import_and_rewrite(DIGITS)[1]


def total(steps: tuple[LoweredStep, ...]) -> int:
    calls = [step.call for step in steps if isinstance(step.call, KernelCall)]
    kernels: set[Kernel] = {each.kernel for each in calls}
    return sum(map(select.constant_bytes, calls)) + sum(map(kernel_bytes, kernels))


def test_nodes_to_shrink_save_what_is_asked_and_no_more_nodes_than_need_be(graph):
    options = LoweringOptions()
    fast = lower_graph(graph, options, code_bytes=kernel_bytes).steps
    assert nodes_to_shrink(graph, options, 0, kernel_bytes) == frozenset()
    few = nodes_to_shrink(graph, options, 1, kernel_bytes)
    everything = nodes_to_shrink(graph, options, 1 << 20, kernel_bytes)
    assert 0 < len(few) < len(everything)
    sizes = [
        total(lower_graph(graph, replace(options, small=names), code_bytes=kernel_bytes).steps)
        for names in (frozenset[str](), few, everything)
    ]
    assert total(fast) == sizes[0] > sizes[1] > sizes[2]


def test_code_of_the_twin_that_is_not_compiled_does_not_count():
    asm = '__asm__ volatile(\n        "1:\\n"\n        "ldr r1, [r2]\\n"\n        "bx lr\\n"\n    );'
    guarded = f"#if MC_SCHEDULED\n{asm}\n#else\na = b;\nb = c;\n#endif\nx = y;\n"
    assert text_bytes(guarded) == text_bytes(f"{asm}\nx = y;\n")
    assert text_bytes("/* a; b; */ x = y;") == text_bytes("x = y;") > 0
