# SPDX-License-Identifier: Apache-2.0
"""Stack bounds from call graphs as GCC writes them."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from mcucompiler.boards import load_board
from mcucompiler.build.frames import pushed_bytes
from mcucompiler.build.stack import EXTERNAL_STACK_BYTES, stack_bound
from mcucompiler.build.toolchain import target_flags
from mcucompiler.errors import ToolError


def node(title: str, stack: int | None = None, kind: str = "static") -> str:
    frame = f"\\n{stack} bytes ({kind})\\n0 dynamic objects" if stack is not None else ""
    return f'node: {{ title: "{title}" label: "{title}\\nnet.c:1:1{frame}" }}\n'


def edge(source: str, target: str) -> str:
    return f'edge: {{ sourcename: "{source}" targetname: "{target}" label: "net.c:2:2" }}\n'


def bound(tmp_path, *texts: str, **options):
    paths = []
    for index, text in enumerate(texts):
        path = tmp_path / f"{index}.ci"
        path.write_text(f'graph: {{ title: "{index}.c"\n{text}}}\n')
        paths.append(path)
    return stack_bound(paths, "net_run", **options)


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


def test_naked_functions_count_with_what_their_code_pushes(tmp_path):
    text = node("net_run", 24) + node("k.c:naked") + node("said", 0) + node("memset")
    text += edge("net_run", "k.c:naked") + edge("k.c:naked", "said") + edge("net_run", "memset")
    result = bound(tmp_path, text, pushed={"naked": 56, "said": 32, "net_run": 9999})
    assert result.chain == (("net_run", 24), ("naked", 56), ("said", 32))
    assert result.external == ("memset",)


CODE = """
    .syntax unified
    .thumb
    .macro function name
    .type \\name, %function
\\name:
    .endm
    function narrow
    push {r4-r7, lr}
    sub sp, #24
    ldr r0, [r1]
    add sp, #24
    pop {r4-r7, pc}
    .size narrow, .-narrow
    function wide
    push {r4-r11, lr}
    vpush {s16-s31}
    sub.w sp, sp, #1024
    subw sp, sp, #1001
    ldr.w r8, [r1, #4]
    .size wide, .-wide
    function others
    str r8, [sp, #-4]!
    strd r4, r5, [sp, #-16]!
    vpush {d8-d9}
    sub.w sp, sp, #0x3fc0
    .size others, .-others
    function leaf
    ldmia r0!, {r1, r2}
    bx lr
    .size leaf, .-leaf
"""


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_what_code_pushes_is_read_from_it(tmp_path):
    source, target = tmp_path / "code.s", tmp_path / "code.o"
    source.write_text(CODE)
    flags = target_flags(load_board("mps2-an500").cpu)
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", source, "-o", target], check=True)
    assert pushed_bytes([target]) == {
        "narrow": 20 + 24,
        "wide": 36 + 64 + 1024 + 1001,
        "others": 4 + 16 + 16 + 0x3FC0,
        "leaf": 0,
    }
