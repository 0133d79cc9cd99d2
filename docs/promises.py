"""The table in hrm.md of what became of the promises of brain-inspired inference: figures come from
benchmarks/results/hrm.json, as `nox -s bench_hrm -- --write` left it. ``generate.py`` writes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results" / "hrm.json"
PAGE = DOCS / "hrm.md"
BEGIN, END = "<!-- promises: written by docs/generate.py -->\n", "<!-- end of promises -->\n"

MEASURED, NOT_REACHED, DROPPED, TESTED, OPEN = "measured", "not reached", "dropped", "tested", "not measured yet"


@dataclass(frozen=True)
class Figure:
    """Rows of a goal: those whose name begins with ``what``. label: in the place of their names."""

    goal: str
    what: str
    label: str = ""


@dataclass(frozen=True)
class Promise:
    """One promise: what was said, what became of it in words, the figures that say so, and tests that hold it. A
    promise counts as not reached where one of its figures misses its target (stretch goals aside). dropped: why."""

    said: str
    became: str = ""
    figures: tuple[Figure, ...] = ()
    tests: tuple[str, ...] = ()
    dropped: str = ""


PROMISES = (
    Promise(
        "Complexity assessment decides which path a request takes",
        "features of answer and memory, one scorer, additive reasons",
        (
            Figure("G2", "share", "certified share"),
            Figure("G2", "by confidence alone"),
            Figure("G6", "router without"),
            Figure("G6", "router with 5"),
        ),
    ),
    Promise(
        "Complexity can be read off size, variance and rank of the input",
        dropped="it predicts cost, not difficulty: AUROC for disagreement .54 by length, .82 by confidence (mail, with "
        "a prototype). Kept as `SizeRule`, a baseline, as gates and as features",
    ),
    Promise(
        "Two paths, quick and careful, like System 1 and System 2",
        "a certified cascade; mail end to end",
        (
            Figure("G5", "alpha 2%: S2 runs"),
            Figure("G5", "alpha 2%: mean"),
            Figure("G5", "alpha 1%: S2 runs"),
            Figure("G5", "alpha 1%: mean"),
            Figure("G5", "alpha 2%: p50"),
            Figure("G5", "alpha 1%: p50"),
            Figure("G5", "alpha 2%: p99"),
            Figure("G5", "alpha 1%: p99"),
        ),
    ),
    Promise(
        "The quick path is as good where it is used",
        "a bound for each certificate, on what the expensive model would have said",
        (Figure("G1", ""),),
        ("ronn-hrm/tests/test_g1_digits.py",),
    ),
    Promise(
        "System 1 in 1 bit",
        "ternary (1.58 bits), on the kernels of `ronn-provider-bitnet`; `examples/system1_system2` prints the bytes of "
        "both models. The word here is *ternary*",
        tests=("ronn-provider-bitnet/tests/test_products.py", "examples/system1_system2/tests/test_system1_system2.py"),
    ),
    Promise(
        "Working memory",
        "an exact cache of the expensive model's answers, apart for each namespace",
        (
            Figure("G6", "cache hit"),
            Figure("G6", "hashing"),
            Figure("G5", "exact cache + System 2", "cache alone, S2 runs"),
        ),
        ("ronn-hrm/tests/memory",),
    ),
    Promise(
        "Episodic memory",
        "requests that the expensive model answered, in SQLite; searched for features",
        (Figure("G6", "an episode"), Figure("G6", "search")),
        ("ronn-hrm/tests/memory",),
    ),
    Promise(
        "Semantic memory",
        "called *consolidated state*: remembered inputs, scorer, correction, student; versioned, certified, taken back",
        tests=("ronn-hrm/tests/memory",),
    ),
    Promise(
        "Answers from similar memories (a semantic cache)",
        dropped="2.1 % wrong hits at cosine .95, 1.2 % at .99 with a prototype; similarity makes features, nothing is answered "
        "by it",
    ),
    Promise(
        "Consolidation in sleep",
        "replay, correction, ternary student, a gate that may refuse",
        (Figure("G4", "certified share at 1 %"), Figure("G4", "seconds"), Figure("G4", "slowest request")),
    ),
    Promise(
        "Continual learning without forgetting",
        "plain interleaved replay; old records judge each new state",
        (Figure("G4", "agreement lost"),),
    ),
    Promise(
        "Learning at several time scales",
        "each answer; a thousand requests; idle time; a new model. All in one stream with drift",
        (Figure("G3", "S2 calls"), Figure("G3", "disagreement by phase"), Figure("G3", "bad answers")),
    ),
    Promise(
        "Novelty and surprise",
        "an alarm on novelty without labels, an e-detector on audits, and a guard",
        (Figure("G3", "alarms, requests"),),
        ("ronn-hrm/tests/test_misuse.py",),
    ),
    Promise(
        "Early exits save what was computed", "the expensive model goes on from the cheap one", (Figure("G9", ""),)
    ),
    Promise(
        "It can be explained",
        "additive reasons; decisions replay to the bit, by one thread or eight",
        (Figure("G8", "decisions of"), Figure("G8", "answers with a reason"), Figure("G8", "eight threads")),
    ),
    Promise("It does not lose its memory", "killed at random points, sleep included", (Figure("G7", ""),)),
    Promise(
        "It saves memory", dropped="it takes more: both models are resident, unless the expensive one is opened lazily"
    ),
    Promise("It answers quicker in the worst case", dropped="it cannot: an escalated request goes through both models"),
    Promise(
        "Reasoning, understanding, consciousness; spiking, Hebbian learning",
        dropped="words for networks, not for a router; the learning rules are of laboratory scale. The software says what "
        "it does",
    ),
    Promise(
        'The name "HRM"',
        dropped='taken by a network of 2025 ("Hierarchical Reasoning Model"); here it stands for Hierarchical Routing and '
        "Memory, said in the first paragraph",
    ),
    Promise(
        "Any expensive model, generators of text included",
        dropped="only answers with a bounded loss (`Custom`); equality of free text is not promised, and nothing here was "
        "measured on generators",
    ),
)


def results() -> dict[str, Any]:
    """The goals by id, none where nothing was kept yet."""
    if not RESULTS.is_file():
        return {}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))["goals"]
    return found


def rows_of(figure: Figure, goals: dict[str, Any]) -> list[dict[str, Any]]:
    rows = goals.get(figure.goal, {}).get("rows", ())
    return [row for row in rows if row["what"].startswith(figure.what) and "stretch" not in row["what"]]


def table(goals: dict[str, Any]) -> str:
    lines = ["| promise | here | figures | |", "| --- | --- | --- | --- |"]
    for promise in PROMISES:
        if promise.dropped:
            lines.append(f"| {promise.said} | {promise.dropped} | | {DROPPED} |")
            continue
        texts, rows = [], []
        for figure in promise.figures:
            found = rows_of(figure, goals)
            rows += found
            for row in found:
                target = (
                    f" (target {row['target']}{', missed' if row['met'] is False else ''})" if row["target"] else ""
                )
                texts.append(f"{figure.label or row['what']}: {row['measured']}{target}")
            if not found:
                texts.append(f"{figure.label or figure.what or figure.goal}: {OPEN}")
        texts += [
            f"`nox -s bench_hrm -- --only {name}`" for name in dict.fromkeys(f.goal.lower() for f in promise.figures)
        ]
        texts += [f"`{test}`" for test in promise.tests]
        became = TESTED if not promise.figures else MEASURED if rows else OPEN
        if any(row["met"] is False for row in rows):
            became = NOT_REACHED
        cell = "<br>".join(t.replace("|", "\\|") for t in texts)
        lines.append(f"| {promise.said} | {promise.became} | {cell} | {became} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """hrm.md with its table made anew."""
    text = PAGE.read_text(encoding="utf-8")
    parts = re.split(f"(?<={re.escape(BEGIN)}).*?(?={re.escape(END)})", text, flags=re.DOTALL)
    if len(parts) != 2:
        raise ValueError(f"{PAGE} has no place for the table: {BEGIN.strip()} ... {END.strip()}")
    return parts[0] + "\n" + table(results()) + "\n" + parts[1]
