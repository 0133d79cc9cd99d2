"""Draws the pictures of performance.md and writes its tables, from benchmarks/results: `python docs/charts.py`.

A test holds pictures and page to what this would write, so committed figures and what is told about them are the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"
PAGE = DOCS / "performance.md"
PICTURES = DOCS / "images" / "charts"
NAMES = {"ronn": "RONN", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
COLOURS = {"ronn": "#4c6ef5", "onnxruntime": "#868e96", "openvino": "#f08c00"}
# Greys that read on a light and on a dark page.
TEXT, GRID = "#7d8490", "#8f96a355"
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
Model = dict[str, Any]


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def mean(values: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs))


def figure(model: Model, contestant: str, field: str) -> float | None:
    """A figure of a contestant; None where it could not run the model or its answer was another one."""
    found = model.get("contestants", {}).get(contestant, {})
    return None if found.get("equal") is False else found.get(field)


def over_onnxruntime(models: Sequence[Model], contestant: str, field: str) -> dict[str, float]:
    """By model: the figure of a contestant as a share of ONNX Runtime's."""
    pairs = {m["name"]: (figure(m, contestant, field), figure(m, "onnxruntime", field)) for m in models}
    return {name: mine / theirs for name, (mine, theirs) in pairs.items() if mine and theirs}


# --- pictures


class Svg:
    """Parts of a picture, in pixels."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.size, self.title, self.parts = (width, height), title, [""]

    def text(self, x: float, y: float, words: str, anchor: str = "start", size: float = 11, fill: str = TEXT) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(words)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str = GRID, width: float = 1) -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-width="{width}"/>'
        )

    def dot(self, x: float, y: float, fill: str, tip: str) -> None:
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}"><title>{escape(tip)}</title></circle>'
        )

    def bar(self, x: float, y: float, width: float, height: float, fill: str, tip: str) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" rx="2" fill="{fill}">'
            f"<title>{escape(tip)}</title></rect>"
        )

    def __str__(self) -> str:
        width, height = self.size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
            f'font-family="system-ui, sans-serif"><title>{escape(self.title)}</title>'
            + "\n".join(self.parts)
            + "</svg>\n"
        )


def dots(models: Sequence[Model], field: str, title: str) -> Svg:
    """A row a model, on a logarithmic axis: each contestant's figure as a share of ONNX Runtime's."""
    shares = {c: over_onnxruntime(models, c, field) for c in ("ronn", "openvino")}
    order = sorted(shares["ronn"], key=lambda name: shares["ronn"][name])
    every = [v for s in shares.values() for v in s.values()]
    low, high = math.log(min(every) * 0.9), math.log(max([*every, 1.0]) * 1.1)
    left, right, top, step = 170.0, 20.0, 58.0, 16.0
    width, height = 760.0, top + step * len(order) + 30
    out = Svg(width, height, title)

    def at(value: float) -> float:
        return left + (math.log(value) - low) / (high - low) * (width - left - right)

    out.text(0, 16, title, size=14)
    legend(out, width, 16)
    bottom = top + step * len(order)
    for tick in TICKS:
        if low <= math.log(tick) <= high:
            out.line(at(tick), top - 8, at(tick), bottom, TEXT if tick == 1 else GRID, 1.4 if tick == 1 else 1)
            out.text(at(tick), top - 14, f"{tick:g}", "middle", 10)
            out.text(at(tick), bottom + 16, f"{tick:g}", "middle", 10)
    for row, name in enumerate(order):
        y = top + step * (row + 0.5)
        out.text(left - 10, y + 4, name, "end", 10.5)
        found = {c: s[name] for c, s in shares.items() if name in s}
        ends = [at(v) for v in (*found.values(), 1.0)]
        out.line(min(ends), y, max(ends), y)
        for contestant in ("openvino", "ronn"):
            if contestant in found:
                out.dot(
                    at(found[contestant]),
                    y,
                    COLOURS[contestant],
                    f"{NAMES[contestant]}, {name}: {found[contestant]:.2f}",
                )
    return out


def legend(out: Svg, width: float, y: float) -> None:
    x = width - 278
    for contestant in ("ronn", "openvino"):
        out.dot(x, y - 4, COLOURS[contestant], NAMES[contestant])
        out.text(x + 10, y, NAMES[contestant])
        x += 74
    out.line(x + 14, y - 9, x + 14, y + 1, TEXT, 1.4)
    out.text(x + 22, y, "ONNX Runtime = 1")


SUMMARY = (("median_ms", "time of a run"), ("start_s", "import, load, first run"), ("taken_memory_mib", "memory"))


def summary(models: Sequence[Model]) -> Svg:
    """Geometric means of time, start and memory, ONNX Runtime's being 1."""
    width, top, group = 700.0, 40.0, 78.0
    out = Svg(width, top + group * len(SUMMARY) + 6, "RONN, ONNX Runtime and OpenVINO")
    values = {f: {c: mean(over_onnxruntime(models, c, f).values()) for c in NAMES} for f, _ in SUMMARY}
    longest = max(v for found in values.values() for v in found.values())
    fewer = len(over_onnxruntime(models, "openvino", "median_ms"))
    words = f"Geometric means over {len(models)} models ({fewer} for OpenVINO), ONNX Runtime = 1; shorter is better"
    out.text(0, 16, words, size=13)
    for row, (field, words) in enumerate(SUMMARY):
        y = top + group * row
        out.text(150, y + 34, words, "end", 12)
        for line, contestant in enumerate(NAMES):
            value = values[field][contestant]
            length = value / longest * (width - 290)
            out.bar(162, y + 22 * line, length, 17, COLOURS[contestant], f"{NAMES[contestant]}: {value:.2f}")
            out.text(170 + length, y + 22 * line + 13, f"{value:.2f}  {NAMES[contestant]}", size=11)
    return out


def shares_of_limit() -> Svg:
    """How much of what the machine could do each kernel reaches."""
    rows = results("kernels")["kernels"]
    left, step, width, top = 330.0, 24.0, 760.0, 40.0
    out = Svg(width, top + step * len(rows) + 10, "Share of the machine's limit")
    longest = max(1.0, max(r["share"] for r in rows))
    scale = (width - left - 60) / longest
    out.text(0, 16, "Share of what the machine allows (multiply-adds, or bytes)", size=14)
    for number, row in enumerate(rows):
        y = top + step * number
        out.text(left - 10, y + 13, row["what"], "end", 10.5)
        out.bar(left, y, row["share"] * scale, 17, COLOURS["ronn"], f"{row['share']:.0%} of {row['limit']}")
        out.text(left + row["share"] * scale + 8, y + 13, f"{row['share']:.0%}")
    out.line(left + scale, top - 8, left + scale, top + step * len(rows), TEXT, 1.4)
    return out


def pictures() -> dict[str, str]:
    one, two = results("bench")["models"], results("bench-2-threads")["models"]
    return {
        "summary": str(summary(one)),
        "time": str(dots(one, "median_ms", "Time of a run, one thread")),
        "time-2-threads": str(dots(two, "median_ms", "Time of a run, two threads")),
        "start": str(dots(one, "start_s", "Import, load and first run")),
        "memory": str(dots(one, "taken_memory_mib", "Memory taken")),
        "kernels": str(shares_of_limit()),
    }


# --- tables


def peers_section() -> str:
    """What the benches found, in words, as a table, and every model."""
    one, two = results("bench"), results("bench-2-threads")
    machine, packages = one["machine"], one["machine"]["packages"]
    versions = ", ".join(
        f"{p} {packages[p]}" for p in ("ronn-core", "onnxruntime", "openvino", "onnx", "numpy", "numba")
    )
    lines = [
        f"{machine['cpu']}, {machine['usable_cores']} cores, {machine['system']}, Python {machine['python']}; {versions}.",
        "Contestants run in turn in one process, in bursts, after pauses; medians.",
        "",
        "| RONN / peer, geometric mean | ONNX Runtime | OpenVINO | the faster of both |",
        "| --- | ---: | ---: | ---: |",
    ]
    rows: list[tuple[str, list[Model], str]] = [
        ("time of a run, one thread", one["models"], "median_ms"),
        ("time of a run, two threads", two["models"], "median_ms"),
        ("import, load and first run", one["models"], "start_s"),
        ("memory taken", one["models"], "taken_memory_mib"),
    ]
    for what, models, field in rows:
        cells = [ratio(models, field, peers) for peers in (["onnxruntime"], ["openvino"], ["onnxruntime", "openvino"])]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    starts = {c: median(v for m in one["models"] if (v := figure(m, c, "start_s"))) for c in ("ronn", "onnxruntime")}
    lines += [
        "",
        "In brackets: over how many models. Starting is where RONN is behind: import, load and first run take "
        f"{starts['ronn']:.2f} s for the median model, {starts['onnxruntime']:.2f} s in ONNX Runtime.",
        "",
        "How many models RONN is ahead in, and the worst of the others:",
        "",
    ]
    lines += [
        "| | ahead of ONNX Runtime | ahead of OpenVINO | furthest behind the faster |",
        "| --- | ---: | ---: | --- |",
    ]
    for what, models, field in rows:
        lines.append(
            f"| {what} | {ahead(models, field, 'onnxruntime')} | {ahead(models, field, 'openvino')} | {worst(models, field)} |"
        )
    lines += ["", "The targets that were set before, and what was measured against them:", ""]
    lines += ["| target | threads | wanted | measured | met |", "| --- | ---: | --- | --- | --- |"]
    for row in results("targets")["rows"]:
        lines.append(
            f"| {row['what']} | {row['threads']} | {row['target']} | {row['measured']} | {'yes' if row['met'] else '**no**'} |"
        )
    return "\n".join(lines).replace("<=", "≤") + "\n"


def ratio(models: Sequence[Model], field: str, peers: Sequence[str]) -> str:
    found = [r for m in models if (r := share(m, field, peers)) is not None]
    return f"{mean(found):.2f} ({len(found)})"


def share(model: Model, field: str, peers: Sequence[str]) -> float | None:
    """RONN's figure over the least of the peers'."""
    mine = figure(model, "ronn", field)
    theirs = [v for p in peers if (v := figure(model, p, field))]
    return mine / min(theirs) if mine and theirs else None


def ahead(models: Sequence[Model], field: str, peer: str) -> str:
    found = [r for m in models if (r := share(m, field, [peer])) is not None]
    return f"{sum(r < 1 for r in found)} of {len(found)}"


def worst(models: Sequence[Model], field: str) -> str:
    found = {m["name"]: share(m, field, ["onnxruntime", "openvino"]) for m in models}
    behind = sorted(((r, name) for name, r in found.items() if r is not None and r > 1), reverse=True)
    return ", ".join(f"`{name}` {r:.2f}" for r, name in behind[:4]) + (
        f" and {len(behind) - 4} more" if len(behind) > 4 else ""
    )


def every_model() -> str:
    one, two = results("bench")["models"], {m["name"]: m for m in results("bench-2-threads")["models"]}
    lines = [
        "| model | size | RONN, ms | ONNX Runtime | OpenVINO | RONN, 2 threads | ONNX Runtime | OpenVINO | RONN, MiB | ONNX Runtime | OpenVINO |",
        "| --- | --- |" + " ---: |" * 9,
    ]
    for model in one:
        cells = [f"`{model['name']}`", model["size"]]
        for source, field in (
            (model, "median_ms"),
            (two.get(model["name"], {}), "median_ms"),
            (model, "taken_memory_mib"),
        ):
            cells += [number(figure(source, c, field), field) for c in NAMES]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def number(value: float | None, field: str) -> str:
    if value is None:
        return "-"
    if field == "taken_memory_mib":
        return f"{value:.0f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


SECTIONS: dict[str, Callable[[], str]] = {"peers": peers_section, "models": every_model}


def page() -> str:
    """performance.md with its generated sections as they should be."""
    text = PAGE.read_text(encoding="utf-8")
    for name, make in SECTIONS.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{make()}{end}{rest.split(end)[1]}"
    return text


def main() -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, text in pictures().items():
        (PICTURES / f"{name}.svg").write_text(text, encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
