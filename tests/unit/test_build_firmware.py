# SPDX-License-Identifier: Apache-2.0
"""Building: figures, limits, folders that are whole or absent, and wrong input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from elftools.elf.elffile import ELFFile

from mcucompiler.boards import list_boards, load_board
from mcucompiler.build import Flavor, build_firmware, build_program, read_build
from mcucompiler.build.board_header import write_board_header
from mcucompiler.build.folder import make_folder
from mcucompiler.build.size import read_sections
from mcucompiler.build.toolchain import STANDARD, WARNINGS, target_flags
from mcucompiler.errors import DoesNotFitError, ToolError, UsageError, VerificationError
from mcucompiler.manifest import read_manifest
from mcucompiler.resources import boards_dir, runtime_dir
from tests.support import ROOT
from tests.support.handmade import make_manifest, make_model, write_program

needs_arm = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
AN500 = (boards_dir() / "mps2-an500" / "board.toml").read_text()


def changed_memory(**changes):
    return {**make_manifest(make_model())["memory"], **changes}


def custom_board(tmp_path, text):
    path = tmp_path / "custom.toml"
    path.write_text(text)
    return load_board(str(path))


@needs_arm
def test_figures_of_a_firmware(tmp_path):
    folder, _ = write_program(tmp_path)
    result = build_firmware(folder, load_board("mps2-an500"))
    figures = json.loads(result.path.read_text())
    assert result.path == folder / "build" / "mps2-an500" / "build.json"
    assert figures == result.figures == read_build(folder, "mps2-an500")
    assert figures["weights_bytes"] == 16
    assert (figures["data_bytes"], figures["bss_bytes"]) == (0, 0)
    assert 100 < figures["code_bytes"] < 1000
    assert figures["flash_bytes"] == figures["code_bytes"] + figures["weights_bytes"] + figures["rodata_bytes"]
    assert figures["ram_bytes"] == 64 + 256
    assert figures["stack"]["declared_bytes"] == 256
    chain = figures["stack"]["chain"]
    assert chain[0]["function"] == "net_run"
    assert figures["stack"]["bound_bytes"] == sum(part["bytes"] for part in chain)
    assert "-mcpu=cortex-m7" in figures["flags"]
    sram = next(region for region in figures["regions"] if region["name"] == "sram")
    assert sram["sections"][".stack"] == 65536
    assert sram["sections"][".arena"] >= 64
    assert (folder / "build" / "mps2-an500" / figures["executable"]).is_file()


@needs_arm
def test_firmware_lies_where_the_board_says(tmp_path):
    folder, _ = write_program(tmp_path)
    board = load_board("mps2-an500")
    program = build_program(read_manifest(folder), Flavor(board=board))
    regions = {region.name: region for region in board.regions}
    sections = {section.name: section for section in read_sections(program.path)}
    assert sections[".vectors"].address == 0
    assert sections[".stack"].address == regions["sram"].origin
    for name, region in ((".text", "code"), (".weights", "code"), (".arena", "sram"), (".bss", "sram")):
        assert regions[region].origin <= sections[name].address < regions[region].end
    assert sections[".weights"].size_bytes >= 16


@needs_arm
def test_weights_go_to_the_first_region_with_room_for_them(tmp_path):
    small = AN500.replace('length = "4M"\nholds = ["vectors"', 'length = "16K"\nholds = ["vectors"')
    folder, _ = write_program(tmp_path, memory=changed_memory(weights_bytes=20000))
    program = build_program(read_manifest(folder), Flavor(board=custom_board(tmp_path, small)))
    weights = next(section for section in read_sections(program.path) if section.name == ".weights")
    assert weights.address == 0x60000000


@needs_arm
@pytest.mark.parametrize(
    ("replaced", "by", "what"),
    [
        ('length = "4M"\nholds = ["vectors"', 'length = "1K"\nholds = ["vectors"', "flash"),
        ('length = "4M"\nholds = ["stack"', 'length = 65664\nholds = ["stack"', "RAM"),
    ],
)
def test_a_region_that_overflows_does_not_fit(tmp_path, replaced, by, what):
    folder, _ = write_program(tmp_path)
    board = custom_board(tmp_path, AN500.replace(replaced, by))
    with pytest.raises(DoesNotFitError, match="memory region") as caught:
        build_firmware(folder, board)
    assert caught.value.what == what
    assert caught.value.needed_bytes > caught.value.available_bytes
    assert caught.value.exit_code == 3
    assert not list((folder / "build" / board.name).iterdir()), "nothing half-built is left"


@needs_arm
def test_an_arena_larger_than_its_region_does_not_fit(tmp_path):
    folder, _ = write_program(tmp_path, memory=changed_memory(arena_bytes=8 << 20))
    with pytest.raises(DoesNotFitError, match=r"8,388,608 bytes of RAM needed.*available") as caught:
        build_firmware(folder, load_board("mps2-an500"))
    assert caught.value.available_bytes == (4 << 20) - 65536


@needs_arm
def test_a_stack_above_its_declared_bound_is_refused(tmp_path):
    folder, _ = write_program(tmp_path, memory=changed_memory(stack_bytes=8))
    with pytest.raises(VerificationError, match=r"net_run needs \d+ bytes, 8 were declared"):
        build_firmware(folder, load_board("mps2-an500"))
    assert read_build(folder, "mps2-an500") is None


@needs_arm
def test_a_header_that_contradicts_the_manifest_does_not_build(tmp_path):
    folder, _ = write_program(tmp_path, memory=changed_memory(arena_bytes=96))
    with pytest.raises(ToolError, match="NET_ARENA_BYTES is not what the manifest says"):
        build_firmware(folder, load_board("mps2-an500"))


def test_code_that_does_not_compile(tmp_path):
    folder, _ = write_program(tmp_path)
    (folder / "net.c").write_text("int f(void) { return oops; }\n")
    with pytest.raises(ToolError, match=r"compiling net\.c failed(.|\n)*oops"):
        build_firmware(folder, load_board("host"))


def test_a_missing_source_is_named(tmp_path):
    folder, _ = write_program(tmp_path)
    (folder / "net_kernels.c").unlink()
    with pytest.raises(UsageError, match=r"names 'net_kernels\.c', which is not in"):
        build_firmware(folder, load_board("host"))


def test_a_folder_for_another_core_is_refused(tmp_path):
    folder, _ = write_program(tmp_path, target={"cpu": "cortex-m4", "fpu": "fpv4-sp-d16"})
    with pytest.raises(UsageError, match=r"compiled for cortex-m4.*has cortex-m7.*--board mps2-an500"):
        build_firmware(folder, load_board("mps2-an500"))


def test_nothing_is_built_twice_and_changes_are_seen(tmp_path):
    folder, _ = write_program(tmp_path)
    manifest, flavor = read_manifest(folder), Flavor(board=load_board("host"))
    first = build_program(manifest, flavor)
    time = first.path.stat().st_mtime_ns
    assert build_program(manifest, flavor).path.stat().st_mtime_ns == time
    (folder / "net_weights.c").write_text((folder / "net_weights.c").read_text().replace("7, -9", "8, -9"))
    assert build_program(manifest, flavor).path.stat().st_mtime_ns > time


def test_a_folder_that_cannot_be_filled_leaves_the_old_one(tmp_path):
    target = tmp_path / "it"
    make_folder(target, "1", lambda folder: (folder / "old").touch())

    def fail(folder):
        (folder / "new").touch()
        raise ToolError("no")

    with pytest.raises(ToolError):
        make_folder(target, "2", fail)
    assert sorted(path.name for path in target.iterdir()) == ["old", "stamp"]
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
def test_the_runtime_is_silent_under_strict_warnings(tmp_path, compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    folder, _ = write_program(tmp_path)
    board = load_board("mps2-an500" if compiler.startswith("arm") else "host")
    program = build_program(read_manifest(folder), Flavor(board=board, compiler=compiler, hooks=True))
    names = ["harness/harness.c", "harness/guard.c", "harness/feed.c"]
    names += ["harness/platform_semihosting.c"] if board.startup else []
    names += ["harness/platform_host.c"] if board.is_host else []
    check_silence(compiler, [*program.toolchain.target_flags], names, program.folder, folder)


def check_silence(compiler, target, names, *folders):
    includes = [*folders, *(runtime_dir() / name for name in ("harness", "protocol", "include"))]
    for name in names:
        command = [compiler, *target, STANDARD, "-O2", *WARNINGS, "-Werror", *(f"-I{folder}" for folder in includes)]
        done = subprocess.run(
            [*command, "-fsyntax-only", str(runtime_dir() / name)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_arm
@pytest.mark.parametrize("name", [name for name in list_boards() if name != "host"])
def test_what_knows_the_board_is_silent_on_every_board(tmp_path, name):
    board = load_board(name)
    write_board_header(board, tmp_path)
    sources = [path for kind in ("startup", "soc") for path in sorted((runtime_dir() / kind).glob("*.c"))]
    check_silence("arm-none-eabi-gcc", target_flags(board.cpu), [*sources], tmp_path)


@needs_arm
def test_kernels_run_from_memory_of_their_own_where_they_fit(tmp_path):
    folder, _ = write_program(tmp_path)
    board = load_board("nucleo-h743zi2")
    figures = build_firmware(folder, board).figures
    kernels = figures["placement"]["kernels"]
    assert kernels["region"] == "itcm"
    assert 0 < kernels["bytes"] < 1000
    flash = next(region for region in figures["regions"] if region["name"] == "flash")
    assert flash["load_images"][".kernels"] == kernels["bytes"]
    assert flash["used_bytes"] == sum(flash["sections"].values()) + sum(flash["load_images"].values())
    code = figures["placement"]["text"]
    assert code["region"] == "flash"

    path = tmp_path / "small.toml"
    toml = (boards_dir() / "nucleo-h743zi2" / "board.toml").read_text()
    path.write_text(toml.replace('length = "64K"', "length = 256"))
    assert "kernels" not in build_firmware(folder, load_board(str(path))).figures["placement"]


@needs_arm
@pytest.mark.parametrize(
    ("arena_bytes", "region"),
    [(64 << 10, "dtcm"), (110 << 10, "dtcm"), (117 << 10, "axi_sram"), (500 << 10, "axi_sram")],
)
def test_the_arena_lies_in_the_fastest_memory_that_holds_it(tmp_path, arena_bytes, region):
    folder, _ = write_program(tmp_path, memory=changed_memory(arena_bytes=arena_bytes))
    header = folder / "net.h"
    text, count = re.subn(r"(#define NET_ARENA_BYTES) .*", rf"\1 {arena_bytes}u", header.read_text())
    assert count == 1
    header.write_text(text)
    figures = build_firmware(folder, load_board("nucleo-h743zi2")).figures
    arena = figures["placement"]["arena"]
    assert arena["region"] == region
    assert arena["address"] % 32 == 0
    assert arena_bytes <= arena["bytes"] <= arena_bytes + 512


@needs_arm
def test_weights_lie_in_flash_and_are_as_many_as_planned(tmp_path):
    folder, _ = write_program(tmp_path)
    weights = build_firmware(folder, load_board("stm32f746g-disco")).figures["placement"]["weights"]
    assert (weights["region"], weights["bytes"]) == ("flash", 16)


@needs_arm
def test_a_stack_that_does_not_fit_the_boards(tmp_path):
    folder, _ = write_program(tmp_path, memory=changed_memory(stack_bytes=20000))
    (folder / "net.c").write_text(
        (folder / "net.c")
        .read_text()
        .replace("    NET_STEP_HOOK(1);", "    volatile uint8_t big[9000]; big[0] = a[0]; a[0] = big[0];")
    )
    with pytest.raises(DoesNotFitError, match=r"of stack needed") as caught:
        build_firmware(folder, load_board("stm32f746g-disco"))
    assert caught.value.exit_code == 3


@needs_arm
def test_an_application_of_the_users_takes_the_place_of_the_firmware(tmp_path):
    folder, _ = write_program(tmp_path)
    application = tmp_path / "app.c"
    application.write_text(
        '#include "mc_board.h"\n#include "net.h"\n'
        "static _Alignas(NET_ARENA_ALIGN) uint8_t arena[NET_ARENA_BYTES];\n"
        "int mc_main(void) { return (int)net_run(arena, sizeof arena); }\n"
    )
    result = build_firmware(folder, load_board("nucleo-h743zi2"), application=application)
    assert result.program.path.parent.name == "application"
    first = result.program.path.read_bytes()
    application.write_text(application.read_text().replace("(int)net_run", "1 + (int)net_run"))
    assert (
        build_firmware(folder, load_board("nucleo-h743zi2"), application=application).program.path.read_bytes() != first
    )
    (tmp_path / "mine.h").write_text("#define RESULT 3\n")
    application.write_text('#include "mc_console.h"\n#include "mine.h"\nint mc_main(void) { return RESULT; }\n')
    first = build_firmware(folder, load_board("nucleo-h743zi2"), application=application).program.path.read_bytes()
    (tmp_path / "mine.h").write_text("#define RESULT 4\n")
    assert (
        build_firmware(folder, load_board("nucleo-h743zi2"), application=application).program.path.read_bytes() != first
    )
    with pytest.raises(UsageError, match=r"application '.*none\.c' is not a file"):
        build_firmware(folder, load_board("nucleo-h743zi2"), application=tmp_path / "none.c")


@needs_arm
def test_the_application_of_the_documentation_links(tmp_path):
    text = (ROOT / "docs" / "boards.md").read_text()
    folder, _ = write_program(tmp_path)
    source = re.search(r"```c\n(.*?)```", text, re.DOTALL)[1].replace("vww", "net").replace("VWW", "NET")
    (tmp_path / "app.c").write_text(source)
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    figures = build_firmware(folder, load_board(str(tmp_path / "mine.toml")), application=tmp_path / "app.c").figures
    assert figures["placement"]["arena"] == {"region": "dtcm", "address": 0x20002000, "bytes": 64}


BUFFERS = """
#include "harness_config.h"
#include "mc_board.h"

static MC_IN_REGION({region}) uint8_t buffer[512];
static MC_IN_REGION({other}) uint32_t words[16];

int mc_main(void)
{{
    return buffer[0] + (int)words[0];
}}
"""


@needs_arm
@pytest.mark.parametrize(("region", "other"), [("dtcm", "axi_sram"), ("axi_sram", "itcm")])
def test_an_application_places_its_buffers(tmp_path, region, other):
    board = load_board("nucleo-h743zi2")
    folder, _ = write_program(tmp_path, target={"cpu": board.cpu.name, "fpu": board.cpu.fpu})
    application = tmp_path / "app.c"
    application.write_text(BUFFERS.format(region=region, other=other))
    program = build_program(read_manifest(folder), Flavor(board=board, application=application))
    with program.path.open("rb") as file:
        elf = ELFFile(file)
        symbols = {symbol.name: symbol for symbol in elf.get_section_by_name(".symtab").iter_symbols()}
    regions = {one.name: one for one in board.regions}
    for name, where in (("buffer", region), ("words", other)):
        begin, size = symbols[name]["st_value"], symbols[name]["st_size"]
        assert regions[where].origin <= begin < begin + size <= regions[where].end


@needs_arm
@pytest.mark.parametrize("region", ["ccm", "flash"])
def test_a_buffer_in_a_region_that_is_not_there_does_not_link(tmp_path, region):
    board = load_board("nucleo-h743zi2")
    folder, _ = write_program(tmp_path, target={"cpu": board.cpu.name, "fpu": board.cpu.fpu})
    application = tmp_path / "app.c"
    application.write_text(BUFFERS.format(region=region, other="dtcm"))
    with pytest.raises(ToolError, match="MC_IN_REGION names a region that this board does not have"):
        build_program(read_manifest(folder), Flavor(board=board, application=application))
