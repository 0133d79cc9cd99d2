"""Bursts in turn, and callers at once."""

from __future__ import annotations

import gc
import itertools
import threading

import pytest

from ronn.benchmark import timing
from ronn.benchmark.timing import LEAST_RUNS, Taken, in_turn, parallel, single


def test_bursts_are_taken_in_turn_after_uncounted_runs():
    calls: list[str] = []
    takers = {name: single(lambda name=name: calls.append(name)) for name in "AB"}
    found = in_turn(takers, 60, rounds=3, burst=0.0)
    assert calls == list("AAABBB") * 3
    assert {k: len(t.times) for k, t in found.items()} == {"A": 3, "B": 3}


def test_each_runs_often_enough_however_short_the_time():
    found = in_turn({"A": single(lambda: None), "B": single(lambda: None)}, 0.0, burst=0.0)
    assert all(len(t.times) == LEAST_RUNS for t in found.values())


def test_progress_grows_to_one():
    shares: list[float] = []
    in_turn({"A": single(lambda: None)}, 60, rounds=4, burst=0.0, advance=shares.append)
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] <= 1


def test_the_collector_rests_in_bursts_and_is_on_again_behind_them():
    seen: list[bool] = []
    assert gc.isenabled()
    in_turn({"A": single(lambda: seen.append(gc.isenabled()))}, 0.0, burst=0.0)
    assert gc.isenabled() and not any(seen)

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_turn({"A": single(fail)}, 0.0)
    assert gc.isenabled()


def test_an_interrupt_keeps_what_was_taken():
    count = itertools.count()

    def run() -> None:
        if next(count) == 10:
            raise KeyboardInterrupt

    found = in_turn({"A": single(run), "B": single(lambda: None)}, 60, burst=0.0)
    assert len(found["A"].times) == 3 and len(found["B"].times) == 3


def test_callers_run_at_once(monkeypatch):
    together = threading.Barrier(3, timeout=30)
    taken = parallel(lambda: together.wait(), 3)(0.0)
    assert len(taken.times) == 3 and taken.wall > 0


def test_one_caller_needs_no_thread():
    threads: set[int] = set()
    parallel(lambda: threads.add(threading.get_ident()), 1)(0.0)
    assert threads == {threading.get_ident()}


def test_the_error_of_a_caller_is_raised_and_no_thread_stays():
    def fail() -> None:
        raise ValueError("no")

    before = threading.active_count()
    with pytest.raises(ValueError, match="no"):
        parallel(fail, 4)(0.0)
    assert threading.active_count() == before


def test_taken_times_add_up():
    whole = Taken([1.0], 1.5)
    whole.add(Taken([2.0, 3.0], 5.5))
    assert whole.times == [1.0, 2.0, 3.0] and whole.wall == 7.0
    assert timing.PAUSE_S > 0
