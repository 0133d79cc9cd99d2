"""How long `ronn bisect` takes to find a wrong rewrite in each pass: `python -m benchmarks.planted [--name PASS]`.

Each pass rewrites something in a small model, which stands beside a MobileNet v2 for 224 x 224; its last rewrite there
also multiplies a value by 1.5. Writes results/planted.json and the table of docs/debugging.md.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import pytest

import ronn
from benchmarks.machine import describe
from benchmarks.page import publish
from ronn.plugins import registry
from ronn_testkit.planted import plant, planted_in
from ronn_testkit.planted_models import MODELS, NoHardSwish, beside_mobilenet

PAGE = Path(__file__).parents[1] / "docs" / "debugging.md"
PROVIDERS = {"lower-fused": ["reference"], "expand-functions": ["no-hard-swish", "reference"]}


def measure(name: str) -> dict[str, Any]:
    """Seconds, runs, and whether pass, rewrite and node were named."""
    loaded, providers = beside_mobilenet(MODELS[name]()), PROVIDERS.get(name)
    planted = planted_in(name, loaded, providers)
    with plant(planted, pytest.MonkeyPatch()):
        found = ronn.bisect(loaded, "random", providers=providers)
    named = bool(set(planted.hurt) & set(found.nodes))
    right = named and (found.pass_name, found.rewrite) == (name, planted.number)
    return {
        "pass": name, "found": right, "rewrite": found.rewrite, "rewrites": found.rewrites, "runs": found.runs,
        "seconds": found.seconds, "nodes": len(loaded.graph),
    }  # fmt: skip


def text(found: dict[str, Any]) -> str:
    rows = found["passes"]
    seconds = [row["seconds"] for row in rows]
    named = sum(row["found"] for row in rows)
    slowest = max(rows, key=lambda row: row["seconds"])
    lines = [
        f"{named} of {len(rows)} named with rewrite and node; median {statistics.median(seconds):.1f} s, longest "
        f"{slowest['seconds']:.1f} s ({slowest['pass']}, {slowest['runs']} runs).",
        "",
        "| pass | rewrite | runs | seconds |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        where = f"{row['rewrite']} of {row['rewrites']}" if row["found"] else "not found"
        lines.append(f"| {row['pass']} | {where} | {row['runs']} | {row['seconds']:.1f} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted", description=__doc__.splitlines()[0])
    parser.add_argument("--name", nargs="+", action="extend", choices=list(MODELS), help="only these passes")
    options = parser.parse_args(arguments)
    registry().add(NoHardSwish())
    rows = []
    for name in options.name if options.name is not None else MODELS:
        rows.append(measure(name))
        print(f"{name}: {'found' if rows[-1]['found'] else 'NOT FOUND'}, {rows[-1]['runs']} runs, "
              f"{rows[-1]['seconds']:.1f} s", flush=True)  # fmt: skip
    registry().remove(NoHardSwish.name)
    if options.name is None:
        found = {"machine": describe(), "passes": rows}
        publish("planted", found, text(found), PAGE)
    return 0 if all(row["found"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
