"""A picture (SVG) of what quantising cost: bytes of each layer against its error, and what a search tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ronn.plan.budget import size_text
from ronn.records import dataclass
from ronn_provider_bitnet.quantize.report import Report, Row, decibels

# Greys and colours that read on a light and on a dark page.
TEXT, GRID = "#7d8490", "#8f96a355"
COLOURS = {"1": "#e8590c", "1.58": "#f08c00", "2": "#37b24d", "4": "#4c6ef5", "8": "#ae3ec9"}
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760.0, 420.0, 64.0, 74.0, 24.0, 46.0
_TICKS, _MOST_DB = 6, 80.0
_SEARCH = 300.0  # height of the panel of a search


@dataclass(frozen=True, slots=True)
class _Axes:
    """Bytes along x, logarithmic; decibels along y. above, below: where the panel begins and ends."""

    low: float
    high: float
    bottom: float
    top: float
    above: float = _TOP
    below: float = _HEIGHT - _BOTTOM

    def at(self, size: float, db: float) -> tuple[float, float]:
        x = (math.log(max(size, 1.0)) - self.low) / (self.high - self.low)
        y = (min(max(db, self.bottom), self.top) - self.bottom) / (self.top - self.bottom)
        return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), self.below - y * (self.below - self.above)


def draw(report: Report, name: str) -> str:
    """A dot a layer: its bytes now, and signal over the error of its products in decibels; grey where it was. Below, of
    a search: the bytes of all layers against the error, a line as expected from the layers, rings as measured."""
    rows = report.rows
    axes = _axes(rows)
    what = "products" if report.measured else "weights"
    parts = [
        _text(0, 16, f"{name}: size against error of {len(rows)} layers", size=14),
        _text(0, 34, _summary(report), size=11),
        *_legend(rows),
        *_grid(axes, f"signal over error of {what}", "bytes of the layer's weights"),
    ]
    for r in sorted(rows, key=lambda r: -r.after):
        db = min(r.sqnr_db, _MOST_DB)
        (x, y), (was, _) = axes.at(r.after, db), axes.at(r.before, db)
        tip = f"{r.name}: {r.bits} bits, {size_text(r.before)} -> {size_text(r.after)}, {decibels(r.sqnr_db)}"
        parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{was:.1f}" y2="{y:.1f}" stroke="{GRID}"/>')
        parts.append(f'<circle cx="{was:.1f}" cy="{y:.1f}" r="2.5" fill="{TEXT}"/>')
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[r.bits]}"><title>{escape(tip)}</title></circle>'
        )
    searched = len(report.points) > 1
    parts += _search(report) if searched else []
    height = _HEIGHT + (_SEARCH if searched else 0)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(name)}: size against error</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _axes(rows: Sequence[Row]) -> _Axes:
    sizes = [s for r in rows for s in (r.before, r.after)]
    errors = [min(r.sqnr_db, _MOST_DB) for r in rows]
    bottom, top = math.floor(min(errors) / 5) * 5.0, math.ceil(max(errors) / 5) * 5.0
    return _Axes(math.log(min(sizes) / 1.3), math.log(max(sizes) * 1.3), min(bottom, 0.0), max(top, bottom + 5))


def _summary(report: Report) -> str:
    task = report.task
    found = [f"constants {size_text(report.bytes_before)} -> {size_text(report.bytes_after)}"]
    if task.outputs:
        found.append(f"outputs: cosine {task.cosine:.4f}, {decibels(task.sqnr_db)}")
    if task.before is not None and task.after is not None:
        found.append(f"top-1 {task.before:.2%} -> {task.after:.2%}")
    elif task.agreement is not None:
        found.append(f"same best class {task.agreement:.2%}")
    return "; ".join(found)


def _legend(rows: Sequence[Row]) -> list[str]:
    x, parts = _LEFT, []
    for bits, colour in COLOURS.items():
        count = sum(r.bits == bits for r in rows)
        if count:
            parts.append(f'<circle cx="{x:.1f}" cy="50" r="5" fill="{colour}"/>')
            words = f"{bits} bits ({count})"
            parts.append(_text(x + 10, 54, words))
            x += 30 + 6.2 * len(words)
    parts.append(f'<circle cx="{x:.1f}" cy="50" r="2.5" fill="{TEXT}"/>')
    parts.append(_text(x + 10, 54, "float32"))
    return parts


def _search(report: Report) -> list[str]:
    points = report.points
    expected = [(p.bytes, -10 * math.log10(p.noise) if p.noise > 0 else _MOST_DB) for p in points]
    measured = [(p.bytes, p.sqnr_db) for p in points if p.sqnr_db is not None]
    measured.append((sum(r.after for r in report.rows), report.task.sqnr_db))
    every = [min(db, _MOST_DB) for _, db in (*expected, *measured)]
    bottom, top = math.floor(min(every) / 5) * 5.0, math.ceil(max(every) / 5) * 5.0
    sizes = [size for size, _ in (*expected, *measured)]
    axes = _Axes(
        math.log(min(sizes) / 1.1), math.log(max(sizes) * 1.1), bottom, max(top, bottom + 5),
        _HEIGHT + 30, _HEIGHT + _SEARCH - _BOTTOM,
    )  # fmt: skip
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (axes.at(*p) for p in expected))
    parts = _grid(axes, "signal over error of outputs: a line as expected, rings as measured", "bytes of all layers")
    parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS["4"]}" stroke-width="1.5"/>')
    for size, db in measured:
        x, y = axes.at(size, db)
        tip = f"<title>{size_text(size)}, {decibels(db)}</title>"
        ring = f'fill="none" stroke="{COLOURS["1"]}" stroke-width="2"'
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {ring}>{tip}</circle>')
    return parts


def _grid(axes: _Axes, what: str, sizes: str) -> list[str]:
    parts = []
    for i in range(_TICKS + 1):
        size = math.exp(axes.low + (axes.high - axes.low) * i / _TICKS)
        db = axes.bottom + (axes.top - axes.bottom) * i / _TICKS
        x, y = axes.at(size, db)
        parts.append(_line(x, axes.above, x, axes.below))
        parts.append(_line(_LEFT, y, _WIDTH - _RIGHT, y))
        parts.append(_text(x, axes.below + 16, size_text(size), "middle", 10))
        parts.append(_text(_LEFT - 6, y + 4, f"{db:.0f} dB", "end", 10))
    parts.append(_text(_WIDTH / 2, axes.below + 36, sizes, "middle"))
    parts.append(_text(_LEFT, axes.above - 6, what, size=10))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GRID}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", size: float = 11) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="{TEXT}">{escape(words)}</text>'
