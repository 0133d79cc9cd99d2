"""What was measured, as a table on the screen and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.hrm.goal import Goal
from benchmarks.hrm.populations import named
from docs.charts import GRID, TEXT, Svg

IMAGES = Path(__file__).parents[2] / "docs" / "images"
FAST, CACHE, FULL, BAD, CERTIFIED = "#2f9e44", "#4dabf7", "#f08c00", "#e03131", "#7048e8"
WIDTH = 860.0
LABELS = {"cache_bytes": "working: exact answers", "episode_bytes": "episodic: episodes", "state_bytes": "consolidated"}


def show(goals: Sequence[Goal], machine: dict[str, Any]) -> None:
    """Tables in the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=170)
    for goal in goals:
        table = Table(title=f"{goal.id}  {goal.title}  [{goal.seconds:.0f} s]", title_justify="left", expand=False)
        for name in ("what", "measured", "target", "prototype", ""):
            table.add_column(name, overflow="fold")
        for row in goal.rows:
            mark = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met]
            table.add_row(row.what, row.measured, row.target, row.prototype, mark)
        console.print(table)
    judged = [row.met for goal in goals for row in goal.rows if row.met is not None]
    load = ", ".join(f"{value:.2f}" for value in machine["load_average"])
    console.print(
        f"{sum(judged)} of {len(judged)} targets met; {machine['cpu']}, {machine['usable_cores']} cores, load {load} "
        "when it began; System 2 runs are counted, milliseconds move with the load"
    )


# --- pictures


class Plot:
    """An area of a picture with its own axes, from 0 to ``top`` upwards and from ``low`` to ``high`` to the right."""

    def __init__(self, out: Svg, box: tuple[float, float, float, float], low: float, high: float, top: float) -> None:
        self.out, self.low, self.high, self.top = out, low, high, top
        self.left, self.upper, self.width, self.height = box

    def x(self, value: float) -> float:
        return self.left + (value - self.low) / (self.high - self.low) * self.width

    def y(self, value: float) -> float:
        return self.upper + self.height * (1 - min(value, self.top) / self.top)

    def grid(self, across: Sequence[float], up: Sequence[float], form_x: str, form_y: str) -> None:
        for value in up:
            self.out.line(self.left, self.y(value), self.left + self.width, self.y(value))
            self.out.text(self.left - 6, self.y(value) + 3.5, format(value, form_y), "end", 10)
        for value in across:
            self.out.line(self.x(value), self.upper, self.x(value), self.upper + self.height)
            self.out.text(self.x(value), self.upper + self.height + 14, format(value, form_x), "middle", 10)

    def curve(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1.8, dash: str = "") -> None:
        path = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.out.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"{dashed}/>'
        )

    def upright(self, at: float, words: str) -> None:
        """A line, and words to the right of its number on the axis."""
        self.out.line(self.x(at), self.upper, self.x(at), self.upper + self.height, TEXT, 1.2)
        self.out.text(self.x(at) + 22, self.upper + self.height + 14, words, size=10)


def legend(out: Svg, entries: Sequence[tuple[str, str]], x: float, y: float) -> None:
    for colour, words in entries:
        out.bar(x, y - 8, 14, 8, colour, words)
        out.text(x + 18, y, words)
        x += 34 + 6.4 * len(words)


def risk_against_share(records: int = 1000, alpha: float = 0.01, delta: float = 0.1) -> str:
    """SVG: risk against the share of the cheap model on MNIST, with the bound of one calibration."""
    import numpy as np

    from ronn_hrm.guarantee import Guarantee, calibrate
    from ronn_hrm.guarantee.bounds import clopper_pearson

    found = named("mnist")
    out = Svg(WIDTH, 380, f"MNIST: risk against the share of System 1, with the bound of {records:,} records")
    out.text(0, 16, out.title, size=14)
    plot = Plot(out, (56, 56, WIDTH - 76, 280), 0.4, 1.0, 0.03)
    plot.grid([0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], [0, 0.01, 0.02, 0.03], ".1f", ".0%")
    for scores, colour in ((found.plain, "#adb5bd"), (found.scores, FAST)):
        order = np.argsort(-scores, kind="stable")
        risk = np.cumsum(found.losses[order]) / len(order)
        at = np.unique(np.linspace(0.4 * len(order), len(order) - 1, 240).astype(int))
        plot.curve([((i + 1) / len(order), float(risk[i])) for i in at if risk[i] <= plot.top], colour)
    drawn = np.random.default_rng(7).integers(0, len(found.losses), records)
    order = drawn[np.argsort(-found.scores[drawn], kind="stable")]
    wrong = np.cumsum(found.losses[order])
    at = range(int(0.4 * records), records, 5)
    bounds = [((i + 1) / records, clopper_pearson(int(wrong[i]), records, delta)) for i in at]
    plot.curve([b for b in bounds if b[1] <= plot.top], CERTIFIED, 1.6, "5 3")
    plot.curve([(0.4, alpha), (1.0, alpha)], BAD, 1.2)
    lam = calibrate(found.scores[drawn], found.losses[drawn], Guarantee(alpha=alpha, delta=delta)).lam
    share = float((found.scores >= lam).mean())
    risk = float(found.losses[found.scores >= lam].sum() / len(found.losses))
    out.dot(plot.x(share), plot.y(risk), CERTIFIED, f"certified: share {share:.3f}, risk {risk:.2%}")
    out.text(plot.x(share) - 8, plot.y(risk) + 16, f"certified {share:.2f}, true risk {risk:.2%}", "end")
    legend(
        out,
        [(FAST, "risk, scorer with memory"), ("#adb5bd", "risk, confidence alone"),
         (CERTIFIED, f"upper bound, {1 - delta:.0%}"), (BAD, f"alpha {alpha:.0%}")],
        56, 40,
    )  # fmt: skip
    out.text(WIDTH / 2, 374, "share of requests that System 1 answers", "middle")
    return str(out)


def stream_over_time(timeline: dict[str, Any]) -> str:
    """SVG: how requests of one drifting stream were answered, with alarms and consolidations."""
    windows, step = timeline["windows"], timeline["step"]
    last = windows[-1]["at"] + step
    out = Svg(WIDTH, 470, "The drifting stream over time")
    out.text(0, 16, out.title, size=14)
    plot = Plot(out, (56, 62, WIDTH - 76, 230), 0, last, 1.0)
    for w in windows:
        bottom = 0.0
        for name, colour in (("cache", CACHE), ("fast", FAST), ("full", FULL)):
            value = w[name]
            out.bar(
                plot.x(w["at"]), plot.y(bottom + value), plot.width * step / last - 0.3, plot.height * value, colour,
                f"{w['at']}: {name} {value:.0%}",
            )  # fmt: skip
            bottom += value
    plot.grid([0, 6000, 18000, 30000, 42000], [0, 0.5, 1.0], ",", ".0%")
    for name, at in timeline["phases"].items():
        plot.upright(at, name)
    plot.upright(0, "warm-up")
    below = Plot(out, (56, 340, WIDTH - 76, 90), 0, last, 0.04)
    below.grid([0, 6000, 18000, 30000, 42000], [0, 0.01, 0.02, 0.04], ",", ".0%")
    below.curve([(w["at"] + step / 2, w["wrong"]) for w in windows], BAD)
    below.curve([(0, 0.01), (last, 0.01)], TEXT, 1, "4 3")
    out.text(56, 330, f"answers that System 2 would not have given, in windows of {step}; alpha 1 % dashed")
    for at, what in timeline["events"]:
        if what in ("alarm", "sleep"):
            colour = BAD if what == "alarm" else CERTIFIED
            out.dot(plot.x(at), plot.upper - 8, colour, f"request {at}: {what}")
    legend(
        out,
        [(CACHE, "exact cache"), (FAST, "System 1"), (FULL, "System 2"), (BAD, "alarm"), (CERTIFIED, "consolidation")],
        56, 38,
    )  # fmt: skip
    out.text(WIDTH / 2, 464, "requests", "middle")
    return str(out)


def memory_sizes(sizes: dict[str, int]) -> str:
    """SVG: bytes of the tiers of memory at the end of that stream."""
    out = Svg(WIDTH, 44 + 34 * len(sizes), "Memory after 42,000 requests, MB")
    out.text(0, 16, out.title, size=14)
    most = max([*sizes.values(), 1])
    for row, (name, value) in enumerate(sizes.items()):
        y = 34 + 34 * row
        out.text(170, y + 15, LABELS.get(name, name), "end")
        width = (WIDTH - 280) * value / most
        out.bar(180, y, width, 20, CERTIFIED, f"{value:,} bytes")
        out.text(188 + width, y + 15, f"{value / 1e6:.2f}")
    out.line(180, 28, 180, 34 + 34 * len(sizes), GRID)
    return str(out)


def draw(goals: Sequence[Goal]) -> list[Path]:
    """Writes the pictures of goals that were measured to docs/images."""
    written = []
    figures = {goal.id: goal.figures for goal in goals}
    pictures = {}
    if "G2" in figures:
        pictures["hrm-risk-share.svg"] = risk_against_share()
    if "G3" in figures:
        pictures["hrm-stream.svg"] = stream_over_time(figures["G3"]["timeline"])
        pictures["hrm-memory.svg"] = memory_sizes(figures["G3"]["sizes"])
    for name, text in pictures.items():
        (IMAGES / name).write_text(text, encoding="utf-8")
        written.append(IMAGES / name)
    return written
