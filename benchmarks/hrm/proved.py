"""G7, G8 and G9: crashes, replay, threads, and what it costs to go on from an early exit."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import ronn_hrm as hrm
from benchmarks.hrm import digits, exits
from benchmarks.hrm.drive import known_coin, on_digits
from benchmarks.hrm.goal import Goal
from benchmarks.hrm.streams import drifting

TESTS = Path(__file__).parents[2] / "packages" / "ronn-hrm" / "tests"
KILLED = ("memory/test_kill.py",)
EQUAL = ("test_session.py", "-k", "eight_threads or as_one")
REPLAYED = ("test_replay.py", "-k", "made_again or tampered")
ROUNDS = 30


def tests(*arguments: str) -> tuple[Counter[str], float]:
    """Runs tests of ronn-hrm: how many passed, failed and were skipped, and the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={told}", *arguments],
            cwd=TESTS, stdout=subprocess.DEVNULL, check=False, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        found: Counter[str] = Counter()
        seconds = 0.0
        for case in ElementTree.parse(told).iter("testcase"):
            bad = case.find("failure") is not None or case.find("error") is not None
            found["failed" if bad else "skipped" if case.find("skipped") is not None else "passed"] += 1
            seconds += float(case.get("time", 0.0))
    return found, seconds


def _row(goal: Goal, what: str, arguments: tuple[str, ...], target: str) -> None:
    found, seconds = tests(*arguments)
    goal.figures[what] = {**found, "seconds": seconds}
    text = ", ".join(f"{count} {how}" for how, count in found.items()) if found else "no such test"
    met = found["passed"] > 0 and not found["failed"] and not found["skipped"]
    goal.add(f"{what}: {' '.join(arguments)}", f"{text} in {seconds:.1f} s", target=target, prototype="-", met=met)


def crashes() -> Goal:
    """G7: processes that are killed at 200 random points."""
    goal = Goal("G7", "killed by signal 9 at 200 random points, consolidation among them")
    _row(goal, "what a restart finds", KILLED, "the old state or the new one, decisions equal to the bit")
    return goal


def replayed(requests: int = 6000) -> Goal:
    """G8: whether decisions can be made again, and whether eight threads decide as one."""
    from ronn_hrm.kept import Kept
    from ronn_hrm.replay import check

    goal = Goal("G8", "every answer explained and made again from its state; eight threads as one")
    data = digits.digits()
    stream = drifting(data.x, data.labels, seed=0, phase=requests // 3, warm_up=0)
    explained = 0
    with tempfile.TemporaryDirectory() as folder:
        with known_coin(0), on_digits(memory=hrm.Memory(path=folder, store_inputs=True)) as session:
            for i, item in enumerate(stream.item.tolist()):
                _, why = session.run({"x": stream.x[item : item + 1]}, explain=True)
                explained += _explains(why)
                if i % 1500 == 1499:
                    session.drain()
                    session.sleep()
        with Kept(folder) as kept:
            found = check(kept.store.logged(), kept.archive.load)
            states = len(kept.archive.ids())
    goal.figures["log"] = {**found.as_data(), "states": states, "explained": explained}
    share = found.equal / found.scored if found.scored and not found.lacking else 0.0
    goal.add(
        f"decisions of {found.logged} requests under {states} states, made again from features and state",
        f"{found.equal} of {found.scored} equal to the bit, {found.followed} took the path of their score; the other "
        f"{found.logged - found.scored} were hits of the exact cache",
        target="100 %", prototype="-", met=share == 1.0 and found.followed == found.scored,
    )  # fmt: skip
    goal.add("answers with a reason", f"{explained} of {requests}", target="100 %", met=explained == requests)
    _row(goal, "eight threads and one", EQUAL, "the same decisions")
    _row(goal, "logs", REPLAYED, "made again; tampering noticed")
    return goal


def _explains(why: hrm.Decision) -> bool:
    """Whether a decision says enough: a hit of the cache, or a score with parts that were compared with a threshold."""
    if why.path == "cache":
        return True
    return why.score is not None and bool(why.reasons) and bool(why.state)


def early_exits(rounds: int = ROUNDS) -> Goal:
    """G9: prefix, head and suffix beside the whole model."""
    goal = Goal("G9", "early exits: an escalated request beside the whole model in one session")
    costs = [exits.measure(case, exit, rounds) for case in exits.CASES for exit in case.exits]
    for cost in costs:
        goal.add(
            f"{cost.model}, {cost.exit}",
            f"{cost.ratio:.3f} ({cost.fast:.2f} + {cost.resume:.2f} ms instead of {cost.whole:.2f})",
            target=f"<= {exits.GOAL:g}", prototype="-", met=cost.ratio <= exits.GOAL,
        )  # fmt: skip
        goal.figures[f"{cost.model} {cost.exit}"] = {
            "ratio": cost.ratio, "whole_ms": cost.whole, "fast_ms": cost.fast, "resume_ms": cost.resume,
            "error": cost.error,
        }  # fmt: skip
    return goal
