"""The picture: how many times faster than the best float32, a group of bars for each case, on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from benchmarks.bitnet.contestants import (
    AVX2,
    BINARY,
    FLOATS,
    I2_S,
    NUMPY,
    ORT,
    ORT2,
    ORT4,
    Q1,
    TERNARY,
    TQ1,
    TQ2,
    WIDE,
    XNOR,
)
from benchmarks.bitnet.measure import Row
from docs.charts import GRID, TEXT, Svg

COLOURS = {
    XNOR: "#1864ab", BINARY: "#1c7ed6", TERNARY: "#4dabf7", WIDE: "#a5d8ff", AVX2: "#74c0fc",
    ORT2: "#f08c00", ORT4: "#ffc078", I2_S: "#2f9e44", TQ2: "#e64980", TQ1: "#faa2c1", Q1: "#c2255c", FLOATS: "#adb5bd",
}  # fmt: skip
TICKS = (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100)
WIDTH, LEFT, RIGHT, TOP, BAR, GAP = 860.0, 250.0, 60.0, 46.0, 13.0, 34.0


def draw(found: Mapping[str, Any]) -> str:
    """SVG of what results/bitnet.json holds."""
    cases: dict[str, list[Row]] = {}
    for row in (Row(**r) for r in found["rows"]):
        if row.contestant not in (NUMPY, ORT) and row.contestant in COLOURS:
            cases.setdefault(row.case, []).append(row)
    ratios = [r.ratio for rows in cases.values() for r in rows]
    low, high = math.log(min([*ratios, 0.9]) * 0.95), math.log(max([*ratios, 2.0]) * 1.05)
    height = TOP + sum(GAP + BAR * len(rows) for rows in cases.values()) + 26
    out = Svg(WIDTH, height, "Times faster than the best float32, one thread")

    def at(ratio: float) -> float:
        return LEFT + (math.log(ratio) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    out.text(0, 16, out.title, size=14)
    for tick in TICKS:
        if low <= math.log(tick) <= high:
            out.line(at(tick), TOP - 8, at(tick), height - 22, TEXT if tick == 1 else GRID, 1.4 if tick == 1 else 1)
            for y in (TOP - 13, height - 8):
                out.text(at(tick), y, f"{tick:g}", "middle", 10)
    y = TOP
    for case, rows in cases.items():
        out.text(0, y + 16, case, size=12)
        y += GAP - 10
        for r in sorted(rows, key=lambda r: -r.ratio):
            begin, end = sorted((at(1), at(r.ratio)))
            out.bar(begin, y, end - begin, BAR - 2, COLOURS[r.contestant], f"{r.contestant}, {case}: {r.ratio:.2f}")
            out.text(LEFT - 8, y + BAR - 3.5, r.contestant, "end", 10.5)
            out.text(max(end, at(1)) + 5, y + BAR - 3.5, f"{r.ratio:.1f}", size=10)
            y += BAR
        y += 10
    return str(out)
