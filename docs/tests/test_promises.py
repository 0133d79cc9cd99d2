"""The table of promises: figures from the results, misses called misses, and tests that exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docs import promises

ROOT = Path(__file__).parents[2]


def _goals(*rows: dict[str, Any], goal: str = "G2") -> dict[str, Any]:
    return {goal: {"rows": [{"measured": "0", "target": "", "met": None, **row} for row in rows]}}


def _line(table: str, said: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"| {said}"))


@pytest.mark.parametrize(("met", "became"), [(True, promises.MEASURED), (False, promises.NOT_REACHED)])
def test_a_missed_target_is_not_reached(met: bool, became: str) -> None:
    share = {"what": "share (additive)", "measured": "0.83", "target": ">= 0.84", "met": met}
    stretch = {"what": "share, stretch", "measured": "0.83", "target": ">= 0.86", "met": False}
    line = _line(promises.table(_goals(share, stretch)), "Complexity assessment")
    assert "certified share: 0.83 (target >= 0.84" in line and line.endswith(f"| {became} |")
    assert ("missed" in line) is not met and "0.86" not in line


def test_what_was_not_measured_says_so() -> None:
    table = promises.table({})
    assert _line(table, "It does not lose its memory").endswith(f"| {promises.OPEN} |")
    assert all(line.rstrip(" |").rpartition("| ")[2] for line in table.splitlines()[2:])


def test_every_promise_has_figures_tests_or_a_reason() -> None:
    for promise in promises.PROMISES:
        assert bool(promise.dropped) != bool(promise.figures or promise.tests), promise.said
        for test in promise.tests:
            assert (ROOT / "packages" / test).exists() or (ROOT / test).exists(), test


def test_figures_name_rows_that_were_kept() -> None:
    goals = promises.results()
    for promise in promises.PROMISES:
        for figure in promise.figures:
            assert figure.goal not in goals or promises.rows_of(figure, goals), figure
