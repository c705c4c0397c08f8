# SPDX-License-Identifier: Apache-2.0
"""Classifiers: agreement, accuracy and the confusion matrix; the distances that validate tells."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mcucompiler.cli import main
from mcucompiler.manifest import read_manifest
from mcucompiler.run import encode_sample, make_runner, output_array, seeded_samples
from mcucompiler.validate import Difference
from mcucompiler.validate.types import Timing
from tests.support.handmade import write_program


@pytest.fixture
def program(tmp_path):
    return write_program(tmp_path)


def cli(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def predictions(folder, count):
    manifest = read_manifest(folder)
    results = make_runner(manifest, "host").run([encode_sample(manifest, s) for s in seeded_samples(manifest, count)])
    return [int(output_array(result.outputs[0], manifest.outputs[0]).argmax()) for result in results]


def data(tmp_path, folder, labels, count=12):
    images = np.stack([sample["image"] for sample in seeded_samples(read_manifest(folder), count)])
    np.savez(tmp_path / "data.npz", image=images, label=labels)
    return tmp_path / "data.npz"


def test_labels_give_accuracy_and_a_confusion_matrix(program, tmp_path, capsys):
    folder, model = program
    said = predictions(folder, 12)
    assert set(said) == {0, 1}
    labels = np.array(said)
    labels[:3] = 1 - labels[:3]
    path = data(tmp_path, folder, labels)
    told = ("validate", folder, "--model", model, "--on", "host", "--data", path, "--labels", "label")
    classes = json.loads(cli(capsys, *told, "--json")[1])["classification"]
    assert (classes["output"], classes["classes"], classes["samples"]) == ("scores", 2, 12)
    assert classes["agreement"] == 1.0
    assert classes["accuracy"] == classes["onnx_runtime_accuracy"] == 9 / 12
    confusion = np.zeros((2, 2), int)
    for label, class_ in zip(labels, said, strict=True):
        confusion[label, class_] += 1
    assert classes["confusion"] == confusion.tolist()
    code, out, _ = cli(capsys, *told)
    assert code == 0
    assert "the label's in 75.00 % (9 of 12)" in out
    assert "labels down" in out
    fewer = json.loads(cli(capsys, *told, "--count", "5", "--json")[1])["classification"]
    assert np.sum(fewer["confusion"]) == fewer["samples"] == 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(11, int), "expected are 12 integers"),
        (np.zeros(12), "type float64"),
        (np.full(12, 2), "labels reach from 2 to 2; the network's classes are 0 to 1"),
        (np.full(12, -1), "labels reach from -1"),
        (np.array(1), "expected are 12 integers"),
    ],
)
def test_labels_that_do_not_fit(program, tmp_path, capsys, labels, message):
    folder, model = program
    path = data(tmp_path, folder, labels)
    told = ("validate", folder, "--model", model, "--on", "host", "--data", path, "--labels", "label")
    code, out, err = cli(capsys, *told)
    assert (code, out) == (2, "")
    assert message in err


def test_labels_that_are_not_there(program, tmp_path, capsys):
    folder, model = program
    told = ("validate", folder, "--model", model, "--on", "host", "--labels", "y")
    assert "give --data too" in cli(capsys, *told)[2]
    path = data(tmp_path, folder, np.zeros(12, int))
    assert "no labels 'y' in the file; it holds 'image', 'label'" in cli(capsys, *told, "--data", path)[2]


def test_distances():
    difference = Difference()
    difference.update(0, np.array([3, 5, 1]), np.array([3, 4, 5]), zero_point=1)
    assert difference.mae == pytest.approx(5 / 3)
    assert difference.l2r == pytest.approx(math.sqrt(17) / math.sqrt(4 + 9 + 16))
    assert difference.to_json()["l2r"] == difference.l2r
    zero = Difference()
    zero.update(0, np.array([1.0]), np.array([0.0]))
    assert zero.l2r == math.inf
    assert zero.to_json()["l2r"] is None


def test_timing():
    timing = Timing(cycles=(100, 300), cycles_hz=1_000_000, steps=(120.0, 80.0))
    assert (timing.mean, timing.deviation, timing.milliseconds(timing.mean)) == (200.0, 100.0, 0.2)
    assert timing.to_json()["milliseconds"] == {"mean": 0.2, "min": 0.1, "max": 0.3, "std": 0.1}
