"""Runs that end before their time: cancelled, timed out, stopped."""

import threading
import time

import numpy as np
import onnx
import pytest

import ronn
from ronn.errors import CancelledError, OptionError, RunTimeoutError
from ronn.plan.stop import NEVER, Stop, running

REFERENCE = ["reference"]
X = np.ones(3, np.float32)
SHORT, ENDLESS = 3, 1 << 60

LOOP = """
    <ir_version: 9, opset_import: ["" : 18]>
    g (int64 n, float[K] x) => (float[K] y) {
        y = Loop (n, , x) <body = b (int64 i, bool c, float[K] v) => (bool c2, float[K] v2) {
            c2 = Identity(c)
            v2 = Neg(v)
        }>
    }"""


@pytest.fixture
def session():
    with ronn.Session(onnx.parser.parse_model(LOOP), providers=REFERENCE) as made:
        yield made


def feed(times):
    return {"n": np.array(times), "x": X}


def check(session):
    assert session.run(feed(SHORT))["y"].tolist() == [-1, -1, -1]
    assert running.stop is None


def in_a_thread(session, **how):
    """Starts an endless run; gives a function that waits for its end and returns what it raised."""
    raised = []

    def work():
        try:
            session.run(feed(ENDLESS), **how)
        except BaseException as e:
            raised.append(e)

    thread = threading.Thread(target=work)
    thread.start()

    def ended():
        thread.join(30)
        assert not thread.is_alive()
        return raised[0]

    return ended


def wait_for_runs(session, number=1):
    """Until so many runs have begun."""
    deadline = time.monotonic() + 30
    while sum(p.frames[0] - p.frames[1] for v in session._variants.values() for _, p in v.plans()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_timeout_ends_an_endless_loop_and_names_the_node(session):
    session.run(feed(SHORT))
    with pytest.raises(RunTimeoutError, match=r"timeout=0\.05 seconds") as raised:
        session.run(feed(ENDLESS), timeout=0.05)
    assert isinstance(raised.value, TimeoutError)
    assert raised.value.op in ("Loop", "Neg", "Identity")
    check(session)


def test_a_run_that_is_done_in_time_is_as_any_other(session):
    assert session.run(feed(SHORT), timeout=60)["y"].tolist() == [-1, -1, -1]
    assert session.run(feed(SHORT), stop=Stop())["y"].tolist() == [-1, -1, -1]


def test_no_time_at_all(session):
    with pytest.raises(RunTimeoutError, match="timeout=0 seconds"):
        session.run(feed(SHORT), timeout=0)
    check(session)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_what_is_no_time(session, timeout):
    with pytest.raises(OptionError, match="is not a time"):
        session.run(feed(SHORT), timeout=timeout)


def test_cancel_ends_all_runs_in_progress_and_none_later(session):
    session.run(feed(SHORT))
    stop = Stop()
    ended = [in_a_thread(session), in_a_thread(session, timeout=600), in_a_thread(session, stop=stop)]
    wait_for_runs(session, 3)
    session.cancel()
    for wait in ended:
        error = wait()
        assert type(error) is CancelledError
        assert "cancelled" in str(error)
    assert not stop.due
    check(session)
    assert session.run(feed(SHORT), stop=stop)["y"].tolist() == [-1, -1, -1]


def test_a_stop_ends_the_runs_that_were_given_it_alone(session):
    mine, other = Stop(), Stop()
    ended, goes_on = in_a_thread(session, stop=mine), in_a_thread(session, stop=other)
    wait_for_runs(session, 2)
    mine.set("the client went away")
    assert "the client went away" in str(ended())
    wait_for_runs(session, 1)
    other.set()
    goes_on()
    with pytest.raises(CancelledError, match="the client went away"):
        session.run(feed(SHORT), stop=mine)
    check(session)
    assert not mine._inner and not other._inner and not session._stops._own


def test_the_first_reason_counts():
    stop = Stop()
    stop.set("first")
    stop.set("second")
    assert stop.due and stop.reason == "first"


def test_a_stop_within_another_is_set_with_it():
    outer = Stop()
    inner = Stop(within=outer)
    outer.set("over")
    assert inner.reason == "over"
    assert Stop(within=outer).reason == "over"
    assert NEVER.reason is None


def test_a_deadline():
    assert Stop(0).due and Stop(60).remaining > 50 and Stop().remaining is None


def test_an_error_of_a_loops_body_is_not_taken_for_a_stop(session):
    with pytest.raises(ronn.InputError):
        session.run({"n": np.array(1)}, timeout=60)
    check(session)


def test_memory_and_frames_after_many_stopped_runs(session):
    session.run(feed(SHORT))
    for _ in range(50):
        with pytest.raises(RunTimeoutError):
            session.run(feed(ENDLESS), timeout=0.0005)
    assert all(p.frames[0] == p.frames[1] <= 1 for v in session._variants.values() for _, p in v.plans())
    check(session)
