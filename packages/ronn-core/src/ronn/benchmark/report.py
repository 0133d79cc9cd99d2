"""Benchmarks as text and JSON, and two of them side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ronn.benchmark.data import RONN, Agreement, Benchmark, MemoryUse, Row, Start
from ronn.errors import InputError
from ronn.plan.budget import size_text
from ronn.profile.report import time_text
from ronn.records import dataclass

FORMAT = 1
_BARS = " ▁▂▃▄▅▆▇█"


def bars(counts: Sequence[int]) -> str:
    """A histogram in one line; a bar for whatever is not 0."""
    top = max(counts, default=0)
    return "".join(_BARS[0 if not c else 1 + round(c / top * (len(_BARS) - 2))] for c in counts)


def table(found: Benchmark) -> tuple[list[str], list[tuple[str, ...]]]:
    """Columns and rows of the table; columns that would say the same in every row are left out."""
    several = {
        "runtime": len({r.who for r in found.rows}) > 1,
        "sizes": len({r.sizes for r in found.rows}) > 1,
        "items/s": any(r.items != 1 for r in found.rows),
    }
    columns = [
        "runtime", "sizes", "threads", "callers", "P50", "P95", "P99", "mean", "least", "runs/s", "items/s", "runs",
        "quickest to P95",
    ]  # fmt: skip
    kept = [c for c in columns if several.get(c, True)]
    rows = []
    for r in found.rows:
        cells = {
            "runtime": r.who, "sizes": r.sizes, "threads": str(r.threads), "callers": str(r.callers),
            "P50": time_text(r.p50), "P95": time_text(r.p95), "P99": time_text(r.p99), "mean": time_text(r.mean),
            "least": time_text(r.minimum), "runs/s": _rate(r.runs_per_second),
            "items/s": _rate(r.items_per_second), "runs": str(r.runs), "quickest to P95": bars(r.histogram),
        }  # fmt: skip
        rows.append(tuple(cells[c] for c in kept))
    return kept, rows


def _rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def summary(found: Benchmark) -> list[tuple[str, str]]:
    """What stands above the table."""
    rows = [("model", f"{found.model} ({found.signature})")]
    for s in found.starts:
        parts = [] if s.load is None else [f"load {time_text(s.load)}"]
        parts.append(f"first run {time_text(s.first_run)}")
        rows.append(("start" if s.who == RONN else f"start of {s.who}", ", ".join(parts)))
    m = found.memory
    if m is not None:
        held = f"weights {size_text(m.weights)}, packed {size_text(m.packed)}, arenas {size_text(m.arenas)}"
        rows.append(("memory of the session", held + (f"; mapped {size_text(m.mapped)}" if m.mapped else "")))
        if m.process:
            grown = f", {size_text(m.grown)} more than before loading" if m.grown > 0 else ""
            rows.append(("memory of the process", f"{size_text(m.process)}{grown}; at most {size_text(m.peak)}"))
    for who, agreement in found.agreements.items():
        rows.append((f"outputs of {who}", str(agreement)))
    for text in against(found):
        rows.append(("against " + text[0], text[1]))
    return rows


def against(found: Benchmark) -> list[tuple[str, str]]:
    """For each other runtime how RONN compares, by medians."""
    ours = {r.key[1:]: r for r in found.rows if r.who == RONN}
    told = []
    for who in dict.fromkeys(r.who for r in found.rows if r.who != RONN):
        ratios = []
        for r in found.rows:
            mine = ours.get(r.key[1:])
            if r.who == who and mine is not None:
                where = f"{r.sizes + ', ' if r.sizes else ''}{r.threads} thread{'s' * (r.threads != 1)}"
                callers = f", {r.callers} callers" if r.callers != 1 else ""
                ratios.append(f"{_times(r.p50 / mine.p50)} ({where}{callers})")
        told.append((who, "\n".join(ratios)))
    return told


def _times(ratio: float) -> str:
    return f"{ratio:.2f} times as fast" if ratio >= 1 else f"{1 / ratio:.2f} times as slow"


def text(found: Benchmark) -> str:
    """Everything as plain text."""
    lines = [f"{what}: {value}" for what, value in summary(found)]
    columns, rows = table(found)
    widths = [max(len(r[i]) for r in (columns, *rows)) for i in range(len(columns))]
    left = ("runtime", "sizes", "quickest to P95")
    for row in (columns, *rows):
        padded = [
            cell.ljust(w) if name in left else cell.rjust(w) for name, cell, w in zip(columns, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([*lines, *found.notes])


# --- two benchmarks


@dataclass(frozen=True, slots=True)
class Change:
    """A row before and now. ratio: how many times as fast it is now, by medians. certain: their confidence intervals do
    not touch."""

    before: Row
    now: Row
    ratio: float
    certain: bool

    @property
    def verdict(self) -> str:
        if not self.certain:
            return "no difference that is larger than the noise"
        return _times(self.ratio)


def changes(before: Benchmark, now: Benchmark) -> list[Change]:
    """The rows that both have."""
    old = {r.key: r for r in before.rows}
    found = []
    for r in now.rows:
        was = old.get(r.key)
        if was is not None:
            apart = r.median_high < was.median_low or was.median_high < r.median_low
            found.append(Change(was, r, was.p50 / r.p50 if r.p50 > 0 else 1.0, apart))
    return found


def incomparable(before: Benchmark, now: Benchmark) -> list[str]:
    """What else is different between two benchmarks, in words."""
    notes = []
    if before.model != now.model:
        notes.append(f"Another model: {before.model} then, {now.model} now.")
    if before.signature != now.signature:
        notes.append(f"Other inputs: {before.signature} then, {now.signature} now.")
    for what in ("name", "processors", "python"):
        if before.machine.get(what) != now.machine.get(what):
            notes.append(f"Another machine: {what} was {before.machine.get(what)}, is {now.machine.get(what)}.")
    for name, version in now.versions.items():
        if before.versions.get(name, version) != version:
            notes.append(f"{name} was {before.versions[name]}, is {version}.")
    return notes


# --- JSON


def as_data(found: Benchmark) -> dict[str, Any]:
    """Everything as plain data."""
    data = asdict(found)
    data["rows"] = [{**asdict(r), "items_per_second": r.items_per_second} for r in found.rows]
    return {"format": FORMAT, **data}


def save(found: Benchmark, path: str | os.PathLike[str]) -> None:
    """Writes JSON."""
    Path(path).write_text(json.dumps(as_data(found), indent=1) + "\n", encoding="utf-8")


def load(path: str | os.PathLike[str]) -> Benchmark:
    """Reads JSON that ``as_data`` made."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise InputError(f"{path}: written in format {data['format']}, this is {FORMAT}", hint="measure again")
        rows = [
            Row(**{**{f.name: r[f.name] for f in fields(Row)}, "histogram": tuple(r["histogram"])})
            for r in data["rows"]
        ]
        starts = [Start(**s) for s in data["starts"]]
        memory = None if data["memory"] is None else MemoryUse(**data["memory"])
        agreements = {who: Agreement(**a) for who, a in data["agreements"].items()}
        own = ("rows", "starts", "memory", "agreements")
        rest = {f.name: data[f.name] for f in fields(Benchmark) if f.name not in own}
        return Benchmark(rows=rows, starts=starts, memory=memory, agreements=agreements, **rest)
    except (OSError, ValueError, KeyError, TypeError) as e:
        if isinstance(e, InputError):
            raise
        raise InputError(
            f"{path}: is no benchmark of RONN's ({type(e).__name__}: {e})", hint="ronn bench MODEL --json writes one"
        ) from e
