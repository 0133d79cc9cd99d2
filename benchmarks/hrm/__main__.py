"""The goals of ronn-hrm with figures from this run: `python -m benchmarks.hrm [--only g3 g6] [--write]`.

Every figure stands beside its target and what a prototype reached; G3 and G5 beside the baselines too. Runs of System 2
are counted; milliseconds are taken in turn, and move with what else the machine does. The first run trains the networks
and embeds the mails (four minutes), which the zoo's cache keeps.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import threadpoolctl

from benchmarks.bench_report import RESULTS
from benchmarks.hrm.goal import Goal
from benchmarks.hrm.report import draw, show
from benchmarks.machine import describe

RESULT = RESULTS / "hrm.json"


def goals(seeds: int, draws: int) -> dict[str, Callable[[], Goal]]:
    """How each goal is measured, in the order in which they are."""

    def bound() -> Goal:
        from benchmarks.hrm import guaranteed

        return guaranteed.bound(draws)

    def share() -> Goal:
        from benchmarks.hrm import guaranteed

        return guaranteed.share(draws)

    def drift() -> Goal:
        from benchmarks.hrm import drifted

        return drifted.drift(range(seeds), say)

    def mails() -> Goal:
        from benchmarks.hrm import mailed

        return mailed.mails(range(max(1, seeds - 1)), say)

    def overhead() -> Goal:
        from benchmarks.hrm import overhead

        return overhead.overhead()

    def sleep() -> Goal:
        from benchmarks.hrm import asleep

        return asleep.consolidation(range(max(1, seeds // 2)))

    def crashes() -> Goal:
        from benchmarks.hrm import proved

        return proved.crashes()

    def replayed() -> Goal:
        from benchmarks.hrm import proved

        return proved.replayed()

    def early_exits() -> Goal:
        from benchmarks.hrm import proved

        return proved.early_exits()

    return {
        "g1": bound, "g2": share, "g3": drift, "g4": sleep, "g5": mails, "g6": overhead, "g7": crashes, "g8": replayed,
        "g9": early_exits,
    }  # fmt: skip


def say(text: str) -> None:
    print(f"    {text}", flush=True)


def keep(found: Sequence[Goal], machine: dict[str, Any]) -> None:
    """Puts goals into results/hrm.json (those that were not measured stay) and draws their pictures."""
    kept: dict[str, Any] = {"goals": {}}
    if RESULT.is_file():
        kept = json.loads(RESULT.read_text(encoding="utf-8"))
    for goal in found:
        kept["goals"][goal.id] = goal.as_data()
    kept["goals"] = dict(sorted(kept["goals"].items()))
    kept["machine"] = machine
    RESULT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    for path in draw(found):
        say(f"drawn: {path.name}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hrm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="GOAL", help="of g1 to g9")
    parser.add_argument(
        "--write", action="store_true", help="keep figures in results/hrm.json, pictures in docs/images"
    )
    parser.add_argument("--redraw", action="store_true", help="only the pictures again, of the figures in results")
    parser.add_argument("--seeds", type=int, default=4, help="streams of G3 (4); of G5 one less, of G4 half as many")
    parser.add_argument("--draws", type=int, default=500, help="calibrations of G1 and G2 (500)")
    options = parser.parse_args(arguments)
    if options.redraw:
        kept = json.loads(RESULT.read_text(encoding="utf-8"))["goals"]
        draw([Goal(id=g["id"], title=g["title"], figures=g["figures"]) for g in kept.values()])
        return 0
    known = goals(options.seeds, options.draws)
    wanted = [g.lower() for g in options.only] if options.only else list(known)
    unknown = [g for g in wanted if g not in known]
    if unknown:
        parser.error(f"there is no goal {unknown[0]!r}; there are {', '.join(known)}")
    machine, found = describe(), []
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, of fits that were cut short
        for name in wanted:
            print(f"{name.upper()} ...", flush=True)
            began = time.perf_counter()
            goal = known[name]()
            goal.seconds = time.perf_counter() - began
            found.append(goal)
    show(found, machine)
    if options.write:
        keep(found, machine)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
