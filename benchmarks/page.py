"""Figures that stand in the documentation too: between two marks of docs/performance.md or another page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.bench_report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def publish(name: str, found: dict[str, Any], text: str, page: Path = PAGE) -> None:
    """Writes ``found`` to results/NAME.json, and ``text`` between the marks ``NAME: begin`` and ``NAME: end``."""
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{before}{begin}\n{text}{end}{rest.split(end)[1]}", encoding="utf-8")
