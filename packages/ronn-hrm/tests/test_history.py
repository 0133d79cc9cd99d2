"""The course of a stream: windows that lose no count when they are merged, events, and both on disk."""

from __future__ import annotations

import math
import sqlite3
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ronn_hrm.errors import StateError
from ronn_hrm.history import DATABASE, History, read_history
from ronn_hrm.metrics import Metrics

PATHS = ("cache", "fast", "full", "full:guard")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        self.now += 1.0
        return self.now


def ticked(history: History, metrics: Metrics, rounds: int, start: int = 0) -> int:
    number = start
    for i in range(rounds):
        for path in PATHS[: 1 + i % 4]:
            metrics.request(path, 1e-4)
            number += 1
        metrics.add("full_runs", "answer")
        metrics.add("audits")
        metrics.add("disagreements", by=0.5)
        metrics.set("lam", math.inf if i % 2 else float(i))
        history.tick(number)
    return number


@given(rounds=st.integers(0, 60), most=st.integers(4, 12))
def test_merged_windows_keep_every_count(rounds, most):
    metrics = Metrics()
    history = History(metrics, most=most, clock=Clock())
    number = ticked(history, metrics, rounds)
    windows = history.windows
    assert len(windows) <= most
    assert sum(w.requests for w in windows) == number
    assert sum(w.full_runs for w in windows) == sum(w.audits for w in windows) == rounds
    assert sum(w.wrong for w in windows) == rounds / 2
    for path, count in metrics.requests().items():
        assert sum(w.paths.get(path, 0) for w in windows) == count
    if windows:
        assert windows[0].first == 1 and windows[-1].last == number
        assert windows[-1].gauges["lam"] == (math.inf if rounds % 2 == 0 else rounds - 1)
    for before, after in pairwise(windows):
        assert after.first == before.last + 1 and after.began == before.ended
        assert before.last - before.first + 1 == before.requests


def test_a_tick_without_anything_new_is_none():
    metrics = Metrics()
    history = History(metrics)
    metrics.set("lam", 1.0)
    history.tick(0)
    assert history.windows == []
    metrics.request("fast", 0.1)
    history.tick(1)
    history.tick(1)
    assert [w.paths for w in history.windows] == [{"fast": 1}]


def test_the_folder_has_what_the_session_has_and_is_gone_on_with(tmp_path):
    metrics = Metrics()
    history = History(metrics, tmp_path, most=6, events=3, clock=Clock())
    number = ticked(history, metrics, 20)
    for i in range(5):
        history.event("alarm", number, kind="novelty", value=i / 2)
    assert read_history(tmp_path) == (history.windows, history.events)
    assert [e.about["value"] for e in history.events] == [1.0, 1.5, 2.0]
    history.close()
    fresh = Metrics()
    again = History(fresh, tmp_path, most=6, clock=Clock())
    assert again.windows == history.windows and again.events == history.events
    number = ticked(again, fresh, 3, number)
    assert again.windows[-1].last == number and sum(w.requests for w in again.windows) == number
    again.event("sleep", number, promoted=True, before=0.3, after=0.7)
    windows, events = read_history(tmp_path)
    assert windows == again.windows and events[-1].about == {"promoted": True, "before": 0.3, "after": 0.7}
    again.close()
    again.tick(number + 1)  # what is closed goes on in memory alone
    assert again.as_data()["events"][-1]["kind"] == "sleep"


def test_unknown_events_and_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no event 'nap'"):
        History(Metrics()).event("nap", 1)
    assert read_history(tmp_path) == ([], [])
    (tmp_path / DATABASE).write_bytes(b"something else, and long enough to be looked at as a database" * 40)
    with pytest.raises(StateError, match="cannot be read"):
        read_history(tmp_path)
    with pytest.raises(StateError, match="cannot be opened"):
        History(Metrics(), tmp_path)
    (tmp_path / DATABASE).unlink()
    sqlite3.connect(tmp_path / DATABASE).execute("CREATE TABLE other (x)").connection.close()
    assert read_history(tmp_path) == ([], [])
