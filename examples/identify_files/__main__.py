"""``python -m examples.identify_files [file or folder ...]`` from the top of the repository."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import ronn
from benchmarks.zoo.fetch import ZooError, fetch_archive, model_path, read_member
from examples.identify_files import content

CONFIG = "magika/models/standard_v3_3/config.min.json"
MOST = 40  # files


def files_in(paths: list[Path]) -> list[Path]:
    """The files among ``paths`` and in their folders, hidden and very small ones left out, at most MOST."""
    found = [f for p in paths for f in (sorted(p.rglob("*")) if p.is_dir() else [p])]
    plain = [f for f in found if f.is_file() and not any(part.startswith(".") for part in f.parts)]
    return [f for f in plain if f.stat().st_size >= 8][:MOST]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.identify_files", description="Tells what files are.")
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("examples"), Path("README.md")])
    options = parser.parse_args()
    console = Console()
    try:
        model = model_path("magika-v3", console.print)
        config = json.loads(read_member(fetch_archive("magika"), CONFIG))
    except ZooError as error:
        console.print(f"The model cannot be had: {error}", style="red", markup=False)
        return 1
    files = files_in(options.paths)
    if not files:
        console.print("no files there")
        return 1
    session = ronn.Session(model)
    batch = np.stack([content.features(f.read_bytes(), config) for f in files])
    started = time.perf_counter()
    (scores,) = session.run({"bytes": batch})
    took = (time.perf_counter() - started) * 1e3
    table = Table("file", "is", "score")
    for file, row in zip(files, scores, strict=True):
        name, score = content.label(row, config)
        table.add_row(str(file), name, f"{score:.3f}")
    console.print(table)
    counts = ", ".join(f"{provider} {n} nodes" for provider, n in session.placement().counts().items())
    console.print(f"{len(files)} files in {took:.1f} ms; ran on: {counts}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
