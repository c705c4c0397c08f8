# SPDX-License-Identifier: Apache-2.0
"""The Python interface: limits, names, and writing all files or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcucompiler.api import CompiledModel, CompileOptions, compile_model, network_name
from mcucompiler.errors import DoesNotFitError, ToolError, UsageError
from tests.support import ROOT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    return compile_model(DIGITS)


def _ram_bytes(model: CompiledModel) -> int:
    return model.tree.program.arena_bytes + model.tree.program.stack_bytes


def test_ram_limit_counts_arena_and_stack(compiled: CompiledModel) -> None:
    needed = _ram_bytes(compiled)
    same = compile_model(DIGITS, CompileOptions(ram_limit=needed))
    assert same.tree.program.arena_bytes == compiled.tree.program.arena_bytes
    leaner = compile_model(DIGITS, CompileOptions(ram_limit=needed - 1))
    assert _ram_bytes(leaner) < needed
    assert leaner.tree.program.estimated_cycles >= compiled.tree.program.estimated_cycles


def test_a_ram_limit_that_no_plan_meets_tells_the_least() -> None:
    with pytest.raises(DoesNotFitError, match="bytes of RAM needed") as caught:
        compile_model(DIGITS, CompileOptions(ram_limit=1000))
    least = caught.value.needed_bytes
    assert caught.value.available_bytes == 1000
    assert "peak: step " in str(caught.value)
    assert "what to do" in str(caught.value)
    assert _ram_bytes(compile_model(DIGITS, CompileOptions(ram_limit=least))) == least


def test_flash_limit_counts_constants_and_code(compiled: CompiledModel) -> None:
    tree = compiled.tree
    assert tree.flash_bytes == tree.program.weights_bytes + tree.program.const_bytes + tree.code_bytes
    same = compile_model(DIGITS, CompileOptions(flash_limit=tree.flash_bytes))
    assert same.tree.files.keys() == tree.files.keys()
    assert same.planned.lowered.options.small == frozenset()


def test_kernels_shrink_until_the_flash_suffices(compiled: CompiledModel) -> None:
    smallest = compile_model(DIGITS, CompileOptions(optimize="size"))
    assert smallest.tree.flash_bytes < compiled.tree.flash_bytes
    limit = (smallest.tree.flash_bytes + compiled.tree.flash_bytes) // 2
    between = compile_model(DIGITS, CompileOptions(flash_limit=limit))
    assert between.tree.flash_bytes <= limit
    assert between.planned.lowered.options.small
    assert between.tree.program.estimated_cycles <= smallest.tree.program.estimated_cycles
    with pytest.raises(DoesNotFitError, match="bytes of flash needed") as caught:
        compile_model(DIGITS, CompileOptions(flash_limit=between.tree.program.weights_bytes))
    assert caught.value.exit_code == 3
    assert "of weights, " in str(caught.value)
    assert "of code" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vww.qop.onnx", "vww"),
        ("My Net (final).onnx", "my_net_final"),
        ("3x3.onnx", "n3x3"),
        ("math.onnx", "math_net"),
        ("mc_simd.onnx", "mc_simd_net"),
        ("*/.onnx", "n"),
        ("\u7db2.onnx", "n"),
    ],
)
def test_name_is_made_from_the_file(file: str, name: str) -> None:
    assert network_name("", file) == name


@pytest.mark.parametrize("name", ["1net", "a-b", "a b", "x*/", "string", "STDIO", "mc_x", "\u00e9t\u00e9", "n" * 49])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--name"):
        network_name(name, "x.onnx")


def test_a_model_in_memory_has_a_name_too() -> None:
    assert network_name("", b"") == "network"


def test_command_reproduces_the_options_without_folders() -> None:
    options = CompileOptions(
        name="n", board="/home/me/my.toml", ram_limit=1024, exact="float", batch=2, shapes={"b": (1, 2), "a": (3,)}
    )
    assert options.command() == (
        "mcucompiler compile --board my --name n --ram-limit 1024 --exact float --batch 2 --shape a=3 --shape b=1x2"
    )


def test_writes_into_a_new_or_empty_folder(compiled: CompiledModel, tmp_path: Path) -> None:
    for folder in (tmp_path / "a" / "b", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        compiled.write(folder)
        assert {path.name for path in folder.iterdir()} == set(compiled.tree.files)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "empty"}


def test_other_content_is_refused_and_kept(compiled: CompiledModel, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty.*--force"):
        compiled.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    compiled.write(tmp_path, force=True)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {*compiled.tree.files, "precious.txt"}


def test_a_file_in_the_way_is_refused(compiled: CompiledModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="not a folder"):
        compiled.write(tmp_path / "file", force=True)
    with pytest.raises(UsageError, match="cannot write"):
        compiled.write(tmp_path / "file" / "below")


def test_nothing_is_left_when_writing_fails(
    compiled: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    original = Path.write_text

    def full_disk(self: Path, *args: object, **kwargs: object) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(ToolError, match="No space left"):
        compiled.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
