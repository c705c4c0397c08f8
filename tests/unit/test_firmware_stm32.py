# SPDX-License-Identifier: Apache-2.0
"""STM32 firmware, as it is linked for the board, on a register-level model of the microcontroller."""

from __future__ import annotations

import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from mcucompiler.api import CompiledModel
from mcucompiler.board_types import Board
from mcucompiler.boards import load_board
from mcucompiler.build import Flavor, Program, build_firmware, build_program
from mcucompiler.link.frame import Frame, Receiver, encode
from mcucompiler.link.messages import Hello, Kind
from mcucompiler.manifest import Manifest
from mcucompiler.run import encode_sample, output_array, seeded_samples
from tests.support import ROOT
from tests.support.programs import compiled, run_reference
from tests.support.stm32_chips import F405, H743, Classic
from tests.support.stm32_model import Stm32

pytest.importorskip("unicorn", reason="unicorn is not installed")
from tests.support.unicorn_firmware import Firmware, FirmwareError

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
APPLICATION = ROOT / "tests" / "support" / "console_application.c"

PORTS = {"A": 0, "B": 1, "D": 3}
# What the boards' manuals and schematics say, written down here a second time.
CHIPS: dict[str, tuple[type[Stm32], dict[str, object], int]] = {
    "netduinoplus2": (
        F405,
        {
            "source_hz": 25_000_000,
            "external": False,
            "uart_base": 0x40011000,
            "uart_clock": (2, 4),
            "tx": "B6",
            "rx": "B7",
        },
        168_000_000,
    ),
    "stm32f746g-disco": (
        Classic,
        {
            "source_hz": 25_000_000,
            "external": False,
            "uart_base": 0x40011000,
            "uart_clock": (2, 4),
            "tx": "A9",
            "rx": "B7",
        },
        216_000_000,
    ),
    "nucleo-f767zi": (
        Classic,
        {
            "source_hz": 8_000_000,
            "external": True,
            "uart_base": 0x40004800,
            "uart_clock": (1, 18),
            "tx": "D8",
            "rx": "D9",
        },
        216_000_000,
    ),
    "nucleo-h743zi2": (
        H743,
        {
            "source_hz": 8_000_000,
            "external": True,
            "uart_base": 0x40004800,
            "uart_clock": (1, 18),
            "tx": "D8",
            "rx": "D9",
        },
        480_000_000,
    ),
    "openmv-h7": (
        H743,
        {
            "source_hz": 12_000_000,
            "external": False,
            "uart_base": 0x40004800,
            "uart_clock": (1, 18),
            "tx": "B10",
            "rx": "B11",
        },
        480_000_000,
    ),
}
CHIPS["openmv-h7-plus"] = CHIPS["openmv-h7"]
INTERNAL_HZ = {F405: 16_000_000, Classic: 16_000_000, H743: 64_000_000}
OLD_REVISION, FALLBACK = 32, 64


@dataclass
class Built:
    """A network's firmware for a board."""

    board: Board
    result: CompiledModel
    manifest: Manifest
    program: Program


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Firmware by board, each built once."""
    known: dict[str, Built] = {}

    def build(name: str) -> Built:
        if name not in known:
            folder = tmp_path_factory.mktemp("firmware") / "net"
            model = (ROOT / "examples" / "digits" / "digits.onnx").read_bytes()
            result, manifest = compiled(model, folder, board=name)
            board = load_board(name)
            known[name] = Built(
                board, result, manifest, build_program(manifest, Flavor(board=board, application=APPLICATION))
            )
        return known[name]

    return build


def make_chip(name: str, *stuck: str, **changes: object) -> Stm32:
    kind, facts, _ = CHIPS[name]
    pins = {key: (PORTS[str(facts[key])[0]], int(str(facts[key])[1:])) for key in ("tx", "rx")}
    return kind(**{**facts, **pins, **changes, "stuck": frozenset(stuck)})


def start(firmware: Built, chip: Stm32, arriving: bytes = b"\0") -> tuple[int, int, int, int]:
    """Status, core clock, clock of the cycle counter and stack, as the firmware tells them."""
    chip.arriving.extend(arriving)
    Firmware(firmware.program.path, firmware.board, chip).run()
    return struct.unpack("<4I", chip.sent[:16])


@pytest.mark.parametrize("name", CHIPS)
def test_clocks_are_those_of_the_board(name, built):
    chip = make_chip(name)
    status, core_hz, counter_hz, stack_bytes = start(built(name), chip)
    now = chip.clocks()
    rated = CHIPS[name][2]
    assert (status, core_hz, counter_hz) == (0, rated, rated)
    assert built(name).board.clock_hz == rated == (now.system if isinstance(chip, H743) else now.ahb)
    assert stack_bytes == built(name).board.stack_bytes


@pytest.mark.parametrize("name", CHIPS)
def test_outputs_are_exact(name, built):
    firmware = built(name)
    samples = seeded_samples(firmware.manifest, 3)
    inputs = b"".join(part for sample in samples for part in encode_sample(firmware.manifest, sample))
    chip = make_chip(name)
    start(firmware, chip, bytes([len(samples)]) + inputs)
    expected = run_reference(firmware.result, firmware.manifest, samples)
    position = 16
    for want in expected:
        status, cycles, stack_used = struct.unpack_from("<3I", chip.sent, position)
        position += 12
        assert status == 0
        assert cycles > 0
        assert 0 < stack_used < firmware.board.stack_bytes
        for tensor in firmware.manifest.outputs:
            got = output_array(bytes(chip.sent[position : position + tensor.bytes]), tensor)
            np.testing.assert_array_equal(got, want[tensor.name])
            position += tensor.bytes
    assert position == len(chip.sent)


@pytest.mark.parametrize("name", [name for name in CHIPS if name != "netduinoplus2"])
def test_the_firmware_that_build_makes_says_who_it_is(name, built):
    firmware = built(name)
    path = build_firmware(firmware.manifest.directory, firmware.board).program.path
    chip = make_chip(name)
    chip.arriving.extend(encode(Frame(kind=Kind.HELLO, sequence=7)))
    frames = []

    def answered(sent: bytes) -> bool:
        frames[:] = Receiver().feed(bytes(sent))
        return bool(frames)

    Firmware(path, firmware.board, chip).run(enough=answered)
    assert [frame.sequence for frame in frames] == [7]
    hello = Hello.decode(frames[0].payload)
    assert (hello.board, hello.network) == (name, "net")
    assert hello.model_digest.hex() == firmware.manifest.model_sha256
    assert (hello.clock_hz, hello.cycles_hz, hello.board_status) == (CHIPS[name][2], CHIPS[name][2], 0)
    assert (hello.arena_bytes, hello.stack_bytes) == (firmware.manifest.memory.arena_bytes, firmware.board.stack_bytes)
    assert (hello.broken_promises, hello.has_fault) == (0, False)


@pytest.mark.parametrize("name", ["netduinoplus2", "stm32f746g-disco", "nucleo-h743zi2"])
@pytest.mark.parametrize(("stuck", "bit"), [("oscillator", 1), ("pll", 2), ("power", 4), ("switch", 8)])
def test_what_does_not_answer_ends_in_the_internal_oscillator(name, stuck, bit, built):
    chip = make_chip(name, stuck)
    status, core_hz, *_ = start(built(name), chip)
    assert status == bit | FALLBACK
    assert core_hz == chip.clocks().ahb == INTERNAL_HZ[type(chip)]
    assert len(chip.sent) == 16, "the console works at the slow clock"


@pytest.mark.parametrize(("name", "external"), [("stm32f746g-disco", True), ("nucleo-h743zi2", False)])
def test_a_crystal_is_not_taken_for_a_clock(name, external, built):
    status, *_ = start(built(name), make_chip(name, external=external))
    assert status == 1 | FALLBACK


@pytest.mark.parametrize("name", ["netduinoplus2", "stm32f746g-disco", "openmv-h7"])
def test_a_boot_loader_may_have_started_the_pll(name, built):
    chip = make_chip(name)
    chip.after_boot_loader()
    status, core_hz, *_ = start(built(name), chip)
    assert (status, core_hz) == (0, CHIPS[name][2])


def test_an_old_revision_is_not_overclocked(built):
    chip = make_chip("nucleo-h743zi2")
    chip.values[H743.DBGMCU] = 0x1003 << 16 | 0x450
    assert start(built("nucleo-h743zi2"), chip)[:2] == (OLD_REVISION | FALLBACK, 64_000_000)
    assert chip.fastest.system == 64_000_000


@pytest.mark.parametrize("name", ["netduinoplus2", "stm32f746g-disco", "nucleo-h743zi2"])
def test_a_reset_is_requested_with_the_key(name, built):
    chip = make_chip(name)
    start(built(name), chip, b"\xff")
    assert chip.reset_requested
    if built(name).board.caches.data_bytes:
        cleaned = chip.core_writes[0xE000EF6C]
        assert cleaned == 512, "every line of the data cache is written on to memory before"


def test_caches_are_on_and_memory_that_is_not_there_is_out_of_reach(built):
    chip = make_chip("stm32f746g-disco")
    start(built("stm32f746g-disco"), chip)
    assert chip.core[0xE000ED14] >> 16 & 3 == 3, "CCR: both caches"
    assert chip.core_writes[0xE000EF60] == 512, "every line of the data cache was invalidated"
    assert chip.core_writes[0xE000EF50] == 1
    assert chip.core[0xE000ED94] == 5, "MPU_CTRL: on, with the default map behind it"
    no_external, guard = (1 << 28 | 0x87 << 8 | 31 << 1 | 1, 1 << 28 | 14 << 1 | 1)
    assert chip.protected == {0: (0, no_external), 1: (0x1FFF8000, guard)}


def changed(built: Built, **changes: object) -> Path:
    """The firmware with other values in the header of the board, as a faulty description would give."""
    clock = replace(built.board.clock, **changes)
    board = replace(built.board, clock=clock, name="faulty")
    return build_program(built.manifest, Flavor(board=board, application=APPLICATION)).path


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("stm32f746g-disco", {"flash_wait_states": 6}, "wait states are too few"),
        ("stm32f746g-disco", {"over_drive": False}, "core clock of 216000000 Hz, at most 180000000"),
        ("stm32f746g-disco", {"apb1_divider": 2}, "APB1 clock of 108000000"),
        ("stm32f746g-disco", {"pll_m": 50}, "the PLL is set to"),
        ("netduinoplus2", {"voltage_scale": 2}, "core clock of 168000000 Hz, at most 144000000"),
        ("nucleo-h743zi2", {"flash_wait_states": 3}, "3 wait states and delay 2 are too few"),
        ("nucleo-h743zi2", {"voltage_scale": 1}, "core clock of 480000000 Hz, at most 400 MHz"),
        ("nucleo-h743zi2", {"apb1_divider": 1}, "clock of 240000000 Hz, at most 120"),
        ("nucleo-h743zi2", {"pll_n": 250}, "PLL1 is set to"),
    ],
)
def test_the_model_refuses_what_a_chip_would_not_stand(name, changes, message, built):
    with pytest.raises(FirmwareError, match=message):
        Firmware(changed(built(name), **changes), built(name).board, make_chip(name)).run()


def test_the_model_refuses_a_wrong_pin_port_and_speed(built):
    firmware = built("nucleo-h743zi2")
    for changes, message in (
        ({"tx": (3, 5)}, "pin PD5 has mode"),
        ({"uart_base": 0x40011000, "uart_clock": (2, 4)}, "nothing is mapped at 0x4000480"),
        ({"uart_clock": (1, 19)}, "USART is accessed without its clock"),
        ({"baud": 9600}, "the console runs at"),
    ):
        kind, facts, _ = CHIPS["nucleo-h743zi2"]
        pins = {key: (3, int(str(facts[key])[1:])) for key in ("tx", "rx")}
        chip = kind(**{**facts, **pins, **changes})
        chip.arriving.append(0)
        with pytest.raises(FirmwareError, match=message):
            Firmware(firmware.program.path, firmware.board, chip).run()
