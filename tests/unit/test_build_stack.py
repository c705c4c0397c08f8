# SPDX-License-Identifier: Apache-2.0
"""Stack bounds from call graphs as GCC writes them."""

from __future__ import annotations

import pytest

from mcucompiler.build.stack import EXTERNAL_STACK_BYTES, stack_bound
from mcucompiler.errors import ToolError


def node(title: str, stack: int | None = None, kind: str = "static") -> str:
    frame = f"\\n{stack} bytes ({kind})\\n0 dynamic objects" if stack is not None else ""
    return f'node: {{ title: "{title}" label: "{title}\\nnet.c:1:1{frame}" }}\n'


def edge(source: str, target: str) -> str:
    return f'edge: {{ sourcename: "{source}" targetname: "{target}" label: "net.c:2:2" }}\n'


def bound(tmp_path, *texts: str):
    paths = []
    for index, text in enumerate(texts):
        path = tmp_path / f"{index}.ci"
        path.write_text(f'graph: {{ title: "{index}.c"\n{text}}}\n')
        paths.append(path)
    return stack_bound(paths, "net_run")


def test_deepest_chain_over_several_files(tmp_path):
    first = node("net_run", 16) + node("net_a") + node("net_b")
    first += edge("net_run", "net_a") + edge("net_run", "net_b")
    second = node("net_a", 100) + node("net_b", 40) + node("k.c:helper", 80) + edge("net_b", "k.c:helper")
    result = bound(tmp_path, first, second)
    assert result.bytes == 16 + 40 + 80
    assert result.chain == (("net_run", 16), ("net_b", 40), ("helper", 80))
    assert result.external == ()


def test_static_functions_of_one_name_are_told_apart(tmp_path):
    text = node("net_run", 8) + node("a.c:f", 10) + node("b.c:f", 1000) + edge("net_run", "a.c:f")
    assert bound(tmp_path, text).bytes == 18


def test_library_functions_get_an_allowance(tmp_path):
    result = bound(tmp_path, node("net_run", 24) + node("memcpy") + edge("net_run", "memcpy"))
    assert result.bytes == 24 + EXTERNAL_STACK_BYTES
    assert result.external == ("memcpy",)


def test_functions_that_are_not_called_do_not_count(tmp_path):
    assert bound(tmp_path, node("net_run", 24) + node("other", 9999)).bytes == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (node("other", 8), "no function 'net_run'"),
        (node("net_run", 8) + edge("net_run", "net_run"), "net_run is recursive"),
        (
            node("net_run", 8) + node("f", 8) + edge("net_run", "f") + edge("f", "net_run"),
            "recursive",
        ),
        (node("net_run", 8) + edge("net_run", "__indirect_call"), "net_run calls through a pointer"),
        (node("net_run", 8, "dynamic"), "frame whose size is not known"),
    ],
)
def test_what_cannot_be_bounded_is_refused(tmp_path, text, message):
    with pytest.raises(ToolError, match=message):
        bound(tmp_path, text)


def test_a_dynamic_frame_with_a_bound_is_accepted(tmp_path):
    assert bound(tmp_path, node("net_run", 48, "dynamic,bounded")).bytes == 48
