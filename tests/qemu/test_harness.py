# SPDX-License-Identifier: Apache-2.0
"""The harness on the host, under sanitizers and in QEMU: same results, and programs that misbehave are caught."""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime as ort
import pytest

from mcucompiler.boards import load_board
from mcucompiler.errors import ToolError, UsageError, VerificationError
from mcucompiler.manifest import read_manifest
from mcucompiler.run import (
    HostRunner,
    dequantize,
    encode_sample,
    make_bench_runner,
    make_runner,
    output_array,
    seeded_samples,
)
from tests.support.handmade import make_manifest, make_model, write_program

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
qemu = pytest.param("qemu", marks=[pytest.mark.qemu, needs_qemu])
MACHINES = ["host", "sanitized", qemu]


def runner_for(folder, machine, **options):
    manifest = read_manifest(folder)
    if machine == "sanitized":
        return make_runner(manifest, "host", sanitize=True, **options)
    return make_runner(manifest, machine, **options)


def encoded(folder, count=1):
    manifest = read_manifest(folder)
    return [encode_sample(manifest, sample) for sample in seeded_samples(manifest, count)]


def patch(folder, old, new, file="net.c"):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@pytest.mark.parametrize("machine", MACHINES)
def test_outputs_equal_onnx_runtime(tmp_path, machine):
    folder, model = write_program(tmp_path)
    manifest = read_manifest(folder)
    samples = seeded_samples(manifest, 300)
    seen = []
    results = runner_for(folder, machine).run(
        [encode_sample(manifest, sample) for sample in samples], lambda done, count: seen.append((done, count))
    )
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for sample, result in zip(samples, results, strict=True):
        got = dequantize(output_array(result.outputs[0], manifest.outputs[0]), manifest.outputs[0])
        assert np.array_equal(got, session.run(None, sample)[0])
    assert seen[-1] == (300, 300)
    assert seen == sorted(seen)


@pytest.mark.parametrize("machine", MACHINES)
def test_layers_are_dumped_in_onnx_order(tmp_path, machine):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    samples = seeded_samples(manifest, 3)
    results = runner_for(folder, machine).layers([encode_sample(manifest, sample) for sample in samples])
    for sample, result in zip(samples, results, strict=True):
        assert [(dump.step, dump.tensor.name) for dump in result.tensors] == [(0, "pooled"), (1, "scores_q")]
        image = np.rint(sample["image"] / 0.5).astype(np.int64) - 3
        pooled = image.reshape(1, 2, 2, 2, 2, 2).max(axis=(3, 5))
        assert np.array_equal(result.tensors[0].value, pooled)
        assert np.array_equal(result.tensors[1].value, output_array(result.outputs[0], manifest.outputs[0]))


@pytest.mark.qemu
@needs_qemu
def test_bench_counts_instructions_and_repeats(tmp_path):
    folder, _ = write_program(tmp_path)
    runner = make_bench_runner(read_manifest(folder), "qemu")
    sample = encoded(folder)[0]
    first = runner.bench(sample)
    assert runner.bench(sample) == first
    assert first.resolution == 40
    assert 100 < first.instructions < 2000
    assert [step.index for step in first.steps] == [0, 1]
    assert abs(sum(step.instructions for step in first.steps) - first.instructions) <= 4 * 40
    assert 0 < first.stack_bytes <= 256


@pytest.mark.qemu
@needs_qemu
def test_bench_sees_a_loop_of_known_length(tmp_path):
    folder, _ = write_program(tmp_path)
    runner = make_bench_runner(read_manifest(folder), "qemu")
    before = runner.bench(encoded(folder)[0])
    patch(
        folder,
        "    NET_STEP_HOOK(0);",
        '    for (uint32_t i = 100000u; i != 0u; --i) { __asm__ volatile("" : "+r"(i)); }\n    NET_STEP_HOOK(0);',
    )
    after = runner.bench(encoded(folder)[0])
    assert abs(after.instructions - before.instructions - 200_000) <= 80
    assert abs(after.steps[0].instructions - before.steps[0].instructions - 200_000) <= 80
    assert abs(after.steps[1].instructions - before.steps[1].instructions) <= 40


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("a[NET_ARENA_BYTES] = 1;", "outside of its arena|AddressSanitizer"),
        ("*(a - 1) = 1;", "outside of its arena|AddressSanitizer"),
        ("return NET_ERR_SEQUENCE;", "returned status 5"),
    ],
)
def test_a_program_that_misbehaves_is_caught(tmp_path, machine, statement, message):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", f"    NET_STEP_HOOK(1);\n    {statement}")
    with pytest.raises((VerificationError, ToolError), match=message):
        runner_for(folder, machine).run(encoded(folder))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "if (arena == NULL) {\n        return NET_ERR_NULL",
            "if (arena == NULL) {\n        return NET_OK",
            "ERR_NULL",
        ),
        ("arena_bytes < NET_ARENA_BYTES", "arena_bytes < 8u", "ERR_ARENA"),
        ("% NET_ARENA_ALIGN", "% 1u", "ERR_ALIGN"),
        ("index < NET_INPUT_COUNT", "index < 2u", "input index out of range"),
        ("index < NET_OUTPUT_COUNT", "index < 2u", "output index out of range"),
    ],
)
def test_promises_of_the_interface_are_checked(tmp_path, machine, old, new, message):
    folder, _ = write_program(tmp_path)
    patch(folder, old, new)
    with pytest.raises(VerificationError, match=message):
        runner_for(folder, machine).run(encoded(folder))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_read_of_what_was_never_written_shows(tmp_path, machine):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", "    NET_STEP_HOOK(1);\n    a[40] = a[60];")
    first, second = runner_for(folder, machine).run(encoded(folder, 2))
    assert first.outputs[0][0] == second.outputs[0][0] == 0x5A


@pytest.mark.parametrize("machine", MACHINES)
def test_a_program_that_stands_still_is_stopped(tmp_path, machine):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", "    for (volatile unsigned i = 0;; ++i) { }")
    with pytest.raises(ToolError, match=r"stood still for 1 s.*--timeout"):
        runner_for(folder, machine, timeout_s=1.0).run(encoded(folder))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_step_that_is_not_called_is_noticed(tmp_path, machine):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", "")
    with pytest.raises(VerificationError, match=r"called for steps \[0\] of 2"):
        runner_for(folder, machine).layers(encoded(folder))


def test_undefined_behavior_is_caught_by_the_sanitizers(tmp_path):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", "    volatile int x = 0x7fffffff;\n    x = x + 1;\n    a[40] = (uint8_t)x;")
    with pytest.raises(ToolError, match="signed integer overflow"):
        runner_for(folder, "sanitized").run(encoded(folder))


@pytest.mark.qemu
@needs_qemu
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("*(volatile uint32_t *)0xf0000000u = 1u;", r"FAULT(.|\n)*pc [0-9a-f]{8}(.|\n)*bfar f0000000"),
        ('__asm__ volatile("udf #0");', r"FAULT, exception 00000006(.|\n)*cfsr 00010000"),
    ],
)
def test_a_fault_is_reported_with_registers(tmp_path, statement, message):
    folder, _ = write_program(tmp_path)
    patch(folder, "    NET_STEP_HOOK(1);", f"    {statement}")
    with pytest.raises(ToolError, match=message):
        runner_for(folder, "qemu").run(encoded(folder))


@pytest.mark.qemu
@needs_qemu
def test_a_stack_overflow_is_reported(tmp_path):
    memory = {**make_manifest(make_model())["memory"], "stack_bytes": 200000}
    folder, _ = write_program(tmp_path, memory=memory)
    patch(
        folder,
        "    NET_STEP_HOOK(1);",
        "    volatile uint8_t big[100000]; for (uint32_t i = 0; i < 100000u; ++i) { big[i] = a[0]; } a[0] = big[7];",
    )
    with pytest.raises(ToolError, match=r"FAULT(.|\n)*the stack overflowed"):
        runner_for(folder, "qemu").run(encoded(folder))


@pytest.mark.qemu
@needs_qemu
def test_the_stack_is_measured(tmp_path):
    folder, _ = write_program(tmp_path)
    small = runner_for(folder, "qemu").run(encoded(folder))[0].stack_bytes
    patch(folder, "    NET_STEP_HOOK(1);", "    volatile uint8_t big[4096]; big[0] = a[0]; a[0] = big[0];")
    large = runner_for(folder, "qemu").run(encoded(folder))[0].stack_bytes
    assert 4096 <= large - small <= 4096 + 64


def test_missing_emulator(tmp_path, monkeypatch):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    folder, _ = write_program(tmp_path)
    runner = runner_for(folder, "qemu")
    sample = encoded(folder)
    monkeypatch.setattr("mcucompiler.run.runners.find_tool", lambda *names: str(tmp_path / "absent"))
    with pytest.raises(ToolError, match="running 'net' on qemu failed"):
        runner.run(sample)


def test_sanitizers_are_for_the_host(tmp_path):
    folder, _ = write_program(tmp_path)
    with pytest.raises(UsageError, match="--sanitize needs --on host"):
        make_runner(read_manifest(folder), "qemu", sanitize=True)


def test_two_compilers_give_the_same(tmp_path):
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    folder, _ = write_program(tmp_path)
    samples = encoded(folder, 20)
    host = HostRunner(manifest=read_manifest(folder), board=load_board("host"), compiler="clang")
    assert [r.outputs for r in host.run(samples)] == [r.outputs for r in runner_for(folder, "host").run(samples)]
