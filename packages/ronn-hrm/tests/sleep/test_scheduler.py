"""When consolidation begins by itself, and what ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from ronn_hrm.sleep import Report, Sleep, Sleeper
from ronn_hrm.sleep.scheduler import lower_priority

DONE = Report(False, "done")
PATIENCE = 20.0


class Session:
    """What a sleeper knows of one."""

    def __init__(self, sleep: Sleep, job: Callable[[threading.Event], Report] | None = None) -> None:
        self.last, self.fresh = time.monotonic() - 1000.0, 1000
        self.began, self.ended = threading.Event(), threading.Event()
        self.reports: list[Report] = []
        self.sleeper = Sleeper(
            sleep, self.work if job is None else job, last=lambda: self.last, fresh=lambda: self.fresh, done=self.done
        )

    def work(self, cancel: threading.Event) -> Report:
        self.began.set()
        told = cancel.wait(PATIENCE)
        self.fresh = 0
        return Report(False, "cancelled" if told else "late", cancelled=told)

    def done(self, report: Report) -> None:
        self.reports.append(report)
        self.ended.set()


@pytest.fixture
def session():
    made = Session(Sleep(auto=True, idle_s=0.0, min_new=10))
    yield made
    assert made.sleeper.close(PATIENCE)


def test_it_sleeps_when_idle_and_a_request_ends_it(session):
    session.sleeper.start()
    assert session.began.wait(PATIENCE)
    assert session.sleeper.running
    session.sleeper.met()
    assert session.ended.wait(PATIENCE)
    assert [r.cancelled for r in session.reports] == [True]


def test_closing_ends_it(session):
    session.sleeper.start()
    assert session.began.wait(PATIENCE)
    assert session.sleeper.close(PATIENCE)
    assert session.reports[0].cancelled and not session.sleeper.running
    session.sleeper.start()
    assert threading.active_count() == len([t for t in threading.enumerate() if t.name != "ronn-hrm-sleep"])


def test_without_auto_there_is_no_thread():
    session = Session(Sleep(auto=False))
    session.sleeper.start()
    assert all(t.name != "ronn-hrm-sleep" for t in threading.enumerate())
    assert session.sleeper.close()


def test_it_waits_for_idle_time_and_for_something_new():
    session = Session(Sleep(auto=True, idle_s=30.0, min_new=500))
    session.last = time.monotonic()
    assert 29.0 < session.sleeper.wait() <= 30.0
    session.last -= 31.0
    assert session.sleeper.wait() == 0.0
    session.fresh = 499
    assert session.sleeper.wait() == 30.0


def test_a_request_before_sleep_ends_nothing(session):
    session.sleeper.met()
    session.sleeper.start()
    assert session.began.wait(PATIENCE)
    assert not session.ended.wait(0.05)


def test_what_failed_is_not_tried_again_before_there_is_something_new():
    failed = threading.Event()

    def fails(cancel: threading.Event) -> Report:
        failed.set()
        raise ValueError("no")

    session = Session(Sleep(auto=True, idle_s=0.0, min_new=10), fails)
    session.sleeper.start()
    assert failed.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while session.sleeper.wait() == 0.0 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert session.sleeper.wait() > 0.0
    session.fresh += 1
    assert session.sleeper.wait() == 0.0
    assert session.sleeper.close(PATIENCE)


def test_a_forked_child_has_no_thread_of_it(session):
    session.sleeper.start()
    assert session.began.wait(PATIENCE)
    cancel = session.sleeper._cancel
    session.sleeper.after_fork()
    assert session.sleeper._thread is None and not session.sleeper.running
    cancel.set()  # ends the parent's job, which this process still has
    assert session.ended.wait(PATIENCE)


def test_priority_is_lowered_for_one_thread_alone():
    import os
    import sys

    if sys.platform != "linux":
        assert not lower_priority()
        return
    found: list[int] = []

    def low() -> None:
        assert lower_priority()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    thread = threading.Thread(target=low)
    thread.start()
    thread.join()
    assert found == [19] and os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
