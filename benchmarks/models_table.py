"""docs/models.md and benchmarks/results/models.json, from what `benchmarks.compare` found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS, RESULTS = REPOSITORY / "docs", REPOSITORY / "benchmarks" / "results"

INTRODUCTION = """# Real models{where}

Every model of the zoo through ONNX Runtime and through RONN{on}, on the same inputs. Made by

<!-- not run: an hour; nox -s models -- --small is a part of it -->
```sh
python -m benchmarks.compare{options} --write
```

*max diff* is the largest |difference| over all outputs, *of max* the same as a share of the output's largest value;
allowed are 1e-4 of the largest value plus 1e-5 (float16 models: 2e-3 plus 1e-5); integers, strings and labels must be
equal. *ORT noise* is how far ONNX Runtime with all optimisations is from itself with none, as a share of the largest
value. Dynamic-int8 models move by several percent when an input moves by one part in a million, so they are compared
by their task: the *score* is the share of equal decisions (argmax, sign) or the likeness of two recordings; what is
needed is what ONNX Runtime reaches against itself with inputs and weights nudged by 1e-6, less a small slack.
*providers* counts the compiled plan's nodes.
"""


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def verdict(size: dict[str, Any]) -> str:
    if size["ok"]:
        return "equal" if "score" not in size else "same answer"
    return "**wrong**" if size.get("max_difference") is not None or "score" in size else "**fails**"


def one_line(entry: dict[str, Any]) -> str:
    """What the terminal shows for one model."""
    if "unavailable" in entry:
        return f"UNAVAILABLE: {entry['unavailable']}"
    if "sizes" not in entry:
        return f"FAILED: {entry.get('error', 'no result')}"
    parts = []
    for size in entry["sizes"]:
        text = f"{size['size']}: {verdict(size).strip('*')} ({_number(size.get('relative'))} of max"
        text += f", score {size['score']:.4f} of {size['needed_score']:.4f}" if "score" in size else ""
        parts.append(text + (f", {size['reason']})" if size.get("reason") else ")"))
    reference = entry.get("on_reference")
    tail = f" | on reference: {', '.join(reference)}" if reference else ""
    return " | ".join(parts) + tail


def _size_cells(size: dict[str, Any]) -> str:
    score = f"{size['score']:.4f} of {size['needed_score']:.4f}" if "score" in size else ""
    cells = [
        size["size"], verdict(size), _number(size.get("max_difference")), _number(size.get("relative")),
        _number(size.get("onnxruntime_noise")), score,
    ]  # fmt: skip
    return " | ".join(cells)


def _rows(entry: dict[str, Any]) -> list[str]:
    name = f"`{entry['name']}`"
    if "sizes" not in entry:
        why = entry.get("unavailable", entry.get("error", "no result")).replace("|", "/")
        word = "not here" if "unavailable" in entry else "**fails**"
        return [f"| {name} | | | | {word} | | | | | | {why} |"]
    providers = ", ".join(f"{provider} {count}" for provider, count in entry.get("providers", {}).items())
    if entry.get("on_reference"):
        providers += f" (reference: {', '.join(entry['on_reference'])})"
    load = _number(entry.get("ronn_load_s"), 3)
    rows = []
    for number, size in enumerate(entry["sizes"]):
        head = f"{name} | {entry['nodes']} | {load}" if number == 0 else " | | "
        note = (size.get("reason") or "").replace("|", "/")
        rows.append(f"| {head} | {_size_cells(size)} | {providers if number == 0 else ''} | {note} |")
    return rows


def _elsewhere(entries: list[dict[str, Any]], provider: str) -> list[str]:
    """Which nodes are not on the first provider, and why."""
    lines = [
        "",
        f"## What is not on `{provider}`",
        "",
        "Nodes by operator and reason; models that are not here run there whole.",
        "",
    ]
    lines += ["| model | nodes and why |", "| --- | --- |"]
    for entry in entries:
        if entry.get("elsewhere"):
            lines.append(f"| `{entry['name']}` | {'<br>'.join(r.replace('|', '/') for r in entry['elsewhere'])} |")
    return lines


def render(entries: list[dict[str, Any]], listed: list[str] | None = None) -> str:
    machine = describe()
    equal = sum(entry["ok"] for entry in entries)
    sizes = [size for entry in entries for size in entry.get("sizes", [])]
    without = sum(1 for entry in entries if "providers" in entry and not entry["on_reference"])
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    names = " ".join(listed) if listed else ""
    words = (
        {"where": f" on {listed[0]}", "on": f" with the providers {names}", "options": f" --providers {names}"}
        if listed
        else {}
    )
    head = [
        INTRODUCTION.format(**{"where": "", "on": "", "options": "", **words}),
        f"**{equal} of {len(entries)} models** give ONNX Runtime's answers, at {sum(s['ok'] for s in sizes)} of "
        f"{len(sizes)} sizes; {without} run with no node on `reference`.",
        f"\n{machine['cpu']}, {machine['system']}, Python {machine['python']}; {versions}.\n",
        "| model | nodes | load s | size | verdict | max diff | of max | ORT noise | score | providers | note |",
        "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | --- | --- | --- |",
    ]
    rows = [row for entry in entries for row in _rows(entry)]
    return "\n".join([*head, *rows, *(_elsewhere(entries, listed[0]) if listed else [])]) + "\n"


def write(entries: list[dict[str, Any]], complete: bool, listed: list[str] | None = None) -> None:
    """Writes both files; a run over some models replaces only these in the stored result. ``listed``: the providers."""
    stem = f"models-{listed[0]}" if listed else "models"
    table, results = DOCS / f"{stem}.md", RESULTS / f"{stem}.json"
    if not complete and results.is_file():
        fresh = {entry["name"]: entry for entry in entries}
        stored = json.loads(results.read_text(encoding="utf-8"))["models"]
        entries = [fresh.pop(entry["name"], entry) for entry in stored] + list(fresh.values())
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps({"machine": describe(), "models": entries}, indent=1) + "\n", encoding="utf-8")
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(render(entries, listed), encoding="utf-8")
    print(f"wrote {table.relative_to(REPOSITORY)} and {results.relative_to(REPOSITORY)}")
