# SPDX-License-Identifier: Apache-2.0
"""Reading manifests: good ones, damaged ones, hostile ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mcucompiler.errors import UsageError
from mcucompiler.manifest import read_manifest
from tests.support.handmade import make_manifest, make_model, write_program


def test_handmade_manifest(tmp_path):
    folder, _ = write_program(tmp_path)
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.prefix, manifest.io) == ("net", "NET", "int8")
    assert manifest.inputs[0].onnx_dtype == "float32"
    assert manifest.input_shapes == {"image": (1, 2, 4, 4)}
    assert manifest.steps[1].rejected == (("depthwise3x3", "the kernel is 2x2"),)
    assert manifest.steps[0].outputs[0].span_bytes == 8


def test_a_channel_slice_is_gathered_from_its_rows(tmp_path):
    folder, _ = write_program(tmp_path)
    whole = np.arange(2 * 2 * 3, dtype=np.int8).reshape(1, 2, 2, 3)  # NHWC
    place = {"onnx_shape": [1, 2, 2, 2], "view": [1, 2, 2, 2], "rows": 4, "row_bytes": 2, "stride_bytes": 3}
    steps = make_manifest(make_model())["steps"]
    steps[0]["outputs"][0].update(place, offset=1)
    (folder / "manifest.json").write_text(json.dumps({**make_manifest(make_model()), "steps": steps}))
    tensor = read_manifest(folder).steps[0].outputs[0]
    assert tensor.span_bytes == 11
    value = tensor.decode(whole.tobytes()[1 : 1 + tensor.span_bytes])
    assert np.array_equal(value, whole[..., 1:].transpose(0, 3, 1, 2))


def test_truncated_anywhere_is_refused(tmp_path):
    folder, _ = write_program(tmp_path)
    path = folder / "manifest.json"
    text = path.read_text().rstrip()
    for end in range(0, len(text), 97):
        path.write_text(text[:end])
        with pytest.raises(UsageError, match=r"manifest\.json.*damaged"):
            read_manifest(folder)


@pytest.mark.parametrize("key", sorted(set(make_manifest(make_model())) - {"board", "row_bytes"}))
def test_a_missing_key_is_named(tmp_path, key):
    folder, _ = write_program(tmp_path)
    tree = make_manifest(make_model())
    del tree[key]
    (folder / "manifest.json").write_text(json.dumps(tree))
    with pytest.raises(UsageError, match=f"'{key}' is missing"):
        read_manifest(folder)


def boundary(**changes):
    return [{**make_manifest(make_model())["inputs"][0], **changes}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a b"}, "not a C identifier"),
        ({"name": 'x"\n#include "/etc/passwd'}, "not a C identifier"),
        ({"sources": ["../../etc/passwd.c"]}, "not a path inside the folder"),
        ({"sources": ["/etc/passwd.c"]}, "not a path inside the folder"),
        ({"sources": ["-o"]}, "not a path inside the folder"),
        ({"sources": "net.c"}, "a list is expected"),
        ({"cflags": ["-fplugin=/tmp/evil.so"]}, "holds '-fplugin"),
        ({"cflags": ["-o", "x"]}, "holds '-o'"),
        ({"cflags": ["-specs=evil"]}, "holds '-specs"),
        ({"cflags": ["@file"]}, "holds '@file'"),
        ({"cflags": [7]}, "each item must be a text"),
        ({"inputs": boundary(onnx_to_c=[0, 1, 1, 2])}, "not a permutation"),
        ({"inputs": boundary(bytes=31)}, "'bytes' is 31"),
        ({"inputs": boundary(dtype="int4")}, "must be one of int8"),
        ({"inputs": boundary(scale="big")}, "'scale' is 'big'"),
        ({"inputs": [3]}, "each item must be a table"),
        ({"input_mode": "telepathy"}, "must be one of resident, rows"),
        ({"memory": {}}, "memory: 'arena_bytes' is missing"),
        ({"steps": [{**make_manifest(make_model())["steps"][0], "index": 1}]}, "not numbered from 0"),
        ({"steps": [{**make_manifest(make_model())["steps"][0], "rejected": [["one"]]}]}, "a pair of texts"),
    ],
)
def test_wrong_values_are_refused_with_the_key(tmp_path, changes, message):
    folder, _ = write_program(tmp_path, **changes)
    with pytest.raises(UsageError, match=message) as caught:
        read_manifest(folder)
    assert "manifest.json" in str(caught.value)


def test_what_is_no_table(tmp_path):
    (tmp_path / "manifest.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match="does not hold a table"):
        read_manifest(tmp_path)


def test_binary_garbage(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="cannot be read"):
        read_manifest(tmp_path)
