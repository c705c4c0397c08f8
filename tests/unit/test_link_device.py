# SPDX-License-Identifier: Apache-2.0
"""The protocol from end to end in one process: the firmware's C behind a line that spoils what passes."""

from __future__ import annotations

import itertools
import random
import subprocess

import pytest

from mcucompiler.build.harness import segments
from mcucompiler.errors import ToolError, VerificationError
from mcucompiler.link.client import Client, RefusedError
from mcucompiler.link.device import Device, Shape, Span
from mcucompiler.link.errors import DeviceError, FaultError, LinkError
from mcucompiler.link.frame import Frame, encode
from mcucompiler.link.messages import ErrorCode, Kind
from mcucompiler.manifest import read_manifest
from mcucompiler.run import encode_sample, make_runner, seeded_samples
from mcucompiler.run import serial as serial_runner
from tests.support.handmade import write_program
from tests.support.serial_device import Line, SimulatedPort, build

CORRUPTIONS = 10_000
FAULTY = "    NET_STEP_HOOK(1);"
TRAP = f"{FAULTY}\n    {{ extern void sim_trap(void); if (a[32] == 99) {{ sim_trap(); }} }}"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The manifest of a program that faults where the greatest value of a pooled square is 99, and its library."""
    folder, _ = write_program(tmp_path_factory.mktemp("serial"))
    source = folder / "net.c"
    source.write_text(source.read_text().replace(FAULTY, TRAP))
    manifest = read_manifest(folder)
    return manifest, build(manifest, folder.parent)


@pytest.fixture(scope="module")
def samples(program):
    manifest, _ = program
    return [encode_sample(manifest, sample) for sample in seeded_samples(manifest, 8)]


@pytest.fixture(scope="module")
def expected(program, samples, tmp_path_factory):
    """What the untouched program computes on the host."""
    folder, _ = write_program(tmp_path_factory.mktemp("plain"))
    return [result.outputs for result in make_runner(read_manifest(folder), "host").run(samples)]


def shape_of(manifest):
    spans = [
        Span(size_bytes=piece.bytes, rows=piece.rows, row_bytes=piece.row_bytes, stride_bytes=piece.stride_bytes)
        for piece in segments(manifest)
    ]
    return Shape(input_bytes=(32,), output_bytes=(2,), steps=2, spans=tuple(spans))


def connect(port, manifest, **options):
    tokens = itertools.count(1000)
    client = Client(port, clock=port.clock)
    return Device(client, shape_of(manifest), timeout_s=2.0, tokens=lambda: next(tokens), **options), client


def test_outputs_cycles_and_digests(program, samples, expected):
    manifest, library = program
    device, client = connect(SimulatedPort(library), manifest)
    hello = device.hello
    assert (hello.board, hello.network, hello.compiler_version) == ("simulated", "net", "0.1.0")
    assert hello.model_digest.hex() == manifest.model_sha256
    assert (hello.arena_bytes, hello.clock_hz, hello.cycles_hz, hello.stack_bytes) == (64, 2_000_000, 1_000_000, 4096)
    for sample, outputs in zip(samples, expected, strict=True):
        run = device.run(sample)
        assert run.outputs == outputs
        # The counter goes on by seven at each look; one look lies within each step and one after the last.
        assert (run.step_cycles, run.record.cycles, run.record.steps_called) == ((7, 7), 21, 2)
    captured = device.capture(samples[0])
    assert captured.outputs == expected[0]
    assert captured.captures[1] == expected[0][0]
    assert len(captured.captures[0]) == 8
    assert device.run(samples[0], digests=True).digests == captured.digests
    assert (client.statistics.repeats, client.statistics.noise) == (0, 0)


def test_random_corruptions_never_give_a_wrong_result(program, samples, expected):
    """A session on a spoiled line gives the right outputs or says what failed; the next one on a sound line works."""
    manifest, library = program
    port = SimulatedPort(library)
    corruptions = right = 0
    reports = []
    for session in itertools.count():
        if corruptions >= CORRUPTIONS:
            break
        rate = (0.002, 0.005, 0.01, 0.02, 0.05)[session % 5]
        number = session % len(samples)
        port.to_device, port.from_device = Line(rate, 2 * session), Line(rate, 2 * session + 1)
        before = port.clock()
        try:
            device, _ = connect(port, manifest)
            run = device.capture(samples[number]) if session % 3 == 0 else device.run(samples[number])
            assert run.outputs == expected[number]
            right += 1
        except ToolError as error:
            reports.append(str(error))
        assert port.clock() - before < 600, "it must come to an end"
        corruptions += port.to_device.events + port.from_device.events
        port.to_device = port.from_device = Line(0, 0)
        port.read(10.0)
        assert connect(port, manifest)[0].run(samples[number]).outputs == expected[number]
    assert right > 300
    assert len(reports) > 100
    assert all("what to do" in report for report in reports)


def test_every_single_lost_or_flipped_byte_is_survived(program, samples, expected):
    manifest, library = program
    port = SimulatedPort(library)
    device, client = connect(port, manifest)

    class Spoiler(Line):
        def __init__(self, position, lose):
            super().__init__(1, 0)
            self.left, self.lose = position, lose

        def pass_on(self, data):
            position, self.left = self.left, self.left - len(data)
            if not 0 <= position < len(data):
                return data
            self.events = 1
            return data[:position] + (b"" if self.lose else bytes([data[position] ^ 0x20])) + data[position + 1 :]

    for lose, attribute in itertools.product((True, False), ("to_device", "from_device")):
        for position in itertools.count():
            line = Spoiler(position, lose)
            setattr(port, attribute, line)
            assert device.run(samples[1]).outputs == expected[1]
            setattr(port, attribute, Line(0, 0))
            if not line.events:
                break
        assert position > 80
    assert client.statistics.repeats > 100


def test_a_fault_is_reported_and_the_next_run_works(program, samples, expected):
    manifest, library = program
    device, client = connect(SimulatedPort(library), manifest)
    with pytest.raises(FaultError, match=r"after 2 of 2 steps: usage fault: an undefined instruction") as caught:
        device.run((bytes([99]) * 32,))
    assert "pc 00001234" in str(caught.value)
    assert "can be used again" in str(caught.value)
    assert device.run(samples[0]).outputs == expected[0]
    assert client.statistics.repeats == 0


def test_a_fault_whose_report_is_lost_is_still_reported(program, samples, expected):
    manifest, library = program
    port = SimulatedPort(library)
    device, client = connect(port, manifest)

    class LoseRuns(Line):
        """Loses the first answer that is a report of a fault."""

        def pass_on(self, data):
            if len(data) > 80 and not self.events:
                self.events = 1
                return b""
            return data

    port.from_device = LoseRuns(1, 0)
    with pytest.raises(FaultError, match="an undefined instruction"):
        device.run((bytes([99]) * 32,))
    assert port.from_device.events == 1
    assert client.statistics.repeats == 1
    assert device.run(samples[0]).outputs == expected[0]


def test_a_device_that_is_reset_during_a_run_is_run_again(program, samples, expected):
    manifest, library = program
    port = SimulatedPort(library)
    device, _ = connect(port, manifest)
    for writes in range(1, 6):
        resets = iter([False] * (writes - 1) + [True])
        port.on_write = lambda resets=resets: port.restart() if next(resets, False) else None
        assert device.run(samples[2]).outputs == expected[2]
    port.on_write = port.restart
    with pytest.raises(DeviceError, match=r"began afresh in each of 4 attempts(.|\n)*power supply"):
        device.run(samples[2])


def test_a_silent_device(program):
    manifest, library = program
    port = SimulatedPort(library)
    port.from_device = type("Dead", (Line,), {"pass_on": lambda self, data: b""})(1, 0)
    with pytest.raises(LinkError, match=r"is silent\n  what to do: (.|\n)*RX and TX"):
        connect(port, manifest)
    assert port.clock() < 10


def test_a_device_that_falls_silent(program, samples):
    manifest, library = program
    port = SimulatedPort(library)
    device, _ = connect(port, manifest)
    port.to_device = type("Dead", (Line,), {"pass_on": lambda self, data: b""})(1, 0)
    with pytest.raises(LinkError, match=r"stopped answering\n  what to do: (.|\n)*reset button"):
        device.run(samples[0])


def test_other_firmware_that_talks(program):
    manifest, library = program
    port = SimulatedPort(library)
    port.from_device = type("Other", (Line,), {"pass_on": lambda self, data: b"MicroPython v1.20\r\n>>> "})(1, 0)
    with pytest.raises(LinkError, match=r"not of this protocol: '.*MicroPython v1\.20(.|\n)*--baud"):
        connect(port, manifest)


def answering(version, kind, payload):
    class Answers(Line):
        def pass_on(self, data):
            # The request's number is what the client began with.
            return b"".join(encode(Frame(version=version, kind=kind, sequence=n, payload=payload)) for n in range(3))

    return Answers(1, 0)


@pytest.mark.parametrize(
    ("version", "kind", "payload"),
    [
        (9, Kind.HELLO | 0x80, b"whatever that version says"),
        (1, Kind.ERROR, bytes([ErrorCode.VERSION, 0, 0, 0, 9, 0, 0, 0])),
    ],
)
def test_firmware_of_another_protocol_version(program, version, kind, payload):
    manifest, library = program
    port = SimulatedPort(library)
    port.from_device = answering(version, kind, payload)
    with pytest.raises(DeviceError, match=r"speaks version 9 .*this mcucompiler version 1\n  what to do: flash"):
        connect(port, manifest)


def test_a_greeting_of_unknown_form(program):
    manifest, library = program
    port = SimulatedPort(library)
    port.from_device = answering(1, Kind.HELLO | 0x80, b"short")
    with pytest.raises(DeviceError, match="in an unknown form"):
        connect(port, manifest)


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        (Kind.BEGIN, b"", ErrorCode.LENGTH),
        (Kind.WRITE, bytes(12), ErrorCode.STATE),
        (Kind.READ, bytes(16), ErrorCode.STATE),
        (Kind.DIGESTS, bytes(8), ErrorCode.STATE),
        (Kind.FAULT, b"x", ErrorCode.LENGTH),
        (Kind.CAPTURE, b"", ErrorCode.KIND),
    ],
)
def test_requests_that_make_no_sense_are_refused(program, kind, payload, code):
    _, library = program
    port = SimulatedPort(library)
    client = Client(port, clock=port.clock)
    with pytest.raises(RefusedError) as caught:
        client.request(kind, payload)
    assert caught.value.code == code


def test_writes_and_reads_out_of_range_are_refused(program, samples):
    manifest, library = program
    port = SimulatedPort(library)
    device, client = connect(port, manifest)
    token = (5).to_bytes(4, "little")

    def words(*values):
        return token + b"".join(value.to_bytes(4, "little") for value in values)

    client.request(Kind.BEGIN, token)
    for index, offset, size in ((1, 0, 1), (0, 33, 1), (0, 32, 1), (0, 1, 32), (0, 0xFFFFFFFF, 1), (0, 0xFFFFFFFF, 33)):
        with pytest.raises(RefusedError, match="RANGE"):
            client.request(Kind.WRITE, words(index, offset) + bytes(size))
    with pytest.raises(RefusedError, match="INPUTS"):
        client.request(Kind.RUN, words(0, 0xFFFFFFFF, 12345))
    device.run(samples[0])
    token = (1000).to_bytes(4, "little")
    for index, offset, size in ((1, 0, 1), (0, 3, 0), (0, 0, 3), (0, 2, 1), (0, 0xFFFFFFFF, 2), (0, 0, 0xFFFFFFFF)):
        with pytest.raises(RefusedError, match="RANGE"):
            client.request(Kind.READ, words(index, offset, size))
    for kind in (Kind.STEPS, Kind.DIGESTS):
        with pytest.raises(RefusedError, match="RANGE"):
            client.request(kind, words(3))


def test_the_firmware_survives_anything_under_sanitizers(program, tmp_path):
    manifest, _ = program
    driver = build(manifest, tmp_path, "-DSIM_MAIN", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    generator = random.Random(3)
    stream = bytearray()
    for _ in range(4000):
        payload = generator.randbytes(generator.choice([0, 4, 8, 12, 13, 16, 44, 240]))
        kind = generator.randrange(10)
        if payload and kind != Kind.RUN and generator.random() < 0.8:
            # Names a run that there is, with small numbers, so that it gets beyond the first checks.
            payload = (7).to_bytes(4, "little") + bytes(b if i % 4 == 0 else 0 for i, b in enumerate(payload[4:]))
        frame = encode(Frame(kind=kind, sequence=1, payload=payload, version=generator.choice([1, 1, 1, 1, 2])))
        stream += Line(0.003, generator.randrange(1 << 30)).pass_on(frame)
        stream += generator.randbytes(generator.choice([0, 0, 3, 600]))
    done = subprocess.run([str(driver)], input=bytes(stream), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.fixture
def over_simulation(program, monkeypatch):
    """A serial runner whose port is the simulated one."""
    manifest, library = program
    port = SimulatedPort(library)
    monkeypatch.setattr(serial_runner, "open_port", lambda url, baud: port)
    monkeypatch.setattr(serial_runner, "Client", lambda port, baud: Client(port, clock=port.clock))
    return manifest, port


def test_the_runner_gives_what_the_host_gives(over_simulation, samples, expected):
    manifest, _ = over_simulation
    seen = []
    runner = make_runner(manifest, "serial:simulated")
    results = runner.run(samples, lambda done, count: seen.append((done, count)))
    assert [result.outputs for result in results] == expected
    assert seen == [(i + 1, len(samples)) for i in range(len(samples))]
    assert runner.name == "serial:simulated"
    assert (runner.device.board, runner.device.clock_hz, runner.device.emulated) == ("simulated", 2_000_000, False)
    measured = runner.bench(samples[0])
    assert (measured.unit, measured.instructions, measured.repeats) == ("cycles", 21, (21,) * 10)


def test_layers_transfer_only_what_differs(over_simulation, program, samples):
    manifest, port = over_simulation
    runner = make_runner(manifest, "serial:simulated")
    everything = runner.layers(samples[:2])
    right = [{dump.tensor.name: dump.value for dump in result.tensors} for result in everything]
    writes = []
    port.on_write = lambda: writes.append(1)
    again = runner.layers(samples[:2], expected=lambda index: right[index])
    assert [[dump.tensor.name for dump in result.tensors] for result in again] == [["pooled", "scores_q"]] * 2
    assert len(writes) == 1 + 2 * 6
    wrong = [{**values, "pooled": values["pooled"] + 1} for values in right]
    differing = runner.layers(samples[:2], expected=lambda index: wrong[index])
    for result, values in zip(differing, right, strict=True):
        assert [dump.tensor.name for dump in result.tensors] == ["pooled"]
        assert (result.tensors[0].value == values["pooled"]).all()


def test_another_network_on_the_board(over_simulation, tmp_path, samples):
    folder, _ = write_program(tmp_path, model_sha256="ab" * 32)
    runner = make_runner(read_manifest(folder), "serial:simulated")
    with pytest.raises(DeviceError, match=r"holds network 'net'(.|\n)*model abababab(.|\n)*what to do: flash"):
        runner.run(samples)


def test_another_compilation_on_the_board(over_simulation, tmp_path, samples):
    folder, _ = write_program(tmp_path)
    runner = make_runner(read_manifest(folder), "serial:simulated")
    with pytest.raises(DeviceError, match=r"another compilation of this model(.|\n)*what to do: flash"):
        runner.run(samples)


@pytest.mark.parametrize(
    ("statement", "message"),
    [("a[NET_ARENA_BYTES] = 1;", "outside of its arena"), ("return NET_ERR_SEQUENCE;", "returned status 5")],
)
def test_a_program_that_misbehaves_is_caught(tmp_path, monkeypatch, statement, message):
    folder, _ = write_program(tmp_path)
    source = folder / "net.c"
    source.write_text(source.read_text().replace(FAULTY, f"{FAULTY}\n    {statement}"))
    manifest = read_manifest(folder)
    port = SimulatedPort(build(manifest, tmp_path))
    monkeypatch.setattr(serial_runner, "open_port", lambda url, baud: port)
    runner = make_runner(manifest, "serial:simulated")
    with pytest.raises(VerificationError, match=message):
        runner.run([encode_sample(manifest, seeded_samples(manifest, 1)[0])])
