"""``benchmarks/results/npu.json``: one key for each part that measures something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "results" / "npu.json"


def update(key: str, value: Any, path: Path = PATH) -> None:
    """Puts what a part measured in its place; the others stay as they are."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[key] = value
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(key: str, path: Path = PATH) -> Any:
    """What a part measured last; None where it has not."""
    return json.loads(path.read_text(encoding="utf-8")).get(key) if path.exists() else None
