# SPDX-License-Identifier: Apache-2.0
"""Regenerates memory.md and memory.json here, and their table in the README: each network in how little RAM.

    python benchmarks/memory.py [NAME ...]

Each network is compiled layer by layer, with ``--optimize ram`` (the least memory within a quarter more
estimated time), and in the least memory that a plan reaches, whatever it costs; the latter two with
``--input rows`` as well, where the image is never in memory. Instructions are counted in QEMU as in run.py. A run
of every program is compared with the reference and ONNX Runtime.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from networks import models
from peers import PEERS
from rich.console import Console
from rich.progress import track
from run import BOARD, HERE, write_readme

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.errors import UsageError
from mcucompiler.manifest import read_manifest
from mcucompiler.run import encode_sample, make_bench_runner, make_runner, seeded_samples
from mcucompiler.survey import survey_plans
from mcucompiler.validate import validate

BEGIN, END = "<!-- memory: written by make bench -->", "<!-- end of memory -->"
PLANS: dict[str, dict[str, str]] = {
    "layer by layer": {},
    "--optimize ram": {"optimize": "ram"},
    "the least": {},
    "--input rows --optimize ram": {"optimize": "ram", "input_mode": "rows"},
    "--input rows, the least": {"input_mode": "rows"},
}


def least_bytes(path: Path, options: CompileOptions) -> int:
    """Arena and stack of the smallest plan of a network."""
    survey = survey_plans(path, options, whole=False)
    fed = options.input_mode == "rows"
    plans = [plan for plan in survey.plans if (plan.lowered.fed is not None) == fed]
    return min(survey.arena_bytes(plan) + survey.stack_bytes(plan) for plan in plans)


def measure(path: Path, plan: str) -> dict[str, Any] | None:
    """The figures of one network with some plan; None where it does not take its options."""
    options = CompileOptions(name="net", board=BOARD, **PLANS[plan])
    try:
        if plan.endswith("the least"):
            options = replace(options, ram_limit=least_bytes(path, options))
        start = time.perf_counter()
        compiled = compile_model(path, options)
    except UsageError:
        return None
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as name:
        manifest = read_manifest(compiled.write(Path(name) / "net"))
        samples = seeded_samples(manifest, 1)
        bench = make_bench_runner(manifest, "qemu").bench(encode_sample(manifest, samples[0]))
        checked = validate(manifest, path, make_runner(manifest, "qemu"), samples)
    return {
        "macs": manifest.macs,
        "recomputed_macs": manifest.recomputed_macs,
        "image_bytes": sum(tensor.bytes for tensor in manifest.inputs),
        "arena_bytes": manifest.memory.arena_bytes,
        "lower_bound_bytes": manifest.memory.lower_bound_bytes,
        "declared_stack_bytes": manifest.memory.stack_bytes,
        "stack_bytes": bench.stack_bytes,
        "instructions": bench.instructions,
        "differing_outputs": sum(output.reference.mismatches for output in checked.outputs),
        "compile_seconds": round(seconds, 1),
    }


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The results as a Markdown table."""
    columns = (
        "network",
        "image",
        "plan",
        "arena + stack",
        "best peer",
        "instructions",
        "x fastest",
        "recomputed",
        "differing",
    )
    lines = [f"| {' | '.join(columns)} |", "|---|---:|---|" + "---:|" * (len(columns) - 3)]
    for name, plans in results.items():
        fastest = min(plan["instructions"] for plan in plans.values())
        peer = PEERS.get(name)
        for plan, r in plans.items():
            cells = (
                name,
                f"{r['image_bytes']:,}",
                f"`{plan}`" if plan.startswith("-") else plan,
                f"{r['arena_bytes']:,} + {r['stack_bytes']:,}",
                f"{peer.ram_bytes:,} ({peer.system})" if peer and peer.ram_bytes else "-",
                f"{r['instructions']:,}",
                f"{r['instructions'] / fastest:.2f}",
                f"{r['recomputed_macs'] / max(r['macs'], 1):.1%}",
                str(r["differing_outputs"]),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures the networks asked for, or all, and rewrites the committed results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these networks; the others keep their figures")
    args = parser.parse_args()
    store = HERE / "memory.json"
    results: dict[str, dict[str, dict[str, Any]]] = json.loads(store.read_text()) if store.exists() else {}
    todo = [(name, path) for name, path in models() if not args.names or name in args.names]
    for name, path in track(todo, "measuring", console=Console(file=sys.stderr)):
        measured = {plan: measure(path, plan) for plan in PLANS}
        results[name] = {plan: figures for plan, figures in measured.items() if figures is not None}
    results = {name: results[name] for name, _ in models() if name in results}
    store.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (HERE / "memory.md").write_text(
        "# Memory\n\nWritten by `make bench`; QEMU mps2-an500, RAM in bytes, stack as measured. The arena holds input, "
        f"outputs, rings and scratch: all that the network needs.\n\n{text}\n"
    )
    write_readme(text, BEGIN, END)
    print(text)


if __name__ == "__main__":
    main()
