# SPDX-License-Identifier: Apache-2.0
"""Every network on every board: linked as planned where it fits, refused with the figures where it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import list_boards, load_board
from mcucompiler.build import build_firmware
from mcucompiler.errors import DoesNotFitError
from mcucompiler.manifest import read_manifest
from tests.support import models_dir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]
NETWORKS = (
    "mlperf_ad01.qop",
    "mlperf_kws_dscnn.qop",
    "mlperf_vww96.qop",
    "pt_resnet8.qop_s8s8",
    "pt_unet_small.qop_s8s8",
    "tflm_micro_speech.qop",
    "tinyengine_vww.qop",
    "tinytrain_mbv2_w035.qop",
    "tinytrain_mcunet_5fps.qop",
)
BOARDS = [name for name in list_boards() if name != "host"]
FENCES_BYTES = 512  # what firmware for tests puts around the arena, and more


def model(name: str) -> Path:
    return models_dir() / name.split(".")[0] / f"{name}.onnx"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each network compiled for the large emulated board of a core, once."""
    known = {}

    def compiled(name: str, cpu: str) -> Path:
        if (name, cpu) not in known:
            board = "mps2-an386" if cpu == "cortex-m4" else "mps2-an500"
            folder = tmp_path_factory.mktemp("networks") / cpu
            compile_model(model(name), CompileOptions(name="net", board=board)).write(folder)
            known[name, cpu] = folder
        return known[name, cpu]

    return compiled


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_on_every_board(name, folders, tmp_path):
    fitting = []
    for board_name in BOARDS:
        board = load_board(board_name)
        folder = folders(name, board.cpu.name)
        memory = read_manifest(folder).memory
        if memory.arena_bytes + memory.stack_bytes > board.ram_bytes:
            refuse_build(board_name, folder, memory.arena_bytes)
            folder = compiled_for(name, board_name, tmp_path / board_name)
            if folder is None:
                continue
            memory = read_manifest(folder).memory
            assert memory.arena_bytes + memory.stack_bytes <= board.ram_bytes
        fitting.append(board_name)
        figures = build_firmware(folder, board).figures
        placed = figures["placement"]
        assert 0 <= placed["weights"]["bytes"] - figures["weights_bytes"] < 8, "no more than alignment"
        assert memory.weights_bytes <= placed["weights"]["bytes"] <= memory.weights_bytes + memory.const_bytes + 4096
        assert memory.arena_bytes <= placed["arena"]["bytes"] <= memory.arena_bytes + FENCES_BYTES
        assert placed["stack"]["bytes"] == board.stack_bytes
        assert figures["stack"]["bound_bytes"] <= memory.stack_bytes
        for region in figures["regions"]:
            assert region["used_bytes"] <= region["length_bytes"]
    assert {"mps2-an386", "mps2-an500", "nucleo-h743zi2"} <= set(fitting)


def compiled_for(name: str, board: str, folder: Path) -> Path | None:
    """The network in a plan that fits the board; None where there is none, which ends with what is needed."""
    try:
        return compile_model(model(name), CompileOptions(name="net", board=board)).write(folder)
    except DoesNotFitError as error:
        refusal = error
    assert refusal.exit_code == 3
    assert refusal.needed_bytes > refusal.available_bytes == load_board(board).ram_bytes
    return None


def refuse_build(board: str, folder: Path, arena_bytes: int) -> None:
    """Building what was planned for a larger board ends with what is needed and what there is."""
    with pytest.raises(DoesNotFitError) as caught:
        build_firmware(folder, load_board(board))
    assert caught.value.exit_code == 3
    assert caught.value.needed_bytes >= arena_bytes > caught.value.available_bytes
