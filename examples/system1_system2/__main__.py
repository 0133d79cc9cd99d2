"""``python -m examples.system1_system2`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.zoo.cache import cache_root
from benchmarks.zoo.fetch import ZooError
from examples.system1_system2 import digits, mails, picture
from examples.system1_system2.course import Course, Lengths, Pair, Part, alone, travel
from ronn.plan.budget import size_text

SHORT, LONG = Lengths(2000, 500, 800, 4000), Lengths(4000, 1000, 3000, 8000)
MAIL_LENGTHS = Lengths(1500, 400, 500, 2000)
EPOCHS = {False: 8, True: 30}
ALONE = 200
"""Requests that each model alone is timed on."""


def alone_table(pair: Pair) -> Table:
    """Each model for everything."""
    made = Table(title=f"{pair.name}: each alone", title_justify="left")
    made.add_column("")
    for head in ("right, as usual", "right, changed", "mean", "median", "memory"):
        made.add_column(head, justify="right")
    for name, model, size in (("System 1", pair.fast, pair.bytes[0]), ("System 2", pair.full, pair.bytes[1])):
        usual, changed = (alone(model, pair, c, ALONE) for c in (False, True))
        rights = (f"{part.of(part.right):.1%}" for part in (usual, changed))
        made.add_row(name, *rights, f"{usual.mean_ms:.2f} ms", f"{usual.median_ms:.2f} ms", size_text(size))
    return made


def table(course: Course) -> Table:
    """Parts of the course beside one another."""
    pair = course.pair
    made = Table(title=f"{pair.name}: one session of both", title_justify="left", caption_justify="left")
    made.add_column("")
    for part in course.parts:
        made.add_column(part.name, justify="right")
    lines: list[tuple[str, Callable[[Part], str]]] = [
        ("requests", lambda p: str(p.requests)),
        ("System 1", lambda p: f"{p.share('fast'):.0%}"),
        ("cache", lambda p: f"{p.share('cache'):.0%}"),
        ("System 2", lambda p: f"{p.share('full'):.0%}"),
        ("runs of S2", lambda p: f"{p.of(p.runs):.2f}"),
        ("certified", lambda p: f"{p.certified:.0%}"),
        ("as S2", lambda p: f"{p.of(p.agree):.1%}"),
        ("right", lambda p: f"{p.of(p.right):.1%}"),
        ("S2 right", lambda p: f"{p.of(p.right_full):.1%}"),
        ("mean", lambda p: f"{p.mean_ms:.2f} ms"),
        ("median", lambda p: f"{p.median_ms:.2f} ms"),
    ]
    for name, value in lines:
        made.add_row(name, *map(value, course.parts))
    made.caption = (
        f"at most {pair.alpha:.0%} of all requests are to get another answer than System 2's; runs of S2: a request, "
        "audits included; certified: share of System 1 at the end of a part; as S2: answers that were System 2's"
    )
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.system1_system2",
        description="A cheap model in front of an expensive one, on real data, before and after a change of the "
        "traffic and before and after consolidation. Digits as they are take half a minute.",
    )
    parser.add_argument("--mail", action="store_true", help="mail as well: word vectors and MiniLM (two minutes more)")
    parser.add_argument("--long", action="store_true", help="longer training and streams of digits (a minute more)")
    parser.add_argument("--picture", type=Path, help="file for the picture, as SVG (default: in the cache)")
    options = parser.parse_args()
    console = Console()

    def say(text: str) -> None:
        console.print(f"  {text}", style="dim", markup=False)

    courses = []
    try:
        for name in ("digits", "mail") if options.mail else ("digits",):
            console.print(name, style="bold")
            pair = digits.pair(EPOCHS[options.long], say) if name == "digits" else mails.pair(say)
            lengths = MAIL_LENGTHS if name == "mail" else LONG if options.long else SHORT
            course = travel(pair, lengths, say)
            courses.append(course)
            console.print(alone_table(pair))
            console.print(table(course))
            console.print(str(course.report), markup=False, highlight=False)
            console.print(str(course.advice), markup=False, highlight=False)
    except ZooError as error:
        console.print(f"The data cannot be had: {error}", style="red", markup=False)
        return 1
    target = options.picture if options.picture is not None else cache_root() / "hrm" / "system1_system2.svg"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(picture.draw(courses), encoding="utf-8")
    console.print(f"picture: {target}", markup=False, highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
