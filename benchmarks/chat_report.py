"""Table and picture of `benchmarks.chat`."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

NAMES = {"ronn": "RONN", "onnxruntime": "onnxruntime", "llama.cpp": "llama.cpp"}
KINDS = {
    "float": "float32", "gguf": "4 bits, the file's own", "4": "4 bits, GPTQ", "2": "2 bits, GPTQ",
    "1.58x2": "ternary, two planes, GPTQ", "1.58": "ternary, GPTQ",
}  # fmt: skip
COLOURS = {"ronn": "#4c6ef5", "onnxruntime": "#868e96", "llama.cpp": "#f08c00"}
TEXT, GRID = "#7d8490", "#8f96a355"  # greys that read on a light and on a dark page
_ROW, _LEFT, _WIDTH = 18, 210, 760
Row = dict[str, Any]


def table(found: dict[str, Any]) -> str:
    """Two tables: what is lost, and how fast it is; each where there are figures."""
    parts = []
    if "quality" in found:
        parts.append(_quality(found["quality"], found["text"]))
    if "speed" in found:
        parts.append(_speed(found["speed"], found["machine"]))
        parts.append("![Tokens a second on one thread](images/chat.svg)\n")
    return "\n".join(parts)


def label(row: Row) -> str:
    return KINDS[row["form"]] if row["engine"] != "llama.cpp" else row["kind"]


def _quality(rows: list[Row], text: str) -> str:
    whole = next((r["bits_per_byte"] for r in rows if r["form"] == "float"), None)
    lines = ["| weights | runs on | bits per byte | more than float32 |", "| --- | --- | ---: | ---: |"]
    for r in rows:
        loss = "" if whole is None or r["form"] == "float" else f"{round(r['bits_per_byte'] / whole - 1, 3) + 0:.1%}"
        lines.append(f"| {label(r)} | {NAMES[r['engine']]} | {r['bits_per_byte']:.3f} | {loss} |")
    return "\n".join([*lines, "", f"The text: {text}.", ""])


def _speed(rows: list[Row], machine: Row) -> str:
    counts = sorted({r["threads"] for r in rows})
    heads = [f"tokens/s, {t} thread{'s' if t > 1 else ''}" for t in counts]
    reads = [f"prompt, {t}" for t in counts]
    lines = [
        f"| weights | runs on | {' | '.join(heads)} | {' | '.join(reads)} | on disk | in memory |",
        "| --- | --- |" + " ---: |" * (2 * len(counts) + 2),
    ]
    for key in dict.fromkeys((r["engine"], r["form"]) for r in rows):
        own = {r["threads"]: r for r in rows if (r["engine"], r["form"]) == key}
        any_ = next(iter(own.values()))
        cells = [f"{own[t][what]:.0f}" if t in own else "" for what in ("decode", "prompt") for t in counts]
        sizes = [f"{any_[what] / 1e6:.0f} MB" for what in ("disk", "ram")]
        lines.append(f"| {label(any_)} | {NAMES[key[0]]} | {' | '.join([*cells, *sizes])} |")
    load = machine["load_average"][0]
    about = f"{machine['cpu']}, {machine['usable_cores']} cores, load {load} when it was over; medians."
    return "\n".join([*lines, "", about, ""])


def picture(found: dict[str, Any], path: Path) -> None:
    """Bars of tokens a second on one thread, form by form."""
    rows = [r for r in found.get("speed", ()) if r["threads"] == 1]
    if not rows:
        return
    most = max(r["decode"] for r in rows)
    title = "SmolLM2-135M: tokens written a second on one thread"
    parts, y = [_text(0, 16, title, size=14)], 40.0
    last = ""
    for r in rows:
        y += 8 if r["form"] != last else 0
        last = r["form"]
        wide = r["decode"] / most * (_WIDTH - _LEFT - 60)
        parts.append(_text(_LEFT - 8, y + 12, f"{label(r)}: {NAMES[r['engine']]}", anchor="end"))
        parts.append(
            f'<rect x="{_LEFT}" y="{y:.1f}" width="{wide:.1f}" height="{_ROW - 4}" fill="{COLOURS[r["engine"]]}"/>'
        )
        parts.append(_text(_LEFT + wide + 6, y + 12, f"{r['decode']:.0f}"))
        y += _ROW
    body = "\n".join(parts)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10:g}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>\n{body}\n</svg>\n',
        encoding="utf-8",
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{TEXT}">{escape(words)}</text>'
    )
