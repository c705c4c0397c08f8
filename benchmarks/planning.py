# SPDX-License-Identifier: Apache-2.0
"""Regenerates planning.md and planning.json here: how long it takes to find the plans of networks.

    python benchmarks/planning.py [NAME or MODEL.onnx ...]

Each network is planned as a user does it, in a process of its own: the whole frontier with an empty cache of
schedules, again with what that left there, by rows, and with a limit of RAM in the middle of the frontier, for which it
is then compiled as well. Beside the networks of the other benchmarks there are deep ones, with random weights. Seconds
are of the wall clock and, in brackets, of the CPU; they are only worth comparing where nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from networks import ROOT, models
from rich.console import Console
from rich.progress import track
from run import BOARD, HERE

sys.path.insert(0, str(ROOT))
from tests.support.deep_networks import DEEP, deep

COLUMNS = {
    "cold": "whole frontier, empty cache",
    "warm": "again",
    "rows": "by rows",
    "limit": "with a limit",
    "compile": "compiled for it",
}


def timed(arguments: list[str], cache: Path) -> tuple[dict[str, float] | None, str]:
    """Seconds of a command and what it printed; None where it refuses the network."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mcucompiler", *arguments],
        env={**os.environ, "MCUCOMPILER_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ({"wall": round(wall, 1), "cpu": round(cpu, 1)} if done.returncode == 0 else None), done.stdout


def measure(path: Path) -> dict[str, Any]:
    """The figures of one network."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        cache = Path(name) / "cache"
        plan = ["plan", str(path), "--board", BOARD, "--json"]
        cold, text = timed([*plan, "--pareto"], cache)
        if cold is None:
            raise RuntimeError(f"{path} cannot be planned")
        plans = json.loads(text)["plans"]
        limit = ["--ram-limit", str(plans[len(plans) // 2]["ram_bytes"])]
        figures = {
            "cold": cold,
            "warm": timed([*plan, "--pareto"], cache)[0],
            "rows": timed([*plan, "--pareto", "--input", "rows"], cache)[0],
            "limit": timed([*plan, *limit], cache)[0],
            "compile": timed(
                ["compile", str(path), "--board", BOARD, *limit, "-o", str(Path(name) / "net")],
                cache,
            )[0],
        }
    return {"plans": len(plans), "load": round(load, 1), **figures}


def networks(names: list[str], folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and file of the networks asked for, or of all; the deep ones are made in a folder."""
    known = dict(models())
    for name in DEEP:
        known[f"deep {name}"] = folder / f"{name}.onnx"
    for name in names or known:
        path = known.get(name, Path(name))
        kind = name.removeprefix("deep ")
        if name in known and kind in DEEP:
            path.write_bytes(deep(kind))
        yield (name if name in known else path.name), path


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    lines = [
        f"| network | plans | {' | '.join(COLUMNS.values())} | load before |",
        f"|---|{'---:|' * (len(COLUMNS) + 2)}",
    ]
    for name, r in results.items():
        cells = [f"{r[key]['wall']:.1f} ({r[key]['cpu']:.1f})" if r[key] else "-" for key in COLUMNS]
        lines.append(f"| {name} | {r['plans']} | {' | '.join(cells)} | {r['load']} |")
    return "\n".join(lines)


def main() -> None:
    """Measures the networks asked for, or all, and rewrites the committed results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="only these networks or files; the others keep their figures")
    args = parser.parse_args()
    store = HERE / "planning.json"
    results: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in track(
            list(networks(args.names, Path(folder))), "measuring", console=Console(file=sys.stderr)
        ):
            results[name] = measure(path)
    store.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (HERE / "planning.md").write_text(
        "# Planning\n\nWritten by `make bench`; seconds of the wall clock (and of the CPU) for the whole command, on "
        f"{os.cpu_count()} cores. The deep networks have about 150 operators. The limit is that of the plan in the "
        f"middle of the frontier.\n\n{text}\n"
    )
    print(text)


if __name__ == "__main__":
    main()
