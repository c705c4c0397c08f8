# SPDX-License-Identifier: Apache-2.0
"""Regenerates results.md and results.json here, and the table in the README.

RAM, flash, instructions and exactness of each network:

    python benchmarks/run.py [NAME ...]

Instructions are counted in QEMU (mps2-an500, a Cortex-M7; -icount shift=0, to 40 instructions),
flash and code read from the objects, stack from a painted one. The networks are those of the
folder MCUCOMPILER_MODELS (or ../shared/models) and the example; figures of other systems, where
known for the same network, stand beside ours with their source.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from mcucompiler.api import CompileOptions, compile_model
from mcucompiler.boards import load_board
from mcucompiler.build import build_firmware
from mcucompiler.manifest import read_manifest
from mcucompiler.run import encode_sample, make_bench_runner, seeded_samples

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BOARD = "mps2-an500"
BEGIN, END = "<!-- benchmarks: written by make bench -->", "<!-- end of benchmarks -->"


@dataclass(frozen=True)
class Peer:
    """What the best other system needs for the same network, measured the same way (see peers.md)."""

    system: str
    instructions: int
    ram_bytes: int | None


PEERS = {
    "tinyengine_vww": Peer("TinyEngine", 34_520_000, 94_608),
    "mlperf_vww96": Peer("TFLM + CMSIS-NN", 24_480_000, 100_708),
    "mlperf_kws_dscnn": Peer("TFLM + CMSIS-NN", 7_763_000, 22_820),
    "mlperf_ad01": Peer("TFLM + CMSIS-NN", 583_000, 2_580),
}


def models() -> Iterator[tuple[str, Path]]:
    """Name and file of each network: the example, then the reference networks in QOperator form."""
    yield "digits (example)", ROOT / "examples" / "digits" / "digits.onnx"
    folder = Path(os.environ.get("MCUCOMPILER_MODELS", ROOT.parent / "shared" / "models"))
    for network in sorted(folder.iterdir()) if folder.is_dir() else ():
        files = sorted(network.glob("*.qop*.onnx"))
        if files:
            yield network.name, files[0]


def measure(path: Path) -> dict[str, Any]:
    """All figures of one network."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "net"
        start = time.perf_counter()
        compile_model(path, CompileOptions(name="net", board=BOARD)).write(folder)
        seconds = time.perf_counter() - start
        figures = build_firmware(folder, load_board(BOARD)).figures
        manifest = read_manifest(folder)
        (sample,) = seeded_samples(manifest, 1)
        bench = make_bench_runner(manifest, "qemu").bench(encode_sample(manifest, sample))
    return {
        "file": path.name,
        "macs": manifest.macs,
        "instructions": bench.instructions,
        "estimated_cycles": manifest.estimated_cycles,
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
    lines = [
        "| network | MACs | instructions | per MAC | est. cycles per MAC | best peer | arena + stack | peer's RAM "
        "| code | constants "
        "| proved channels |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, r in results.items():
        peer = PEERS.get(name)
        channels = r["channels_proved"] + r["channels_float"]
        cells = [
            name,
            f"{r['macs']:,}",
            f"{r['instructions']:,}",
            f"{r['instructions'] / max(r['macs'], 1):.2f}",
            f"{r['estimated_cycles'] / max(r['macs'], 1):.2f}",
            f"{peer.instructions:,} ({peer.system})" if peer else "-",
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
    parser.add_argument("names", nargs="*", help="only these networks; the others keep their figures")
    wanted = parser.parse_args().names
    store = HERE / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    todo = [(name, path) for name, path in models() if not wanted or name in wanted]
    for name, path in track(todo, "measuring", console=Console(file=sys.stderr)):
        results[name] = measure(path)
    store.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (HERE / "results.md").write_text(
        f"# Results\n\nWritten by `make bench`; QEMU mps2-an500, default options.\n\n{text}\n"
    )
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")
    print(text)


if __name__ == "__main__":
    main()
