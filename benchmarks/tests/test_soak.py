"""The soak notices what it is for: leaks, wrong results, hangs, things that never happened."""

from __future__ import annotations

import faulthandler
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ronn
from benchmarks.soak import __main__ as program
from benchmarks.soak import mixed
from benchmarks.soak.jobs import Task, Wrong
from benchmarks.soak.models import careful, custom, values

SAMPLE = {
    "rss_mib": 150.0, "trimmed_mib": 140.0, "session_bytes": 10**6, "malloc_mib": 70.0, "python_blocks": 300_000,
    "sessions": 9, "python_threads": 7, "threads": 8, "files": 39,
}  # fmt: skip


def verdict(samples: list[dict[str, Any]], **state: Any) -> list[str]:
    soak = object.__new__(mixed._Soak)
    soak.threads, soak.failures, soak.unfinished, soak.ends = 6, [], 0, Counter(mixed.NEEDED)
    for name, value in state.items():
        setattr(soak, name, value)
    found: list[str] = soak._verdict(60.0, samples, state.get("left", 0), 0.03)["wrong"]
    return found


def test_what_stays_as_it_is_is_fine() -> None:
    assert verdict([SAMPLE] * 8) == []


@pytest.mark.parametrize("what", list(SAMPLE))
def test_what_grows_is_wrong(what: str) -> None:
    grows = [{**SAMPLE, what: type(SAMPLE[what])(SAMPLE[what] * (1 + i / 10))} for i in range(8)]
    (wrong,) = verdict(grows)
    assert what in wrong


def test_failures_open_sessions_and_what_never_came_are_wrong() -> None:
    ends = Counter(mixed.NEEDED)
    del ends["stop: stopped"]
    found = verdict([SAMPLE] * 8, failures=["Wrong: other bits"], unfinished=2, ends=ends, left=1)
    assert len(found) == 4 and any("stop: stopped" in w for w in found)


def test_other_bits_are_wrong() -> None:
    task = Task(ronn.Session(custom(), providers=["cpu"]), values((2, 32), 0))
    task.run()
    task.expected[0][0, 0] = np.nextafter(task.expected[0][0, 0], np.float32(np.inf))
    with pytest.raises(Wrong, match="other bits"):
        task.run()
    assert careful(np.float32([1])).tolist() == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_hangs_is_ended() -> None:
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # its end would look like a crash of the tests
        time.sleep(60)
        os._exit(0)
    assert mixed._wait(child, 0.1) is None


def test_results_of_some_checks_stand_beside_those_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "soak.json"
    path.write_text(json.dumps({"machine": {"cpu": "old"}, "checks": {"idle": {"ok": True}, "memory": {"ok": True}}}))
    monkeypatch.setattr(program, "RESULTS", path)
    program.write({"mixed": {"ok": True}, "idle": {"ok": False}}, {"cpu": "new"})
    checks = json.loads(path.read_text())["checks"]
    assert list(checks) == ["mixed", "memory", "idle"]
    assert [c["machine"]["cpu"] for c in checks.values()] == ["new", "old", "new"] and not checks["idle"]["ok"]
