# SPDX-License-Identifier: Apache-2.0
"""``plan``, limits of RAM and what is said of streams: the command line, the manifest and the report."""

from __future__ import annotations

import itertools
import json
import re
import shlex

import pytest

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.cli import main, make_parser
from mcucompiler.errors import DoesNotFitError
from mcucompiler.manifest import read_manifest
from mcucompiler.report.html import as_page
from mcucompiler.report.plan import draw, plan_json, survey_json
from mcucompiler.report.text import table
from mcucompiler.stream.choice import Part, describe_parts
from mcucompiler.stream.plans import MOST_SLOWDOWN
from mcucompiler.survey import Survey, survey_plans
from tests.support import ROOT

DIGITS = ROOT / "examples" / "digits" / "digits.onnx"


@pytest.fixture(scope="module")
def whole() -> Survey:
    """All plans of the digits network."""
    return survey_plans(DIGITS, CompileOptions(board="nucleo-h743zi2"), whole=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory, whole):
    """The folder and the manifest of the network with the least RAM that a plan reaches."""
    folder = tmp_path_factory.mktemp("small") / "out"
    limit = survey_json(whole)["plans"][-1]["ram_bytes"]
    compile_model(DIGITS, CompileOptions(ram_limit=limit)).write(folder)
    return folder, read_manifest(folder)


def test_every_plan_is_slower_and_smaller_than_the_one_before(whole):
    plans = survey_json(whole)["plans"]
    assert len(plans) > 3
    for before, plan in itertools.pairwise(plans):
        assert plan["estimated_cycles"] > before["estimated_cycles"]
        assert plan["estimated_ms"] > before["estimated_ms"]
        assert plan["ram_bytes"] < before["ram_bytes"]
    assert plans[0]["times_fastest"] == 1.0
    assert all(plan["ram_bytes"] == plan["arena_bytes"] + plan["stack_bytes"] for plan in plans)
    assert all(plan["arena_bytes"] >= plan["lower_bound_bytes"] for plan in plans)


def test_layer_by_layer_is_among_the_plans_and_is_taken_where_nothing_is_asked(whole):
    facts = survey_json(whole)
    assert facts["chosen"] == 0
    assert facts["plans"][0] == facts["layer_by_layer"]
    assert facts["plans"][0]["summary"] == "layer by layer"
    assert facts["plans"][0]["recomputed_macs"] == 0
    assert facts["plans"][-1]["ram_bytes"] < facts["plans"][0]["ram_bytes"] / 2


def test_the_parts_of_a_plan_cover_its_layers(whole):
    for plan in whole.plans:
        parts = plan_json(whole, plan)["parts"]
        layers = sum(len(step.nodes) for step in plan.lowered.steps)
        assert [part["first"] for part in parts] == [0, *(part["stop"] for part in parts[:-1])]
        assert parts[-1]["stop"] == layers
        streamed = [part for part in parts if part["mode"] == "stream"]
        assert all(part["rows"] > 0 for part in streamed)
        assert bool(streamed) == (plan_json(whole, plan)["summary"] != "layer by layer")


def test_what_is_expanded_anew_is_counted(whole):
    expanded = [plan_json(whole, p) for p in whole.plans if any(part.expanded for part in _parts(whole, p))]
    assert expanded
    assert all(plan["recomputed_macs"] > 0 and plan["recomputed_percent"] > 0 for plan in expanded)
    assert all("expanded anew" in plan["summary"] for plan in expanded)


def _parts(survey, plan):
    return [
        Part(**{**part, "expanded": tuple(part["expanded"]), "repeated": tuple(part["repeated"])})
        for part in ({k: v for k, v in p.items() if k != "mode"} for p in plan_json(survey, plan)["parts"])
    ]


def test_what_a_plan_does_is_told_in_words():
    parts = (
        Part(first=0, stop=6, rows=1, pushed=True),
        Part(first=6, stop=7),
        Part(first=7, stop=10, rows=2, expanded=(8,), repeated=(7,)),
    )
    assert describe_parts(parts) == "layers 0-5 by pushed rows, 7-9 by 2 rows; 8 expanded anew; 7 computed again"
    assert describe_parts((Part(first=0, stop=1, rows=4), Part(first=1, stop=5))) == "layer 0 by 4 rows"
    assert describe_parts((Part(first=0, stop=5),)) == "layer by layer"


def test_the_plan_with_its_neighbors_is_a_part_of_the_whole(whole):
    plans = survey_json(whole)["plans"]
    limit = plans[2]["ram_bytes"]
    options = CompileOptions(board="nucleo-h743zi2", ram_limit=limit)
    facts = survey_json(survey_plans(DIGITS, options, whole=False))
    assert facts["plans"] == [plans[0], plans[1], plans[2], plans[-1]]
    assert (facts["chosen"], facts["limit_bytes"], facts["fits"]) == (2, limit, True)
    assert f"{plans[1]['ram_bytes']:,}" in facts["reason"]


def test_the_plot_has_a_mark_for_each_plan():
    lines = draw([(4000, 1.0), (2000, 2.0), (1000, 4.0)], ["*", "", ""], "ms").split("\n")
    assert [line.count("o") for line in lines[:-2]].count(1) == 2
    assert lines[0].startswith("4.000 ms |")
    assert lines[0].index("o") < lines[-3].index("*")
    assert lines[-3].startswith("1.000 ms |")
    assert lines[-1].endswith("4,000 bytes of arena and stack")


def test_plan_prints_a_table_or_one_object(capsys, whole):
    plans = survey_json(whole)["plans"]
    limit = str(plans[3]["ram_bytes"])
    command = ["plan", str(DIGITS), "--board", "nucleo-h743zi2", "--ram-limit", limit]
    assert main([*command, "--pareto"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert all(f"{plan['ram_bytes']:,}" in captured.out for plan in plans)
    marked = [line for line in captured.out.split("\n") if line.startswith("* ")]
    assert len(marked) == 2
    assert f"{plans[3]['ram_bytes']:,}" in marked[0]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert facts["plans"][facts["chosen"]] == plans[3]
    assert facts["clock_hz"] == 480_000_000


def test_a_limit_that_no_plan_reaches_names_the_least_and_its_cost(capsys, tmp_path, whole):
    least = survey_json(whole)["plans"][-1]
    options = ["--board", "nucleo-h743zi2", "--ram-limit", str(least["ram_bytes"] - 1)]
    assert main(["compile", str(DIGITS), "-o", str(tmp_path / "out"), *options]) == 3
    said = capsys.readouterr().err
    assert f"{least['ram_bytes']:,} bytes is the least that any plan reaches" in said
    assert f"{least['estimated_ms']:.2f} ms, {least['times_fastest']:.2f} times the time" in said
    assert "for kernels" in said  # what stands at the peak, down to the rings of the stream
    assert not (tmp_path / "out").exists()
    assert main(["plan", str(DIGITS), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is False


def test_the_least_ram_within_a_quarter_more_time(whole):
    program = compile_model(DIGITS, CompileOptions(optimize="ram")).tree.program
    plans = survey_json(whole)["plans"]
    allowed = [plan for plan in plans if plan["estimated_cycles"] <= MOST_SLOWDOWN * plans[0]["estimated_cycles"]]
    assert program.arena_bytes + program.stack_bytes == allowed[-1]["ram_bytes"]
    assert allowed[-1] != plans[-1]


def test_a_limit_holds_with_rows_that_are_pushed():
    survey = survey_plans(DIGITS, CompileOptions(input_mode="rows"), whole=False)
    least = survey_json(survey)["plans"][-1]
    program = compile_model(DIGITS, CompileOptions(input_mode="rows", ram_limit=least["ram_bytes"])).tree.program
    assert (program.arena_bytes, program.stack_bytes) == (least["arena_bytes"], least["stack_bytes"])
    with pytest.raises(DoesNotFitError):
        compile_model(DIGITS, CompileOptions(input_mode="rows", ram_limit=least["ram_bytes"] - 1))


def test_the_manifest_tells_of_the_plan_and_of_each_stream(small, whole):
    _, manifest = small
    facts = survey_json(whole)
    raw = manifest.raw["plan"]
    assert raw["layer_by_layer"]["arena_bytes"] == facts["layer_by_layer"]["arena_bytes"]
    assert raw["next_faster"]["arena_bytes"] == facts["plans"][-2]["arena_bytes"]
    assert raw["summary"] == facts["plans"][-1]["summary"]
    assert raw["peak"]["step"] == manifest.memory.peak_step
    assert sum(buffer["bytes"] for buffer in raw["peak"]["buffers"]) >= raw["peak"]["live_bytes"]
    streams = [step for step in manifest.raw["steps"] if "stream" in step]
    assert len(streams) == sum(part["mode"] == "stream" for part in facts["plans"][-1]["parts"])
    for step in streams:
        stream = step["stream"]
        kept = sum((ring["bytes"] + 3) // 4 * 4 for ring in stream["rings"])
        assert kept + (stream["kernel_scratch_bytes"] + 3) // 4 * 4 + stream["state_bytes"] == step["scratch_bytes"]
        assert stream["layer_by_layer_bytes"] > 0
        assert {node for band in stream["bands"] for node in band["nodes"]}
        assert stream["recomputed_macs"] == sum(band["recomputed_macs"] for band in stream["bands"])
    recomputed = sum(step["stream"]["recomputed_macs"] for step in streams)
    assert recomputed == manifest.recomputed_macs == facts["plans"][-1]["recomputed_macs"]


def test_the_report_shows_streams(capsys, small):
    folder, manifest = small
    assert main(["report", str(folder)]) == 0
    out = capsys.readouterr().out
    stream = next(step.stream for step in manifest.steps if step.stream)
    assert "expanded anew" in out
    assert "kept between layers" in out
    assert "scratch of kernels" in out
    assert all(band.nodes[-1] in out for band in stream.bands)


def test_explain_tells_why_the_plan_was_chosen(capsys, tmp_path, whole):
    plans = survey_json(whole)["plans"]
    command = ["compile", str(DIGITS), "-o", str(tmp_path / "out"), "--ram-limit", str(plans[3]["ram_bytes"])]
    assert main([*command, "--explain"]) == 0
    out = capsys.readouterr().out
    assert f"the next faster plan {plans[2]['ram_bytes']:,}, this one {plans[3]['ram_bytes']:,}" in out
    assert "proved optimal" in out
    assert "bytes of arena are live here" in out


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("plan", "summary"), 3, "summary"),
        (("plan", "slowdown"), "x", "slowdown"),
        (("steps", 0, "stream", "bands", 0, "runs"), -1, "runs"),
        (("steps", 0, "stream", "rings", 0, "guest_of"), 1, "guest_of"),
        (("steps", 0, "stream", "bands"), {}, "bands"),
    ],
)
def test_damaged_facts_of_streams_are_refused(capsys, tmp_path, small, path, value, message):
    tree = json.loads((small[0] / "manifest.json").read_text())
    table = tree
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    (tmp_path / "manifest.json").write_text(json.dumps(tree))
    assert main(["report", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_the_report_is_a_page(capsys, tmp_path, small):
    page = tmp_path / "report.html"
    assert main(["report", str(small[0]), "--html", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("</html>") == 1
    assert "kept between layers" in text
    assert "http" not in text


def test_names_in_a_page_cannot_be_markup():
    text = as_page("<b>{x}", ["<script>alert(1)</script>", table("a", ("<i>",), [("<u>[red]x",)])])
    assert not re.search(r"<(b|script|i|u)>", text)
    assert "[red]x" in text


def test_the_commands_and_links_of_the_page_on_memory_exist():
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    \$ mcucompiler (.*)$", page, re.MULTILINE)
    assert commands
    for command in commands:
        make_parser().parse_args(shlex.split(command))
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (ROOT / "docs" / link).exists(), link
