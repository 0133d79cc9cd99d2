"""The course of sessions as a picture: which model answered, and what happened, request by request."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from examples.system1_system2.course import PATHS, Course

COLOURS = {"fast": "#2f9e44", "cache": "#fab005", "full": "#4263eb"}
WORDS = {"fast": "System 1", "cache": "remembered answers of System 2", "full": "System 2"}
MARKS = {"change": "#e03131", "alarm": "#e03131", "certified": "#2f9e44", "sleep": "#7048e8"}
TEXT, GRID = "#7d8490", "#8f96a355"  # read on light and dark pages
WIDTH, LEFT, RIGHT, HEIGHT, TOP, GAP = 760, 44, 12, 170, 78, 56


def draw(courses: Sequence[Course]) -> str:
    """SVG, one panel a course, below one another."""
    parts: list[str] = []
    x = LEFT
    for path in PATHS:
        parts.append(f'<rect x="{x}" y="12" width="11" height="11" rx="2" fill="{COLOURS[path]}"/>')
        parts.append(_text(x + 16, 22, WORDS[path]))
        x += 30 + 6.4 * len(WORDS[path])
    for at, course in enumerate(courses):
        parts += _panel(course, TOP + at * (HEIGHT + TOP + GAP - 20))
    height = TOP + len(courses) * (HEIGHT + TOP + GAP - 20) - TOP + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="11">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(course: Course, top: float) -> list[str]:
    total = course.requests
    scale = (WIDTH - LEFT - RIGHT) / total
    bottom = top + HEIGHT
    parts = [_text(LEFT, top - 32, f"{course.pair.name}: who answered", size=13)]
    x = float(LEFT)
    for window in course.windows:
        width, y = window["requests"] * scale, bottom
        for path in reversed(PATHS):
            tall = HEIGHT * window[path] / window["requests"]
            y -= tall
            if tall:
                tip = (
                    f"{WORDS[path]}: {window[path]} of {window['requests']} requests; {window['other']} answers were "
                    "not System 2's"
                )
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="{COLOURS[path]}" '
                    f'shape-rendering="crispEdges"><title>{tip}</title></rect>'
                )
        x += width
    for share in (0.0, 0.5, 1.0):
        y = bottom - HEIGHT * share
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="{GRID}"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{share:.0%}", anchor="end"))
    last = {0: -1e9, 1: -1e9}
    for request, what in course.events:
        x = LEFT + request * scale
        level = 0 if x - last[0] > 62 else 1
        last[level] = x
        colour = MARKS.get(what, TEXT)
        parts.append(
            f'<line x1="{x:.1f}" y1="{top - 3 - 11 * level}" x2="{x:.1f}" y2="{bottom}" stroke="{colour}" '
            'stroke-width="1.5" stroke-dasharray="4 2"/>'
        )
        parts.append(_text(x + 3, top - 5 - 11 * level, what, fill=colour))
    for request in range(0, total + 1, _step(total)):
        parts.append(_text(LEFT + request * scale, bottom + 15, f"{request}", anchor="middle"))
    parts.append(_text(LEFT + (WIDTH - LEFT - RIGHT) / 2, bottom + 30, "requests", anchor="middle"))
    return parts


def _step(total: int) -> int:
    return next(s for s in (100, 200, 500, 1000, 2000, 5000, 10**9) if total / s <= 10)


def _text(x: float, y: float, words: str, anchor: str = "start", size: float = 11, fill: str = TEXT) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{escape(words)}</text>'
    )
