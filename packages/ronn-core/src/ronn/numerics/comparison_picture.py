"""A comparison as a picture (SVG): what each side takes beside A, and how near B's values inside are to A's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from ronn.numerics.comparison import Comparison, Row, Side
from ronn.plan.budget import size_text
from ronn.profile.report import time_text
from ronn.records import dataclass

# Greys and colours that read on a light and on a dark page.
TEXT, GRID = "#7d8490", "#8f96a355"
COLOURS = ("#4c6ef5", "#f08c00", "#37b24d", "#ae3ec9", "#e8590c")
_WIDTH, _LEFT, _RIGHT = 760.0, 190.0, 24.0
_BAR, _GAP, _PLOT = 13.0, 12.0, 190.0
_MOST_DB = 140.0


@dataclass(frozen=True, slots=True)
class _Measure:
    """What is drawn as bars: a name, its figure for a side (None: not known), and how that is written."""

    name: str
    figure: Callable[[Side], float | None]
    written: Callable[[float], str]


def _measures(found: Comparison) -> list[_Measure]:
    per = "rows/s" if found.sides[0].throughput is None or found.sides[0].throughput.open else "runs/s"
    every = [
        _Measure("file", lambda s: s.file, size_text),
        _Measure("weights as packed", lambda s: s.packed, size_text),
        _Measure("memory in all", lambda s: s.memory, size_text),
        _Measure("latency", lambda s: None if s.latency is None else s.latency.median_ms / 1e3, time_text),
        _Measure(
            "throughput",
            lambda s: None if s.throughput is None else s.throughput.per_second,
            lambda v: f"{v:,.0f} {per}",
        ),
    ]
    return [m for m in every if any(m.figure(s) for s in found.sides)]


def draw(found: Comparison) -> str:
    """Bars for sizes and times, each beside A's, and the signal to noise of outputs and values inside, in A's order."""
    y = 20.0
    parts = [_text(0, y, " and ".join(f"{s.letter}: {s.name}" for s in found.sides[:2]), size=13)]
    for side in found.sides[2:]:
        y += 17
        parts.append(_text(0, y, f"{side.letter}: {side.name}", size=13))
    for side in found.sides[1:]:
        y += 17
        parts.append(_text(0, y, f"{side.letter} against A: {_agreement(found, side)}"))
    y += 18
    for measure in _measures(found):
        drawn, y = _bars(measure, found.sides, y)
        parts += drawn
    rows = [r for r in found.nodes if r.spread.snr_db is not None]
    outputs = [r for r in found.outputs if r.letter == "B" and r.spread.snr_db is not None]
    if rows or outputs:
        drawn, y = _values(rows, outputs, y + 16)
        parts += drawn
    title = escape(f"{found.sides[1].name} against {found.sides[0].name}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {y:g}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{title}</title>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _agreement(found: Comparison, side: Side) -> str:
    agreement = found.agreement(side.letter)
    told = []
    if agreement.same_class is not None:
        told.append(f"same class {agreement.same_class:.2%}")
    if agreement.cosine is not None:
        told.append(f"cosine {agreement.cosine:.5f}")
    if agreement.snr_db is not None:
        told.append("equal" if math.isinf(agreement.snr_db) else f"{agreement.snr_db:.1f} dB of signal over error")
    return ", ".join(told) if told else "no output of floats"


def _bars(measure: _Measure, sides: Sequence[Side], y: float) -> tuple[list[str], float]:
    figures = [(side, value) for side in sides if (value := measure.figure(side))]
    most = max(value for _, value in figures)
    reference = measure.figure(sides[0])
    parts = [_text(_LEFT - 30, y + 11, measure.name, "end")]
    for side, value in figures:
        wide = (_WIDTH - _LEFT - _RIGHT - 170) * value / most
        words = measure.written(value)
        if reference and side is not sides[0]:
            words += f" ({_times(value / reference)} of A)"
        colour = COLOURS[sides.index(side) % len(COLOURS)]
        parts.append(_text(_LEFT - 8, y + 11, side.letter, "end"))
        parts.append(f'<rect x="{_LEFT:g}" y="{y:.1f}" width="{max(wide, 1):.1f}" height="{_BAR:g}" fill="{colour}"/>')
        parts.append(_text(_LEFT + wide + 6, y + 11, words))
        y += _BAR + 3
    return parts, y + _GAP


def _times(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio >= 1 else f"1/{1 / ratio:.2f}"


def _values(rows: Sequence[Row], outputs: Sequence[Row], y: float) -> tuple[list[str], float]:
    every = [*rows, *outputs]
    known = [min(r.spread.snr_db, _MOST_DB) for r in every if r.spread.snr_db is not None]
    low, high = min(0.0, math.floor(min(known) / 20) * 20), max(20.0, math.ceil(max(known) / 20) * 20)
    left, wide = 56.0, _WIDTH - 56 - _RIGHT
    parts = [_text(0, y, "signal over error of values inside, in A's order; outputs are rings", size=12)]
    top = y + 12

    def at(db: float) -> float:
        return top + _PLOT * (1 - (min(db, _MOST_DB) - low) / (high - low))

    for tick in range(int(low), int(high) + 1, 20):
        level = at(tick)
        parts.append(f'<line x1="{left:g}" y1="{level:.1f}" x2="{left + wide:g}" y2="{level:.1f}" stroke="{GRID}"/>')
        parts.append(_text(left - 6, level + 4, f"{tick} dB", "end", 10))
    for number, row in enumerate(every):
        db = row.spread.snr_db
        assert db is not None
        x = left + wide * (number + 0.5) / len(every)
        tip = escape(f"{row.name} {row.op}: " + ("equal" if math.isinf(db) else f"{db:.1f} dB"))
        style = f'fill="none" stroke="{COLOURS[1]}" stroke-width="2"' if row in outputs else f'fill="{COLOURS[1]}"'
        radius = 5 if row in outputs else 3
        parts.append(f'<circle cx="{x:.1f}" cy="{at(db):.1f}" r="{radius}" {style}><title>{tip}</title></circle>')
    return parts, top + _PLOT + 16


def _text(x: float, y: float, words: str, anchor: str = "start", size: float = 11) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="{TEXT}">{escape(words)}</text>'
