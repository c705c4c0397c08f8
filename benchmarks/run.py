# SPDX-License-Identifier: Apache-2.0
"""Regenerates results.md and results.json here, and the table in the README.

RAM, flash, instructions and exactness of each network:

    python benchmarks/run.py [--output FOLDER] [NAME ...]

Instructions are counted in QEMU (mps2-an500, a Cortex-M7; -icount shift=0, to 40 instructions),
flash and code read from the objects, stack from a painted one. The networks are those of the
folder MCUCOMPILER_MODELS (or ../shared/models) and the example; figures of other systems, where
known for the same network, stand beside ours (peers.md). Cycles are estimates of the model, times
those with the estimated waiting for flash of a NUCLEO-H743ZI2 (docs/estimates.md).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from networks import ROOT, models
from peers import PEERS, PUBLISHED
from rich.console import Console
from rich.progress import track

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import build_firmware
from mcucompiler.manifest import read_manifest
from mcucompiler.report.estimate import estimate
from mcucompiler.run import encode_sample, make_bench_runner, seeded_samples

HERE = Path(__file__).resolve().parent
BOARD, TIMED_BOARD = "mps2-an500", "nucleo-h743zi2"
BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"


def measure(path: Path) -> dict[str, Any]:
    """All figures of one network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "net"
        start = time.perf_counter()
        compiled = compile_model(path, CompileOptions(name="net", board=BOARD))
        compiled.write(folder)
        seconds = time.perf_counter() - start
        figures = build_firmware(folder, load_board(BOARD)).figures
        manifest = read_manifest(folder)
        (sample,) = seeded_samples(manifest, 1)
        timed = estimate(manifest, load_board(TIMED_BOARD))
        bench = make_bench_runner(manifest, "qemu").bench(encode_sample(manifest, sample))
    given = compiled.planned.imported
    return {
        "file": path.name,
        "macs": sum(node.op.macs(given.ins(node), given.outs(node)) for node in given.nodes),
        "computed_macs": manifest.macs,
        "instructions": bench.instructions,
        "estimated_cycles": manifest.estimated_cycles,
        "flash_stall_cycles": sum(timed.stalls or ()),
        "estimated_ms": round(timed.milliseconds or 0.0, 3),
        "arena_bytes": manifest.memory.arena_bytes,
        "lower_bound_bytes": manifest.memory.lower_bound_bytes,
        "stack_bytes": bench.stack_bytes,
        "code_bytes": figures["code_bytes"],
        "constant_bytes": figures["weights_bytes"] + figures["rodata_bytes"],
        "channels_proved": manifest.channels_proved,
        "channels_float": manifest.channels_float,
        "compile_seconds": round(seconds, 1),
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a Markdown table."""
    columns = (
        "network", "MACs", "computed", "instructions", "per MAC", "best peer's", "est. cycles", "per MAC",
        "peers' published per MAC", "est. ms, 480 MHz", "arena + stack", "peer's RAM", "code", "constants",
        "proved channels",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for name, r in results.items():
        peer = PEERS.get(name)
        channels = r["channels_proved"] + r["channels_float"]
        cells = [
            name,
            f"{r['macs']:,}",
            f"{r['computed_macs']:,}",
            f"{r['instructions']:,}",
            f"{r['instructions'] / max(r['macs'], 1):.2f}",
            f"{peer.instructions:,} ({peer.system})" if peer else "-",
            f"{r['estimated_cycles']:,}",
            f"{r['estimated_cycles'] / max(r['macs'], 1):.2f}",
            ", ".join(f"{p.cycles / r['macs']:.2f} ({p.system})" for p in PUBLISHED.get(name, ())) or "-",
            f"{r['estimated_ms']:.2f}" if "estimated_ms" in r else "-",
            f"{r['arena_bytes']:,} + {r['stack_bytes']:,}",
            f"{peer.ram_bytes:,}" if peer and peer.ram_bytes else "-",
            f"{r['code_bytes']:,}",
            f"{r['constant_bytes']:,}",
            f"{r['channels_proved'] / max(channels, 1):.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measures the networks asked for, or all, and rewrites the committed results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for results.md and results.json; the README then stays")
    parser.add_argument("names", nargs="*", help="only these networks; the others keep their figures")
    args = parser.parse_args()
    folder: Path = args.output or HERE
    store = folder / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    todo = [(name, path) for name, path in models() if not args.names or name in args.names]
    for name, path in track(todo, "measuring", console=Console(file=sys.stderr)):
        results[name] = measure(path)
    store.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (folder / "results.md").write_text(
        "# Results\n\nWritten by `make bench`; QEMU mps2-an500, default options. Cycles and times are estimates. "
        "MACs are those of the network as it is given, to which all figures per MAC refer; channels that never change "
        "are not computed.\n\n"
        f"{text}\n"
    )
    if args.output is None:
        write_readme(text, BEGIN, END)
    print(text)


def write_readme(text: str, begin: str, end: str) -> None:
    """Puts a table between two marks of the README."""
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    readme.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


if __name__ == "__main__":
    main()
